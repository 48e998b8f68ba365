//! What a role gives up before it reads a byte from anyone but the supervisor.
//!
//! In this order, since each step takes away what the one before it needed: namespaces and the root folder
//! (`surroundings`), user and capabilities (`identity`), resources (`limits`), the file system and addresses
//! (`landlock`), and last the system calls (`seccomp`). Then `self_test` tries what must fail.
//!
//! The supervisor judges what was reached ([`Level`]); it alone knows whether that is enough.

mod identity;
mod landlock;
mod limits;
mod seccomp;
mod self_test;
mod surroundings;

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use common::addr::TargetAddr;
use common::config::Sandbox;
use common::ipc::level::Level;
use common::ipc::setup::{Destination, RunAs, TokenLookup};

/// What a role needs, and so may keep.
#[derive(Clone, Copy, Debug)]
pub enum Profile<'a> {
    /// Connections, and files beneath the web folder if there is one.
    Gateway {
        /// The folder.
        web_root: Option<BorrowedFd<'a>>,
        /// Sessions are recorded, in files that the supervisor opens.
        records: bool,
    },
    /// Connections to targets.
    Connector(Reach),
    /// Channels, and nothing else.
    Signer,
    /// Connections from its listening socket.
    Echo,
    /// The same, and channels.
    Exporter,
}

/// Gives up user, groups and capabilities, and every way to get them back, and nothing else: for programs of the
/// administrator.
///
/// # Errors
///
/// The kernel's. The process must not go on then.
pub fn drop_privileges(run_as: Option<RunAs>) -> io::Result<()> {
    identity::drop_privileges(run_as)
}

/// What a connector must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The TCP ports that it may connect to.
    pub ports: Ports,
    /// Targets have names that must be resolved.
    pub resolves: bool,
    /// It finds unix sockets in a folder. It can't read what it finds.
    pub finds_sockets: bool,
}

/// TCP ports to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// None: targets are unix sockets.
    None,
    /// That of the one target.
    One(u16),
    /// Any: what tokens lead to is not known before.
    Any,
}

impl Reach {
    /// What these targets take, and nothing else.
    #[must_use]
    pub fn of(destination: &Destination) -> Self {
        let one = |ports, resolves| Self { ports, resolves, finds_sockets: false };
        match destination {
            Destination::Target(TargetAddr::Unix(_)) => one(Ports::None, false),
            Destination::Target(TargetAddr::Tcp { host, port }) => {
                one(Ports::One(*port), host.parse::<IpAddr>().is_err())
            }
            Destination::Program { port, .. } => one(Ports::One(*port), false),
            Destination::Tokens(TokenLookup::SocketDirectory(_)) => {
                Self { ports: Ports::None, resolves: false, finds_sockets: true }
            }
            // Any of these may name any target.
            Destination::Tokens(
                TokenLookup::Lines
                | TokenLookup::FileNames
                | TokenLookup::Jwt
                | TokenLookup::Redis(_)
                | TokenLookup::Api(_)
                | TokenLookup::Own(_),
            ) => one(Ports::Any, true),
        }
    }
}

impl Profile<'_> {
    /// Opens files by their path, or connects to sockets by theirs.
    fn needs_paths(self) -> bool {
        match self {
            // Named one by one: what is added one day must be thought of here.
            Self::Connector(Reach { ports: Ports::One(_), resolves: false, finds_sockets: false }) => false,
            Self::Connector(_) => true,
            Self::Gateway { .. } | Self::Signer | Self::Echo | Self::Exporter => false,
        }
    }

    /// Makes no sockets. One to accept from keeps the network that it was made in.
    fn needs_no_network(self) -> bool {
        matches!(self, Self::Gateway { .. } | Self::Signer | Self::Exporter)
    }
}

/// Gives up user, groups, capabilities, and, unless that is off, all that the role has no use for. Says
/// what was reached: the kernel may lack something.
///
/// Call it before any thread is started: capabilities and filters belong to threads.
///
/// # Errors
///
/// When user or capabilities can't be given up. The role must not go on then.
pub fn enter(profile: Profile<'_>, run_as: Option<RunAs>, mode: Sandbox) -> io::Result<Level> {
    let surroundings = surroundings::leave(profile, mode);
    identity::drop_privileges(run_as)?;
    limits::set(profile, mode)?;
    let mut level = Level {
        uid: run_as.map(|run_as| run_as.uid),
        no_privileges: true,
        seccomp: false,
        landlock: 0,
        own_processes: surroundings.own_processes,
        own_network: surroundings.own_network,
        empty_root: surroundings.empty_root,
        locked_key: None,
    };
    if mode == Sandbox::Off {
        return Ok(level);
    }
    level.landlock = landlock::restrict(profile);
    level.seccomp = seccomp::install(profile).is_ok() && self_test::calls_fail(profile);
    if level.landlock > 0 && !self_test::files_are_out_of_reach() {
        level.landlock = 0;
    }
    Ok(level)
}
