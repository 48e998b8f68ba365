//! The key of an instance. As in the original, its file contains a private key, a public key or a certificate
//! in PEM, or a shared secret in base64url. In addition, keys may be in DER, and secrets in base64 or another
//! alphabet.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeyPair as RsaKeyPair, OaepPrivateDecryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P256K1_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use data_encoding::{BASE64, BASE64URL};
use pkcs8::ObjectIdentifier;
use pkcs8::spki::SubjectPublicKeyInfoRef;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

use super::material::Material;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");

/// Minimum length of an HMAC secret in bytes. RFC 7518 section 3.2 demands the length of the hash, but tokens
/// may also be encrypted with the same key, which then has the length that the cipher requires. 128 bits
/// can't be guessed.
pub(super) const MIN_SECRET: usize = 16;

/// Maximum useful length of a secret in bytes: the block of SHA-512 (RFC 2104 section 3).
const MAX_SECRET: usize = 128;

/// A key that verifies tokens. Public keys are a `SubjectPublicKeyInfo` in DER (RFC 5280 section 4.1).
pub(crate) enum Key {
    /// A shared secret (`oct`).
    Octets(Zeroizing<Vec<u8>>),
    /// RSA with 2048 bits or more.
    Rsa {
        /// The key that verifies signatures.
        public: Vec<u8>,
        /// The key that decrypts tokens, if the file contains the private key.
        private: Option<OaepPrivateDecryptingKey>,
    },
    /// ECDSA.
    Ec {
        /// The curve.
        curve: Curve,
        /// The key that verifies signatures.
        public: Vec<u8>,
    },
    /// EdDSA on the curve Ed25519.
    Ed25519 {
        /// The key that verifies signatures.
        public: Vec<u8>,
    },
}

/// An elliptic curve of RFC 7518 section 6.2.1.1 or RFC 8812 section 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// The curve of Bitcoin.
    Secp256k1,
}

/// The reason why a file contains no usable key. The text repeats nothing of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file is neither PEM nor base64url.
    #[error("it is neither PEM nor a secret in base64url")]
    Form,
    /// An encrypted private key, for which the original would need a pass phrase.
    #[error("the private key is encrypted; there is no option for its pass phrase")]
    Encrypted,
    /// A JSON Web Key, or a set of them.
    #[error("it is JSON, such as a JSON Web Key: write the key in PEM, or a shared secret in base64url")]
    Json,
    /// A key of OpenSSH.
    #[error("it is a key of OpenSSH: write it in PEM, for example with `ssh-keygen -e -m PKCS8 -f FILE`")]
    Ssh,
    /// A point on an elliptic curve, without the name of the curve.
    #[error("it is a public key without its algorithm, a bare point on a curve: write it in PEM")]
    Point,
    /// DER, but not of a supported key.
    #[error(
        "it is DER, or contains a part of a key, but not a supported key: RSA (2048 bits or more), P-256, P-384, \
         P-521, secp256k1 or Ed25519"
    )]
    UnsupportedDer,
    /// PEM without a supported key. It is never taken for a shared secret.
    #[error(
        "it is PEM without a supported key: RSA (2048 bits or more), P-256, P-384, P-521, secp256k1 or Ed25519"
    )]
    Unsupported,
}

impl Key {
    /// Parses the content of a key file. White space around a secret is ignored.
    ///
    /// # Errors
    ///
    /// The reason why the file can't be used.
    pub(crate) fn read(file: &[u8]) -> Result<Self, KeyError> {
        match Material::find(file) {
            Some(Material::Pem(text)) => return pem(&text),
            Some(Material::Der(der)) => return self::der(&der).ok_or(KeyError::UnsupportedDer),
            Some(Material::Json) => return Err(KeyError::Json),
            Some(Material::Ssh) => return Err(KeyError::Ssh),
            Some(Material::Point) => return Err(KeyError::Point),
            None => {}
        }
        let text = Zeroizing::new(std::str::from_utf8(file).map_err(|_| KeyError::Form)?.trim().to_owned());
        let padded = Zeroizing::new(padded(&text));
        // Either alphabet is accepted, as in the original.
        let secret = BASE64URL.decode(padded.as_bytes()).or_else(|_| BASE64.decode(padded.as_bytes()));
        match secret {
            Ok(secret) if !secret.is_empty() => Ok(Self::Octets(Zeroizing::new(secret))),
            _ => Err(KeyError::Form),
        }
    }

