//! The ciphers of encrypted private keys: RC4, and others in CBC mode. All but AES are broken or weak, but
//! old keys are still in use.

use cbc::Decryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, BlockSizeUser, InnerIvInit, KeyInit, StreamCipher};
use zeroize::Zeroizing;

/// A cipher and its key length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cipher {
    Aes128,
    Aes192,
    Aes256,
    Des,
    /// With two keys.
    TripleDes2,
    /// With three keys.
    TripleDes,
    /// With this effective key length in bits.
    Rc2(u16),
    /// With this key length in bits.
    Rc4(u16),
}

impl Cipher {
    /// Finds a cipher by its name in `DEK-Info`.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "AES-128-CBC" => Self::Aes128,
            "AES-192-CBC" => Self::Aes192,
            "AES-256-CBC" => Self::Aes256,
            "DES-CBC" => Self::Des,
            "DES-EDE-CBC" => Self::TripleDes2,
            "DES-EDE3-CBC" => Self::TripleDes,
            "RC2-CBC" => Self::Rc2(128),
            "RC2-64-CBC" => Self::Rc2(64),
            "RC2-40-CBC" => Self::Rc2(40),
            _ => return None,
        })
    }

    /// Length of the key in bytes.
    pub(super) fn key_len(self) -> usize {
        match self {
            Self::Des => 8,
            Self::Aes128 | Self::TripleDes2 => 16,
            Self::Aes192 | Self::TripleDes => 24,
            Self::Aes256 => 32,
            Self::Rc2(bits) | Self::Rc4(bits) => usize::from(bits / 8),
        }
    }

    /// Length of the initialisation vector in bytes.
    pub(super) fn iv_len(self) -> usize {
        match self {
            Self::Aes128 | Self::Aes192 | Self::Aes256 => 16,
            Self::Des | Self::TripleDes2 | Self::TripleDes | Self::Rc2(_) => 8,
            Self::Rc4(_) => 0,
        }
    }

    /// Decrypts and removes the padding. `None` if the padding is invalid, which indicates a wrong pass
    /// phrase.
    pub(super) fn decrypt(self, key: &[u8], iv: &[u8], data: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Aes128 => cbc(aes::Aes128Dec::new_from_slice(key).ok()?, iv, data),
            Self::Aes192 => cbc(aes::Aes192Dec::new_from_slice(key).ok()?, iv, data),
            Self::Aes256 => cbc(aes::Aes256Dec::new_from_slice(key).ok()?, iv, data),
            Self::Des => cbc(des::Des::new_from_slice(key).ok()?, iv, data),
            Self::TripleDes2 => cbc(des::TdesEde2::new_from_slice(key).ok()?, iv, data),
            Self::TripleDes => cbc(des::TdesEde3::new_from_slice(key).ok()?, iv, data),
            // The effective key length is that of the key.
            Self::Rc2(bits) => cbc(rc2::Rc2::new_with_eff_key_len(key, bits.into()), iv, data),
            Self::Rc4(_) => {
                let mut plain = Zeroizing::new(data.to_vec());
                rc4::Rc4::new_from_slice(key).ok()?.apply_keystream(&mut plain);
                Some(plain)
            }
        }
    }
}

fn cbc<C: BlockCipherDecrypt + BlockSizeUser>(
    cipher: C,
    iv: &[u8],
    data: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut plain = Zeroizing::new(data.to_vec());
    let len =
        Decryptor::inner_iv_slice_init(cipher, iv).ok()?.decrypt_padded::<Pkcs7>(&mut plain).ok()?.len();
    plain.truncate(len);
    Some(plain)
}
