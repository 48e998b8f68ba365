//! The private key.

use std::sync::Arc;

use common::ipc::setup::SignerSetup;
use common::ipc::signer::KeyDescription;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::pem::PemLabel;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::structure::{self, Verdict};

/// Schemes that are offered, best first (RFC 8446 section 4.2.3).
const SCHEMES: [SignatureScheme; 9] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// A key that can sign.
#[derive(Debug)]
pub(super) struct Key {
    key: Arc<dyn SigningKey>,
    description: KeyDescription,
    only_1_3: bool,
}

/// What becomes of a question.
pub(super) enum Answer {
    Signature(Vec<u8>),
    /// It is not signed, and nobody may be to blame.
    Refused,
    /// No gateway in order asks for it.
    Violation,
}

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// No key in the file.
    #[error("there is no private key: a PEM block \"BEGIN PRIVATE KEY\" is needed")]
    Missing,
    /// A form that only old programs write.
    #[error(
        "the private key is encrypted in an outdated form; convert it with \
         \"openssl pkcs8 -topk8 -in OLD.key -out NEW.key\""
    )]
    LegacyEncryption,
    /// Encrypted, and no pass phrase.
    #[error("the private key is encrypted: give its pass phrase (--key-password, key-password-file)")]
    NoPassword,
    /// Encrypted, and another pass phrase.
    #[error("the private key can't be decrypted: the pass phrase is wrong, or its cipher is unknown")]
    WrongPassword,
    /// Some other kind of key.
    #[error("the private key is of no kind that can be used: RSA (2048 bits or more), ECDSA or Ed25519")]
    Unsupported,
    /// The key of another certificate.
    #[error("the private key does not belong to the certificate")]
    OtherCertificate,
}

impl Key {
    /// Loads the key and makes sure that it belongs to its certificate.
    pub(super) fn load(setup: &SignerSetup) -> Result<Self, KeyError> {
        let der = private_key(setup)?;
        let key = any_supported_type(&der).map_err(|_| KeyError::Unsupported)?;
        let chain = vec![CertificateDer::from(setup.certificate.clone())];
        CertifiedKey::new(chain, key.clone()).keys_match().map_err(|_| KeyError::OtherCertificate)?;
        let public_key = key.public_key().ok_or(KeyError::Unsupported)?.to_vec();
        let schemes = SCHEMES.into_iter().filter(|scheme| key.choose_scheme(&[*scheme]).is_some());
        let description = KeyDescription { public_key, schemes: schemes.map(u16::from).collect() };
        Ok(Self { key, description, only_1_3: setup.only_1_3 })
    }

    /// What everybody may know about it.
    pub(super) fn description(&self) -> KeyDescription {
        self.description.clone()
    }

    /// Signs `message`, if it is a structure of a TLS handshake and the scheme is one of the key's.
    pub(super) fn sign(&self, scheme: u16, message: &[u8]) -> Answer {
        match structure::judge(message, self.only_1_3) {
            Verdict::Handshake => {}
            Verdict::Ambiguous => return Answer::Refused,
            Verdict::Foreign => return Answer::Violation,
        }
        let Some(signer) = self.key.choose_scheme(&[scheme.into()]) else { return Answer::Violation };
        signer.sign(message).map_or(Answer::Refused, Answer::Signature)
    }
}

fn private_key(setup: &SignerSetup) -> Result<PrivateKeyDer<'static>, KeyError> {
    let encrypted = EncryptedPrivateKeyInfoRef::PEM_LABEL;
    let text = String::from_utf8_lossy(&setup.key_pem);
    if let Some(block) = pem_block(&text, encrypted) {
        let password = setup.password.as_ref().ok_or(KeyError::NoPassword)?;
        let (_, der) = pkcs8::SecretDocument::from_pem(block).map_err(|_| KeyError::Missing)?;
        let info = EncryptedPrivateKeyInfoRef::try_from(der.as_bytes()).map_err(|_| KeyError::Missing)?;
        let plain = info.decrypt(password).map_err(|_| KeyError::WrongPassword)?;
        return Ok(PrivatePkcs8KeyDer::from(plain.as_bytes().to_vec()).into());
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(KeyError::LegacyEncryption);
    }
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&setup.key_pem) {
        let Ok((kind, der)) = section else { continue };
        if let Some(key) = PrivateKeyDer::from_pem(kind, der) {
            return Ok(key);
        }
    }
    Err(KeyError::Missing)
}

/// The block of a PEM file with this label, from its first to its last line.
fn pem_block<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let start = text.find(&begin)?;
    let len = text.get(start..)?.find(&end)? + end.len();
    text.get(start..start + len)
}
