//! Conditional requests (RFC 9110 section 13): whether the client's copy is still the file's.

use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::{self, HeaderName};
use hyper::http::HeaderValue;
use rustix::fs::Stat;

/// What tells one version of a file from another.
#[derive(Debug)]
pub(super) struct Validators {
    /// The strong entity tag, in its quotes: size and time of the last change. Unlike the time of
    /// modification, that one (`st_ctime`) moves with every write or replacement and can't be set
    /// back, as package managers do.
    pub(super) etag: String,
    /// The time of modification in whole seconds; none when it is before 1970 or still to come.
    pub(super) modified: Option<SystemTime>,
}

/// What the conditions of a request come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The file is wanted.
    Proceed,
    /// The client's copy is good: 304.
    NotModified,
    /// The client wanted another version: 412.
    PreconditionFailed,
}

impl Validators {
    pub(super) fn of(stat: &Stat) -> Self {
        let etag = format!("\"{:x}-{:x}-{:x}\"", stat.st_size, stat.st_ctime, stat.st_ctime_nsec);
        let modified = u64::try_from(stat.st_mtime)
            .ok()
            .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
            .filter(|modified| *modified <= SystemTime::now());
        Self { etag, modified }
    }

    /// Weighs the conditions in the order of RFC 9110 section 13.2.2.
    pub(super) fn evaluate(&self, headers: &HeaderMap) -> Outcome {
        if headers.contains_key(header::IF_MATCH) {
            if !self.matches(headers, header::IF_MATCH, |tag| tag == self.etag) {
                return Outcome::PreconditionFailed;
            }
        } else if self.modified_after(headers, header::IF_UNMODIFIED_SINCE) == Some(true) {
            return Outcome::PreconditionFailed;
        }
        if headers.contains_key(header::IF_NONE_MATCH) {
            let is_ours = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == self.etag;
            if self.matches(headers, header::IF_NONE_MATCH, is_ours) {
                return Outcome::NotModified;
            }
        } else if self.modified_after(headers, header::IF_MODIFIED_SINCE) == Some(false) {
            return Outcome::NotModified;
        }
        Outcome::Proceed
    }

    /// Whether a part may be sent: `If-Range` is absent or names exactly this version.
    pub(super) fn allow_range(&self, headers: &HeaderMap) -> bool {
        headers.get(header::IF_RANGE).is_none_or(|value| {
            value == self.etag.as_str() || (date(value).is_some() && date(value) == self.modified)
        })
    }

    /// Whether a list of entity tags is `*` or holds one that `is_ours`. Our tags have no comma, so
    /// that no piece of a foreign tag with one can be mistaken.
    fn matches(&self, headers: &HeaderMap, name: HeaderName, is_ours: impl Fn(&str) -> bool) -> bool {
        let lines = headers.get_all(name);
        let mut tags = lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
        tags.any(|tag| tag.trim() == "*" || is_ours(tag.trim()))
    }

    /// Whether the file was modified after the date in a header; none without two dates to compare.
    fn modified_after(&self, headers: &HeaderMap, name: HeaderName) -> Option<bool> {
        Some(self.modified? > headers.get(name).and_then(date)?)
    }
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{NotModified, PreconditionFailed, Proceed};

    const MODIFIED: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const EARLIER: &str = "Tue, 14 Nov 2023 22:13:19 GMT";
    const LATER: &str = "Tue, 14 Nov 2023 22:13:21 GMT";

    fn validators() -> Validators {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        Validators { etag: "\"1-2-3\"".to_owned(), modified: Some(modified) }
    }

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn conditions_and_what_they_come_to() {
        use header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
        for (lines, expected) in [
            (vec![], Proceed),
            (vec![(IF_NONE_MATCH, "\"1-2-3\"")], NotModified),
            (vec![(IF_NONE_MATCH, "W/\"1-2-3\"")], NotModified),
            (vec![(IF_NONE_MATCH, "\"a\", W/\"b\" ,\"1-2-3\"")], NotModified),
            (vec![(IF_NONE_MATCH, "\"a\""), (IF_NONE_MATCH, "\"1-2-3\"")], NotModified),
            (vec![(IF_NONE_MATCH, "*")], NotModified),
            (vec![(IF_NONE_MATCH, "\"1-2-4\"")], Proceed),
            (vec![(IF_NONE_MATCH, "1-2-3")], Proceed),
            (vec![(IF_NONE_MATCH, "")], Proceed),
            (vec![(IF_MODIFIED_SINCE, MODIFIED)], NotModified),
            (vec![(IF_MODIFIED_SINCE, LATER)], NotModified),
            (vec![(IF_MODIFIED_SINCE, EARLIER)], Proceed),
            (vec![(IF_MODIFIED_SINCE, "yesterday")], Proceed),
            (vec![(IF_NONE_MATCH, "\"other\""), (IF_MODIFIED_SINCE, MODIFIED)], Proceed),
            (vec![(IF_NONE_MATCH, "\"1-2-3\""), (IF_MODIFIED_SINCE, EARLIER)], NotModified),
            (vec![(IF_MATCH, "\"1-2-3\"")], Proceed),
            (vec![(IF_MATCH, "*")], Proceed),
            (vec![(IF_MATCH, "W/\"1-2-3\"")], PreconditionFailed),
            (vec![(IF_MATCH, "\"other\"")], PreconditionFailed),
            (vec![(IF_UNMODIFIED_SINCE, EARLIER)], PreconditionFailed),
            (vec![(IF_UNMODIFIED_SINCE, MODIFIED)], Proceed),
            (vec![(IF_UNMODIFIED_SINCE, "tomorrow")], Proceed),
            (vec![(IF_MATCH, "\"1-2-3\""), (IF_UNMODIFIED_SINCE, EARLIER)], Proceed),
            (vec![(IF_MATCH, "\"other\""), (IF_NONE_MATCH, "\"1-2-3\"")], PreconditionFailed),
        ] {
            let headers: HeaderMap = {
                let mut map = HeaderMap::new();
                lines.iter().for_each(|(name, value)| {
                    map.append(name, HeaderValue::from_static(value));
                });
                map
            };
            assert_eq!(validators().evaluate(&headers), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_part_is_sent_of_the_very_version_only() {
        for (value, allowed) in [
            ("\"1-2-3\"", true),
            ("W/\"1-2-3\"", false),
            ("\"other\"", false),
            (MODIFIED, true),
            (EARLIER, false),
            (LATER, false),
            ("", false),
        ] {
            assert_eq!(validators().allow_range(&headers(&[(header::IF_RANGE, value)])), allowed, "{value}");
        }
        assert!(validators().allow_range(&HeaderMap::new()));
    }

    #[test]
    fn a_file_without_a_sensible_date_has_none() {
        let undated = Validators { modified: None, ..validators() };
        assert_eq!(undated.evaluate(&headers(&[(header::IF_MODIFIED_SINCE, LATER)])), Proceed);
        assert!(!undated.allow_range(&headers(&[(header::IF_RANGE, "junk")])));
    }
}
