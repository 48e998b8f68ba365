//! Key management (RFC 7518 section 4): the content key is encrypted with RSA, wrapped with AES, or the
//! shared key itself.

use aws_lc_rs::cipher::{AES_128, AES_192, AES_256};
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey};
use zeroize::Zeroizing;

use super::error::JoseError;
use super::key::Key;
use super::key_wrap;

/// Returns the content key of a token.
pub(super) fn content_key(
    alg: &str,
    key: &Key,
    encrypted_key: &[u8],
) -> Result<Zeroizing<Vec<u8>>, JoseError> {
    let unfit = || JoseError::algorithm(alg, key.kind());
    let failed = JoseError::Decryption;
    match key {
        Key::Octets(secret) => {
            let cipher = match alg {
                // The encrypted key must be empty (RFC 7518 section 4.5).
                "dir" if encrypted_key.is_empty() => return Ok(secret.clone()),
                "dir" => return Err(failed),
                "A128KW" => &AES_128,
                "A192KW" => &AES_192,
                "A256KW" => &AES_256,
                _ => return Err(unfit()),
            };
            key_wrap::unwrap(cipher, secret, encrypted_key).ok_or(failed)
        }
        Key::Rsa { private: Some(private), .. } => {
            let algorithm = match alg {
                "RSA-OAEP" => &OAEP_SHA1_MGF1SHA1,
                "RSA-OAEP-256" => &OAEP_SHA256_MGF1SHA256,
                _ => return Err(unfit()),
            };
            decrypted(algorithm, private, encrypted_key).ok_or(failed)
        }
        Key::Rsa { private: None, .. } | Key::Ec { .. } | Key::Ed25519 { .. } => Err(unfit()),
    }
}

fn decrypted(
    algorithm: &'static OaepAlgorithm,
    key: &OaepPrivateDecryptingKey,
    encrypted: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut plain = Zeroizing::new(vec![0; key.min_output_size()]);
    let len = key.decrypt(algorithm, encrypted, &mut plain, None).ok()?.len();
    plain.truncate(len);
    Some(plain)
}
