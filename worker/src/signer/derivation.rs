//! Derivation of keys from pass phrases.

use md5::Md5;
use pbkdf2::pbkdf2_hmac;
use sha1::Sha1;
use sha1::digest::Digest;
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use zeroize::Zeroizing;

/// Maximum effort for a pass phrase: iterations, which take seconds, and memory in bytes.
pub(super) const MAX_ITERATIONS: u32 = 10_000_000;
pub(super) const MAX_MEMORY: usize = 256 << 20;

/// Block and output length of SHA-1 in bytes.
const SHA1_BLOCK: usize = 64;
const SHA1_LEN: usize = 20;

/// The hash function of PBKDF2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prf {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512T224,
    Sha512T256,
}

/// A key derivation with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Derivation<'a> {
    /// RFC 8018 section 5.2.
    Pbkdf2 { prf: Prf, salt: &'a [u8], iterations: u32 },
    /// RFC 7914.
    Scrypt { salt: &'a [u8], log_n: u8, r: u32, p: u32 },
    /// RFC 8018 section 5.1, for key and initialisation vector together.
    Pbkdf1 { md5: bool, salt: &'a [u8], iterations: u32 },
    /// RFC 7292 appendix B.2 with SHA-1. `id` is 1 for a key and 2 for an initialisation vector.
    Pkcs12 { id: u8, salt: &'a [u8], iterations: u32 },
    /// OpenSSL's `EVP_BytesToKey` with one iteration of MD5.
    Traditional { salt: &'a [u8] },
}

impl Derivation<'_> {
    /// Derives `len` bytes. `None` if the parameters are invalid or memory is short.
    pub(super) fn derive(self, password: &[u8], len: usize) -> Option<Zeroizing<Vec<u8>>> {
        let mut key = Zeroizing::new(vec![0; len]);
        match self {
            Self::Pbkdf2 { prf, salt, iterations } => {
                let derive = match prf {
                    Prf::Md5 => pbkdf2_hmac::<Md5>,
                    Prf::Sha1 => pbkdf2_hmac::<Sha1>,
                    Prf::Sha224 => pbkdf2_hmac::<Sha224>,
                    Prf::Sha256 => pbkdf2_hmac::<Sha256>,
                    Prf::Sha384 => pbkdf2_hmac::<Sha384>,
                    Prf::Sha512 => pbkdf2_hmac::<Sha512>,
                    Prf::Sha512T224 => pbkdf2_hmac::<Sha512_224>,
                    Prf::Sha512T256 => pbkdf2_hmac::<Sha512_256>,
                };
                derive(password, salt, iterations, &mut key);
            }
            Self::Scrypt { salt, log_n, r, p } => {
                let params = scrypt::Params::new(log_n, r, p).ok()?;
                scrypt::scrypt(password, salt, &params, &mut key).ok()?;
            }
            Self::Pbkdf1 { md5: true, salt, iterations } => {
                pbkdf1::<Md5>(password, salt, iterations, &mut key)?
            }
            Self::Pbkdf1 { md5: false, salt, iterations } => {
                pbkdf1::<Sha1>(password, salt, iterations, &mut key)?;
            }
            Self::Pkcs12 { id, salt, iterations } => pkcs12(id, password, salt, iterations, &mut key)?,
            Self::Traditional { salt } => traditional(password, salt, &mut key),
        }
        Some(key)
    }

    /// Required memory in bytes; `None` if it exceeds the address space.
    pub(super) fn memory(self) -> Option<usize> {
        match self {
            Self::Scrypt { log_n, r, p, .. } => {
                let blocks = 1usize.checked_shl(log_n.into())?.checked_add(usize::try_from(p).ok()?)?;
                blocks.checked_mul(usize::try_from(r).ok()?)?.checked_mul(128)
            }
            _ => Some(0),
        }
    }
}

fn pbkdf1<D: Digest>(password: &[u8], salt: &[u8], iterations: u32, key: &mut [u8]) -> Option<()> {
    let mut hash = D::new().chain_update(password).chain_update(salt).finalize();
    for _ in 1..iterations {
        hash = D::digest(&hash);
    }
    key.copy_from_slice(hash.get(..key.len())?);
    Some(())
}

fn traditional(password: &[u8], salt: &[u8], key: &mut [u8]) {
    let mut before = Zeroizing::new(Vec::new());
    for part in key.chunks_mut(16) {
        let hash = Md5::new().chain_update(&*before).chain_update(password).chain_update(salt).finalize();
        for (byte, derived) in part.iter_mut().zip(hash.iter()) {
            *byte = *derived;
        }
        *before = hash.to_vec();
    }
}

/// The pass phrase is used in UTF-16 with a terminating zero.
fn pkcs12(id: u8, password: &[u8], salt: &[u8], iterations: u32, key: &mut [u8]) -> Option<()> {
    let password = std::str::from_utf8(password).ok()?;
    let password: Zeroizing<Vec<u8>> =
        Zeroizing::new(password.encode_utf16().chain([0]).flat_map(u16::to_be_bytes).collect());
    let blocks = |bytes: &[u8]| -> Vec<u8> {
        bytes.iter().copied().cycle().take(bytes.len().div_ceil(SHA1_BLOCK) * SHA1_BLOCK).collect()
    };
    let mut input = Zeroizing::new([blocks(salt), blocks(&password)].concat());
    for part in key.chunks_mut(SHA1_LEN) {
        let mut hash = Sha1::new().chain_update([id; SHA1_BLOCK]).chain_update(&*input).finalize();
        for _ in 1..iterations {
            hash = Sha1::digest(hash);
        }
        for (byte, derived) in part.iter_mut().zip(hash.iter()) {
            *byte = *derived;
        }
        // The hash, repeated to a full block, and 1 are added to each block of the input as big-endian
        // numbers.
        let added: Zeroizing<Vec<u8>> =
            Zeroizing::new(hash.iter().copied().cycle().take(SHA1_BLOCK).collect());
        for block in input.chunks_mut(SHA1_BLOCK) {
            let mut carry = 1;
            for (byte, added) in block.iter_mut().zip(added.iter()).rev() {
                carry += u16::from(*byte) + u16::from(*added);
                [_, *byte] = carry.to_be_bytes();
                carry >>= 8;
            }
        }
    }
    Some(())
}
