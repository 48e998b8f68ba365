//! Unix sockets to which root connects for the connector, which has its own user. The original, as root, can connect
//! to every socket.
//!
//! Root connects to a socket if the configuration names it, or a token file that only root can change, and if nobody
//! else can change where its path leads (`os/trust.rs`). It neither reads from a socket nor writes to it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use common::addr::TargetAddr;
use common::config::token::TokenPlugin;
use common::config::{Config, Target};
use common::ipc::ConnectionId;
use common::ipc::sockets::{NoSocket, SocketName};
use common::ipc::token_reach::Barred;
use common::sys::peer;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use rustix::process::getpid;
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

use crate::os::identity;
use crate::os::off_loop::OffLoop;
use crate::os::place::PlacedFile;
use crate::os::socket_file;
use crate::os::trust::Walk;

/// Time limit for a file system that hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// Minimum interval between two requests, and the number of requests that may come at once. They prevent a compromised
/// connector from keeping the supervisor busy.
const INTERVAL: Duration = Duration::from_millis(2);
const BURST: u32 = 128;

/// The sockets that the connector of a generation may request.
#[derive(Debug)]
pub(crate) struct TargetSockets {
    named: RefCell<SocketNames>,
    /// Requests without an answer yet, each with the process id of the connector.
    asked: RefCell<BTreeSet<(i32, ConnectionId)>>,
    connects: OffLoop,
    /// When the next request would be due if requests came at the minimum interval.
    due: Cell<Instant>,
}

/// The sockets by the names that a connector uses. The next image takes them over, as its configuration may differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SocketNames {
    /// Whether requests are accepted: only if the user of the connector is not that of the supervisor.
    pub(crate) are_offered: bool,
    /// The target of all sessions.
    target: Option<PathBuf>,
    /// The directory of sockets.
    directory: Option<PathBuf>,
    /// The sockets of token files, by number.
    listed: BTreeMap<u64, PathBuf>,
    /// The next number to assign.
    pub(crate) next: u64,
}

/// The location of a socket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Location {
    Path(PathBuf),
    /// A directory, and a name beneath it that a client has sent.
    Beneath(PathBuf, String),
    /// Nowhere: no token file names the socket any longer.
    Gone,
}

impl SocketNames {
    /// Numbers of the sockets of token files, by path.
    pub(crate) fn numbers(&self) -> BTreeMap<PathBuf, u64> {
        self.listed.iter().map(|(number, path)| (path.clone(), *number)).collect()
    }
}

impl TargetSockets {
    /// Creates the sockets that a configuration names.
    pub(crate) fn new(config: &Config, are_offered: bool) -> Self {
        let mut named = SocketNames { are_offered, ..SocketNames::default() };
        match config.target() {
            Target::Static(TargetAddr::Unix(path)) => named.target = Some(path.clone()),
            Target::Tokens(tokens) => {
                if let TokenPlugin::SocketDirectory(path) = &tokens.plugin {
                    named.directory = Some(path.to_path_buf());
                }
            }
            Target::Static(TargetAddr::Tcp { .. }) | Target::Wrapped(_) | Target::Demo => {}
        }
        Self::adopted(named)
    }

    /// Takes over the sockets of an earlier image.
    pub(crate) fn adopted(named: SocketNames) -> Self {
        Self {
            named: RefCell::new(named),
            asked: RefCell::default(),
            connects: OffLoop::new("targets' sockets", PATIENCE),
            due: Cell::new(Instant::now()),
        }
    }

    /// Returns the state for the next image, and the requests of the connector `pid` that it has to answer.
    pub(crate) fn snapshot(&self, pid: Option<i32>) -> (SocketNames, Vec<ConnectionId>) {
        let mut named = self.named.borrow().clone();
        // The state is text.
        named.target.take_if(|path| path.to_str().is_none());
        named.directory.take_if(|path| path.to_str().is_none());
        let asked = self.asked.borrow();
        let asked = asked.iter().filter(|(by, _)| Some(*by) == pid).map(|(_, id)| *id).collect();
        (named, asked)
    }

