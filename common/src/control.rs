//! The control protocol between `websockifyctl` and a running instance: one line of JSON in each direction
//! over a unix socket.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::json;
use crate::tokens::hash::TokenHash;

/// Maximum length of a request in bytes, including its newline.
pub const MAX_REQUEST_BYTES: usize = 4096;

/// Parent of the directories of instances that run as root.
const SYSTEM_DIRECTORY: &str = "/run/websockify";

/// Parent of the directories in which instances that run as root keep files.
const SYSTEM_STATE_DIRECTORY: &str = "/var/lib/websockify";

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Returns the state of the instance: [`Answer::Status`].
    Status,
    /// Returns the sessions of the instance: [`Answer::Sessions`].
    Sessions,
    /// Ends a session: [`Answer::Done`].
    Disconnect {
        /// Number of the session.
        session: u64,
        /// The run that the session must belong to, if given: the first half of its id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<u64>,
    },
    /// Ends sessions, and refuses their tokens from then on: [`Answer::Revoked`].
    Revoke {
        /// Which sessions and tokens.
        which: Revocation,
    },
    /// Stops accepting clients, and ends the instance with its last session: [`Answer::Done`].
    Drain {
        /// Time in seconds after which the remaining sessions end. Default: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout: Option<u32>,
        /// Time in seconds over which their end is spread. Default: `stop.spread`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spread: Option<u32>,
    },
    /// Reads the configuration again: [`Answer::Done`] or [`Answer::Failed`].
    Reload {
        /// Answers after the reload, not at once.
        wait: bool,
    },
    /// Upgrades to the installed version, which includes a reload; answers afterwards.
    Upgrade,
    /// Returns all metrics in the OpenMetrics text format: [`Answer::Metrics`].
    Metrics,
    /// Returns the sources of connections that have penalties: [`Answer::Penalties`].
    Penalties,
    /// Removes the penalties of a source: [`Answer::Done`].
    Forgive {
        /// An address of the source, or the source as it is listed.
        source: String,
    },
}

/// Which sessions are to end and which tokens are to be refused. With a session, all sessions of its token end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Revocation {
    /// A session, and its token.
    Session {
        /// Number of the session.
        number: u64,
        /// The run that the session must belong to, if given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<u64>,
    },
    /// The sessions of a user, and their tokens.
    User(String),
    /// A token, and its sessions. Hashes are sent, so that the token itself does not leave its owner.
    Token {
        /// SHA-256 of the token.
        hash: TokenHash,
        /// SHA-256 of what is signed of the token, if it has the form of a signed JSON Web Token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signed: Option<TokenHash>,
    },
    /// All sessions, and their tokens.
    All,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The state of the instance.
    Status(#[serde(deserialize_with = "json::field")] Box<Status>),
    /// The sessions of the instance, oldest first.
    Sessions(#[serde(deserialize_with = "json::fields")] Vec<Session>),
    /// The request was carried out; contains a sentence for humans.
    Done(String),
    /// Sessions are being closed, and tokens are refused.
    Revoked(#[serde(deserialize_with = "json::field")] Revoked),
    /// The request has failed; contains the reason for humans.
    Failed(String),
    /// The text of the metrics.
    Metrics(String),
    /// The sources that have penalties, those with the longest first.
    Penalties(#[serde(deserialize_with = "json::fields")] Vec<Penalty>),
}

/// The state of an instance. After a release fields are only added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Name of the instance.
    pub name: String,
    /// Version of the supervisor.
    pub version: String,
    /// The supervisor's process id.
    pub pid: u32,
    /// Seconds since the start of the service; upgrades don't count.
    pub uptime_seconds: u64,
    /// Addresses of the listeners.
    pub listen: Vec<String>,
    /// Description of the target.
    pub target: String,
    /// Open sessions.
    pub sessions: u64,
    /// Number of sessions since the start.
    pub sessions_total: u64,
    /// Bytes of payload in both directions, of sessions that have ended.
    pub bytes_relayed: u64,
    /// Description of the confinement of the roles.
    pub sandbox: String,
    /// Roles that were killed because they broke protocol.
    pub violations: u64,
    /// Whether new clients are rejected.
    pub draining: bool,
    /// Reason why the last reload has failed, if it has.
    pub reload_failure: Option<String>,
    /// Addresses on which systemd listens, if they differ from the configuration.
    pub listens_elsewhere: Option<String>,
    /// Time at which the configuration in force was read, in milliseconds since 1970; 0 if an earlier version
    /// has read it.
    pub config_read: u64,
    /// Expiry of the certificate in force, in seconds since 1970.
    pub certificate_expires: Option<u64>,
    /// Generations, oldest first; new connections go to the last one.
    #[serde(deserialize_with = "json::fields")]
    pub generations: Vec<Generation>,
}

/// The roles that serve under one reading of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generation {
    /// Number of the generation.
    pub number: u32,
    /// Process ids of its gateways.
    pub gateways: Vec<i32>,
    /// Number of connections of these gateways.
    pub connections: u64,
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Number of the session.
    pub id: u64,
    /// Id of the session in the log and in the response to the client.
    pub session: String,
    /// The client's address.
    pub client: String,
    /// The address of its proxy, if that is trusted and has told the client's.
    pub proxy: Option<String>,
    /// Address of the target.
    pub target: String,
    /// Seconds since the connection was accepted.
    pub seconds: u64,
    /// Bytes of payload to the target; `None` if the gateway has not answered in time.
    pub bytes_in: Option<u64>,
    /// Bytes of payload to the client.
    pub bytes_out: Option<u64>,
    /// Data frames from the client; `None` if the gateway has not answered in time.
    pub frames_in: Option<u64>,
    /// Data frames to the client.
    pub frames_out: Option<u64>,
    /// Number of the session's generation.
    pub generation: u32,
    /// The authenticated user.
    pub user: Option<String>,
}

/// The effect of a `Revoke`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Revoked {
    /// Sessions that are being closed.
    pub sessions: usize,
    /// Tokens that are refused from now on.
    pub tokens: usize,
}

