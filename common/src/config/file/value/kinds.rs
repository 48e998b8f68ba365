//! The types of values in the file: what is a value of each, and what to do about other ones.

use std::path::PathBuf;
use std::time::Duration;

use super::Written;
use crate::addr::{AddrError, ListenAddr, TargetAddr};
use crate::config::token::TokenRefusal;
use crate::config::{
    Ciphers, MAX_WORKERS, Sandbox, SyslogServer, TextMessages, TlsVersion, Workers, WrapMode, duration,
};

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

impl Written for Duration {
    const EXPECTED: &'static str = "a duration such as \"30s\"";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        duration::parse(text).map_err(|error| {
            let help = if error == duration::DurationError::NoUnit {
                format!("add a unit (ms, s, m, h, d): \"{}s\"", text.trim())
            } else {
                "write a number above zero and a unit: \"250ms\", \"30s\", \"5m\", \"2h\"".to_owned()
            };
            (format!("{} is no duration: {error}", quoted(text)), help)
        })
    }

    fn help_for_number(number: &str) -> String {
        format!("write a unit (ms, s, m, h, d) and quotes: \"{number}s\"")
    }
}

/// A duration that may be `"off"`.
impl Written for Option<Duration> {
    const EXPECTED: &'static str = "a duration such as \"30s\", or \"off\"";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        if text == "off" {
            return Ok(None);
        }
        Duration::from_text(text).map(Some).map_err(|(problem, help)| (problem, help + ", or \"off\""))
    }

    fn help_for_number(number: &str) -> String {
        if number == "0" { "write \"off\"".to_owned() } else { Duration::help_for_number(number) }
    }
}

/// `unix:` before an absolute path, or what `tcp` reads.
fn address<T>(
    text: &str,
    unix: fn(PathBuf) -> T,
    tcp: fn(&str) -> Result<T, AddrError>,
) -> Result<T, String> {
    match text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
        Some(path) => Ok(unix(PathBuf::from(path))),
        None => tcp(text).map_err(|error| format!("{} has {error}", quoted(text))),
    }
}

impl Written for ListenAddr {
    const EXPECTED: &'static str = "an address such as \"6080\", \"[::1]:6080\" or \"unix:/path\"";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        const HELP: &str = "write \"6080\", \"localhost:6080\", \"[::1]:6080\" or \"unix:/absolute/path\"";
        address(text, Self::Unix, Self::parse_tcp).map_err(|problem| (problem, HELP.to_owned()))
    }

    fn from_number(number: i64) -> Option<Self> {
        u16::try_from(number).ok().map(|port| Self::Tcp { host: None, port })
    }

    fn help_for_number(_number: &str) -> String {
        "a port is a number from 0 to 65535".to_owned()
    }
}

impl Written for TargetAddr {
    const EXPECTED: &'static str = "an address such as \"localhost:5900\" or \"unix:/path\"";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        const HELP: &str = "write \"localhost:5900\", \"[::1]:5900\" or \"unix:/absolute/path\"";
        address(text, Self::Unix, Self::parse_tcp).map_err(|problem| (problem, HELP.to_owned()))
    }

    fn help_for_number(number: &str) -> String {
        format!("write host and port: \"localhost:{number}\"")
    }
}

impl Written for Ciphers {
    const EXPECTED: &'static str = "a list of cipher suites as OpenSSL has it, in quotes";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        Self::parse(text).map_err(|error| {
            (
                format!("{} names {error}", quoted(text)),
                format!("for TLS 1.2 there are {}", Self::all_names()),
            )
        })
    }
}

impl Written for SyslogServer {
    const EXPECTED: &'static str = "a socket such as \"/dev/log\" or a UDP address such as \"localhost:514\"";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        const HELP: &str = "write \"/dev/log\" or \"localhost:514\"";
        if text.is_empty() || text.contains('\0') {
            return Err((format!("{} is no syslog server", quoted(text)), HELP.to_owned()));
        }
        Self::parse(text).map_err(|error| (format!("{} has {error}", quoted(text)), HELP.to_owned()))
    }

    fn help_for_number(number: &str) -> String {
        format!("write host and port: \"localhost:{number}\"")
    }
}

