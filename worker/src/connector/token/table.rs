//! Tokens in files: `TokenFile`, `ReadOnlyTokenFile` and `TokenFileName`.
//!
//! The supervisor reads the files, and sends their content after every change, before the next connection.
//! Lines that can't be parsed are logged and skipped.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::rc::Rc;

use common::addr::TargetAddr;
use common::ipc::setup::{TokenFile, TokenFiles};
use common::ipc::sockets::SocketName;
use common::tokens;

use super::error::LookupError;
use crate::connector::target::Target;

/// Maximum number of errors that are logged one by one. Only the number of further ones is logged.
const MAX_COMPLAINTS: usize = 20;

/// The known tokens.
#[derive(Debug)]
pub(in crate::connector) struct Table {
    form: Form,
    /// The targets by token; `None` before the files have arrived, or if none of them can be read.
    targets: RefCell<Option<HashMap<String, Known>>>,
}

/// The target of a token.
#[derive(Clone, Debug)]
pub(super) struct Known {
    address: TargetAddr,
    /// Why root connects to no socket by this token: others than root can have written its file.
    distrust: Option<Rc<str>>,
    /// The number of a socket that root connects to on request.
    number: Option<u64>,
}

/// The format of token files.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Lines `token: target`.
    Lines,
    /// The name of a file is the token, and its content the target.
    FileNames,
}

/// Errors in token files, each with its location.
#[derive(Default)]
struct Complaints(Vec<String>);

impl Complaints {
    fn add(&mut self, file: &TokenFile, line: usize, why: impl std::fmt::Display) {
        self.0.push(format!("Syntax error in {} on line {line}: {why}", file.shown));
    }

    fn log(&self) {
        for complaint in self.0.iter().take(MAX_COMPLAINTS) {
            tracing::error!("{complaint}");
        }
        if let more @ 1.. = self.0.len().saturating_sub(MAX_COMPLAINTS) {
            tracing::error!("and {more} more syntax errors in files of tokens");
        }
    }
}

impl Table {
    /// A table of files with lines `token: target`.
    pub(super) fn of_lines() -> Self {
        Self::new(Form::Lines)
    }

    /// A table of files whose names are the tokens.
    pub(super) fn of_file_names() -> Self {
        Self::new(Form::FileNames)
    }

    fn new(form: Form) -> Self {
        Self { form, targets: RefCell::default() }
    }

    /// Replaces all tokens with the current content of the files.
    pub(super) fn fill(&self, files: TokenFiles) {
        let mut complaints = Complaints::default();
        let mut targets = HashMap::new();
        for file in &files.files {
            let distrust = file.distrust.as_deref().map(Rc::<str>::from);
            let mut take = |token: &str, address| {
                targets.insert(token.to_owned(), Known::new(&address, distrust.clone(), &files.sockets));
            };
            match self.form {
                Form::Lines => take_lines(file, &mut complaints, &mut take),
                Form::FileNames => take_file(file, &mut complaints, &mut take),
            }
        }
        complaints.log();
        *self.targets.borrow_mut() = (!files.unreadable).then_some(targets);
    }

    /// Looks up the target of a token.
    pub(super) fn lookup(&self, token: &str) -> Result<Target, LookupError> {
        let targets = self.targets.borrow();
        let Some(targets) = &*targets else {
            return Err(LookupError::Failed("the tokens can't be read".into()));
        };
        let token = match self.form {
            Form::Lines => token,
            // Only the last component of a path counts, as in the original.
            Form::FileNames => token.rsplit('/').next().unwrap_or(token),
        };
        let known = targets.get(token).ok_or(LookupError::NotFound)?;
        Ok(known.target())
    }
}

impl Known {
    /// Creates the target at `address`, from a file that root trusts unless there is a `distrust`. `sockets` are those
    /// that root connects to on request.
    pub(super) fn new(
        address: &TargetAddr,
        distrust: Option<Rc<str>>,
        sockets: &BTreeMap<PathBuf, u64>,
    ) -> Self {
        let number = match address {
            TargetAddr::Unix(path) => sockets.get(path).copied(),
            TargetAddr::Tcp { .. } => None,
        };
        Self { address: address.clone(), distrust, number }
    }

    /// The target to dial.
    pub(super) fn target(&self) -> Target {
        match &self.address {
            TargetAddr::Unix(path) => Target::Listed { path: path.clone(), name: self.name_for_root() },
            address @ TargetAddr::Tcp { .. } => Target::InFile(address.clone()),
        }
    }

    /// The name by which root may be asked to connect to this socket, or why root does not.
    fn name_for_root(&self) -> Result<SocketName, Rc<str>> {
        match (&self.distrust, self.number) {
            (Some(why), _) => Err(why.clone()),
            (None, Some(number)) => Ok(SocketName::Listed(number)),
            (None, None) => Err("root connects to no sockets of token files".into()),
        }
    }
}

fn take_lines(file: &TokenFile, complaints: &mut Complaints, take: &mut impl FnMut(&str, TargetAddr)) {
    for (number, line) in tokens::lines(&file.content).enumerate() {
        match line {
            Ok(Some((token, target))) => take(token, target),
            Ok(None) => {}
            Err(error) => complaints.add(file, number + 1, error),
        }
    }
}

fn take_file(file: &TokenFile, complaints: &mut Complaints, take: &mut impl FnMut(&str, TargetAddr)) {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    match tokens::whole(&file.content) {
        Ok(target) => take(name, target),
        Err(error) => complaints.add(file, 1, error),
    }
}
