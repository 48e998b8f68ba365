//! Token files, which the supervisor reads for the connector. They may be readable by root only, and the
//! connector opens no files.
//!
//! As in the original, the files are checked before each connection is handed over, so that a change takes
//! effect for the next client. Clients can't influence which files are opened: their tokens never reach this
//! process.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use common::addr::TargetAddr;
use common::config::token::{TokenPlugin, Tokens};
use common::config::{Config, Target};
use common::ipc::setup::{self, TokenFile, TokenFiles};
use common::sys::memory_file::MAX_BYTES;
use common::ticket::Key;
use common::tokens::policy::{Ongoing, TokenPolicy};
use common::tokens::{self, table};
use nix::fcntl::OFlag;
use nix::time::{ClockId, clock_gettime};
use rustix::fs::{Stat, fstat};

use crate::files::sockets::TargetSockets;
use crate::files::stamp::Stamp;
use crate::os::off_loop::{OffLoop, OffLoopError};
use crate::os::trust::Walk;

/// Maximum size of all files together, in bytes. The other half of the limit is room for the encoding.
const MAX_TOTAL_BYTES: usize = MAX_BYTES / 2;

/// After a long look, the next one must wait this many times as long as the look took: a directory with
/// thousands of files must not use up the time of the process that accepts connections.
const REST: u32 = 10;

/// Processor time above which a look counts as long; that corresponds to some hundred files. Time of other
/// processes does not count, so that changes of a few files are never delayed on a busy machine.
const LONG_LOOK: Duration = Duration::from_millis(1);

/// Time for which a client waits while the file system hangs. Only the first client waits; others use what
/// was read before.
const PATIENCE: Duration = Duration::from_secs(1);

/// The token files of a generation, and what the connector was last sent of them.
#[derive(Debug)]
pub(crate) struct TokenSource {
    /// The thread that looks at the files, and its state; `None` without token files.
    files: Option<(OffLoop, Arc<Mutex<Look>>)>,
    /// The files are those of `TokenTable`.
    are_tables: bool,
    /// Knows the sockets that the files name.
    sockets: Rc<TargetSockets>,
    next_look: Cell<Option<Instant>>,
    in_force: RefCell<Option<Arc<FileContent>>>,
    /// New content is in force that [`TokenSource::refresh`] has not reported yet.
    is_new: Cell<bool>,
}

/// State of the thread that looks at the files.
#[derive(Debug)]
struct Look {
    /// Kind of content, for the log.
    what: &'static str,
    path: PathBuf,
    /// The names of files are tokens, which are not shown.
    hides_names: bool,
    /// The files are checked, and one with an error counts as unchanged.
    are_tables: bool,
    /// The key of token hashes.
    key: Key,
    /// Where targets are in the files, if their sockets are offered to the connector.
    targets: Option<Form>,
    /// The sockets that root may connect to, and their numbers.
    numbers: BTreeMap<PathBuf, u64>,
    /// The first number that no socket has had.
    next_number: u64,
    stamps: Option<Stamps>,
    known: Option<Arc<FileContent>>,
}

/// Where targets are in token files.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// In each line, behind a token.
    Lines,
    /// In each file, whose name is the token.
    Files,
    /// In tables of TOML, one for each token.
    Tables,
}

/// Result of a look.
#[derive(Debug)]
struct LookResult {
    took: Duration,
    /// Content of the files, if it has changed.
    news: Option<Arc<FileContent>>,
}

/// The existing files, or the error of finding them.
type Stamps = Result<Vec<(PathBuf, Stamp)>, String>;

/// The content that was read, and the errors of reading it.
#[derive(Debug, Default, PartialEq, Eq)]
struct FileContent {
    files: TokenFiles,
    /// The policies of tokens, by the keyed hash of the token.
    policies: BTreeMap<String, TokenPolicy>,
    complaints: Vec<String>,
}

