//! Resolves a host name and connects to one of its addresses.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use common::addr::TargetAddr;
use common::ipc::admission::Refusal;
use common::ipc::token_reach::Barred;
use common::sys::reactor::{After, Registered};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, addr::SocketAddrArg, sockopt};
use tokio::io::Interest;
use tokio::net::lookup_host;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};

use super::reach::{Check, Unfit};
use crate::sandbox::resolver;

/// Minimum time that each of several addresses gets.
const MIN_ATTEMPT: Duration = Duration::from_secs(1);

/// The reason why a target can't be reached.
#[derive(Debug)]
pub(super) enum DialError {
    /// The name can't be resolved, or has no address.
    Name(io::Error),
    /// No address accepts a connection; the error is that of the last address.
    Connect(io::Error),
    /// This process may not connect there, and the supervisor does not either; the reason.
    Denied(Rc<str>),
    /// The deadline has passed.
    TimedOut,
    /// The deadline has passed while the dial waited for its turn.
    NoTurn,
    /// The target has as many sessions as it may have.
    Full,
    /// The client's connection has ended.
    GivenUp,
}

impl DialError {
    /// Whether the target has rejected the connection, as no process listens there.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Whether no process listens at the target yet, or its socket does not exist yet.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() == io::ErrorKind::NotFound) || self.is_refusal()
    }

    /// Whether this process has no permission to connect.
    pub(super) fn is_denial(&self) -> bool {
        let Self::Connect(error) = self else { return false };
        matches!(Errno::from_io_error(error), Some(Errno::ACCESS | Errno::PERM))
    }

    /// Whether a later attempt may succeed, for a client that waits.
    pub(super) fn may_pass(&self) -> bool {
        !matches!(self, Self::GivenUp | Self::Denied(_))
    }

    /// The refusal that the client receives.
    pub(super) fn refusal(&self) -> Refusal {
        if matches!(self, Self::Full) {
            return Refusal::Overloaded;
        }
        let (Self::Name(error) | Self::Connect(error)) = self else { return Refusal::Unreachable };
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL) => {
                Refusal::Overloaded
            }
            _ => Refusal::Unreachable,
        }
    }
}

impl fmt::Display for DialError {
    /// Formats the error like the log lines of the original.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(error) => write!(f, "cannot resolve the name: {error}"),
            Self::Connect(error) => match error.raw_os_error() {
                Some(number) => {
                    let text = error.to_string();
                    let text = text.split(" (os error").next().unwrap_or_default();
                    write!(f, "[Errno {number}] {text}")
                }
                None => error.fmt(f),
            },
            Self::Denied(why) => {
                write!(f, "[Errno {}] Permission denied: {why}", Errno::ACCESS.raw_os_error())
            }
            Self::TimedOut => f.write_str("timed out"),
            Self::NoTurn => f.write_str("timed out while waiting for other connections"),
            Self::Full => f.write_str("it has as many sessions as `per-target.sessions` allows"),
            Self::GivenUp => f.write_str("the client has gone"),
        }
    }
}

impl From<Barred> for DialError {
    fn from(barred: Barred) -> Self {
        Self::Denied(barred.to_string().into())
    }
}

impl From<Unfit> for DialError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Barred(barred) => barred.into(),
            Unfit::System(error) => Self::Connect(error),
        }
    }
}

/// Connects to `address` until `deadline`, where `check` lets it, if there is one. `kept` is dropped once all activity has ended, including the
/// resolver's thread, which can't be cancelled.
pub(super) async fn connect_to(
    address: &TargetAddr,
    prefer_ipv6: bool,
    deadline: Instant,
    kept: impl Clone + 'static,
    check: Option<Check<'_>>,
) -> Result<OwnedFd, DialError> {
    match address {
        TargetAddr::Unix(path) => {
            timeout_at(deadline, connect_unix(path, check)).await.map_err(|_| DialError::TimedOut)?
        }
        TargetAddr::Tcp { host, port } => {
            let addresses = timeout_at(deadline, resolve(host, *port, prefer_ipv6, kept.clone()));
            let addresses = addresses.await.map_err(|_| DialError::TimedOut)??;
            connect_first(&addresses, deadline, check).await
        }
    }
}

/// Resolves a name. Addresses of the preferred family come first.
async fn resolve(
    host: &str,
    port: u16,
    prefer_ipv6: bool,
    kept: impl Sized + 'static,
) -> Result<Vec<SocketAddr>, DialError> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let host = host.to_owned();
    let resolved = spawn_local(async move {
        let found = lookup_host((host, port)).await.map(Iterator::collect);
        drop(kept);
        found
    });
    let resolved = resolved.await.map_err(io::Error::other).map_err(DialError::Name)?;
    let resolved = resolved.inspect_err(|_| resolver::failed());
    let mut addresses: Vec<_> = resolved.map_err(DialError::Name)?;
    addresses.sort_by_key(|address| address.is_ipv6() != prefer_ipv6);
    addresses.dedup();
    Ok(addresses)
}

/// Tries each address in turn. No address may use up the time of those after it.
pub(super) async fn connect_first(
    addresses: &[SocketAddr],
    deadline: Instant,
    check: Option<Check<'_>>,
) -> Result<OwnedFd, DialError> {
    let no_address = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut last = DialError::Name(no_address);
    for (index, address) in addresses.iter().enumerate() {
        if let Some(Err(barred)) = check.map(|check| check.tcp(*address)) {
            last = barred.into();
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let until = deadline.min(Instant::now() + (left / others).max(MIN_ATTEMPT));
        match timeout_at(until, connect_tcp(*address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => last = DialError::Connect(error),
            Err(_) => last = DialError::TimedOut,
        }
    }
    Err(last)
}

async fn connect_tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket(family)?;
    // Keystrokes must not wait for more data, and dead targets must be detected.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    connect(socket, &address).await
}

async fn connect_unix(path: &Path, check: Option<Check<'_>>) -> Result<OwnedFd, DialError> {
    let Some(check) = check else { return connect_path(path).await };
    let (path, _found) = check.unix(path)?;
    let socket = connect_path(&path).await?;
    check.peer(&socket)?;
    Ok(socket)
}

async fn connect_path(path: &Path) -> Result<OwnedFd, DialError> {
    let address = SocketAddrUnix::new(path).map_err(|errno| DialError::Connect(errno.into()))?;
    loop {
        let socket = socket(AddressFamily::UNIX).map_err(DialError::Connect)?;
        match connect(socket, &address).await {
            // The backlog of the target is full. There is no event for space in it, so the connect is
            // retried.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return other.map_err(DialError::Connect),
        }
    }
}

fn socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}

async fn connect(socket: OwnedFd, address: &impl SocketAddrArg) -> io::Result<OwnedFd> {
    match rustix::net::connect(&socket, address) {
        Ok(()) => return Ok(socket),
        Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    // A local target has accepted by now, so that there is nothing to wait for.
    let mut ready = [PollFd::new(&socket, PollFlags::OUT)];
    if poll(&mut ready, Some(&Timespec::default()))? == 1 {
        sockopt::socket_error(&socket)??;
        return Ok(socket);
    }
    let socket = Registered::new(socket, Interest::WRITABLE)?;
    poll_fn(|cx| socket.poll_write(cx, |_| Ok(((), After::Ready)))).await?;
    sockopt::socket_error(socket.as_fd())??;
    Ok(socket.into_inner())
}
