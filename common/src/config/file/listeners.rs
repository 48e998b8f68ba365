//! The part of the file that says where to listen, for whoever opens the sockets in our place.

use serde::Deserialize;
use std::path::Path;

use super::error::{FileError, Problem};
use super::value::{Listeners, Mode, Value};
use crate::addr::ListenAddr;
use crate::config::DEFAULT_LISTEN_MODE;

/// Where an instance listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenKeys {
    /// `listen`; empty if the file leaves it to somebody else.
    pub listen: Vec<ListenAddr>,
    /// `listen-mode`.
    pub listen_mode: u32,
    /// `prefer-ipv6`.
    pub prefer_ipv6: bool,
    /// `listen` of `[metrics]`, which the service opens itself.
    pub metrics: Option<ListenAddr>,
}

/// Other keys are not looked at: who starts the service hears of them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    listen: Option<Listeners>,
    listen_mode: Option<Value<Mode>>,
    #[serde(default)]
    prefer_ipv6: bool,
    metrics: Option<WrittenMetrics>,
}

#[derive(Debug, Deserialize)]
struct WrittenMetrics {
    listen: Option<Value<ListenAddr>>,
}

/// Reads where an instance listens from the text of a file at `path`, which is not opened.
///
/// A mistake somewhere behind `listen` does no harm: a service that runs must keep its sockets while
/// somebody edits its file.
///
/// # Errors
/// If these keys are wrong, or the file is broken where or before they stand.
pub fn parse_listeners(text: &str, path: &Path) -> Result<ListenKeys, FileError> {
    let written = toml::from_str(text).or_else(|error| {
        let before = error.span().map_or("", |wrong| before_line_of(text, wrong.start));
        match toml::from_str::<Written>(before) {
            Ok(written) if written.listen.is_some() => Ok(written),
            _ => Err(Problem::from_toml(&error).in_text(path, text)),
        }
    })?;
    Ok(ListenKeys {
        listen: written.listen.map(|listen| listen.0).unwrap_or_default(),
        listen_mode: written.listen_mode.map_or(DEFAULT_LISTEN_MODE, |Value(mode)| mode.0),
        prefer_ipv6: written.prefer_ipv6,
        metrics: written.metrics.and_then(|metrics| metrics.listen).map(|Value(address)| address),
    })
}

/// The lines before the one that byte `at` is in.
fn before_line_of(text: &str, at: usize) -> &str {
    let before = text.get(..at).unwrap_or_default();
    before.get(..before.rfind('\n').map_or(0, |newline| newline + 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Result<Vec<String>, String> {
        match parse_listeners(text, Path::new("/etc/websockify/vnc.toml")) {
            Ok(keys) => Ok(keys.listen.iter().map(ToString::to_string).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn only_the_listeners_matter() {
        assert_eq!(listen("").unwrap(), [""; 0]);
        assert_eq!(listen("listen = 6080\ncolour = \"blue\"\n[web]\nroot = 1").unwrap(), [":6080"]);
        assert_eq!(listen("listen = [\"[::1]:1\", \"unix:/x\"]").unwrap(), ["[::1]:1", "unix:/x"]);
    }

    #[test]
    fn a_mistake_behind_the_listeners_does_no_harm() {
        assert_eq!(listen("listen = \"6080\"\ntarget = \"localhost:5900").unwrap(), [":6080"]);
        assert_eq!(listen("listen = [\n\"6080\",\n]\nlisten-mode = \"660\"\n[web").unwrap(), [":6080"]);
    }

    #[test]
    fn a_mistake_in_or_before_them_does() {
        for text in ["listen = \"vnc\"", "target =\nlisten = \"6080\"", "listen = \"6080\" x", "= 1", "\0"] {
            assert!(listen(text).unwrap_err().starts_with("error: /etc/websockify/vnc.toml:"), "{text:?}");
        }
    }
}