    /// Returns the sockets by name.
    pub(crate) fn named(&self) -> std::cell::Ref<'_, SocketNames> {
        self.named.borrow()
    }

    /// Replaces the sockets of token files.
    pub(crate) fn list(&self, sockets: &BTreeMap<PathBuf, u64>) {
        let mut named = self.named.borrow_mut();
        named.listed = sockets.iter().map(|(path, number)| (*number, path.clone())).collect();
        named.next = named.listed.keys().map(|number| number + 1).fold(named.next, u64::max);
    }

    /// Returns the location of a socket; `None` if only a compromised connector can have requested it.
    pub(crate) fn locate(&self, name: SocketName) -> Option<Location> {
        let named = self.named.borrow();
        if !named.are_offered {
            return None;
        }
        match name {
            SocketName::Target => named.target.clone().map(Location::Path),
            SocketName::Listed(number) if number < named.next => {
                Some(named.listed.get(&number).cloned().map_or(Location::Gone, Location::Path))
            }
            SocketName::Listed(_) => None,
            SocketName::InDirectory(name) => {
                let directory = named.directory.clone()?;
                SocketName::is_sound(&name).then_some(Location::Beneath(directory, name))
            }
        }
    }

    /// Registers a request of the connector `pid`. Returns the number of its requests that have no answer yet, or `None`
    /// if it already has one for this connection.
    pub(crate) fn ask(&self, pid: i32, id: ConnectionId) -> Option<usize> {
        let mut asked = self.asked.borrow_mut();
        asked.insert((pid, id)).then(|| asked.iter().filter(|(by, _)| *by == pid).count())
    }

    /// Removes a request that was answered.
    pub(crate) fn answered(&self, pid: i32, id: ConnectionId) {
        self.asked.borrow_mut().remove(&(pid, id));
    }

    /// Removes all requests of the connector `pid`, which has ended.
    pub(crate) fn forget(&self, pid: i32) {
        self.asked.borrow_mut().retain(|(by, _)| *by != pid);
    }

    /// Checks that the socket exists.
    pub(crate) async fn find(&self, location: Location) -> Result<(), NoSocket> {
        self.off_loop(move || find(&location).map(|_| ())).await
    }

    /// Connects to the socket.
    pub(crate) async fn connect(&self, location: Location) -> Result<OwnedFd, NoSocket> {
        self.off_loop(move || connect(&location)).await
    }

    async fn off_loop<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, NoSocket> + Send + 'static,
    ) -> Result<T, NoSocket> {
        let now = Instant::now();
        let due = self.due.get().max(now.checked_sub(INTERVAL * BURST).unwrap_or(now));
        self.due.set(due + INTERVAL);
        sleep_until(due).await;
        self.connects.get(work).await.unwrap_or_else(|error| Err(NoSocket::Refused(error.to_string())))
    }
}

fn find(location: &Location) -> Result<PlacedFile, NoSocket> {
    let walk = match location {
        Location::Path(path) => Walk::to(path).map_err(why)?,
        Location::Beneath(directory, name) => {
            let directory = Walk::to(directory)
                .map_err(|error| NoSocket::Refused(format!("cannot open the directory: {}", words(error))))?;
            directory.beneath(name.as_ref()).map_err(why)?
        }
        Location::Gone => return Err(NoSocket::Refused("no token file names it any longer".into())),
    };
    let found = walk.found().map_err(|others| {
        NoSocket::Refused(format!(
            "root does not connect to a socket whose path {others} can change: make its directories writable only by \
             root and the owner of the socket"
        ))
    })?;
    // The error of the kernel for a connection to another kind of file.
    if found.is(FileType::Socket) {
        Ok(found)
    } else {
        Err(NoSocket::System(Errno::CONNREFUSED.raw_os_error()))
    }
}

fn connect(location: &Location) -> Result<OwnedFd, NoSocket> {
    let found = find(location)?;
    let connected = || -> io::Result<OwnedFd> {
        let socket = socket_file::stream()?;
        // The path leads to exactly the socket that was checked (proc(5)).
        rustix::net::connect(&socket, &SocketAddrUnix::new(found.link())?)?;
        Ok(socket)
    };
    let socket = connected().map_err(why)?;
    // Who sends requests to the control socket as root may end sessions.
    match peer::pid(&socket) {
        Ok(pid) if pid != getpid().as_raw_nonzero().get() => Ok(socket),
        Ok(_) => Err(NoSocket::Refused(Barred::Own.to_string())),
        Err(error) => Err(why(error)),
    }
}

