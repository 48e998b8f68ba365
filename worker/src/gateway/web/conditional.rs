//! Conditional requests (RFC 9110 section 13).

use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::{self, HeaderName};
use hyper::http::HeaderValue;
use rustix::fs::Stat;

/// Identifies a version of a file.
#[derive(Debug)]
pub(super) struct Validators {
    /// Strong entity tag with its quotes, from the size and `st_ctime`. Unlike the modification time,
    /// `st_ctime` changes with every write or replacement, and can't be set back as package managers do.
    pub(super) etag: String,
    /// Modification time in whole seconds; `None` if it is before 1970 or in the future.
    pub(super) modified: Option<SystemTime>,
}

/// Result of the conditions of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Send the file.
    Proceed,
    /// The client's copy is current: 304.
    NotModified,
    /// The client requires another version: 412.
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

    /// Evaluates the conditions in the order of RFC 9110 section 13.2.2.
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

    /// Whether a range may be sent: `If-Range` is absent or names this version.
    pub(super) fn allow_range(&self, headers: &HeaderMap) -> bool {
        headers.get(header::IF_RANGE).is_none_or(|value| {
            value == self.etag.as_str() || (date(value).is_some() && date(value) == self.modified)
        })
    }

    /// Whether a list of entity tags is `*` or contains a tag that `is_ours`. Our tags contain no comma, so
    /// that a part of a foreign tag is never mistaken for one.
    fn matches(&self, headers: &HeaderMap, name: HeaderName, is_ours: impl Fn(&str) -> bool) -> bool {
        let lines = headers.get_all(name);
        let mut tags = lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
        tags.any(|tag| tag.trim() == "*" || is_ours(tag.trim()))
    }

    /// Whether the file was modified after the date in the header; `None` if either date is missing.
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
    fn conditions_have_the_results_of_the_rfc() {
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
    fn a_range_is_sent_of_the_named_version_only() {
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
    fn a_date_out_of_range_is_omitted() {
        let undated = Validators { modified: None, ..validators() };
        assert_eq!(undated.evaluate(&headers(&[(header::IF_MODIFIED_SINCE, LATER)])), Proceed);
        assert!(!undated.allow_range(&headers(&[(header::IF_RANGE, "junk")])));
    }
}
