//! The files of tokens, read for the connector, which may not be able to: they may be readable by root
//! alone, and the connector opens no files.
//!
//! They are looked at before each connection is handed on, as the original does, so that a change is in
//! force for the next client. No client has a say in what is opened: its token never comes here.

use std::cell::{Cell, RefCell};
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::config::token::TokenPlugin;
use common::config::{Config, Target};
use common::ipc::setup::{self, TokenFile, TokenFiles};
use common::sys::memory_file::MAX_BYTES;
use nix::fcntl::OFlag;
use nix::time::{ClockId, clock_gettime};

use crate::files::stamp::Stamp;
use crate::os::off_loop::{OffLoop, OffLoopError};

/// All that files may hold together. What encoding adds has room beside it.
const MAX_TOTAL_BYTES: usize = MAX_BYTES / 2;

/// After a long look so many times as long as it took passes before the next one: a directory with thousands of
/// files must not take all the time of who accepts connections.
const REST: u32 = 10;

/// A look is long that takes more than this of the processor: at some hundred files. What others take of it
/// meanwhile does not count, so that on a busy machine, too, a change in a few files is never overlooked.
const LONG_LOOK: Duration = Duration::from_millis(1);

/// Two changes so soon after one another may leave the same stamp behind: file systems keep the time of a
/// change no finer than the kernel's tick, 10 ms at most.
const TICK: Duration = Duration::from_millis(20);

/// How long a client waits for a file system that hangs: the first one only, as others get what was read before.
const PATIENCE: Duration = Duration::from_secs(1);

/// The token files of a generation, and what the connector was last given of them.
#[derive(Debug)]
pub(crate) struct TokenSource {
    /// Looks at the files, on a thread of its own; none if there are none.
    files: Option<(OffLoop, Arc<Mutex<Look>>)>,
    next_look: Cell<Option<Instant>>,
    in_force: RefCell<Option<Arc<FileContent>>>,
    /// Whether something is in force that [`TokenSource::refresh`] has not reported.
    is_new: Cell<bool>,
}

/// What the thread knows of the files.
#[derive(Debug)]
struct Look {
    /// What is in the files, for the log.
    what: &'static str,
    path: PathBuf,
    stamps: Option<Stamps>,
    known: Option<Arc<FileContent>>,
}

/// The result of a look.
#[derive(Debug)]
struct Found {
    took: Duration,
    /// The content of the files, if it has changed.
    news: Option<Arc<FileContent>>,
}

/// The files that there are, or why they can't be found.
type Stamps = Result<Vec<(PathBuf, Stamp)>, String>;

/// What was read, and what was wrong.
#[derive(Debug, Default, PartialEq, Eq)]
struct FileContent {
    files: TokenFiles,
    complaints: Vec<String>,
}

impl TokenSource {
    /// Nothing is read yet.
    pub(crate) fn new(config: &Config) -> Self {
        let path = match config.target() {
            Target::Tokens(tokens) => match &tokens.plugin {
                TokenPlugin::File(path)
                | TokenPlugin::ReadOnlyFile(path)
                | TokenPlugin::FileName(path)
                | TokenPlugin::Jwt(path) => Some(path.clone()),
                // The client's token leads to a socket there: that is for the connector to open.
                TokenPlugin::SocketDirectory(_) => None,
                TokenPlugin::TextApi(_)
                | TokenPlugin::JsonApi(_)
                | TokenPlugin::Redis(_)
                | TokenPlugin::External { .. } => None,
            },
            Target::Static(_) | Target::Wrapped(_) | Target::Demo => None,
        };
        let is_key =
            matches!(config.target(), Target::Tokens(tokens) if matches!(tokens.plugin, TokenPlugin::Jwt(_)));
        let what = if is_key { "key" } else { "tokens" };
        let look = |path| Arc::new(Mutex::new(Look { what, path, stamps: None, known: None }));
        Self {
            files: path.map(|path| (OffLoop::of(what, PATIENCE, vec![path.clone()]), look(path))),
            next_look: Cell::default(),
            in_force: RefCell::default(),
            is_new: Cell::default(),
        }
    }

