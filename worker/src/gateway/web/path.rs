//! Maps the path of a request to the name of a file beneath the web directory.
//!
//! This is the first of two barriers. It resolves `..` and rejects what no honest client sends, so that the
//! code below need not consider it. The second barrier, [`crate::beneath`], holds whatever passes the first.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use super::error::WebError;

/// Characters to escape in generated links: all but the unreserved ones of RFC 3986, so that no name is taken
/// for a scheme, another host, or the end of an attribute.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes the name of a file or directory for a URL.
pub(super) fn encode(name: &[u8]) -> Cow<'_, str> {
    percent_encode(name, RESERVED).into()
}

/// A decoded request path. Its segments are file names: not empty, not `.` or `..`, and without slash or NUL.
#[derive(Debug)]
pub(super) struct RequestPath {
    segments: Vec<Vec<u8>>,
    /// The path ends in a slash, and therefore names a directory.
    pub(super) names_directory: bool,
}

impl RequestPath {
    /// Decodes the path of a URL once. Empty segments and `.` are ignored, as by the kernel. `..` removes the
    /// segment before it (RFC 3986 section 5.2.4), whether or not such a directory exists.
    ///
    /// # Errors
    /// `Malformed` if this is not a path. `NotFound` if no file can have such a name, or if `..` leads above
    /// the web directory.
    pub(super) fn parse(path: &str) -> Result<Self, WebError> {
        let path = path.strip_prefix('/').ok_or(WebError::Malformed)?;
        let mut segments = Vec::new();
        let mut names_directory = true;
        for raw in path.split('/') {
            let name = decode(raw)?;
            names_directory = matches!(name.as_slice(), b"" | b"." | b"..");
            match name.as_slice() {
                b"" | b"." => {}
                b".." => drop(segments.pop().ok_or(WebError::NotFound)?),
                name if name.contains(&b'/') => return Err(WebError::NotFound),
                _ => segments.push(name),
            }
        }
        Ok(Self { segments, names_directory })
    }

    /// Whether the path is that of the web directory.
    pub(super) fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    /// The last segment; empty for the web directory.
    pub(super) fn name(&self) -> &[u8] {
        self.segments.last().map_or(b"", Vec::as_slice)
    }

    /// The path of the file `name` in this directory.
    pub(super) fn join(&self, name: &str) -> Self {
        let mut segments = self.segments.clone();
        segments.push(name.into());
        Self { segments, names_directory: false }
    }

    /// The path relative to the web directory, for system calls.
    pub(super) fn relative(&self) -> OsString {
        if self.is_root() {
            return OsStr::new(".").to_owned();
        }
        OsString::from_vec(self.segments.join(&b'/'))
    }

    /// The encoded path for a URL, absolute and without a trailing slash. It never begins with `//` or `/\`,
    /// which browsers take for the name of another host.
    pub(super) fn url(&self) -> String {
        self.segments.iter().fold(String::new(), |url, name| url + "/" + &encode(name))
    }

    /// The directory's path for display, with a slash at both ends.
    pub(super) fn display(&self) -> String {
        self.segments.iter().fold("/".to_owned(), |text, name| text + &String::from_utf8_lossy(name) + "/")
    }
}

/// Decodes the percent-encoding of one segment.
fn decode(raw: &str) -> Result<Vec<u8>, WebError> {
    let escapes_are_whole = raw
        .split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit()));
    let name: Vec<u8> = percent_decode_str(raw).collect();
    if !escapes_are_whole || name.contains(&0) {
        return Err(WebError::Malformed);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_paths() {
        for (path, relative, url, names_directory) in [
            ("/", ".", "", true),
            ("/vnc.html", "vnc.html", "/vnc.html", false),
            ("/app/", "app", "/app", true),
            ("/app/ui.js", "app/ui.js", "/app/ui.js", false),
            ("//evil.example//x", "evil.example/x", "/evil.example/x", false),
            ("/./a/.//b/.", "a/b", "/a/b", true),
            ("/%2e/a", "a", "/a", false),
            ("/a%20b/%C3%A4%ff", "a b/ä\u{fffd}", "/a%20b/%C3%A4%FF", false),
            ("/%5cevil.example", "\\evil.example", "/%5Cevil.example", false),
            ("/..%5c..%5cetc", "..\\..\\etc", "/..%5C..%5Cetc", false),
            ("/%252e%252e", "%2e%2e", "/%252e%252e", false),
            ("/...", "...", "/...", false),
            ("/javascript:x", "javascript:x", "/javascript%3Ax", false),
            ("/a/../b", "b", "/b", false),
            ("/a//%2e%2E/./b/c/..", "b", "/b", true),
            ("/a/b/../../", ".", "", true),
        ] {
            let parsed = RequestPath::parse(path).unwrap();
            assert_eq!(parsed.relative().to_string_lossy(), relative, "{path}");
            assert_eq!(parsed.url(), url, "{path}");
            assert_eq!(parsed.names_directory, names_directory, "{path}");
        }
    }

    #[test]
    fn paths_that_no_file_can_have() {
        for path in [
            "/..",
            "/../",
            "/a/../../a",
            "/%2e%2e/",
            "/.%2E",
            "/%2f",
            "/a%2fb",
            "/..%2f..%2fetc",
            "/a/b/../../..",
        ] {
            assert!(matches!(RequestPath::parse(path), Err(WebError::NotFound)), "{path}");
        }
    }

    #[test]
    fn malformed_paths() {
        for path in
            ["", "*", "a", "http://host/", "/%", "/%2", "/%zz", "/%%", "/a%+1", "/%00", "/a%00.html", "/%é"]
        {
            assert!(matches!(RequestPath::parse(path), Err(WebError::Malformed)), "{path}");
        }
    }

    proptest! {
        #[test]
        fn every_string_is_refused_or_stays_beneath(path in any::<String>()) {
            check(&path);
            check(&format!("/{path}"));
        }

        #[test]
        fn every_mixture_of_dots_slashes_and_escapes(path in "/([./\\\\%2eEfF05cC]|%2e|%2f|%5c|%25){0,24}") {
            check(&path);
        }
    }

    fn check(path: &str) {
        let Ok(parsed) = RequestPath::parse(path) else { return };
        let relative = parsed.relative();
        let relative = std::path::Path::new(&relative);
        assert!(
            relative.components().all(|part| {
                matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir)
            })
        );
        let url = parsed.url() + "/";
        assert!(url.starts_with('/') && !url.starts_with("//") && !url.contains('\\'));
        assert_eq!(RequestPath::parse(&url).unwrap().relative(), parsed.relative());
    }
}
