//! The `Range` header (RFC 9110 section 14).

use std::ops::Range;

use hyper::HeaderMap;
use hyper::header;

/// The part of a file that a client requests.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The whole file.
    Whole,
    /// A non-empty range within the file, in bytes from the start.
    Some(Range<u64>),
    /// A range beyond the end of the file.
    Unsatisfiable,
}

/// Parses the `Range` of a request for a file of `size` bytes. Anything but one valid byte range requests the
/// whole file, as the RFC permits: no client of ours needs several ranges at once, which are known for
/// exhausting servers. An empty file has no part either.
pub(super) fn requested_part(headers: &HeaderMap, size: u64) -> Part {
    let mut lines = headers.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Part::Whole;
    };
    line.to_str().ok().filter(|_| size > 0).and_then(|range| parse(range, size)).unwrap_or(Part::Whole)
}

fn parse(range: &str, size: u64) -> Option<Part> {
    let (unit, set) = range.split_once('=')?;
    let (first, last) = set.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(if suffix == 0 {
            Part::Unsatisfiable
        } else {
            Part::Some(size.saturating_sub(suffix)..size)
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some(if first >= size {
        Part::Unsatisfiable
    } else {
        Part::Some(first..last.saturating_add(1).min(size))
    })
}

/// Parses a number of any length. One beyond `u64` becomes `u64::MAX`, which no file reaches.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::http::HeaderValue;
    use proptest::prelude::*;

    fn part(lines: &[&str], size: u64) -> Part {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::RANGE, HeaderValue::from_str(line).unwrap());
        }
        requested_part(&headers, size)
    }

    #[test]
    fn one_range_of_bytes() {
        for (range, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-", 0..100),
            ("bytes=10-19", 10..20),
            ("bytes=99-", 99..100),
            ("bytes=99-99", 99..100),
            ("bytes=50-1000", 50..100),
            ("bytes=0-99999999999999999999999999", 0..100),
            ("bytes=0-18446744073709551615", 0..100),
            ("bytes=-1", 99..100),
            ("bytes=-100", 0..100),
            ("bytes=-5000", 0..100),
            ("BYTES = 1-2 ", 1..3),
        ] {
            assert_eq!(part(&[range], 100), Part::Some(expected), "{range}");
        }
    }

    #[test]
    fn ranges_beyond_the_end() {
        for range in ["bytes=100-", "bytes=100-200", "bytes=99999999999999999999999999-", "bytes=-0"] {
            assert_eq!(part(&[range], 100), Part::Unsatisfiable, "{range}");
        }
    }

    #[test]
    fn anything_but_a_single_range_requests_the_whole_file() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1-+2",
            "bytes=--1",
            "bytes=2-1",
            "bytes=1-2-3",
            "bytes=0-1,5-6",
            "bytes=0-1,",
            "lines=0-1",
            "bytes=0x0-0x1",
        ] {
            assert_eq!(part(&[range], 100), Part::Whole, "{range}");
        }
        assert_eq!(part(&[], 100), Part::Whole);
        assert_eq!(part(&["bytes=0-1", "bytes=0-1"], 100), Part::Whole);
        assert_eq!(part(&["bytes=0-"], 0), Part::Whole);
        assert_eq!(part(&["bytes=-1"], 0), Part::Whole);
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_file(range in "bytes=[0-9]{0,21}-[0-9]{0,21}", size in any::<u64>()) {
            if let Part::Some(part) = part(&[&range], size) {
                assert!(part.start < part.end && part.end <= size);
            }
        }
    }
}
