//! Listening sockets, either passed by systemd or inetd or opened here.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use common::addr::ListenAddr;
use common::config::Config;
use common::errno::Numbered;
use common::sys::inherited;
use common::sys::listener::{self, NotAListener};
use listenfd::ListenFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::os::socket_file::{self, SocketFile};

/// Maximum length of the kernel's queue of connections; `net.core.somaxconn` may reduce it. A burst of
/// clients must not be rejected while a gateway starts.
const BACKLOG: i32 = 4096;

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Configured address; `None` for a socket that was passed.
    pub(crate) address: Option<ListenAddr>,
    /// The socket.
    pub(crate) socket: OwnedFd,
    /// Address for messages: as configured, or that of a passed socket.
    pub(crate) name: String,
    /// Path of a unix socket, which identifies its clients.
    pub(crate) unix_path: Option<PathBuf>,
    /// File of a unix socket that was opened here. It is removed when dropped.
    pub(crate) file: Option<SocketFile>,
}

/// The reason why a listener is not available.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// Resolving, binding or listening has failed.
    #[error("cannot listen on {address}: {}{}", Numbered(.source), hint(.source))]
    Open {
        /// Address as configured.
        address: String,
        /// The error of the system.
        source: io::Error,
    },
    /// A passed descriptor is not a listening socket.
    #[error("socket {number} passed by the service manager ({name:?}) can't be used: {reason}")]
    Passed {
        /// Number of the descriptor.
        number: i32,
        /// Its `FileDescriptorName=`.
        name: String,
        /// The reason.
        reason: NotAListener,
    },
    /// Standard input is not a listening socket.
    #[error("standard input can't be used for --inetd: {0}")]
    Stdin(NotAListener),
    /// Standard input is closed.
    #[error("standard input is closed; --inetd requires a listening socket there")]
    NoStdin,
    /// `LISTEN_FDS` is invalid.
    #[error("the service manager passed sockets that don't exist: {0}")]
    Environment(io::Error),
    /// Nothing is configured or passed.
    #[error("no listener: add listen = \"PORT\" to the configuration, or start websockify@.socket")]
    Nothing,
}

fn hint(source: &io::Error) -> &'static str {
    // A missing privilege for a port below 1024 would be another errno.
    if source.raw_os_error() == Some(Errno::PERM.raw_os_error()) {
        return " (the unit forbids it: run systemctl daemon-reload to allow the addresses in the file)";
    }
    match source.kind() {
        io::ErrorKind::AddrInUse => " (another program listens there: end it or choose another port)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need root or CAP_NET_BIND_SERVICE)",
        io::ErrorKind::AddrNotAvailable => " (no interface of this machine has this address)",
        _ => "",
    }
}

/// All listeners of an instance: those passed by systemd, else standard input with `--inetd`, else those of
/// the configuration. The latter are bound, which reserves their addresses, and reject clients until
/// [`Listening::begin`].
pub(crate) fn all(config: &Config) -> Result<Vec<Listening>, ListenError> {
    let mut listening = passed()?;
    if listening.is_empty() && config.inetd {
        let socket = inherited::take(0).map_err(|_| ListenError::NoStdin)?;
        listener::check(socket.as_fd()).map_err(ListenError::Stdin)?;
        listening.push(Listening::passed(socket));
    }
    if listening.is_empty() {
        for listener in &config.listen {
            listening.push(open(&listener.address, config, false)?);
        }
    }
    if listening.is_empty() {
        return Err(ListenError::Nothing);
    }
    for one in &listening {
        listener::set_inherited_options(one.socket.as_fd());
    }
    Ok(listening)
}

