//! Where log lines go, beside standard error or the journal.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Where log lines go, beside standard error or the journal.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Log {
    /// A file to add them to (`--log-file`). It is opened again at SIGUSR1.
    pub file: Option<PathBuf>,
    /// A syslog server (`--syslog`).
    pub syslog: Option<Syslog>,
    /// Show a mark on standard output for each piece of data that passes (`--traffic`).
    pub traffic: bool,
}

/// How lines are sent to a syslog server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Where it is.
    pub server: SyslogServer,
    /// Leave out what RFC 5424 has added (`--legacy-syslog`).
    pub legacy: bool,
}

/// Where a syslog server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogServer {
    /// A UDP port.
    Udp {
        /// A host name or an IP address without brackets, resolved at the start.
        host: String,
        /// Never 0.
        port: u16,
    },
    /// A socket of datagrams or a stream in the file system, such as `/dev/log`.
    Unix(PathBuf),
}

/// What follows the last colon is no port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no port: a port is a number from 1 to 65535")]
pub struct NoPort;

impl SyslogServer {
    /// Reads `host:port`, split at the last colon, or a path, which has no colon, as in the original.
    ///
    /// # Errors
    /// If there is a colon, and no port from 1 to 65535 behind it.
    pub fn parse(text: &str) -> Result<Self, NoPort> {
        let Some((host, port)) = text.rsplit_once(':') else { return Ok(Self::Unix(text.into())) };
        let port = port.trim().parse().ok().filter(|port| *port != 0).ok_or(NoPort)?;
        let host = host.trim_matches(['[', ']']);
        Ok(Self::Udp { host: if host.is_empty() { "localhost" } else { host }.to_owned(), port })
    }
}

impl fmt::Display for SyslogServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Udp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_in_the_original() {
        let read = |text: &str| SyslogServer::parse(text).map(|server| server.to_string());
        assert_eq!(read("localhost:514").as_deref(), Ok("localhost:514"));
        assert_eq!(read("::1:514").as_deref(), Ok("[::1]:514"));
        assert_eq!(read("[::1]:514").as_deref(), Ok("[::1]:514"));
        assert_eq!(read(":514").as_deref(), Ok("localhost:514"));
        assert_eq!(SyslogServer::parse("/dev/log"), Ok(SyslogServer::Unix("/dev/log".into())));
        for wrong in ["localhost:", "localhost:syslog", "localhost:0", "a:65536"] {
            assert_eq!(read(wrong), Err(NoPort), "{wrong}");
        }
    }
}
