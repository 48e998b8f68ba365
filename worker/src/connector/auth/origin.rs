//! `ExpectOrigin`: accepts pages of certain origins only (RFC 6454).
//!
//! This prevents pages of other origins from using a user's browser. Clients other than browsers can send any
//! origin.

use super::error::AuthError;

/// The accepted origins.
#[derive(Debug)]
pub(in crate::connector) struct Origin {
    expected: Vec<String>,
    is_secret: bool,
}

impl Origin {
    /// Accepts the origins `expected`. With `is_secret`, a rejected origin is not logged: where hosts are
    /// tokens, the origin of a page contains its token.
    pub(super) fn new(expected: &[String], is_secret: bool) -> Self {
        Self { expected: expected.to_vec(), is_secret }
    }

    /// Checks an `Origin` field, which must be equal to one of the accepted origins, including case.
    pub(super) fn authenticate(&self, origin: Option<&str>) -> Result<(), AuthError> {
        match origin {
            Some(origin) if self.expected.iter().any(|expected| expected == origin) => Ok(()),
            // The message of the original.
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
    fn only_an_identical_origin_passes() {
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
    fn a_secret_origin_is_not_logged() {
        let refused = |is_secret| {
            let origin = Origin::new(&["https://a.example".into()], is_secret);
            origin.authenticate(Some("https://canary.example")).unwrap_err().to_string()
        };
        assert!(refused(false).ends_with("got 'https://canary.example'"));
        assert!(refused(true).ends_with("got '…'"));
    }
}