/// Opens another listener and lets clients in. Listeners in `others` with the same port are about to be
/// closed, and may still listen on some of the new one's addresses.
pub(crate) fn beside(
    address: &ListenAddr,
    config: &Config,
    others: &[&Listening],
) -> Result<Listening, ListenError> {
    share_port(others.iter().map(|one| &one.socket), true);
    let opened = open(address, config, !others.is_empty()).and_then(|listening| {
        listener::set_inherited_options(listening.socket.as_fd());
        listening.begin()?;
        share_port([&listening.socket].into_iter(), false);
        Ok(listening)
    });
    share_port(others.iter().map(|one| &one.socket), false);
    opened
}

/// Sets whether the sockets share their port with new ones. This is enabled only for a moment, so that a
/// second instance finds the port in use.
fn share_port<'a>(sockets: impl Iterator<Item = &'a OwnedFd>, share: bool) {
    for socket in sockets {
        // If this fails, binding the new socket reports the error.
        let _ = sockopt::set_socket_reuseport(socket, share);
    }
}

/// The sockets passed by systemd (sd_listen_fds(3)), after a check of each.
fn passed() -> Result<Vec<Listening>, ListenError> {
    let mut passed = ListenFd::from_env();
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut listening = Vec::with_capacity(passed.len());
    for index in 0..passed.len() {
        let name = names.next().unwrap_or_default().to_owned();
        let number = passed.take_raw_fd(index).map_err(ListenError::Environment)?;
        let number = number.ok_or_else(|| ListenError::Environment(io::ErrorKind::NotFound.into()))?;
        let socket = inherited::take(number).map_err(ListenError::Environment)?;
        listener::check(socket.as_fd()).map_err(|reason| ListenError::Passed {
            number,
            name: name.clone(),
            reason,
        })?;
        listening.push(Listening::passed(socket));
    }
    Ok(listening)
}

impl Listening {
    /// Starts to listen.
    pub(crate) fn begin(&self) -> Result<(), ListenError> {
        if self.address.is_none() {
            return Ok(());
        }
        let open =
            |errno: rustix::io::Errno| ListenError::Open { address: self.name.clone(), source: errno.into() };
        rustix::net::listen(&self.socket, BACKLOG).map_err(open)
    }

    /// Address of a TCP listener.
    pub(crate) fn tcp(&self) -> Option<SocketAddr> {
        rustix::net::getsockname(&self.socket).ok().and_then(|any| SocketAddr::try_from(any).ok())
    }

    /// Port of a TCP listener.
    pub(crate) fn port(&self) -> Option<u16> {
        self.tcp().map(|address| address.port())
    }

    fn passed(socket: OwnedFd) -> Self {
        Self::adopted(socket, None, None)
    }

    /// A listener of an earlier image. `address` is its configured address if it was not passed.
    pub(crate) fn adopted(socket: OwnedFd, address: Option<ListenAddr>, file: Option<SocketFile>) -> Self {
        let local = rustix::net::getsockname(&socket).ok();
        let tcp = local.clone().and_then(|any| SocketAddr::try_from(any).ok());
        let path = local.and_then(|any| SocketAddrUnix::try_from(any).ok());
        let path = path.and_then(|address| Some(PathBuf::from(address.path()?.to_str().ok()?)));
        let name = match (&address, &path, tcp) {
            (Some(address @ ListenAddr::Tcp { .. }), ..) => address.to_string(),
            (_, Some(path), _) => path.display().to_string(),
            (_, None, Some(address)) => address.to_string(),
            (_, None, None) => "a passed socket".into(),
        };
        Self { address, socket, name, unix_path: path, file }
    }

    /// Whether a passed socket may be the listener for `address`.
    pub(crate) fn is_at(&self, address: &ListenAddr) -> bool {
        match (address, self.tcp()) {
            (ListenAddr::Unix(path), _) => self.unix_path.as_deref() == Some(path),
            (ListenAddr::Tcp { host, port }, Some(bound)) if bound.port() == *port => match host {
                None => bound.ip().is_unspecified(),
                Some(host) => match host.parse::<IpAddr>() {
                    Ok(ip) => bound.ip() == ip,
                    // A host name could resolve to any address.
                    Err(_) => true,
                },
            },
            (ListenAddr::Tcp { .. }, _) => false,
        }
    }