impl TokenSource {
    /// Creates the source of a configuration. Nothing is read yet. `sockets` receives the sockets that the files name.
    /// `key` is that of token hashes.
    pub(crate) fn new(config: &Config, sockets: Rc<TargetSockets>, key: Key) -> Self {
        let path = match config.target() {
            Target::Tokens(tokens) => match &tokens.plugin {
                TokenPlugin::File(path)
                | TokenPlugin::ReadOnlyFile(path)
                | TokenPlugin::FileName(path)
                | TokenPlugin::Table(path)
                | TokenPlugin::Jwt(path) => Some(path.clone()),
                TokenPlugin::SignedLink(_) => config.link_keys().map(|(path, _)| path),
                // The connector itself opens the socket that a token names.
                TokenPlugin::SocketDirectory(_) => None,
                TokenPlugin::TextApi(_)
                | TokenPlugin::JsonApi(_)
                | TokenPlugin::Redis(_)
                | TokenPlugin::External { .. } => None,
            },
            Target::Static(_) | Target::Wrapped(_) | Target::Demo => None,
        };
        let what = match config.target() {
            Target::Tokens(Tokens { plugin: TokenPlugin::Jwt(_), .. }) => "key",
            Target::Tokens(Tokens { plugin: TokenPlugin::SignedLink(_), .. }) => "keys of links",
            _ => "tokens",
        };
        let hides_names = matches!(config.target(), Target::Tokens(tokens) if matches!(tokens.plugin, TokenPlugin::FileName(_)));
        let look = |path| {
            let named = sockets.named();
            Arc::new(Mutex::new(Look {
                what,
                path,
                hides_names,
                are_tables: matches!(form(config), Some(Form::Tables)),
                key: key.clone(),
                targets: form(config).filter(|_| named.are_offered),
                numbers: named.numbers(),
                next_number: named.next,
                stamps: None,
                known: None,
            }))
        };
        let files = path.map(|path| (OffLoop::of(what, PATIENCE, vec![path.clone()]), look(path)));
        Self {
            files,
            are_tables: matches!(form(config), Some(Form::Tables)),
            sockets,
            next_look: Cell::default(),
            in_force: RefCell::default(),
            is_new: Cell::default(),
        }
    }

    /// Reads the files if they have changed. Returns whether new content is in force.
    pub(crate) async fn refresh(self: &Rc<Self>) -> bool {
        let Some((files, look)) = &self.files else { return false };
        if self.next_look.get().is_none_or(|then| Instant::now() >= then) {
            let (look, source) = (look.clone(), self.clone());
            let looked = files.run(move || Look::once(&look), move |found| source.take(found)).await;
            if let Err(OffLoopError::Thread(error)) = looked {
                tracing::error!("cannot check the token files: {error}");
            }
        }
        self.is_new.take()
    }

    /// Whether a look at the files is hanging.
    pub(crate) fn hangs(&self) -> bool {
        self.files.as_ref().is_some_and(|(files, _)| files.hangs())
    }

    /// The content that was read last, a [`TokenFiles`] in a memory file to be passed on; `None` before the
    /// first look.
    pub(crate) fn in_force(&self) -> io::Result<Option<OwnedFd>> {
        self.in_force.borrow().as_ref().map(|known| setup::file(&known.files)).transpose()
    }

    /// Whether the tokens of sessions are looked at again when the files change.
    pub(crate) fn can_revoke(&self) -> bool {
        self.are_tables
    }

    /// Whether a session whose token has this keyed hash may go on. It may while the files can't be read.
    pub(crate) fn allows(&self, token: &str, session: &Ongoing<'_>) -> bool {
        let in_force = self.in_force.borrow();
        let Some(known) = in_force.as_ref().filter(|known| !known.files.unreadable) else { return true };
        known.policies.get(token).is_some_and(|policy| policy.allows(session, SystemTime::now()))
    }

    fn take(&self, found: LookResult) {
        self.next_look.set((found.took > LONG_LOOK).then(|| Instant::now() + found.took * REST));
        let Some(known) = found.news else { return };
        for complaint in &known.complaints {
            tracing::error!("{complaint}");
        }
        self.sockets.list(&known.files.sockets);
        self.in_force.replace(Some(known));
        self.is_new.set(true);
    }
}