impl Written for Workers {
    const EXPECTED: &'static str = "\"auto\" or a number of processes";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => Err((
                format!("{} is no number of processes", quoted(text)),
                format!("write \"auto\", or a number from 1 to {MAX_WORKERS} without quotes"),
            )),
        }
    }

    fn from_number(number: i64) -> Option<Self> {
        u16::try_from(number).ok().filter(|number| (1..=MAX_WORKERS).contains(number)).map(Self::Fixed)
    }

    fn help_for_number(_number: &str) -> String {
        format!("write \"auto\", or a number from 1 to {MAX_WORKERS}")
    }
}

impl Written for Sandbox {
    const EXPECTED: &'static str = "\"strict\", \"best-effort\" or \"off\"";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        Self::parse(text)
            .ok_or_else(|| (format!("unknown value {}", quoted(text)), format!("write {}", Self::EXPECTED)))
    }
}

impl Written for TokenRefusal {
    const EXPECTED: &'static str = "\"http\" or \"close\"";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        Self::parse(text)
            .ok_or_else(|| (format!("unknown value {}", quoted(text)), format!("write {}", Self::EXPECTED)))
    }
}

impl Written for TextMessages {
    const EXPECTED: &'static str = "\"refuse\" or \"accept\"";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "accept" => Ok(Self::Accept),
            _ => {
                Err((format!("unknown value {}", quoted(text)), "write \"refuse\" or \"accept\"".to_owned()))
            }
        }
    }
}

impl Written for TlsVersion {
    const EXPECTED: &'static str = "\"1.2\" or \"1.3\"";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            "1.0" | "1.1" => Err((
                format!("TLS {text} is not supported"),
                "it is broken (RFC 8996); write \"1.2\" or \"1.3\"".to_owned(),
            )),
            _ => Err((format!("unknown version {}", quoted(text)), "write \"1.2\" or \"1.3\"".to_owned())),
        }
    }
}

/// Permissions of a socket.
#[derive(Debug)]
pub(crate) struct Mode(pub(crate) u32);

impl Written for Mode {
    const EXPECTED: &'static str = "octal digits in quotes such as \"0660\"";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err((
                format!("{} is no mode of a socket", quoted(text)),
                "write octal digits from \"0000\" to \"0777\", such as \"0660\"".to_owned(),
            )),
        }
    }

    fn help_for_number(_number: &str) -> String {
        "write octal digits in quotes, such as \"0660\"".to_owned()
    }
}

impl Written for WrapMode {
    const EXPECTED: &'static str = "\"exit\", \"ignore\" or \"respawn\"";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        Self::parse(text)
            .ok_or_else(|| (format!("unknown value {}", quoted(text)), format!("write {}", Self::EXPECTED)))
    }
}

/// A port that a program can be told to bind.
#[derive(Debug)]
pub(crate) struct Port(pub(crate) u16);

impl Written for Port {
    const EXPECTED: &'static str = "a number from 1 to 65535";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        Err((format!("{} is text", quoted(text)), "write the port as a number without quotes".to_owned()))
    }

    fn from_number(number: i64) -> Option<Self> {
        u16::try_from(number).ok().filter(|port| *port > 0).map(Self)
    }

    fn help_for_number(_number: &str) -> String {
        "a port that a program binds is a number from 1 to 65535".to_owned()
    }
}

/// A path that is not empty.
impl Written for PathBuf {
    const EXPECTED: &'static str = "a path in quotes";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        if text.is_empty() || text.contains('\0') {
            let help = "write the path of a file, or leave the key out";
            return Err((format!("{} is no path", quoted(text)), help.to_owned()));
        }
        Ok(Self::from(text))
    }
}

/// A name that is not empty.
impl Written for String {
    const EXPECTED: &'static str = "a name in quotes";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        if text.is_empty() || text.contains(char::is_control) {
            let help = "write the name, or leave the key out";
            return Err((format!("{} is no name", quoted(text)), help.to_owned()));
        }
        Ok(text.to_owned())
    }
}

/// A bound that lets at least one through.
impl Written for u32 {
    const EXPECTED: &'static str = "a number from 1 to 4294967295";

    fn from_text(text: &str) -> Result<Self, (String, String)> {
        Err((format!("{} is text", quoted(text)), "write a number without quotes".to_owned()))
    }

    fn from_number(number: i64) -> Option<Self> {
        Self::try_from(number).ok().filter(|number| *number > 0)
    }

    fn help_for_number(_number: &str) -> String {
        "write a number from 1 on, or leave the key out".to_owned()
    }
}
