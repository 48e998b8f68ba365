//! Where a token stands in a request.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::{self, Element, Rejected, Value, quoted, words};

words! {
    /// A part of a request that contains the token.
    pub enum Carrier {
        /// The parameter `token` of the path.
        #[default]
        Query = "query",
        /// The `Host` header without its port (`--host-token`).
        Host = "host",
        /// A segment of the path.
        Path = "path",
        /// The cookie [`COOKIE`].
        Cookie = "cookie",
        /// `Authorization: Bearer` (RFC 6750 section 2.1).
        Bearer = "bearer",
        /// `Sec-WebSocket-Protocol`, after [`SUBPROTOCOL`].
        Subprotocol = "subprotocol",
    }
}

/// Name of the cookie with the token.
pub const COOKIE: &str = "websockify-token";

/// What a sub-protocol that is a token begins with.
pub const SUBPROTOCOL: &str = "token.";

/// Where the token stands in a path template.
const PLACE: &str = "{token}";

impl Element for Carrier {
    const EXPECTED_MANY: &'static str = "a part of the request such as \"query\", or a list of them";
}

/// The parts of a request that may contain the token. They are never empty, and have `Host` alone, as each request has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFrom {
    carriers: Vec<Carrier>,
    /// Where the token stands in the path; there if, and only if, `Path` is among the carriers.
    path: Option<TokenPath>,
}

impl TokenFrom {
    /// The token is in this part of requests.
    #[must_use]
    pub fn only(carrier: Carrier) -> Self {
        Self { carriers: vec![carrier], path: None }
    }

    /// Takes the values of `from`, `path` and `host`.
    pub(super) fn new(
        mut carriers: Vec<Carrier>,
        path: Option<TokenPath>,
        host: bool,
    ) -> Result<Self, Rejected> {
        let default = [Carrier::default()];
        if host && carriers != default {
            let help = "leave `host` out, and write from = \"host\" for the Host header alone";
            return Err(Rejected::at("host", "`host` can't be used with `from`", help));
        }
        if host {
            carriers = vec![Carrier::Host];
        }
        carriers.sort_unstable();
        carriers.dedup();
        if carriers.is_empty() {
            let help = "name a part of the request, such as \"query\"";
            return Err(Rejected::at("from", "`from` names no part of the request", help));
        }
        if carriers.contains(&Carrier::Host) && carriers.len() > 1 {
            let help =
                "each request has a host, which would always be a token; leave it out, or write it alone";
            return Err(Rejected::at("from", "\"host\" can't be used with other parts of the request", help));
        }
        match (carriers.contains(&Carrier::Path), &path) {
            (true, None) => {
                let help = "add where it stands in the path: path = \"/vnc/{token}\"";
                Err(Rejected::at("from", "\"path\" can't be used without `path`", help))
            }
            (false, Some(_)) => {
                let help = "add \"path\" to `from`, or leave it out";
                Err(Rejected::at("path", "`path` has no effect without \"path\" in `from`", help))
            }
            _ => Ok(Self { carriers, path }),
        }
    }

    /// The parts, without duplicates, in the order of their declaration.
    #[must_use]
    pub fn carriers(&self) -> &[Carrier] {
        &self.carriers
    }

    /// Whether this part may contain the token.
    #[must_use]
    pub fn has(&self, carrier: Carrier) -> bool {
        self.carriers.contains(&carrier)
    }

    /// Where the token stands in the path, if it may stand there.
    #[must_use]
    pub fn path(&self) -> Option<&TokenPath> {
        self.path.as_ref()
    }
}

impl Default for TokenFrom {
    fn default() -> Self {
        Self::only(Carrier::default())
    }
}

/// A path of which one segment is the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPath {
    /// What precedes the token, from the first slash to the last one before it.
    before: String,
    /// What follows it; empty or with a slash at its beginning.
    after: String,
}

impl TokenPath {
    /// The path up to the token, with a slash at its end.
    #[must_use]
    pub fn before(&self) -> &str {
        &self.before
    }

