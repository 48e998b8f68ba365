//! `ExpectOrigin`: pages of some origins only (RFC 6454).
//!
//! This keeps pages of others from using a user's browser; a client that is no browser says what it likes.

use super::error::AuthError;

/// The origins that are accepted.
#[derive(Debug)]
pub(in crate::connector) struct Origin(Vec<String>);

impl Origin {
    /// Accepts these origins.
    pub(super) fn new(origins: &[String]) -> Self {
        Self(origins.to_vec())
    }

    /// Looks at an `Origin` field, which must be there and equal one of them, letter by letter.
    pub(super) fn authenticate(&self, origin: Option<&str>) -> Result<(), AuthError> {
        match origin {
            Some(origin) if self.0.iter().any(|expected| expected == origin) => Ok(()),
            // In the words of the original.
            _ => Err(AuthError::Origin(format!(
                "Invalid Origin Header: Expected one of {}, got '{}'",
                self.0.join(" "),
                origin.unwrap_or("None"),
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_same_origin_passes() {
        let origin = Origin::new(&["https://a.example".into(), "http://b.example:8080".into()]);
        for good in ["https://a.example", "http://b.example:8080"] {
            assert_eq!(origin.authenticate(Some(good)), Ok(()));
        }
        let bad =
            ["", "null", "http://a.example", "https://A.example", "https://a.example/", "https://a.exampl"];
        for bad in bad.map(Some).into_iter().chain([None]) {
            assert!(matches!(origin.authenticate(bad), Err(AuthError::Origin(_))), "{bad:?}");
        }
    }
}
