//! The wrapped program: one that we start, and that binds the port which we hold already.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroU16;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::duration::WithUnit;
use super::path::{FilePath, utf8};
use super::value::{Name, words};

/// A program that is started. In place of `target`, it binds the port which websockify holds already; beside `target` or
/// `[token]` it is started as it is, and sessions go where these say.
///
/// In place of `target` it is moved to another port on loopback, by a library that is preloaded into it (`LD_PRELOAD`, `ld.so(8)`). So it
/// must be linked dynamically with glibc, and must not be setuid or its like. What can be seen not to work is refused
/// at the start. A static program that only starts the one that listens can be started by way of `sh -c`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Wrap {
    /// The program and its arguments. Without a slash it is looked for in `PATH`.
    #[serde(with = "Words")]
    #[cfg_attr(test, schemars(example = ["vncserver", ":1", "-fg"]))]
    pub command: Vec<OsString>,
    /// What to do when the program ends.
    ///
    /// `"exit"` ends the service with the program's exit status, `"ignore"` goes on, for programs that go to the
    /// background, and `"respawn"` starts it again, more and more slowly if it ends again and again soon after its
    /// start.
    #[serde(default)]
    pub mode: WrapMode,
    /// The port that the program binds. Default: that of the first listener. Not beside `target` or `[token]`.
    #[cfg_attr(test, schemars(example = 6080))]
    pub port: Option<NonZeroU16>,
    /// The user that the program runs as. Default: the one that started the service; if that is root, this must be
    /// given.
    ///
    /// Another user's program gets that user's groups and `HOME`, and nothing else of the environment of the service
    /// but `PATH`, language and time zone.
    #[cfg_attr(test, schemars(example = &"alice"))]
    pub user: Option<Name>,
    /// Variables to set beside these.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "super::tests::schema::Environment", example = [("LANG", "C.UTF-8")].into_iter().collect::<BTreeMap<_, _>>()))]
    pub environment: BTreeMap<String, String>,
    /// The directory to start the program in. Default: that of the service.
    #[cfg_attr(test, schemars(example = &"/"))]
    pub directory: Option<FilePath>,
    /// How long clients wait for a program that does not listen yet, or for the target that it is started for.
    ///
    /// A VNC server with a desktop on a busy machine takes some seconds. After that clients are refused until it
    /// listens.
    #[serde(with = "WithUnit", default = "start_timeout")]
    pub start_timeout: Duration,
    /// Give the program a network of its own (`network_namespaces(7)`), in which there are loopback and the program's
    /// port, and nothing else.
    ///
    /// Without it every user of the machine can connect to the program's port on loopback. With it nobody can but
    /// root, and the program itself reaches no network: no name is resolved, and no page is loaded. Sockets in the
    /// file system, such as those of displays, are not affected. Services that are asked for authentication over HTTP
    /// can't be reached then. It takes root with `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`; under systemd the drop-in
    /// `wrap.conf` leaves them. Not beside `target` or `[token]`.
    #[serde(default)]
    pub private_network: bool,
}

fn start_timeout() -> Duration {
    Duration::from_secs(20)
}

words! {
    /// What to do when the wrapped program ends.
    pub enum WrapMode {
        /// End as well, with its exit status.
        #[default]
        Exit = "exit",
        /// Go on: the program has gone to the background, or nobody minds.
        Ignore = "ignore",
        /// Start it again.
        Respawn = "respawn",
    }
}

/// For `#[serde(with = "Words")]`: a list of texts.
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
            start_timeout: start_timeout(),
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