    /// The segment of a path that is the token, as it stands there.
    #[must_use]
    pub fn token<'a>(&self, path: &'a str) -> Option<&'a str> {
        let token = path.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        (!token.is_empty() && !token.contains('/')).then_some(token)
    }

    /// The path with this token, which must be encoded for a URL.
    #[must_use]
    pub fn with(&self, token: &str) -> String {
        format!("{}{token}{}", self.before, self.after)
    }
}

impl fmt::Display for TokenPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with(PLACE))
    }
}

impl Value for TokenPath {
    const EXPECTED: &'static str = "a path in quotes such as \"/vnc/{token}\"";

    fn from_text(text: &str) -> Result<Self, Rejected> {
        let parsed = text.split_once(PLACE).filter(|(before, after)| {
            let ends_well = before.ends_with('/') && (after.is_empty() || after.starts_with('/'));
            ends_well && is_plain_path(before) && (after.is_empty() || is_plain_path(after))
        });
        let (before, after) = parsed.ok_or_else(|| {
            let help = "write a path with {token} as one of its segments, such as \"/vnc/{token}\"";
            Rejected::new(format!("{} is not a path with a token", quoted(text)), help)
        })?;
        Ok(Self { before: before.to_owned(), after: after.to_owned() })
    }
}

impl Serialize for TokenPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return value::read(deserializer);
        }
        let text = String::deserialize(deserializer)?;
        Self::from_text(&text).map_err(|_| serde::de::Error::custom("a malformed path"))
    }
}

/// Whether `path` begins with a slash and has one spelling only: its characters are unreserved (RFC 3986 section 2.3),
/// and no segment is `.` or `..`, or empty but for the last one.
pub(super) fn is_plain_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    let is_segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(is_plain);
    path == "/" || rest.split('/').all(is_segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Option<TokenPath> {
        TokenPath::from_text(text).ok()
    }

    #[test]
    fn a_token_is_one_segment_of_a_path() {
        let vnc = path("/vnc/{token}").unwrap();
        for (asked, token) in [
            ("/vnc/abc", Some("abc")),
            ("/vnc/a%2Fb", Some("a%2Fb")),
            ("/vnc/", None),
            ("/vnc", None),
            ("/vnc/a/b", None),
            ("/vnc/a/", None),
            ("/VNC/a", None),
        ] {
            assert_eq!(vnc.token(asked), token, "{asked}");
        }
        let inner = path("/a/{token}/ws").unwrap();
        assert_eq!(
            (inner.token("/a/b/ws"), inner.token("/a/ws"), inner.token("/a/b")),
            (Some("b"), None, None)
        );
        assert_eq!(path("/{token}").unwrap().token("/x"), Some("x"));
        assert_eq!((inner.to_string().as_str(), inner.with("x").as_str()), ("/a/{token}/ws", "/a/x/ws"));
        for wrong in [
            "",
            "/",
            "/vnc",
            "{token}",
            "/a{token}",
            "/{token}a",
            "/{token}/{token}",
            "/a b/{token}",
            "/../{token}",
            "//{token}",
            "/{token}/?x",
            "/%41/{token}",
        ] {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn carriers_that_exclude_each_other_are_rejected() {
        use Carrier::{Bearer, Cookie, Host, Path, Query};
        let at = || path("/vnc/{token}");
        let new = |from: &[Carrier], path, host| {
            TokenFrom::new(from.to_vec(), path, host).map_err(|error| error.key)
        };
        let carriers = |from: Result<TokenFrom, _>| from.map(|from: TokenFrom| from.carriers().to_vec());
        assert_eq!(carriers(new(&[Query], None, true)), Ok(vec![Host]));
        assert_eq!(carriers(new(&[Host], None, false)), Ok(vec![Host]));
        assert_eq!(carriers(new(&[Path, Query, Path], at(), false)), Ok(vec![Query, Path]));
        for (from, path, host, key) in [
            (&[][..], None, false, "from"),
            (&[Cookie], None, true, "host"),
            (&[Query, Host], None, false, "from"),
            (&[Path, Bearer], None, false, "from"),
            (&[Query], at(), false, "path"),
        ] {
            assert_eq!(new(from, path, host), Err(Some(key)), "{from:?}");
        }
    }
}
