//! URLs of HTTP services (RFC 9110 section 4.2).

use std::fmt;

use http::Uri;
use thiserror::Error;

use super::secret::Secret;
use crate::addr::TargetAddr;

/// A parsed URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// The scheme is `https`.
    pub secured: bool,
    /// Host and port; the default port is 80 or 443.
    pub address: TargetAddr,
    /// Host and port as given, for the `Host` header.
    pub authority: String,
    /// `user:password`, for Basic authentication.
    pub credentials: Option<Secret>,
    /// Path and query, beginning with a slash.
    pub path: String,
}

/// A URL with a placeholder for a token.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlTemplate {
    /// The URL as given.
    pub text: Secret,
    /// The URL, without a token.
    pub url: HttpUrl,
    /// Path and query before the token.
    pub before: String,
    /// Path and query after the token.
    pub after: String,
}

/// The reason why a URL is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UrlError {
    /// The text is not a URL, or has another scheme.
    #[error("it is not an http:// or https:// URL")]
    Form,
    /// There is no `%s`.
    #[error("it must contain one %s, the place of the token")]
    NoToken,
    /// A `%` that is not followed by `s` or `%`: Python's `%` operator would take it for a directive.
    #[error("percent signs must be written as %%, except in the %s where the token goes")]
    Percent,
    /// `%s` is in the host, but a token must not determine which service is asked.
    #[error("the %s must be in its path or query")]
    TokenInHost,
}

impl HttpUrl {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// Fails if the text is not an HTTP URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Form)?;
        let secured = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(UrlError::Form),
        };
        let full = uri.authority().ok_or(UrlError::Form)?;
        let (credentials, authority) = match full.as_str().rsplit_once('@') {
            Some((credentials, rest)) => (Some(Secret::new(credentials.to_owned())), rest),
            None => (None, full.as_str()),
        };
        let port = match authority.strip_prefix(full.host()).ok_or(UrlError::Form)? {
            "" | ":" if secured => 443,
            "" | ":" => 80,
            _ => full.port_u16().filter(|port| *port != 0).ok_or(UrlError::Form)?,
        };
        let host = full.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(UrlError::Form);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let address = TargetAddr::Tcp { host: host.to_owned(), port };
        Ok(Self { secured, address, authority: authority.to_owned(), credentials, path })
    }
}

impl UrlTemplate {
    /// Parses a URL with one `%s`, and `%%` for each percent sign, like the `%` operator of the original.
    ///
    /// # Errors
    ///
    /// Fails if the text is not such a URL, or if the token would determine which service is asked.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (mut whole, mut token_at) = (String::new(), None);
        let mut rest = text.chars();
        while let Some(char) = rest.next() {
            match (char, (char == '%').then(|| rest.next()).flatten()) {
                ('%', Some('%')) => whole.push('%'),
                ('%', Some('s')) if token_at.is_none() => token_at = Some(whole.len()),
                ('%', Some('s')) => return Err(UrlError::NoToken),
                ('%', _) => return Err(UrlError::Percent),
                (other, _) => whole.push(other),
            }
        }
        let token_at = token_at.ok_or(UrlError::NoToken)?;
        let host_at = whole.find("://").ok_or(UrlError::Form)? + 3;
        let path_at = whole.get(host_at..).and_then(|rest| Some(host_at + rest.find(['/', '?', '#'])?));
        let path_at = path_at.filter(|path_at| token_at > *path_at).ok_or(UrlError::TokenInHost)?;
        let url = HttpUrl::parse(&whole)?;
        // The fragment is not sent to the server (RFC 3986 section 3.5).
        let end = whole.find('#').unwrap_or(whole.len());
        let (Some(before), Some(after)) = (whole.get(path_at..token_at), whole.get(token_at..end)) else {
            return Err(UrlError::NoToken);
        };
        let slash = if before.starts_with('/') { "" } else { "/" };
        Ok(Self {
            before: format!("{slash}{before}"),
            after: after.to_owned(),
            url,
            text: Secret::new(text.to_owned()),
        })
    }
}

impl fmt::Debug for UrlTemplate {
    /// Omits everything that may be a key of the API.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UrlTemplate({})", self.url.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Result<(String, String, String), UrlError> {
        UrlTemplate::parse(text).map(|read| (read.url.address.to_string(), read.before, read.after))
    }

    #[test]
    fn an_url_has_a_host_a_port_and_a_path() {
        let read = |text| HttpUrl::parse(text).map(|url| (url.secured, url.address.to_string(), url.path));
        let fine = |secured, address: &str, path: &str| Ok((secured, address.to_owned(), path.to_owned()));
        assert_eq!(read("http://api"), fine(false, "api:80", "/"));
        assert_eq!(read("https://api/x?y=1"), fine(true, "api:443", "/x?y=1"));
        assert_eq!(read("http://[::1]:8080/"), fine(false, "[::1]:8080", "/"));
        assert_eq!(read("https://[::1]/"), fine(true, "[::1]:443", "/"));
        assert_eq!(read("http://api?y=1"), fine(false, "api:80", "/?y=1"));
        for wrong in [
            "",
            "api",
            "/x",
            "ftp://api/",
            "http://",
            "http:///x",
            "http://a b/",
            "http://api:0/",
            "http://api:99999/",
        ] {
            assert_eq!(read(wrong), Err(UrlError::Form), "{wrong:?}");
        }
    }

    #[test]
    fn credentials_are_removed_and_not_shown() {
        let url = HttpUrl::parse("http://me:hush@api:81/").unwrap();
        assert_eq!(url.authority, "api:81");
        assert_eq!(url.credentials.as_ref().map(Secret::reveal), Some("me:hush"));
        assert!(!format!("{url:?}").contains("hush"));
        assert!(!format!("{:?}", UrlTemplate::parse("http://api/hush/%s")).contains("hush"));
    }

    #[test]
    fn a_token_goes_into_path_or_query() {
        let fine = |address: &str, before: &str, after: &str| {
            Ok((address.to_owned(), before.to_owned(), after.to_owned()))
        };
        assert_eq!(template("http://api/%s"), fine("api:80", "/", ""));
        assert_eq!(template("http://api/t/%s.json"), fine("api:80", "/t/", ".json"));
        assert_eq!(template("https://api?token=%s&a=b"), fine("api:443", "/?token=", "&a=b"));
        assert_eq!(template("http://api/a%%20b/%s"), fine("api:80", "/a%20b/", ""));
        assert_eq!(template("http://api/%s#fragment"), fine("api:80", "/", ""));
        assert_eq!(template("http://api/"), Err(UrlError::NoToken));
        assert_eq!(template("http://api/%s/%s"), Err(UrlError::NoToken));
        assert_eq!(template("http://api/%20/%s"), Err(UrlError::Percent));
        assert_eq!(template("http://api/%s%"), Err(UrlError::Percent));
        assert_eq!(template("http://%s/"), Err(UrlError::TokenInHost));
        assert_eq!(template("http://api%s"), Err(UrlError::TokenInHost));
        assert_eq!(template("http://api:8%s/"), Err(UrlError::TokenInHost));
        assert_eq!(template("%s"), Err(UrlError::Form));
        assert_eq!(template("http://api/#%s"), Err(UrlError::NoToken));
    }
}
