//! The private key and its signatures.

use std::sync::Arc;

use common::certificate;
use common::ipc::signer::KeyDescription;
use der::asn1::{AnyRef, ContextSpecific, ObjectIdentifier};
use der::{SliceReader, TagNumber};
use pkcs8::PrivateKeyInfoRef;
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;

use super::key_file::KeyFileError;
use super::structure::{self, Verdict};

/// Supported schemes (RFC 8446 section 4.2.3), in order of preference.
const SCHEMES: [SignatureScheme; 10] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// Schemes of keys for RSA-PSS only (`rsa_pss_pss_sha256` and so on): the TLS number, the hash, and the
/// equivalent scheme for general RSA keys.
const PSS_SCHEMES: [(u16, ObjectIdentifier, SignatureScheme); 3] = [
    (0x0809, ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"), SignatureScheme::RSA_PSS_SHA256),
    (0x080a, ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"), SignatureScheme::RSA_PSS_SHA384),
    (0x080b, ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"), SignatureScheme::RSA_PSS_SHA512),
];

/// Key types (RFC 8017 appendix C, RFC 5480 section 2.1.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// A private key.
#[derive(Debug)]
pub(super) struct Key {
    key: Arc<dyn SigningKey>,
    public_key: Vec<u8>,
    /// TLS numbers of the schemes, with the schemes that sign for them.
    schemes: Vec<(u16, SignatureScheme)>,
    only_1_3: bool,
}

/// Result of a request to sign.
pub(super) enum SignOutcome {
    Signature(Vec<u8>),
    /// Not signed, although the gateway may be correct.
    Refused,
    /// No correct gateway sends this request.
    Violation,
}

/// The reason why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// The key can't be read from the file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The key type is not supported.
    #[error("the private key is of an unsupported kind: RSA (2048 bits or more), ECDSA or Ed25519")]
    Unsupported,
    /// An RSA-PSS key with a hash that TLS does not support.
    #[error(
        "the private key is for RSA-PSS with hashes that TLS does not support: \
         it needs SHA-256, SHA-384 or SHA-512, and the same for the mask (rsa_pss_keygen_md, rsa_pss_keygen_mgf1_md)"
    )]
    OtherHash,
    /// The certificate can't be parsed.
    #[error("the certificate can't be read: it contains no public key")]
    Certificate,
    /// The key belongs to another certificate.
    #[error("the private key does not belong to the certificate")]
    OtherCertificate,
}

impl Key {
    /// Loads a key and checks that it belongs to the certificate.
    pub(super) fn load(
        der: PrivateKeyDer<'static>,
        certificate: &[u8],
        only_1_3: bool,
    ) -> Result<Self, KeyError> {
        let (der, only_pss) = for_any_padding(der)?;
        let key = any_supported_type(&der).map_err(|_| KeyError::Unsupported)?;
        let public_key = key.public_key().ok_or(KeyError::Unsupported)?.to_vec();
        let certified = certificate::public_key(certificate).ok_or(KeyError::Certificate)?;
        if !is_same(certified, &public_key).ok_or(KeyError::Certificate)? {
            return Err(KeyError::OtherCertificate);
        }
        let schemes = only_pss.unwrap_or_else(|| {
            let all = SCHEMES.into_iter().filter(|scheme| key.choose_scheme(&[*scheme]).is_some());
            all.map(|scheme| (scheme.into(), scheme)).collect()
        });
        if schemes.is_empty() {
            return Err(KeyError::Unsupported);
        }
        Ok(Self { key, public_key, schemes, only_1_3 })
    }

    /// Public description of the key.
    pub(super) fn description(&self) -> KeyDescription {
        let schemes = self.schemes.iter().map(|(number, _)| *number).collect();
        KeyDescription { public_key: self.public_key.clone(), schemes }
    }

