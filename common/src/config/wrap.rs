//! The wrapped program, which binds the service's port in its own view.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroU16;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::duration::WithUnit;
use super::path::{FilePath, utf8};
use super::value::{Name, words};

/// A program to start. In place of `target`, it is the target, and binds the port that websockify already
/// occupies. Beside `target` or `[token]` it is started unchanged, and these keys determine the targets.
///
/// In place of `target`, a library that is preloaded into the program (`LD_PRELOAD`, `ld.so(8)`) moves its
/// port to another one on loopback. Therefore the program must be linked dynamically with glibc, and must not
/// be setuid or similar. Programs that can't work are rejected at the start if this can be detected. A static
/// program that merely starts the one that listens can be started through `sh -c`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Wrap {
    /// The program and its arguments. A name without a slash is searched in `PATH`.
    #[serde(with = "Words")]
    #[cfg_attr(test, schemars(example = ["vncserver", ":1", "-fg"]))]
    pub command: Vec<OsString>,
    /// What to do when the program ends.
    ///
    /// `"exit"` ends the service with the program's exit status. `"ignore"` continues, for programs that go
    /// to the background. `"respawn"` starts the program again, after growing pauses if it repeatedly ends
    /// soon after its start.
    #[serde(default)]
    pub mode: WrapMode,
    /// The port that the program binds. Default: that of the first listener. Not beside `target` or `[token]`.
    #[cfg_attr(test, schemars(example = 6080))]
    pub port: Option<NonZeroU16>,
    /// The user to run the program as. Default: the user who started the service; required if that is root.
    ///
    /// If it is another user, the program gets the groups and `HOME` of that user. From the environment of
    /// the service it gets only `PATH`, language and time zone.
    #[cfg_attr(test, schemars(example = &"alice"))]
    pub user: Option<Name>,
    /// Additional environment variables.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "super::tests::schema::Environment"))]
    #[cfg_attr(test, schemars(example = [("LANG", "C.UTF-8")].into_iter().collect::<BTreeMap<_, _>>()))]
    pub environment: BTreeMap<String, String>,
    /// The directory to start the program in. Default: that of the service.
    #[cfg_attr(test, schemars(example = &"/"))]
    pub directory: Option<FilePath>,
    /// How long clients wait for a program that does not listen yet, or for the target that it is started
    /// for.
    ///
    /// A VNC server with a desktop takes some seconds on a busy machine. After this time clients are refused
    /// until the program listens.
    #[serde(with = "WithUnit", default = "start_timeout")]
    pub start_timeout: Duration,
    /// Run the program in a network namespace (`network_namespaces(7)`) that contains only loopback and the
    /// program's port.
    ///
    /// Without this, every user of the machine can connect to the program's port on loopback. With it, only
    /// root can, and the program itself reaches no network: it can't resolve names or load web pages. Sockets
    /// in the file system, such as those of displays, are not affected. HTTP services for authentication are
    /// unreachable then. Requires root with `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`; under systemd the drop-in
    /// `wrap.conf` grants them. Not beside `target` or `[token]`.
    #[serde(default)]
    pub private_network: bool,
}

fn start_timeout() -> Duration {
    Duration::from_secs(20)
}

words! {
    /// What to do when the wrapped program ends.
    pub enum WrapMode {
        /// End with the program's exit status.
        #[default]
        Exit = "exit",
        /// Continue, for a program that goes to the background or is not needed any more.
        Ignore = "ignore",
        /// Start it again.
        Respawn = "respawn",
    }
}

/// Serialises a list of words. For `#[serde(with = "Words")]`.
pub(super) struct Words;

impl Words {
    fn serialize<S: Serializer>(words: &[OsString], serializer: S) -> Result<S::Ok, S::Error> {
        let words = words.iter().map(|word| utf8(word.as_ref()));
        words.collect::<Result<Vec<_>, S::Error>>()?.serialize(serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OsString>, D::Error> {
        Vec::<String>::deserialize(deserializer).map(|words| words.into_iter().map(Into::into).collect())
    }
}

impl Wrap {
    /// Default search path, if there is no variable `PATH`.
    pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    /// Creates the table with defaults for everything but the command.
    #[must_use]
    pub fn new(command: Vec<OsString>) -> Self {
        Self {
            command,
            mode: WrapMode::default(),
            port: None,
            user: None,
            environment: BTreeMap::new(),
            directory: None,
            start_timeout: start_timeout(),
            private_network: false,
        }
    }

    /// The command in the original's format for messages.
    #[must_use]
    pub fn shown(&self) -> String {
        let words: Vec<_> = self.command.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }
}
