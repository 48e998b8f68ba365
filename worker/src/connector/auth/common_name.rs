//! `ClientCertCNAuth`: accepts client certificates with certain common names.

use super::error::AuthError;

/// The accepted common names.
#[derive(Debug)]
pub(in crate::connector) struct CommonName(Vec<String>);

impl CommonName {
    /// Accepts these names.
    pub(super) fn new(names: &[String]) -> Self {
        Self(names.to_vec())
    }

    /// Checks the common name of a certificate, which the TLS handshake has verified.
    pub(super) fn authenticate(&self, name: Option<&str>) -> Result<(), AuthError> {
        match name {
            Some(name) if self.0.iter().any(|expected| expected == name) => Ok(()),
            Some(name) => {
                Err(AuthError::Forbidden(format!("a certificate of '{name}', which is not an expected name")))
            }
            None => Err(AuthError::Forbidden("no certificate with a common name".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_expected_name_passes() {
        let names = CommonName::new(&["alice".into(), "bob".into()]);
        assert_eq!(names.authenticate(Some("bob")), Ok(()));
        for bad in [None, Some(""), Some("Bob"), Some("bob "), Some("alice bob")] {
            assert!(matches!(names.authenticate(bad), Err(AuthError::Forbidden(_))), "{bad:?}");
        }
    }
}