impl Look {
    /// Looks at the files. The lock ensures that one thread does so at a time.
    fn once(look: &Mutex<Self>) -> LookResult {
        let began = processor_time();
        let mut look = look.lock().unwrap_or_else(PoisonError::into_inner);
        let news = look.news();
        LookResult { took: processor_time().saturating_sub(began), news }
    }

    /// Name of a file in log messages, without the token that the file's name may be.
    fn shown(&self, path: &Path, stamp: &Stamp) -> String {
        if self.hides_names {
            return format!("inode {} of {}", stamp.inode, self.path.display());
        }
        path.display().to_string()
    }

    fn complaint(&self, shown: &str, why: &dyn Display) -> String {
        format!("cannot read the {} in {shown}: {why}", self.what)
    }

    /// Reads the file at `path`, which is `shown` in the log.
    fn file(&self, path: &Path, shown: String, room: usize) -> Result<TokenFile, String> {
        let (content, stat) = read(path, room).map_err(|error| self.complaint(&shown, &error))?;
        if self.are_tables {
            table::parse(&content, path).map_err(|error| match error.text_and_help() {
                (text, Some(help)) => format!("not using {text} ({help})"),
                (text, None) => format!("not using {text}"),
            })?;
        }
        let names_sockets = !self.sockets_in(&content).is_empty();
        let distrust = if names_sockets { distrust(path, &shown, &stat) } else { None };
        Ok(TokenFile { path: path.to_string_lossy().into_owned(), shown, content, distrust })
    }

    /// The unix sockets that the content of a file names, if they are offered to the connector.
    fn sockets_in(&self, content: &[u8]) -> Vec<PathBuf> {
        self.targets.map_or_else(Vec::new, |form| sockets_in(content, form))
    }

    /// The policies in a table, by the keyed hashes of their tokens.
    fn policies_in(&self, content: &[u8]) -> Vec<(String, TokenPolicy)> {
        let tokens = table::parse(content, Path::new("")).unwrap_or_default().into_iter();
        tokens.map(|(name, policy)| (name.fingerprint(&self.key), policy)).collect()
    }

    /// The file at `path` as it was read last.
    fn before(&self, path: &Path) -> Option<&TokenFile> {
        let path = path.to_string_lossy();
        self.known.as_ref()?.files.files.iter().find(|file| *file.path == *path)
    }

    /// Reads the files if they have changed.
    fn news(&mut self) -> Option<Arc<FileContent>> {
        let stamps = stamps(&self.path).map_err(|error| error.to_string());
        if self.stamps.as_ref() == Some(&stamps) {
            return None;
        }
        let mut known = FileContent::read(self, &stamps);
        self.number(&mut known.files.sockets);
        self.stamps = (!may_change_unseen(&stamps)).then_some(stamps);
        if self.known.as_deref() == Some(&known) {
            return None;
        }
        self.known = Some(Arc::new(known));
        self.known.clone()
    }

    /// Gives each socket that root connects to its number: the one that it has, or a new one.
    fn number(&mut self, sockets: &mut BTreeMap<PathBuf, u64>) {
        for (path, number) in &mut *sockets {
            *number = self.numbers.get(path).copied().unwrap_or(self.next_number);
            self.next_number = self.next_number.max(*number + 1);
        }
        self.numbers.clone_from(sockets);
    }
}

/// Where targets are in the token files of a configuration.
fn form(config: &Config) -> Option<Form> {
    let Target::Tokens(tokens) = config.target() else { return None };
    match &tokens.plugin {
        TokenPlugin::File(_) | TokenPlugin::ReadOnlyFile(_) => Some(Form::Lines),
        TokenPlugin::FileName(_) => Some(Form::Files),
        TokenPlugin::Table(_) => Some(Form::Tables),
        TokenPlugin::Jwt(_)
        | TokenPlugin::SignedLink(_)
        | TokenPlugin::SocketDirectory(_)
        | TokenPlugin::TextApi(_)
        | TokenPlugin::JsonApi(_)
        | TokenPlugin::Redis(_)
        | TokenPlugin::External { .. } => None,
    }
}