/// A source of connections that has penalties.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Penalty {
    /// An address, a network in CIDR notation, or `user` and the number of a user.
    pub source: String,
    /// Seconds until the penalties have passed.
    pub seconds: u64,
    /// Whether new connections are turned away.
    pub banned: bool,
    /// Connections that were turned away since the last log line about the source.
    pub turned_away: u64,
}

/// The parent of the directories of this user's instances: `/run/websockify` for root, else
/// `$XDG_RUNTIME_DIR/websockify` if that variable is set. The socket in such a directory is named `control`.
#[must_use]
pub fn directory() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(SYSTEM_DIRECTORY.into());
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    own.map(|path| path.join("websockify"))
}

/// The directory in which an instance of this user keeps files: `/var/lib/websockify/NAME` for root, else
/// `$XDG_STATE_HOME/websockify/NAME`, by default in `~/.local/state`; `None` if `$HOME` is not set. A service of the
/// system without root is told by systemd.
#[must_use]
pub fn state_directory(name: &str) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let system = Path::new(SYSTEM_STATE_DIRECTORY);
    if rustix::process::geteuid().is_root() {
        return Some(system.join(name));
    }
    // For services of users, systemd chooses a directory by its version.
    let told = variable("STATE_DIRECTORY").filter(|path| path.starts_with(system));
    let own = || variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")));
    told.or_else(|| Some(own()?.join("websockify").join(name)))
}

/// Path of the control socket in the directory of an instance.
#[must_use]
pub fn socket(directory: &Path) -> PathBuf {
    directory.join("control")
}

/// Whether `name` is a valid name of an instance. It becomes part of paths and unit names.
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
            assert_eq!(json::object::<Request>(text.as_bytes()).unwrap(), request);
        }
        for wrong in [
            "",
            "{}",
            r#"{"request":"disconnect","session":7,"x":1}"#,
            r#"{"request":"halt"}"#,
            "[]",
            r#"["status"]"#,
        ] {
            assert!(json::object::<Request>(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_reference_shows_requests_and_answers_as_they_are() {
        let page = include_str!("../../docs/reference/control.md");
        let (requests, answers) = page.split_once("## Answers").unwrap();
        let lines = |text: &'static str| text.lines().filter(|line| line.starts_with('{'));
        for line in lines(requests) {
            let request: Request = json::object(line.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
        }
        for line in lines(answers) {
            let answer: Answer = json::object(line.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&answer).unwrap(), line);
        }
        assert_eq!((lines(requests).count(), lines(answers).count()), (14, 7));
    }

    #[test]
    fn an_answer_of_another_version_is_understood() {
        let status: Status = json::object(br#"{"name":"vnc","colour":"green"}"#).unwrap();
        assert_eq!((status.name.as_str(), status.pid), ("vnc", 0));
    }

    #[test]
    fn an_answer_has_objects_where_they_are_meant() {
        for answer in [
            Answer::Status(Box::default()),
            Answer::Sessions(vec![Session::default()]),
            Answer::Done("done".into()),
        ] {
            let text = serde_json::to_vec(&answer).unwrap();
            assert_eq!(json::object::<Answer>(&text).unwrap(), answer);
        }
        let status = serde_json::to_value(Status::default()).unwrap();
        let members: Vec<_> = status.as_object().unwrap().values().collect();
        for wrong in [
            serde_json::json!({ "status": members }),
            serde_json::json!({ "status": [] }),
            serde_json::json!({ "sessions": [[]] }),
            serde_json::json!(["done"]),
        ] {
            assert!(json::object::<Answer>(wrong.to_string().as_bytes()).is_err(), "{wrong}");
        }
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
