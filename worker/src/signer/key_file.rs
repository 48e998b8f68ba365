//! Reads the private key of a PEM file, and decrypts it.

use common::pem::{self, Block};
use rustls_pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use super::encryption::{self, DecryptionError};

/// The reason why a file contains no usable key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyFileError {
    /// The file contains no private key.
    #[error("there is no private key: a PEM block \"BEGIN PRIVATE KEY\" is needed")]
    Missing,
    /// The content is not a key of the declared kind.
    #[error("the private key is damaged: its PEM block can't be read")]
    Damaged,
    /// A format of another program.
    #[error(
        "the private key is of the form \"{0}\", which is not supported; convert it with \
         \"openssl pkcs8 -topk8 -nocrypt -in OLD.key -out NEW.key\", or create another"
    )]
    OtherForm(String),
    /// The key is encrypted, and no pass phrase is configured.
    #[error("the private key is encrypted: give its pass phrase (--key-password, key-password-file)")]
    NoPassword,
    /// The key is encrypted with another pass phrase.
    #[error("the private key can't be decrypted: the pass phrase is wrong")]
    WrongPassword,
    /// The encryption is not supported.
    #[error(
        "the private key is encrypted by {0}, which is not supported; convert it with \
         \"openssl pkcs8 -topk8 -in OLD.key -out NEW.key\""
    )]
    UnknownEncryption(String),
    /// Decryption needs too much memory, in KiB.
    #[error(
        "decrypting the private key takes {0} KiB of memory, which is too much; convert it with \
         \"openssl pkcs8 -topk8 -in OLD.key -out NEW.key\""
    )]
    Memory(usize),
}

impl From<DecryptionError> for KeyFileError {
    fn from(error: DecryptionError) -> Self {
        match error {
            DecryptionError::Damaged => Self::Damaged,
            DecryptionError::Unknown(what) => Self::UnknownEncryption(what),
            DecryptionError::Memory(bytes) => Self::Memory(bytes >> 10),
            DecryptionError::WrongPassword => Self::WrongPassword,
        }
    }
}

/// Whether decrypting the key needs much memory.
pub(super) fn needs_memory(file: &[u8]) -> bool {
    let blocks = pem::blocks(file);
    let encrypted = blocks.iter().find(|block| block.label == b"ENCRYPTED PRIVATE KEY");
    encrypted.and_then(Block::der).is_some_and(|der| encryption::needs_memory(&der))
}

/// Reads the first private key of a file.
///
/// # Errors
///
/// Fails if there is none, or if it can't be decrypted with this pass phrase.
pub(super) fn read(file: &[u8], password: Option<&str>) -> Result<PrivateKeyDer<'static>, KeyFileError> {
    let blocks = pem::blocks(file);
    let block =
        blocks.iter().find(|block| block.label.ends_with(b"PRIVATE KEY")).ok_or(KeyFileError::Missing)?;
    let password = || password.map(str::as_bytes).ok_or(KeyFileError::NoPassword);
    match block.label {
        b"PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs8(content(block)?.to_vec().into())),
        b"ENCRYPTED PRIVATE KEY" => {
            let plain = encryption::pkcs8(&content(block)?, password()?)?;
            Ok(PrivateKeyDer::Pkcs8(plain.to_vec().into()))
        }
        b"RSA PRIVATE KEY" | b"EC PRIVATE KEY" => {
            let plain = match block.header("Proc-Type") {
                Some(kind) if kind.ends_with("ENCRYPTED") => encryption::traditional(block, password()?)?,
                _ => content(block)?,
            };
            Ok(match block.label {
                b"RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(plain.to_vec().into()),
                _ => PrivateKeyDer::Sec1(plain.to_vec().into()),
            })
        }
        other => Err(KeyFileError::OtherForm(String::from_utf8_lossy(other).into_owned())),
    }
}

fn content(block: &Block<'_>) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    block.der().ok_or(KeyFileError::Damaged)
}

/// Whether a file contains a private key that can be read with this pass phrase.
#[must_use]
pub fn is_readable(file: &[u8], password: &str) -> bool {
    read(file, Some(password)).is_ok()
}

#[cfg(test)]
mod tests;
