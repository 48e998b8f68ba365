//! Tokens in files: `TokenFile`, `ReadOnlyTokenFile` and `TokenFileName`.
//!
//! The supervisor reads the files, and sends their content after every change, before the next connection.
//! Lines that can't be parsed are logged and skipped.

use std::cell::RefCell;
use std::collections::HashMap;

use common::addr::TargetAddr;
use common::ipc::setup::{TokenFile, TokenFiles};

use super::address::{self, AddressError};
use super::error::LookupError;
use crate::connector::target::Target;

/// Maximum number of errors that are logged one by one. Only the number of further ones is logged.
const MAX_COMPLAINTS: usize = 20;

/// The known tokens.
#[derive(Debug)]
pub(in crate::connector) struct Table {
    form: Form,
    /// The targets by token; `None` before the files have arrived, or if none of them can be read.
    targets: RefCell<Option<HashMap<String, TargetAddr>>>,
}

/// The format of token files.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// Lines `token: target`.
    Lines,
    /// The name of a file is the token, and its content the target.
    FileNames,
}

/// The reason why a line is not a token with its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum LineError {
    /// It is not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// The separator is missing.
    #[error("no colon followed by a space: write `token: host:port`")]
    NoSeparator,
    /// There is more than one separator.
    #[error("more than one colon followed by a space: write `token: host:port`")]
    Separators,
    /// The text after the separator is not a target.
    #[error("the target has {0}")]
    Target(#[from] AddressError),
}

/// Errors in token files, each with its location.
#[derive(Default)]
struct Complaints(Vec<String>);

impl Complaints {
    fn add(&mut self, file: &TokenFile, line: usize, why: impl std::fmt::Display) {
        self.0.push(format!("Syntax error in {} on line {line}: {why}", file.path));
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
        Self { form: Form::Lines, targets: RefCell::default() }
    }

    /// A table of files whose names are the tokens.
    pub(super) fn of_file_names() -> Self {
        Self { form: Form::FileNames, targets: RefCell::default() }
    }

    /// Replaces all tokens with the current content of the files.
    pub(super) fn fill(&self, files: TokenFiles) {
        let mut complaints = Complaints::default();
        let mut targets = HashMap::new();
        for file in &files.files {
            match self.form {
                Form::Lines => take_lines(&mut targets, file, &mut complaints),
                Form::FileNames => take_file(&mut targets, file, &mut complaints),
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
        targets.get(token).cloned().map(Target::Address).ok_or(LookupError::NotFound)
    }
}

fn take_lines(targets: &mut HashMap<String, TargetAddr>, file: &TokenFile, complaints: &mut Complaints) {
    for (number, line) in file.content.split(|byte| *byte == b'\n').enumerate() {
        match std::str::from_utf8(line).map_err(|_| LineError::NotText).and_then(parse_line) {
            Ok(Some((token, target))) => _ = targets.insert(token.to_owned(), target),
            Ok(None) => {}
            Err(error) => complaints.add(file, number + 1, error),
        }
    }
}

fn take_file(targets: &mut HashMap<String, TargetAddr>, file: &TokenFile, complaints: &mut Complaints) {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let text = std::str::from_utf8(&file.content).map_err(|_| LineError::NotText);
    match text.and_then(|text| Ok(address::parse(text.trim())?)) {
        Ok(target) => _ = targets.insert(name.to_owned(), target),
        Err(error) => complaints.add(file, 1, error),
    }
}

/// Parses a line in the original's format: the token, a colon followed by white space, and the target. Empty lines
/// and comments, which begin with `#`, are skipped.
fn parse_line(line: &str) -> Result<Option<(&str, TargetAddr)>, LineError> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let mut separators = line
        .char_indices()
        .zip(line.chars().skip(1))
        .filter(|((_, colon), space)| *colon == ':' && space.is_whitespace())
        .map(|((at, _), _)| at);
    let at = separators.next().ok_or(LineError::NoSeparator)?;
    if separators.next().is_some() {
        return Err(LineError::Separators);
    }
    let (token, target) = line.split_at(at);
    Ok(Some((token, address::parse(target.trim_start_matches(':').trim())?)))
}
