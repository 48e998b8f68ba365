//! The keys about listeners, for a process that opens the sockets in place of the service.

use std::path::Path;

use serde::{Deserialize, Deserializer};

use super::error::{FileError, Problem};
use crate::addr::ListenAddr;
use crate::config::listen::Listener;
use crate::config::top::{Config, OctalMode};
use crate::config::value::OneOrMany;

/// The keys about listeners. All other keys are ignored, and left to the start of the service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ListenKeys {
    /// `listen`; empty if the sockets are provided by another program.
    #[serde(with = "OneOrMany::<Listener>")]
    pub listen: Vec<Listener>,
    /// `listen-mode`.
    #[serde(with = "OctalMode")]
    pub listen_mode: u32,
    /// `prefer-ipv6`.
    pub prefer_ipv6: bool,
    /// The listeners of `[metrics]`, sockets that the service opens itself.
    #[serde(deserialize_with = "listen_of_table")]
    pub metrics: Vec<ListenAddr>,
}

fn listen_of_table<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ListenAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Table {
        listen: Option<ListenAddr>,
        agent_check: Option<ListenAddr>,
    }
    let Table { listen, agent_check } = Table::deserialize(deserializer)?;
    Ok(listen.into_iter().chain(agent_check).collect())
}

impl Default for ListenKeys {
    fn default() -> Self {
        let Config { listen, listen_mode, prefer_ipv6, .. } = Config::default();
        Self { listen, listen_mode, prefer_ipv6, metrics: Vec::new() }
    }
}

/// Parses these keys from the text of the file at `path`, which is not opened.
///
/// An error after `listen` is ignored: a running service must keep its sockets while its file is being
/// edited.
///
/// # Errors
///
/// Fails if one of these keys is invalid, or if the file has a syntax error before or at them.
pub fn parse_listeners(text: &str, path: &Path) -> Result<ListenKeys, FileError> {
    toml::from_str(text).or_else(|error| {
        let before = error.span().map_or("", |wrong| before_line_of(text, wrong.start));
        match toml::from_str::<ListenKeys>(before) {
            Ok(keys) if !keys.listen.is_empty() => Ok(keys),
            _ => Err(Problem::from_toml(&error, text).in_text(path, text)),
        }
    })
}

/// The lines before the one that contains byte `at`.
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
    fn a_mistake_after_the_listeners_is_ignored() {
        assert_eq!(listen("listen = \"6080\"\ntarget = \"localhost:5900").unwrap(), [":6080"]);
        assert_eq!(listen("listen = [\n\"6080\",\n]\nlisten-mode = \"660\"\n[web").unwrap(), [":6080"]);
    }

    #[test]
    fn a_mistake_in_or_before_them_is_an_error() {
        for text in ["listen = \"vnc\"", "target =\nlisten = \"6080\"", "listen = \"6080\" x", "= 1", "\0"] {
            assert!(listen(text).unwrap_err().starts_with("error: /etc/websockify/vnc.toml:"), "{text:?}");
        }
    }
}
