//! External plugins: programs, services, and Python classes (`docs/reference/plugins.md`).

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::http_url::{HttpUrl, UrlError};
use super::path::resolve;
use super::value::{Name, Rejected};

/// An external plugin and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternalPlugin {
    /// A program to start: `exec:/path`.
    Program(PathBuf),
    /// A Python class written for the original: `module.Class`.
    Python(String),
    /// A service that reads lines from a unix socket: `unix:/path`.
    Socket(PathBuf),
    /// A service that accepts POST requests: `http://…` or `https://…`.
    Http(HttpUrl),
}

/// The reason why the name of an external plugin is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExternalPluginError {
    /// Nothing follows `exec:` or `unix:`.
    #[error("it names no file")]
    NoFile,
    /// The URL is invalid.
    #[error("{0}")]
    Url(#[from] UrlError),
    /// The URL contains a password, which would be printed with the name.
    #[error("its URL must not contain a user and a password")]
    Credentials,
}

impl ExternalPlugin {
    /// Parses the name of a plugin. Returns `None` if it has none of these forms. Relative paths start at the
    /// base directory of the configuration that is being read.
    ///
    /// # Errors
    ///
    /// Fails if the name has one of these forms but is invalid.
    pub fn parse(name: &str) -> Result<Option<Self>, ExternalPluginError> {
        let file = |path: &str| match path {
            "" => Err(ExternalPluginError::NoFile),
            path => Ok(resolve(path)),
        };
        if let Some(path) = name.strip_prefix("exec:") {
            return file(path).map(Self::Program).map(Some);
        }
        if let Some(path) = name.strip_prefix("unix:") {
            return file(path).map(Self::Socket).map(Some);
        }
        if name.starts_with("http://") || name.starts_with("https://") {
            let url = HttpUrl::parse(name)?;
            return if url.credentials.is_some() {
                Err(ExternalPluginError::Credentials)
            } else {
                Ok(Some(Self::Http(url)))
            };
        }
        Ok(is_class(name).then(|| Self::Python(name.to_owned())))
    }

    /// Rejects `user` unless the plugin, if it is external, is one that the service starts.
    pub(super) fn check_user(plugin: Option<&Self>, user: Option<&Name>) -> Result<(), Rejected> {
        match (plugin, user) {
            (_, None) | (Some(Self::Program(_) | Self::Python(_)), _) => Ok(()),
            _ => Err(Rejected::at(
                "user",
                "`user` is only for plugins that are programs or Python classes",
                "leave it out: `user` at the top of the file is the user of the processes that serve clients",
            )),
        }
    }
}

impl fmt::Display for ExternalPlugin {
    /// The name as given, but with an absolute path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |prefix, path: &Path| format!("{prefix}{}", path.display());
        f.write_str(&match self {
            Self::Program(program) => path("exec:", program),
            Self::Socket(socket) => path("unix:", socket),
            Self::Python(class) => class.clone(),
            Self::Http(url) => {
                let scheme = if url.secured { "https" } else { "http" };
                format!("{scheme}://{}{}", url.authority, url.path)
            }
        })
    }
}

/// Whether this is a dotted name of Python identifiers.
fn is_class(name: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && part.chars().all(|char| char.is_alphanumeric() || char == '_')
    };
    name.contains('.') && name.split('.').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::path::relative_to;

    fn parse(name: &str) -> Result<Option<String>, ExternalPluginError> {
        let plugin = relative_to(Path::new("/directory"), || ExternalPlugin::parse(name));
        plugin.map(|plugin| plugin.map(|plugin| plugin.to_string()))
    }

    #[test]
    fn external_plugins_are_recognised_by_their_form() {
        for (name, shown) in [
            ("exec:plugin", "exec:/directory/plugin"),
            ("exec:/bin/a b", "exec:/bin/a b"),
            ("unix:/run/plugin", "unix:/run/plugin"),
            ("http://[::1]:8080/x?y=z", "http://[::1]:8080/x?y=z"),
            ("https://localhost", "https://localhost/"),
            ("my.module.Class", "my.module.Class"),
            ("_a.B2", "_a.B2"),
        ] {
            assert_eq!(parse(name), Ok(Some(shown.to_owned())));
        }
        for name in ["", "TokenFile", "a..b", ".a", "a.", "1.2", "a.b c", "ftp://x/", "a.b;c"] {
            assert_eq!(parse(name), Ok(None), "{name}");
        }
        assert_eq!(parse("exec:"), Err(ExternalPluginError::NoFile));
        assert_eq!(parse("unix:"), Err(ExternalPluginError::NoFile));
        assert_eq!(parse("http://"), Err(ExternalPluginError::Url(UrlError::Form)));
        assert_eq!(parse("http://me:hush@h/"), Err(ExternalPluginError::Credentials));
    }
}