    /// Reads the files if they have changed; says whether there is something new in force.
    pub(crate) async fn refresh(self: &Rc<Self>) -> bool {
        let Some((files, look)) = &self.files else { return false };
        if self.next_look.get().is_none_or(|then| Instant::now() >= then) {
            let (look, source) = (look.clone(), self.clone());
            let looked = files.run(move || Look::once(&look), move |found| source.take(found)).await;
            if let Err(OffLoopError::Thread(error)) = looked {
                tracing::error!("cannot look at the tokens: {error}");
            }
        }
        self.is_new.take()
    }

    /// Whether the files can't be looked at now.
    pub(crate) fn hangs(&self) -> bool {
        self.files.as_ref().is_some_and(|(files, _)| files.hangs())
    }

    /// What was read last, a [`TokenFiles`] as a file in memory, which is to be handed over; none before anything was read.
    pub(crate) fn in_force(&self) -> io::Result<Option<OwnedFd>> {
        self.in_force.borrow().as_ref().map(|known| setup::file(&known.files)).transpose()
    }

    fn take(&self, found: Found) {
        self.next_look.set((found.took > LONG_LOOK).then(|| Instant::now() + found.took * REST));
        let Some(known) = found.news else { return };
        for complaint in &known.complaints {
            tracing::error!("{complaint}");
        }
        self.in_force.replace(Some(known));
        self.is_new.set(true);
    }
}

impl Look {
    /// Looks at the files. One thread does so at a time.
    fn once(look: &Mutex<Self>) -> Found {
        let began = processor_time();
        let mut look = look.lock().unwrap_or_else(PoisonError::into_inner);
        let news = look.news();
        Found { took: processor_time().saturating_sub(began), news }
    }

    /// The content of the files, if it has changed.
    fn news(&mut self) -> Option<Arc<FileContent>> {
        let stamps = stamps(&self.path).map_err(|error| error.to_string());
        if self.stamps.as_ref() == Some(&stamps) {
            return None;
        }
        let known = FileContent::read(self.what, &self.path, &stamps);
        self.stamps = (!may_change_unseen(&stamps)).then_some(stamps);
        if self.known.as_deref() == Some(&known) {
            return None;
        }
        self.known = Some(Arc::new(known));
        self.known.clone()
    }
}

/// What this thread has used of a processor.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Into::into)
}

/// The file, or those in a directory by their names. What else is in it is not looked at.
fn stamps(path: &Path) -> io::Result<Vec<(PathBuf, Stamp)>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(vec![(path.to_owned(), Stamp::of(&metadata))]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        // What is gone meanwhile, or leads nowhere, is not there.
        if let Some(metadata) = fs::metadata(&path).ok().filter(fs::Metadata::is_file) {
            found.push((path, Stamp::of(&metadata)));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file was changed just now, so that another change could leave the same stamp.
fn may_change_unseen(stamps: &Stamps) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let recent = now.saturating_sub(TICK);
    let is_recent = |(_, stamp): &(PathBuf, Stamp)| stamp.changed() >= recent;
    stamps.as_ref().is_ok_and(|found| found.iter().any(is_recent))
}

impl FileContent {
    fn read(what: &str, path: &Path, stamps: &Stamps) -> Self {
        let mut known = Self::default();
        let found = match stamps {
            Ok(found) => found,
            Err(error) => {
                known.files.unreadable = true;
                known.complaints.push(cannot_read(what, path, error));
                return known;
            }
        };
        let mut room = MAX_TOTAL_BYTES;
        for (path, _) in found {
            match read(path, room) {
                Ok(content) => {
                    room -= content.len();
                    known.files.files.push(TokenFile { path: path.to_string_lossy().into_owned(), content });
                }
                Err(error) => known.complaints.push(cannot_read(what, path, error)),
            }
        }
        known.files.unreadable = known.files.files.is_empty() && !known.complaints.is_empty();
        known
    }
}

fn cannot_read(what: &str, path: &Path, why: impl std::fmt::Display) -> String {
    format!("cannot read the {what} in {path:?}: {why}")
}

/// All of a file, `room` bytes at most.
fn read(path: &Path, room: usize) -> io::Result<Vec<u8>> {
    // A pipe without a writer must not hold us.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is neither a file nor a directory"));
    }
    let mut content = Vec::new();
    file.take(room as u64 + 1).read_to_end(&mut content)?;
    if content.len() > room {
        return Err(io::Error::other(format!(
            "together with others it is longer than {} KiB",
            MAX_TOTAL_BYTES >> 10
        )));
    }
    Ok(content)
}
