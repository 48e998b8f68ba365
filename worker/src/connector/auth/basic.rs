//! `BasicHTTPAuth`: a user name and a password (RFC 7617).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64ct::{Base64, Encoding};
use common::config::Secret;
use zeroize::Zeroizing;

use super::error::AuthError;

/// What the log says of credentials that don't match.
pub(super) const WRONG: &str = "wrong user name or password";

/// The credentials that clients must present.
pub(in crate::connector) struct Basic {
    user: String,
    /// `user:password` in each encoding that clients use: UTF-8, and ISO 8859-1 as in the original.
    credentials: Vec<Zeroizing<Vec<u8>>>,
}

impl Basic {
    /// Accepts the credentials `user:password`.
    pub(super) fn new(credentials: &Secret) -> Self {
        let text = credentials.reveal();
        let latin = text.chars().map(|char| u8::try_from(char).ok()).collect::<Option<Vec<u8>>>();
        let encoded = [Some(text.as_bytes().to_vec()), latin].into_iter().flatten();
        let user = text.split_once(':').map_or(text, |(user, _)| user).to_owned();
        Self { user, credentials: encoded.map(Zeroizing::new).collect() }
    }

    /// Checks an `Authorization` field. Returns the name of the user.
    pub(super) fn authenticate(&self, authorization: Option<&str>) -> Result<String, AuthError> {
        let decoded = credentials(authorization)?;
        // All are compared, in constant time: timing reveals nothing but lengths.
        let known = self.credentials.iter().filter(|known| verify_slices_are_equal(known, &decoded).is_ok());
        match known.count() {
            0 => Err(AuthError::Unauthorized(WRONG)),
            _ => Ok(self.user.clone()),
        }
    }
}

/// The credentials of an `Authorization` field, which contain a colon.
pub(super) fn credentials(authorization: Option<&str>) -> Result<Zeroizing<Vec<u8>>, AuthError> {
    let forbidden = |why: &str| AuthError::Forbidden(why.to_owned());
    let Some(value) = authorization.filter(|value| !value.is_empty()) else {
        return Err(AuthError::Unauthorized("no user name and password"));
    };
    let credentials = match value.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("Basic") => rest.trim(),
        _ => return Err(forbidden("credentials of another scheme than Basic")),
    };
    let decoded = Base64::decode_vec(credentials).map(Zeroizing::new);
    let decoded = decoded.map_err(|_| forbidden("malformed credentials"))?;
    if !decoded.contains(&b':') {
        return Err(forbidden("malformed credentials"));
    }
    Ok(decoded)
}

impl std::fmt::Debug for Basic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Basic(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(credentials: &[u8]) -> String {
        format!("Basic {}", Base64::encode_string(credentials))
    }

    #[test]
    fn the_right_credentials_pass_in_either_encoding() {
        let auth = Basic::new(&Secret::new("user:pä:ss".into()));
        for value in [
            basic("user:pä:ss".as_bytes()),
            basic(b"user:p\xe4:ss"),
            basic("user:pä:ss".as_bytes()).replace("Basic", "bAsIc"),
            basic("user:pä:ss".as_bytes()) + " ",
        ] {
            assert_eq!(auth.authenticate(Some(&value)), Ok("user".to_owned()), "{value}");
        }
    }

    #[test]
    fn missing_or_wrong_credentials_are_challenged() {
        let auth = Basic::new(&Secret::new("user:pass".into()));
        for value in ["user:pas", "user:passs", "User:pass", ":", "user:", "", "user:pass:"] {
            if !value.is_empty() {
                let refused = auth.authenticate(Some(&basic(value.as_bytes())));
                assert!(matches!(refused, Err(AuthError::Unauthorized(_))), "{value}");
            }
        }
        assert!(matches!(auth.authenticate(None), Err(AuthError::Unauthorized(_))));
        assert!(matches!(auth.authenticate(Some("")), Err(AuthError::Unauthorized(_))));
    }

    #[test]
    fn malformed_credentials_are_forbidden() {
        let auth = Basic::new(&Secret::new("user:pass".into()));
        for value in ["Bearer abc", "Basic", "Basic", "Basic !", "Basic dXNlcg==", "Basic dXNlcjpwYXNz="] {
            let refused = auth.authenticate(Some(value));
            assert!(matches!(refused, Err(AuthError::Forbidden(_))), "{value}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        assert!(!format!("{:?}", Basic::new(&Secret::new("user:pass".into()))).contains("pass"));
    }
}
