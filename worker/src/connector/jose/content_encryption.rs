//! Authenticated encryption of the content (RFC 7518 section 5).

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hmac, iv::FixedLength};

use super::error::JoseError;

/// An algorithm for the content of encrypted tokens (RFC 7518 section 5).
#[derive(Clone, Copy, Debug)]
pub(super) enum ContentEncryption {
    /// AES in Galois/Counter Mode (section 5.3).
    Gcm(&'static aead::Algorithm),
    /// AES in CBC mode with a truncated HMAC (section 5.2).
    CbcHmac(&'static cipher::Algorithm, hmac::Algorithm),
}

impl ContentEncryption {
    /// Returns the algorithm that the header parameter `enc` names.
    pub(super) fn named(enc: &str) -> Option<Self> {
        Some(match enc {
            "A128GCM" => Self::Gcm(&aead::AES_128_GCM),
            "A192GCM" => Self::Gcm(&aead::AES_192_GCM),
            "A256GCM" => Self::Gcm(&aead::AES_256_GCM),
            "A128CBC-HS256" => Self::CbcHmac(&cipher::AES_128, hmac::HMAC_SHA256),
            "A192CBC-HS384" => Self::CbcHmac(&cipher::AES_192, hmac::HMAC_SHA384),
            "A256CBC-HS512" => Self::CbcHmac(&cipher::AES_256, hmac::HMAC_SHA512),
            _ => return None,
        })
    }

    /// Decrypts the content. Fails unless it was encrypted with `key`, and it and `additional_data` are
    /// unmodified.
    pub(super) fn decrypt(
        self,
        key: &[u8],
        iv: &[u8],
        additional_data: &[u8],
        ciphertext: &[u8],
        tag: &[u8],
    ) -> Result<Vec<u8>, JoseError> {
        let content = match self {
            Self::Gcm(algorithm) => gcm(algorithm, key, iv, additional_data, ciphertext, tag),
            Self::CbcHmac(cipher, hash) => cbc_hmac(cipher, hash, key, iv, additional_data, ciphertext, tag),
        };
        content.ok_or(JoseError::Decryption)
    }
}

fn gcm(
    algorithm: &'static aead::Algorithm,
    key: &[u8],
    iv: &[u8],
    additional_data: &[u8],
    ciphertext: &[u8],
    tag: &[u8],
) -> Option<Vec<u8>> {
    if tag.len() != algorithm.tag_len() {
        return None;
    }
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
    let nonce = Nonce::try_assume_unique_for_key(iv).ok()?;
    let mut content = [ciphertext, tag].concat();
    let len = key.open_in_place(nonce, Aad::from(additional_data), &mut content).ok()?.len();
    content.truncate(len);
    Some(content)
}

fn cbc_hmac(
    cipher: &'static cipher::Algorithm,
    hash: hmac::Algorithm,
    key: &[u8],
    iv: &[u8],
    additional_data: &[u8],
    ciphertext: &[u8],
    tag: &[u8],
) -> Option<Vec<u8>> {
    let half = hash.digest_algorithm().output_len() / 2;
    if key.len() != 2 * half {
        return None;
    }
    let (mac_key, encryption_key) = key.split_at_checked(half)?;
    let mut mac = hmac::Context::with_key(&hmac::Key::new(hash, mac_key));
    let additional_bits = u64::try_from(additional_data.len()).ok()?.checked_mul(8)?;
    for part in [additional_data, iv, ciphertext, &additional_bits.to_be_bytes()] {
        mac.update(part);
    }
    let expected = mac.sign();
    verify_slices_are_equal(&expected.as_ref()[..half], tag).ok()?;
    let key =
        PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(cipher, encryption_key).ok()?).ok()?;
    let iv = DecryptionContext::Iv128(FixedLength::try_from(iv).ok()?);
    let mut content = ciphertext.to_vec();
    let len = key.decrypt(&mut content, iv).ok()?.len();
    content.truncate(len);
    Some(content)
}
