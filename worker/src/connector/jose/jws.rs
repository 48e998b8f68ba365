//! Verification of JWS signatures (RFC 7518 section 3, RFC 8037 section 3.1, RFC 8812 section 3.2).

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self as sig, UnparsedPublicKey, VerificationAlgorithm};

use super::compact::Jws;
use super::error::JoseError;
use super::key::{Curve, Key, MIN_SECRET};

/// Returns the payload, if it was signed with the key.
pub(super) fn verify(token: &Jws<'_>, key: &Key) -> Result<Vec<u8>, JoseError> {
    let alg = token.header.alg.as_str();
    let unfit = || JoseError::algorithm(alg, key.kind());
    let signed = token.signing_input.as_bytes();
    match key {
        Key::Octets(secret) => {
            let hash = hash(alg).ok_or_else(unfit)?;
            if secret.len() < MIN_SECRET {
                return Err(JoseError::ShortKey);
            }
            let secret = hmac::Key::new(hash, secret);
            hmac::verify(&secret, signed, &token.signature).map_err(|_| JoseError::Signature)?;
        }
        Key::Rsa { public, .. } => public_key(rsa(alg).ok_or_else(unfit)?, public, token)?,
        Key::Ec { curve, public } => public_key(ecdsa(alg, *curve).ok_or_else(unfit)?, public, token)?,
        Key::Ed25519 { public } => match alg {
            "EdDSA" | "Ed25519" => public_key(&sig::ED25519, public, token)?,
            _ => return Err(unfit()),
        },
    }
    Ok(token.payload.clone())
}

fn public_key(
    algorithm: &'static dyn VerificationAlgorithm,
    public: &[u8],
    token: &Jws<'_>,
) -> Result<(), JoseError> {
    let key = UnparsedPublicKey::new(algorithm, public);
    key.verify(token.signing_input.as_bytes(), &token.signature).map_err(|_| JoseError::Signature)
}

fn hash(alg: &str) -> Option<hmac::Algorithm> {
    Some(match alg {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => return None,
    })
}

fn rsa(alg: &str) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match alg {
        "RS256" => &sig::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &sig::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &sig::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &sig::RSA_PSS_2048_8192_SHA256,
        "PS384" => &sig::RSA_PSS_2048_8192_SHA384,
        "PS512" => &sig::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// Returns the algorithm, which must match the curve of the key.
fn ecdsa(alg: &str, curve: Curve) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (alg, curve) {
        ("ES256", Curve::P256) => &sig::ECDSA_P256_SHA256_FIXED,
        ("ES384", Curve::P384) => &sig::ECDSA_P384_SHA384_FIXED,
        ("ES512", Curve::P521) => &sig::ECDSA_P521_SHA512_FIXED,
        ("ES256K", Curve::Secp256k1) => &sig::ECDSA_P256K1_SHA256_FIXED,
        _ => return None,
    })
}
