//! Decryption of JWE tokens (RFC 7516 section 5.2).

use super::compact::Jwe;
use super::content_encryption::ContentEncryption;
use super::error::JoseError;
use super::key::Key;
use super::key_management;

/// Returns the decrypted content of a token.
pub(super) fn decrypt(token: &Jwe<'_>, key: &Key) -> Result<Vec<u8>, JoseError> {
    let enc = token.header.enc.as_deref().ok_or(JoseError::Header)?;
    let encryption = ContentEncryption::named(enc).ok_or_else(|| JoseError::algorithm(enc, key.kind()))?;
    let content_key = key_management::content_key(&token.header.alg, key, &token.encrypted_key)?;
    encryption.decrypt(
        &content_key,
        &token.iv,
        token.additional_data.as_bytes(),
        &token.ciphertext,
        &token.tag,
    )
}
