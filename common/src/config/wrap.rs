//! The wrapped program: one that we start, and that binds the port which we hold already.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A program that we start and stand in front of.
///
/// An upgrade in place hands it on to the next version, so that fields which are added need a default there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrap {
    /// The program and its arguments, never empty. Without a slash it is looked for in `$PATH`.
    pub command: Vec<OsString>,
    /// What to do when the program ends.
    pub mode: WrapMode,
    /// The port that the program binds, default that of the first listener.
    pub port: Option<u16>,
    /// The user that the program runs as, default the one that started us. Root has to be named.
    pub user: Option<String>,
    /// Variables beside those that the program gets in any case, or in their place.
    pub environment: BTreeMap<String, String>,
    /// The folder that the program starts in, default our own.
    pub directory: Option<PathBuf>,
    /// How long clients wait for a program that does not listen yet, default 20 s: a VNC server with a desktop on
    /// a busy machine takes some seconds. After that they are refused until it listens.
    pub start_timeout: Duration,
    /// Give the program a network of its own, where its port is reached through us alone. Off by default, since the
    /// program has no other network then, and making one takes rights of root (`CAP_SYS_ADMIN`, `CAP_NET_ADMIN`).
    #[serde(default)]
    pub private_network: bool,
}

/// What to do when the wrapped program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WrapMode {
    /// End as well, with its exit status.
    #[default]
    Exit,
    /// Go on: the program has gone to the background, or nobody minds.
    Ignore,
    /// Start it again.
    Respawn,
}

impl Wrap {
    /// Where programs are looked for when no variable `PATH` says so.
    pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// A command with the defaults for everything else.
    #[must_use]
    pub fn new(command: Vec<OsString>) -> Self {
        Self {
            command,
            mode: WrapMode::default(),
            port: None,
            user: None,
            environment: BTreeMap::new(),
            directory: None,
            start_timeout: Duration::from_secs(20),
            private_network: false,
        }
    }

    /// The command for humans, as the original shows it.
    #[must_use]
    pub fn shown(&self) -> String {
        let words: Vec<_> = self.command.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }
}

impl WrapMode {
    /// As written in the file and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Ignore => "ignore",
            Self::Respawn => "respawn",
        }
    }

    /// From how it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Exit, Self::Ignore, Self::Respawn].into_iter().find(|mode| mode.as_str() == text)
    }
}
