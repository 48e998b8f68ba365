//! `ExpectOrigin`: pages of some origins only (RFC 6454).
//!
//! This keeps pages of others from using a user's browser; a client that is no browser says what it likes.

use super::error::AuthError;

/// The origins that are accepted.
#[derive(Debug)]
pub(in crate::connector) struct Origin {
    expected: Vec<String>,
    is_secret: bool,
}

impl Origin {
    /// Accepts these origins. Others are not repeated if they are secret: of a page whose host is a token, the origin
    /// is that host.
    pub(super) fn new(expected: &[String], is_secret: bool) -> Self {
        Self { expected: expected.to_vec(), is_secret }
    }

    /// Looks at an `Origin` field, which must be there and equal one of them, letter by letter.
    pub(super) fn authenticate(&self, origin: Option<&str>) -> Result<(), AuthError> {
        match origin {
            Some(origin) if self.expected.iter().any(|expected| expected == origin) => Ok(()),
            // In the words of the original.
            _ => Err(AuthError::Origin(format!(
                "Invalid Origin Header: Expected one of {}, got '{}'",
                self.expected.join(" "),
                match origin {
                    Some(_) if self.is_secret => "…",
                    origin => origin.unwrap_or("None"),
                },
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_same_origin_passes() {
        let origin = Origin::new(&["https://a.example".into(), "http://b.example:8080".into()], false);
        for good in ["https://a.example", "http://b.example:8080"] {
            assert_eq!(origin.authenticate(Some(good)), Ok(()));
        }
        let bad =
            ["", "null", "http://a.example", "https://A.example", "https://a.example/", "https://a.exampl"];
        for bad in bad.map(Some).into_iter().chain([None]) {
            assert!(matches!(origin.authenticate(bad), Err(AuthError::Origin(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_secret_origin_is_not_repeated() {
        let refused = |is_secret| {
            let origin = Origin::new(&["https://a.example".into()], is_secret);
            origin.authenticate(Some("https://canary.example")).unwrap_err().to_string()
        };
        assert!(refused(false).ends_with("got 'https://canary.example'"));
        assert!(refused(true).ends_with("got '…'"));
    }
}