    /// Whether trusted peers begin their connections with a header of the PROXY protocol.
    pub(crate) fn expects_proxy_header(&self, config: &Config) -> bool {
        let is_this = |address: &ListenAddr| match &self.address {
            Some(own) => own == address,
            None => self.is_at(address),
        };
        config.listen.iter().any(|listener| listener.proxy_protocol && is_this(&listener.address))
    }

    /// The name, with the actual port if the kernel has chosen one.
    pub(crate) fn reached_at(&self) -> String {
        match (&self.address, self.port()) {
            (Some(ListenAddr::Tcp { host, port: 0 }), Some(port)) => {
                ListenAddr::Tcp { host: host.clone(), port }.to_string()
            }
            _ => self.name.clone(),
        }
    }

    /// Whether this listener was opened here and has the same port as `wanted`.
    pub(crate) fn shares_port(&self, wanted: &ListenAddr) -> bool {
        match (&self.address, wanted) {
            (Some(ListenAddr::Tcp { port, .. }), ListenAddr::Tcp { port: other, .. }) => {
                port == other && *port != 0
            }
            _ => false,
        }
    }

    /// Sets the permissions of a unix socket that was opened here.
    pub(crate) fn set_mode(&self, mode: u32) {
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.set_mode(mode)) {
            tracing::warn!("cannot set the mode of the socket {}: {error}", self.name);
        }
    }
}

/// Opens a bound socket. With `shared` it may share its port with others.
fn open(address: &ListenAddr, config: &Config, shared: bool) -> Result<Listening, ListenError> {
    let opened = match address {
        ListenAddr::Unix(path) => open_unix(path, config.listen_mode),
        ListenAddr::Tcp { host, port } => {
            open_tcp(host.as_deref(), *port, config.prefer_ipv6, shared).map(|socket| Listening {
                address: Some(address.clone()),
                socket,
                name: address.to_string(),
                unix_path: None,
                file: None,
            })
        }
    };
    opened.map_err(|source| ListenError::Open { address: address.to_string(), source })
}

/// Without a host: one socket for all addresses of both families, or of IPv4 only if the kernel has no IPv6
/// or if another program listens on the port of an IPv6 address. With a host name: the first address of the
/// preferred family, as in the original.
fn open_tcp(host: Option<&str>, port: u16, prefer_ipv6: bool, shared: bool) -> io::Result<OwnedFd> {
    let Some(host) = host else {
        let both = bind_tcp(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), shared);
        let Err(error) = &both else { return both };
        let only_v4 = || bind_tcp(SocketAddr::from(([0, 0, 0, 0], port)), shared);
        return match Errno::from_io_error(error) {
            Some(Errno::AFNOSUPPORT) => only_v4(),
            // The original listens on IPv4 only, and therefore beside such a program.
            Some(Errno::ADDRINUSE) => only_v4()
                .inspect(|_| {
                    tracing::warn!(
                        "another program listens on port {port} of an IPv6 address: \
                     clients are served on 0.0.0.0:{port} only"
                    );
                })
                .or(both),
            _ => both,
        };
    };
    let mut addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    addresses.sort_by_key(|address| address.is_ipv6() != prefer_ipv6);
    match addresses.first() {
        Some(first) => bind_tcp(*first, shared),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
    }
}

fn bind_tcp(address: SocketAddr, shared: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // A restart must not wait until the kernel has forgotten the connections of the last run.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if shared {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, address.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn open_unix(path: &Path, mode: u32) -> io::Result<Listening> {
    let socket = socket_file::stream()?;
    let file = Some(SocketFile::bind(&socket, path, mode)?);
    let name = path.display().to_string();
    let address = Some(ListenAddr::Unix(path.to_owned()));
    Ok(Listening { address, socket, name, unix_path: Some(path.to_owned()), file })
}