    /// The length in bytes of a shared secret that is longer than useful. Such a secret may be the modulus of
    /// a public key, which is indistinguishable from a secret.
    pub(crate) fn odd_length(&self) -> Option<usize> {
        match self {
            Self::Octets(secret) => Some(secret.len()).filter(|length| *length > MAX_SECRET),
            _ => None,
        }
    }

    /// Description of the key for the log.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Octets(_) => "a shared secret",
            Self::Rsa { private: Some(_), .. } => "a private RSA key",
            Self::Rsa { private: None, .. } => "a public RSA key",
            Self::Ec { curve: Curve::P256, .. } => "on the curve P-256",
            Self::Ec { curve: Curve::P384, .. } => "on the curve P-384",
            Self::Ec { curve: Curve::P521, .. } => "on the curve P-521",
            Self::Ec { curve: Curve::Secp256k1, .. } => "on the curve secp256k1",
            Self::Ed25519 { .. } => "an Ed25519 key",
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.kind())
    }
}

fn padded(text: &str) -> String {
    let text = text.trim_end_matches('=');
    format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4))
}

/// Takes the best section of a PEM file: a private key if there is one, else a public key, else a
/// certificate.
fn pem(file: &[u8]) -> Result<Key, KeyError> {
    let sections: Vec<(SectionKind, Zeroizing<Vec<u8>>)> = <(SectionKind, Vec<u8>)>::pem_slice_iter(file)
        .filter_map(|section| section.ok().map(|(kind, der)| (kind, Zeroizing::new(der))))
        .collect();
    let of = |wanted: fn(SectionKind) -> bool| sections.iter().filter(move |(kind, _)| wanted(*kind));
    let is_private = |kind| {
        matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
    };
    if let Some((_, der)) = of(is_private).next() {
        return private(der).ok_or(KeyError::Unsupported);
    }
    let text = String::from_utf8_lossy(file);
    if text.contains("ENCRYPTED") {
        return Err(KeyError::Encrypted);
    }
    if let Some((_, der)) = of(|kind| kind == SectionKind::PublicKey).next() {
        return public(der, None).ok_or(KeyError::Unsupported);
    }
    if let Some((_, der)) = of(|kind| kind == SectionKind::Certificate).next() {
        return of_certificate(der).ok_or(KeyError::Unsupported);
    }
    Err(KeyError::Unsupported)
}

/// Parses a key or a certificate in DER, whose kind is unknown.
fn der(der: &[u8]) -> Option<Key> {
    private(der).or_else(|| public(der, None)).or_else(|| of_certificate(der))
}

fn of_certificate(der: &[u8]) -> Option<Key> {
    let certificate = CertificateDer::from(der);
    let certificate = rustls::server::ParsedCertificate::try_from(&certificate).ok()?;
    public(&certificate.subject_public_key_info(), None)
}

/// Parses a private key in PKCS #8 (RFC 5958), PKCS #1 (RFC 8017) or SEC 1 (RFC 5915).
fn private(der: &[u8]) -> Option<Key> {
    if let Ok(pair) = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)) {
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().ok()?;
        let decrypting = PrivateDecryptingKey::from_pkcs8(pkcs8.as_ref()).ok()?;
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
        return public(spki.as_ref(), OaepPrivateDecryptingKey::new(decrypting).ok());
    }
    let curves = [
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &ECDSA_P384_SHA384_FIXED_SIGNING,
        &ECDSA_P521_SHA512_FIXED_SIGNING,
        &ECDSA_P256K1_SHA256_FIXED_SIGNING,
    ];
    for curve in curves {
        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(curve, der) {
            let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
            return public(spki.as_ref(), None);
        }
    }
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
    let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
    public(spki.as_ref(), None)
}

fn public(spki: &[u8], private: Option<OaepPrivateDecryptingKey>) -> Option<Key> {
    let algorithm = SubjectPublicKeyInfoRef::try_from(spki).ok()?.algorithm;
    let public = spki.to_vec();
    match algorithm.oid {
        // Fails for keys of less than 2048 bits.
        RSA => PublicEncryptingKey::from_der(spki).ok().map(|_| Key::Rsa { public, private }),
        EC => {
            let curve = match algorithm.parameters_oid().ok()? {
                P256 => Curve::P256,
                P384 => Curve::P384,
                P521 => Curve::P521,
                SECP256K1 => Curve::Secp256k1,
                _ => return None,
            };
            Some(Key::Ec { curve, public })
        }
        ED25519 => Some(Key::Ed25519 { public }),
        _ => None,
    }
}
