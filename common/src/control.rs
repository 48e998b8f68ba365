//! What `websockifyctl` asks a running instance and what that answers: one line of JSON each way over a unix
//! socket, and the end.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest request, its newline included. Each is far shorter.
pub const MAX_REQUEST_BYTES: usize = 4096;

/// The directory of sockets of instances that run as root.
const SYSTEM_DIRECTORY: &str = "/run/websockify";

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the instance is: [`Answer::Status`].
    Status,
    /// Its sessions: [`Answer::Sessions`].
    Sessions,
    /// End a session: [`Answer::Done`].
    Disconnect {
        /// Its number.
        session: u64,
        /// The run of the service that it must belong to, if that is known: the first half of its id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<u64>,
    },
    /// Let nobody in any more, and end with the last connection: [`Answer::Done`].
    Drain,
    /// Read the configuration again: [`Answer::Done`] or [`Answer::Failed`].
    Reload {
        /// Answer when it is done, not at once.
        wait: bool,
    },
    /// Let the installed version take over, which is a reload as well, and answer when that is done.
    Upgrade,
    /// Everything that is counted, in the OpenMetrics text format: [`Answer::Metrics`].
    Metrics,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// How the instance is.
    Status(Box<Status>),
    /// Its sessions, oldest first.
    Sessions(Vec<Session>),
    /// It is done; a sentence for humans.
    Done(String),
    /// It can't be done; the reason for humans.
    Failed(String),
    /// Metrics as text.
    Metrics(String),
}

/// How an instance is. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The supervisor's process id.
    pub pid: u32,
    /// Seconds since the start; upgrades don't count as one.
    pub uptime_seconds: u64,
    /// Where it listens.
    pub listen: Vec<String>,
    /// Where sessions go, in words.
    pub target: String,
    /// Sessions now.
    pub sessions: u64,
    /// Sessions since the start.
    pub sessions_total: u64,
    /// Bytes of payload, both directions, of sessions that have ended.
    pub bytes_relayed: u64,
    /// How far the roles are confined.
    pub sandbox: String,
    /// Roles that were killed because they broke protocol.
    pub violations: u64,
    /// Nobody is let in any more.
    pub draining: bool,
    /// Why the last reload has changed nothing.
    pub reload_failure: Option<String>,
    /// Where systemd listens, if that is not where the configuration says.
    pub listens_elsewhere: Option<String>,
    /// When the configuration in force was read, milliseconds since 1970; 0 if an earlier version has.
    pub config_read: u64,
    /// When the certificate in force expires, seconds since 1970.
    pub certificate_expires: Option<u64>,
    /// Oldest first; new connections go to the last.
    pub generations: Vec<Generation>,
}

/// The roles under one reading of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generation {
    /// Its number.
    pub number: u32,
    /// Process ids of its gateways.
    pub gateways: Vec<i32>,
    /// Connections that they have.
    pub connections: u64,
}

/// One session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Its number.
    pub id: u64,
    /// The id that log and client know it by.
    pub session: String,
    /// The client's address.
    pub client: String,
    /// Its target.
    pub target: String,
    /// Seconds since its connection was accepted.
    pub seconds: u64,
    /// Bytes of payload to the target; nothing if its gateway does not say.
    pub bytes_in: Option<u64>,
    /// Bytes of payload to the client.
    pub bytes_out: Option<u64>,
    /// Frames of data from the client; nothing if its gateway does not say.
    pub frames_in: Option<u64>,
    /// Frames to the client.
    pub frames_out: Option<u64>,
    /// The generation that serves it.
    pub generation: u32,
    /// Who has logged in.
    pub user: Option<String>,
}

/// Where instances of this user have their sockets: `/run/websockify/NAME/control` for root, beneath
/// `$XDG_RUNTIME_DIR` for others, if there is such a directory.
#[must_use]
pub fn directory() -> Option<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Some(SYSTEM_DIRECTORY.into());
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    own.map(|path| path.join("websockify"))
}

/// The socket of an instance whose own directory is `directory`.
#[must_use]
pub fn socket(directory: &Path) -> PathBuf {
    directory.join("control")
}

/// Whether `name` can be that of an instance: it becomes a part of paths and unit names.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || ":_.-".contains(c);
    !name.is_empty() && name.len() <= 200 && name.chars().all(good) && !name.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_as_documented() {
        for (request, text) in [
            (Request::Status, r#"{"request":"status"}"#),
            (Request::Disconnect { session: 7, run: None }, r#"{"request":"disconnect","session":7}"#),
            (Request::Reload { wait: true }, r#"{"request":"reload","wait":true}"#),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        }
        for wrong in
            ["", "{}", r#"{"request":"disconnect","session":7,"x":1}"#, r#"{"request":"halt"}"#, "[]"]
        {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_of_another_version_is_understood() {
        let status: Status = serde_json::from_str(r#"{"name":"vnc","colour":"green"}"#).unwrap();
        assert_eq!((status.name.as_str(), status.pid), ("vnc", 0));
    }

    #[test]
    fn names_lead_nowhere_else() {
        for good in ["vnc", "a.b", "x-1", "a:b_c"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "-x", "a b", "ü", "a\0"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
