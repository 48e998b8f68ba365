//! The path beneath which an instance serves, so that several share a host behind a proxy.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::carrier::is_plain_path;
use super::value::{self, Rejected, Value, quoted};

/// A path without a slash at its end, such as `/desktops/a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// What follows the prefix in a path: empty, or with a slash at its beginning; `None` outside.
    ///
    /// A path may begin with two slashes: earlier versions of noVNC put one before a path that has its own.
    #[must_use]
    pub fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        let path = path.strip_prefix('/').filter(|rest| rest.starts_with('/')).unwrap_or(path);
        path.strip_prefix(&*self.0).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value for Prefix {
    const EXPECTED: &'static str = "a path in quotes such as \"/desktops/a\"";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        if text.ends_with('/') || !is_plain_path(text) {
            let help = "write a path without a slash at its end, such as \"/desktops/a\", of letters, digits and \"-._~\"";
            return Err(Rejected::new(format!("{} is not a path to serve beneath", quoted(text)), help));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return value::read(deserializer);
        }
        let text = String::deserialize(deserializer)?;
        Self::from_text(&text).map_err(|_| serde::de::Error::custom("a malformed path"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beneath_a_prefix_and_what_is_not() {
        let prefix = Prefix::from_text("/desktops/a").unwrap();
        for (path, rest) in [
            ("/desktops/a", Some("")),
            ("/desktops/a/", Some("/")),
            ("/desktops/a/vnc.html", Some("/vnc.html")),
            ("//desktops/a/websockify", Some("/websockify")),
            ("/desktops/a//evil.example", Some("//evil.example")),
            ("/desktops/a/../b", Some("/../b")),
            ("/desktops/ab", None),
            ("/desktops", None),
            ("/Desktops/a/", None),
            ("///desktops/a/", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(prefix.strip(path), rest, "{path}");
        }
        for wrong in ["", "/", "a", "/a/", "/a b", "//a", "/a/../b", "/%61", "/ü", "/a?b", "/."] {
            assert!(Prefix::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