fn why(error: io::Error) -> NoSocket {
    match (Errno::from_io_error(&error), error.raw_os_error()) {
        (Some(Errno::ACCESS | Errno::PERM), _) | (_, None) => NoSocket::Refused(words(error)),
        (_, Some(number)) => NoSocket::System(number),
    }
}

/// Describes an error for the log. If root lacks permission, the text names the missing capability.
fn words(error: io::Error) -> String {
    let text = error.to_string();
    if Errno::from_io_error(&error) != Some(Errno::ACCESS) {
        return text;
    }
    let missing = match identity::may(CapabilitySet::DAC_OVERRIDE) {
        true => "",
        false => ": CAP_DAC_OVERRIDE is missing, as in a unit whose CapabilityBoundingSet= lacks it",
    };
    format!("Permission denied, for root as well{missing}")
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    fn named() -> SocketNames {
        let path = |text: &str| Some(PathBuf::from(text));
        SocketNames {
            are_offered: true,
            target: path("/target"),
            directory: path("/sockets"),
            ..SocketNames::default()
        }
    }

    fn listed(sockets: &[(&str, u64)]) -> BTreeMap<PathBuf, u64> {
        sockets.iter().map(|(path, number)| (path.into(), *number)).collect()
    }

    fn at(path: &str) -> Option<Location> {
        Some(Location::Path(path.into()))
    }

    #[test]
    fn what_nothing_names_is_nowhere() {
        let sockets = TargetSockets::adopted(named());
        assert_eq!(sockets.locate(SocketName::Target), at("/target"));
        assert_eq!(sockets.locate(SocketName::Listed(0)), None);
        let beneath = |name: &str| sockets.locate(SocketName::InDirectory(name.into()));
        assert_eq!(beneath("a/b"), Some(Location::Beneath("/sockets".into(), "a/b".into())));
        assert_eq!(beneath("../b"), None);
        for named in [SocketNames::default(), SocketNames { are_offered: false, ..named() }] {
            let sockets = TargetSockets::adopted(named);
            assert_eq!(sockets.locate(SocketName::Target), None);
            assert_eq!(sockets.locate(SocketName::InDirectory("a".into())), None);
        }
    }

    #[test]
    fn a_number_leads_to_its_path_and_then_nowhere() {
        let sockets = TargetSockets::adopted(named());
        sockets.list(&listed(&[("/a", 0), ("/b", 1)]));
        let locate = |sockets: &TargetSockets, number| sockets.locate(SocketName::Listed(number));
        assert_eq!(locate(&sockets, 0), at("/a"));
        assert_eq!(locate(&sockets, 2), None);
        sockets.list(&listed(&[("/b", 1)]));
        let next = TargetSockets::adopted(sockets.snapshot(None).0);
        for sockets in [sockets, next] {
            assert_eq!(locate(&sockets, 0), Some(Location::Gone), "it was there");
            assert_eq!(locate(&sockets, 1), at("/b"));
            assert_eq!(locate(&sockets, 2), None);
        }
    }

    #[test]
    fn a_connection_has_one_question_at_a_time_and_the_next_image_knows_it() {
        let sockets = TargetSockets::adopted(named());
        assert_eq!(sockets.ask(7, ConnectionId(1)), Some(1));
        assert_eq!(sockets.ask(7, ConnectionId(1)), None);
        assert_eq!(sockets.ask(7, ConnectionId(2)), Some(2));
        assert_eq!(sockets.ask(8, ConnectionId(1)), Some(1), "another connector");
        assert_eq!(sockets.snapshot(Some(7)).1, [ConnectionId(1), ConnectionId(2)]);
        sockets.answered(7, ConnectionId(1));
        assert_eq!(sockets.ask(7, ConnectionId(1)), Some(2));
        sockets.forget(7);
        assert_eq!(
            (sockets.snapshot(Some(7)).1, sockets.snapshot(Some(8)).1),
            (vec![], vec![ConnectionId(1)])
        );
    }

    #[test]
    fn who_asks_without_end_is_slowed_down() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let sockets = TargetSockets::adopted(named());
            let began = Instant::now();
            // As if nobody had asked for long.
            sockets.due.set(began - Duration::from_secs(60));
            for _ in 0..BURST + 50 {
                assert!(sockets.find(Location::Gone).await.is_err());
            }
            assert!(began.elapsed() >= INTERVAL * 49, "{:?}", began.elapsed());
        });
    }
}
