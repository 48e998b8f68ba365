//! The two structures of a TLS handshake that a server signs. Nothing else is signed, and nothing that can be read as
//! something else as well, so that a gateway in wrong hands can't have certificates, tokens or logins signed.
//!
//! What a server signs in TLS 1.3 names its purpose (RFC 8446 section 4.4.3). In TLS 1.2 it does not: the client
//! chooses the first 32 bytes, and nobody else could tell the rest from chance. So as much of it as possible is fixed
//! and checked, and what begins like a structure of another protocol is refused.
#![forbid(unsafe_code)]

mod lookalike;
#[cfg(test)]
mod tests;

use aws_lc_rs::agreement::{Algorithm, ECDH_P256, ECDH_P384, ParsedPublicKey, UnparsedPublicKey};

/// What a signature of TLS 1.3 begins with: 64 spaces, the context, a zero (RFC 8446 section 4.4.3).
const CONTEXT_1_3: &[u8] = b"TLS 1.3, server CertificateVerify\0";

/// Lengths of the transcript's hash, SHA-256 and SHA-384.
const HASHES: [usize; 2] = [32, 48];

/// Bytes of both randoms that the server does not determine: the client's, and 24 of its own.
const RANDOMS: usize = 56;

/// The end of the server's random in TLS 1.2, if it speaks TLS 1.3 as well (RFC 8446 section 4.1.3), as gateways always
/// do; then `named_curve` (RFC 8422 section 5.4).
const DOWNGRADE_AND_CURVE: &[u8] = b"DOWNGRD\x01\x03";

/// What a point begins with that is not compressed (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// What becomes of what a gateway wants to have signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is a structure of a handshake, and nothing else: it is signed.
    Handshake,
    /// It could be something else as well: it is not signed. Clients can bring this about, and chance does so once in
    /// 60,000 handshakes of TLS 1.2.
    Ambiguous,
    /// It is none: a gateway in order does not ask for it.
    Foreign,
}

/// Whether `message` is what a server signs in a handshake of TLS 1.3, or, unless `only_1_3`, of TLS 1.2 with an
/// ephemeral key on P-256 or P-384.
#[must_use]
pub fn judge(message: &[u8], only_1_3: bool) -> Verdict {
    if is_certificate_verify(message) {
        Verdict::Handshake
    } else if only_1_3 || !is_key_exchange(message) {
        Verdict::Foreign
    } else if lookalike::is_other_structure(message) {
        Verdict::Ambiguous
    } else {
        Verdict::Handshake
    }
}

fn is_certificate_verify(message: &[u8]) -> bool {
    let Some((padding, rest)) = message.split_at_checked(64) else { return false };
    let hash = rest.strip_prefix(CONTEXT_1_3);
    padding.iter().all(|byte| *byte == b' ') && hash.is_some_and(|hash| HASHES.contains(&hash.len()))
}

/// Whether it is both randoms and a ServerKeyExchange (RFC 8422 section 5.4) whose key is one.
fn is_key_exchange(message: &[u8]) -> bool {
    let parameters = message.get(RANDOMS..).and_then(|rest| rest.strip_prefix(DOWNGRADE_AND_CURVE));
    let Some(&[high, low, len, ref point @ ..]) = parameters else { return false };
    let Some((curve, expected)) = curve(u16::from_be_bytes([high, low])) else { return false };
    point.len() == usize::from(len)
        && point.len() == expected
        && point.first() == Some(&UNCOMPRESSED)
        && ParsedPublicKey::try_from(UnparsedPublicKey::new(curve, point)).is_ok()
}

/// A named curve, and the length of its uncompressed points (RFC 8422 section 5.1.1). Messages with X25519 would be
/// shorter than 128 bytes, and any two bytes in 256 a header of BER for them.
fn curve(number: u16) -> Option<(&'static Algorithm, usize)> {
    match number {
        0x0017 => Some((&ECDH_P256, 65)),
        0x0018 => Some((&ECDH_P384, 97)),
        _ => None,
    }
}