    /// Signs `message`, if it is a structure of a TLS handshake and the key supports the scheme.
    pub(super) fn sign(&self, scheme: u16, message: &[u8]) -> SignOutcome {
        match structure::judge(message, self.only_1_3) {
            Verdict::Handshake => {}
            Verdict::Ambiguous => return SignOutcome::Refused,
            Verdict::Foreign => return SignOutcome::Violation,
        }
        let scheme = self.schemes.iter().find(|(number, _)| *number == scheme);
        let signer = scheme.and_then(|(_, scheme)| self.key.choose_scheme(&[*scheme]));
        let Some(signer) = signer else { return SignOutcome::Violation };
        signer.sign(message).map_or(SignOutcome::Refused, SignOutcome::Signature)
    }
}

/// Converts an RSA-PSS key to a general RSA key, which the library supports, and returns its schemes. Other
/// keys are returned unchanged.
#[expect(clippy::type_complexity, reason = "a type for one result would say less")]
fn for_any_padding(
    der: PrivateKeyDer<'static>,
) -> Result<(PrivateKeyDer<'static>, Option<Vec<(u16, SignatureScheme)>>), KeyError> {
    let PrivateKeyDer::Pkcs8(pkcs8) = &der else { return Ok((der, None)) };
    let Ok(info) = PrivateKeyInfoRef::try_from(pkcs8.secret_pkcs8_der()) else {
        return Err(KeyFileError::Damaged.into());
    };
    if info.algorithm.oid != RSA_PSS {
        return Ok((der, None));
    }
    let hash = info.algorithm.parameters.map(pss_hash);
    let schemes: Vec<_> = PSS_SCHEMES
        .into_iter()
        .filter(|(_, oid, _)| hash.is_none_or(|hash| hash == Some(*oid)))
        .map(|(number, _, scheme)| (number, scheme))
        .collect();
    if schemes.is_empty() {
        return Err(KeyError::OtherHash);
    }
    let rsa = info.private_key.as_bytes().to_vec();
    Ok((PrivateKeyDer::Pkcs1(rsa.into()), Some(schemes)))
}

/// The hash in RSA-PSS parameters (RFC 8017 appendix A.2.3). `None` for SHA-1, the default, or if the mask
/// uses another hash, which TLS does not support.
fn pss_hash(parameters: AnyRef<'_>) -> Option<ObjectIdentifier> {
    type Algorithm<'a> = ContextSpecific<AlgorithmIdentifierRef<'a>>;
    let mut reader = SliceReader::new(parameters.value()).ok()?;
    let hash = Algorithm::decode_explicit(&mut reader, TagNumber(0)).ok()??.value.oid;
    let mask = Algorithm::decode_explicit(&mut reader, TagNumber(1)).ok()??.value.parameters?;
    let mask_hash: AlgorithmIdentifierRef<'_> = mask.decode_as().ok()?;
    (mask_hash.oid == hash).then_some(hash)
}

/// Whether two public keys are equal, even in different encodings. `None` if either is invalid.
fn is_same(certified: &[u8], ours: &[u8]) -> Option<bool> {
    let [certified, ours] = [certified, ours].map(|der| SubjectPublicKeyInfoRef::try_from(der).ok());
    let (certified, ours) = (certified?, ours?);
    let [theirs_bits, ours_bits] = [&certified, &ours].map(|key| key.subject_public_key.raw_bytes());
    let kind = certified.algorithm.oid;
    Some(if ours.algorithm.oid == RSA {
        (kind == RSA || kind == RSA_PSS) && theirs_bits == ours_bits
    } else if ours.algorithm.oid == EC {
        // The curve may be encoded as parameters, so that its name is not compared.
        kind == EC && is_same_point(theirs_bits, ours_bits)
    } else {
        kind == ours.algorithm.oid && theirs_bits == ours_bits
    })
}

/// Whether `theirs` is the same point as `ours`, which is uncompressed (SEC 1 section 2.3.3).
fn is_same_point(theirs: &[u8], ours: &[u8]) -> bool {
    match (theirs, ours) {
        ([sign @ (2 | 3), x @ ..], [4, both @ ..]) => {
            let (our_x, our_y) = both.split_at(both.len() / 2);
            x == our_x && our_y.last().is_some_and(|last| last & 1 == sign & 1)
        }
        _ => theirs == ours,
    }
}
