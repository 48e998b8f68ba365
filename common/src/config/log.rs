//! Destinations of log lines, in addition to standard error or the journal.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

use super::option::OptionError;
use super::path::{FilePath, resolve, utf8};
use super::value::{Rejected, Value, quoted, text_value, words};

/// Destinations of log lines, in addition to standard error or the journal.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize, Serialize, clap::Args)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[command(next_help_heading = "Log")]
pub struct Log {
    /// Format of log lines.
    ///
    /// `"text"` prints the original's lines on standard error. `"json"` prints an object for each line on standard
    /// output, with the fields that the journal has, as collectors of container logs expect it. The format is also
    /// that of `file`. The journal, where standard error is connected to it, has its own format.
    #[arg(skip)]
    pub format: LogFormat,
    /// Append log lines to a file as well. SIGUSR1 reopens it.
    #[arg(id = "log.file", long = "log-file", value_name = "FILE")]
    #[cfg_attr(test, schemars(example = &"/var/log/websockify.log"))]
    pub file: Option<FilePath>,
    /// Send log lines to a syslog server as well: a socket such as `/dev/log`, or `host:port` for UDP.
    #[arg(id = "log.syslog", long = "syslog", value_name = "SERVER", hide_short_help = true)]
    #[arg(value_parser = OsStringValueParser::new().try_map(SyslogServer::from_option))]
    #[cfg_attr(test, schemars(example = &"/dev/log"))]
    pub syslog: Option<SyslogServer>,
    /// Use the syslog format that was common before RFC 5424.
    #[arg(id = "log.legacy-syslog", long = "legacy-syslog", hide_short_help = true)]
    pub legacy_syslog: bool,
    /// Print a mark on standard output for each piece of data that is forwarded, with a legend for each
    /// session.
    ///
    /// Marks are dropped if standard output is not read.
    #[arg(id = "log.traffic", long = "traffic", hide_short_help = true)]
    pub traffic: bool,
}

words! {
    /// Format of log lines.
    pub enum LogFormat {
        /// The original's lines.
        #[default]
        Text = "text",
        /// A JSON object on each line.
        Json = "json",
    }
}

/// Address of a syslog server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogServer {
    /// A UDP port.
    Udp {
        /// Host name or IP address without brackets, resolved when the service starts.
        host: String,
        /// Never 0.
        port: u16,
    },
    /// A datagram or stream socket in the file system, such as `/dev/log`.
    Unix(PathBuf),
}

/// There is no valid port after the last colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no port: a port is a number from 1 to 65535")]
pub struct NoPort;

impl SyslogServer {
    /// Parses `host:port`, split at the last colon, or a path without a colon, as in the original. Relative
    /// paths start at the base directory of the configuration that is being read.
    ///
    /// # Errors
    ///
    /// Fails if there is a colon without a port from 1 to 65535 after it.
    pub fn parse(text: &str) -> Result<Self, NoPort> {
        let Some((host, port)) = text.rsplit_once(':') else { return Ok(Self::Unix(resolve(text))) };
        let port = port.trim().parse().ok().filter(|port| *port != 0).ok_or(NoPort)?;
        let host = host.trim_matches(['[', ']']);
        Ok(Self::Udp { host: if host.is_empty() { "localhost" } else { host }.to_owned(), port })
    }

    /// Parses the value of `--syslog`. An empty value is kept as an empty path, which means none.
    fn from_option(text: OsString) -> Result<Self, OptionError> {
        if text.is_empty() {
            return Ok(Self::Unix(PathBuf::new()));
        }
        let shown = text.to_string_lossy();
        match Self::parse(&shown) {
            Ok(Self::Unix(_)) => Ok(Self::Unix(resolve(&text))),
            Ok(udp) => Ok(udp),
            Err(error) => Err(OptionError {
                text: "Error parsing syslog port".to_owned(),
                help: Some(format!("'{}' has {error}", shown.escape_debug())),
                names_option: true,
            }),
        }
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

impl Value for SyslogServer {
    const EXPECTED: &'static str = "a socket such as \"/dev/log\" or a UDP address such as \"localhost:514\"";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        const HELP: &str = "write \"/dev/log\" or \"localhost:514\"";
        if text.is_empty() || text.contains('\0') {
            return Err(Rejected::new(
                format!("{} is not the address of a syslog server", quoted(text)),
                HELP,
            ));
        }
        Self::parse(text).map_err(|error| Rejected::new(format!("{} has {error}", quoted(text)), HELP))
    }

    fn help_for_number(number: &str) -> String {
        format!("write host and port: \"localhost:{number}\"")
    }
}

text_value!(SyslogServer);

impl Serialize for SyslogServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Udp { .. } => serializer.collect_str(self),
            Self::Unix(path) => serializer.serialize_str(utf8(path)?),
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
