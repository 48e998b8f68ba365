//! Encrypted private keys in every form that `openssl` writes or has written: PKCS #8 with PBES2 and PBES1
//! (RFC 8018) or with the schemes of PKCS #12 (RFC 7292 appendix C), and PEM headers (RFC 1421).
//!
//! The primitives are RustCrypto's. Their crate `pkcs5` supports neither PBES1 nor PEM headers, and not all
//! hashes and ciphers.

use common::pem::Block;
use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, SliceReader, Tag, Tagged};
use pkcs8::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::cipher::Cipher;
use super::derivation::{Derivation, MAX_ITERATIONS, MAX_MEMORY, Prf};

/// The reason why a key can't be decrypted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DecryptionError {
    /// The structure is invalid.
    Damaged,
    /// The cipher or the key derivation is not supported.
    Unknown(String),
    /// The key derivation needs this much memory, in bytes.
    Memory(usize),
    /// The pass phrase is wrong.
    WrongPassword,
}

impl From<der::Error> for DecryptionError {
    fn from(_: der::Error) -> Self {
        Self::Damaged
    }
}

/// A cipher with its key derivation and initialisation vector.
struct Scheme<'a> {
    cipher: Cipher,
    key: Derivation<'a>,
    iv: Iv<'a>,
}

enum Iv<'a> {
    Explicit(&'a [u8]),
    /// Derived separately from the key.
    Derived(Derivation<'a>),
    /// The bytes that the derivation returns after the key.
    AfterKey,
}

/// Decrypts an `EncryptedPrivateKeyInfo` to a `PrivateKeyInfo`.
pub(super) fn pkcs8(der: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptionError> {
    let (algorithm, data) = parts(der)?;
    scheme(algorithm)?.decrypt(data, password)
}

/// Whether decrypting an `EncryptedPrivateKeyInfo` needs much memory.
pub(super) fn needs_memory(der: &[u8]) -> bool {
    let scheme = parts(der).and_then(|(algorithm, _)| scheme(algorithm));
    scheme.is_ok_and(|scheme| scheme.key.memory() != Some(0))
}

/// Whether this much memory is available. A failed allocation later would end the process.
fn has_memory(needed: usize) -> bool {
    needed <= MAX_MEMORY && Vec::<u8>::new().try_reserve_exact(needed).is_ok()
}

/// Splits the structure into algorithm and data.
fn parts(der: &[u8]) -> Result<(AlgorithmIdentifierRef<'_>, &[u8]), DecryptionError> {
    let parts = AnyRef::from_der(der)?
        .sequence(|reader| Ok::<_, der::Error>((AlgorithmIdentifierRef::decode(reader)?, octets(reader)?)))?;
    Ok(parts)
}

/// Decrypts a PEM block with the header `DEK-Info`.
pub(super) fn traditional(block: &Block<'_>, password: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptionError> {
    let (name, iv) =
        block.header("DEK-Info").and_then(|info| info.split_once(',')).ok_or(DecryptionError::Damaged)?;
    let cipher = Cipher::by_name(name).ok_or_else(|| DecryptionError::Unknown(name.into()))?;
    let iv = data_encoding::HEXUPPER_PERMISSIVE
        .decode(iv.trim().as_bytes())
        .map_err(|_| DecryptionError::Damaged)?;
    let salt = iv.get(..8).ok_or(DecryptionError::Damaged)?;
    let data = block.der().ok_or(DecryptionError::Damaged)?;
    let scheme = Scheme { cipher, key: Derivation::Traditional { salt }, iv: Iv::Explicit(&iv) };
    scheme.decrypt(&data, password)
}

impl Scheme<'_> {
    fn decrypt(self, data: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptionError> {
        let needed = self.key.memory().ok_or(DecryptionError::Damaged)?;
        if !has_memory(needed) {
            return Err(DecryptionError::Memory(needed));
        }
        let (key_len, iv_len) = (self.cipher.key_len(), self.cipher.iv_len());
        let derived = |derivation: Derivation<'_>, len| {
            derivation.derive(password, len).ok_or(DecryptionError::Damaged)
        };
        let plain = match self.iv {
            Iv::Explicit(iv) if iv.len() != iv_len => return Err(DecryptionError::Damaged),
            Iv::Explicit(iv) => self.cipher.decrypt(&derived(self.key, key_len)?, iv, data),
            Iv::Derived(of_iv) => {
                self.cipher.decrypt(&derived(self.key, key_len)?, &derived(of_iv, iv_len)?, data)
            }
            Iv::AfterKey => {
                let both = derived(self.key, key_len + iv_len)?;
                let (key, iv) = both.split_at(key_len);
                self.cipher.decrypt(key, iv, data)
            }
        };
        // A wrong pass phrase may leave valid padding by chance, but hardly a valid structure.
        plain
            .filter(|plain| AnyRef::from_der(plain).is_ok_and(|any| any.tag() == Tag::Sequence))
            .ok_or(DecryptionError::WrongPassword)
    }
}

fn scheme(algorithm: AlgorithmIdentifierRef<'_>) -> Result<Scheme<'_>, DecryptionError> {
    let parameters = algorithm.parameters.ok_or(DecryptionError::Damaged)?;
    let oid = algorithm.oid.to_string();
    if oid == "1.2.840.113549.1.5.13" {
        return pbes2(parameters);
    }
    let (salt, iterations) =
        parameters.sequence(|reader| Ok::<_, der::Error>((octets(reader)?, iterations(reader)?)))?;
    let pbes1 =
        |cipher, md5| Scheme { cipher, key: Derivation::Pbkdf1 { md5, salt, iterations }, iv: Iv::AfterKey };
    let pkcs12 = |cipher| Scheme {
        cipher,
        key: Derivation::Pkcs12 { id: 1, salt, iterations },
        iv: Iv::Derived(Derivation::Pkcs12 { id: 2, salt, iterations }),
    };
    Ok(match oid.as_str() {
        "1.2.840.113549.1.5.3" => pbes1(Cipher::Des, true),
        "1.2.840.113549.1.5.6" => pbes1(Cipher::Rc2(64), true),
        "1.2.840.113549.1.5.10" => pbes1(Cipher::Des, false),
        "1.2.840.113549.1.5.11" => pbes1(Cipher::Rc2(64), false),
        "1.2.840.113549.1.12.1.1" => pkcs12(Cipher::Rc4(128)),
        "1.2.840.113549.1.12.1.2" => pkcs12(Cipher::Rc4(40)),
        "1.2.840.113549.1.12.1.3" => pkcs12(Cipher::TripleDes),
        "1.2.840.113549.1.12.1.4" => pkcs12(Cipher::TripleDes2),
        "1.2.840.113549.1.12.1.5" => pkcs12(Cipher::Rc2(128)),
        "1.2.840.113549.1.12.1.6" => pkcs12(Cipher::Rc2(40)),
        _ => return Err(unknown(algorithm.oid)),
    })
}

fn pbes2(parameters: AnyRef<'_>) -> Result<Scheme<'_>, DecryptionError> {
    let (derivation, encryption) = parameters.sequence(|reader| {
        Ok::<_, der::Error>((
            AlgorithmIdentifierRef::decode(reader)?,
            AlgorithmIdentifierRef::decode(reader)?,
        ))
    })?;
    let (key, key_len) = key_derivation(derivation)?;
    let parameters = encryption.parameters.ok_or(DecryptionError::Damaged)?;
    let cipher = match encryption.oid.to_string().as_str() {
        "2.16.840.1.101.3.4.1.2" => Cipher::Aes128,
        "2.16.840.1.101.3.4.1.22" => Cipher::Aes192,
        "2.16.840.1.101.3.4.1.42" => Cipher::Aes256,
        "1.3.14.3.2.7" => Cipher::Des,
        "1.2.840.113549.3.7" => Cipher::TripleDes,
        "1.2.840.113549.3.2" => {
            let (version, iv) =
                parameters.sequence(|reader| Ok::<_, der::Error>((u32::decode(reader)?, octets(reader)?)))?;
            let bits = match version {
                160 => 40,
                120 => 64,
                58 => 128,
                _ => return Err(DecryptionError::Unknown(format!("RC2 of version {version}"))),
            };
            return Ok(Scheme { cipher: Cipher::Rc2(bits), key, iv: Iv::Explicit(iv) });
        }
        _ => return Err(unknown(encryption.oid)),
    };
    if key_len.is_some_and(|len| usize::from(len) != cipher.key_len()) || parameters.tag() != Tag::OctetString
    {
        return Err(DecryptionError::Damaged);
    }
    Ok(Scheme { cipher, key, iv: Iv::Explicit(parameters.value()) })
}

/// Parses a key derivation. The key length is optional.
fn key_derivation(
    algorithm: AlgorithmIdentifierRef<'_>,
) -> Result<(Derivation<'_>, Option<u16>), DecryptionError> {
    let parameters = algorithm.parameters.ok_or(DecryptionError::Damaged)?;
    match algorithm.oid.to_string().as_str() {
        "1.2.840.113549.1.5.12" => {
            let (salt, iterations, len, hash) = parameters.sequence(|reader| {
                let (salt, iterations) = (octets(reader)?, iterations(reader)?);
                let len = Option::<u16>::decode(reader)?;
                Ok::<_, der::Error>((
                    salt,
                    iterations,
                    len,
                    Option::<AlgorithmIdentifierRef<'_>>::decode(reader)?,
                ))
            })?;
            let hash = hash.map(|hash| hash.oid);
            let prf = match hash.map(|oid| oid.to_string()).as_deref() {
                None | Some("1.2.840.113549.2.7") => Prf::Sha1,
                Some("1.2.840.113549.2.6" | "1.3.6.1.5.5.8.1.1") => Prf::Md5,
                Some("1.2.840.113549.2.8") => Prf::Sha224,
                Some("1.2.840.113549.2.9") => Prf::Sha256,
                Some("1.2.840.113549.2.10") => Prf::Sha384,
                Some("1.2.840.113549.2.11") => Prf::Sha512,
                Some("1.2.840.113549.2.12") => Prf::Sha512T224,
                Some("1.2.840.113549.2.13") => Prf::Sha512T256,
                Some(other) => return Err(DecryptionError::Unknown(format!("the algorithm {other}"))),
            };
            Ok((Derivation::Pbkdf2 { prf, salt, iterations }, len))
        }
        "1.3.6.1.4.1.11591.4.11" => {
            let (salt, n, r, p, len) = parameters.sequence(|reader| {
                let salt = octets(reader)?;
                let (n, r, p) = (u64::decode(reader)?, u32::decode(reader)?, u32::decode(reader)?);
                Ok::<_, der::Error>((salt, n, r, p, Option::<u16>::decode(reader)?))
            })?;
            if !n.is_power_of_two() {
                return Err(DecryptionError::Damaged);
            }
            let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| DecryptionError::Damaged)?;
            Ok((Derivation::Scrypt { salt, log_n, r, p }, len))
        }
        _ => Err(unknown(algorithm.oid)),
    }
}

fn unknown(oid: ObjectIdentifier) -> DecryptionError {
    DecryptionError::Unknown(format!("the algorithm {oid}"))
}

fn octets<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let any = AnyRef::decode(reader)?;
    any.tag().assert_eq(Tag::OctetString)?;
    Ok(any.value())
}

fn iterations(reader: &mut SliceReader<'_>) -> der::Result<u32> {
    let number = u32::decode(reader)?;
    if (1..=MAX_ITERATIONS).contains(&number) { Ok(number) } else { Err(Tag::Integer.value_error().into()) }
}