/// The unix sockets that a token file names.
fn sockets_in(content: &[u8], form: Form) -> Vec<PathBuf> {
    let targets: Vec<_> = match form {
        Form::Lines => tokens::lines(content).filter_map(|line| Some(line.ok()??.1)).collect(),
        Form::Files => tokens::whole(content).into_iter().collect(),
        Form::Tables => {
            let tokens = table::parse(content, Path::new("")).unwrap_or_default();
            tokens.into_values().flat_map(|policy| policy.target).collect()
        }
    };
    let path = |target| match target {
        TargetAddr::Unix(path) => Some(path),
        TargetAddr::Tcp { .. } => None,
    };
    targets.into_iter().filter_map(path).collect()
}

/// Why what a file says is not root's word, if others than root can have written it.
fn distrust(path: &Path, shown: &str, file: &Stat) -> Option<String> {
    let why = match std::path::absolute(path).and_then(|path| Walk::to(&path)) {
        Ok(walk) => walk.distrust(file)?.to_string(),
        Err(error) => error.to_string(),
    };
    Some(format!("root does not connect to sockets that the file {shown} names: {why}"))
}

/// Processor time that the calling thread has used.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Into::into)
}

/// Stamps of a file, or of the files in a directory ordered by name. Other entries of a directory are
/// ignored.
fn stamps(path: &Path) -> io::Result<Vec<(PathBuf, Stamp)>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(vec![(path.to_owned(), Stamp::of(&metadata))]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        // A file that has been removed meanwhile, or a dangling link, counts as absent.
        if let Some(metadata) = fs::metadata(&path).ok().filter(fs::Metadata::is_file) {
            found.push((path, Stamp::of(&metadata)));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file has changed so recently that another change could leave the same stamp.
fn may_change_unseen(stamps: &Stamps) -> bool {
    stamps.as_ref().is_ok_and(|found| found.iter().any(|(_, stamp)| stamp.may_change_unseen()))
}

impl FileContent {
    fn read(look: &Look, stamps: &Stamps) -> Self {
        let mut known = Self::default();
        let found = match stamps {
            Ok(found) => found,
            Err(error) => {
                known.files.unreadable = true;
                known.complaints.push(look.complaint(&format!("{:?}", look.path), error));
                return known;
            }
        };
        let mut room = MAX_TOTAL_BYTES;
        for (path, stamp) in found {
            let file = match look.file(path, look.shown(path, stamp), room) {
                Ok(file) => file,
                Err(complaint) => {
                    known.complaints.push(complaint);
                    match look.before(path).filter(|_| look.are_tables) {
                        Some(before) => before.clone(),
                        None => continue,
                    }
                }
            };
            if file.distrust.is_none() {
                let sockets = look.sockets_in(&file.content);
                known.files.sockets.extend(sockets.into_iter().map(|path| (path, 0)));
            }
            // Everything that is sent counts, but for sockets, which take less room than their lines.
            let TokenFile { path, shown, content, distrust } = &file;
            let taken = content.len() + path.len() + shown.len() + distrust.as_ref().map_or(0, String::len);
            room = room.saturating_sub(taken);
            if look.are_tables {
                known.policies.extend(look.policies_in(&file.content));
            }
            known.files.files.push(file);
        }
        known.files.unreadable = known.files.files.is_empty() && !known.complaints.is_empty();
        known
    }
}

/// Reads a whole file of at most `room` bytes. Returns its content and its status.
fn read(path: &Path, room: usize) -> io::Result<(Vec<u8>, Stat)> {
    // Opening a FIFO without a writer must not block.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is neither a file nor a directory"));
    }
    let stat = fstat(&file)?;
    let mut content = Vec::new();
    file.take(room as u64 + 1).read_to_end(&mut content)?;
    if content.len() > room {
        return Err(io::Error::other(format!(
            "all files together are longer than {} KiB",
            MAX_TOTAL_BYTES >> 10
        )));
    }
    Ok((content, stat))
}
