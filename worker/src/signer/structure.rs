//! The two structures of a TLS handshake that a server signs. Nothing else is signed, and nothing that is
//! ambiguous, so that a compromised gateway can't get signatures for certificates, tokens or logins.
//!
//! In TLS 1.3 the signed data names its purpose (RFC 8446 section 4.4.3). In TLS 1.2 it does not: the client
//! chooses the first 32 bytes, and the rest is indistinguishable from random data. So as much of it as
//! possible is fixed and checked, and data that begins like a structure of another protocol is rejected.
#![forbid(unsafe_code)]

mod lookalike;
#[cfg(test)]
mod tests;

use aws_lc_rs::agreement::{Algorithm, ECDH_P256, ECDH_P384, ParsedPublicKey, UnparsedPublicKey};

/// Beginning of the data that a TLS 1.3 server signs: 64 spaces, the context, a zero (RFC 8446 section
/// 4.4.3).
const CONTEXT_1_3: &[u8] = b"TLS 1.3, server CertificateVerify\0";

/// Lengths of the transcript hash: SHA-256 and SHA-384.
const HASHES: [usize; 2] = [32, 48];

/// Length of the part of both randoms that the server does not determine: the client's random, and 24 bytes
/// of its own.
const RANDOMS: usize = 56;

/// End of the server's random in TLS 1.2 if the server supports TLS 1.3 as well (RFC 8446 section 4.1.3), as
/// gateways always do, followed by `named_curve` (RFC 8422 section 5.4).
const DOWNGRADE_AND_CURVE: &[u8] = b"DOWNGRD\x01\x03";

/// First byte of an uncompressed point (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// Verdict on data that a gateway wants to have signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A structure of a handshake, and nothing else. It is signed.
    Handshake,
    /// Possibly a structure of another protocol as well. It is not signed. Clients can cause this, and it
    /// happens by chance in one of 60,000 handshakes of TLS 1.2.
    Ambiguous,
    /// Not a structure of a handshake. No correct gateway sends it.
    Foreign,
}

/// Judges whether `message` is the data that a server signs in a handshake of TLS 1.3 or, unless `only_1_3`,
/// of TLS 1.2 with an ephemeral key on P-256 or P-384.
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

/// Whether it consists of both randoms and a ServerKeyExchange (RFC 8422 section 5.4) with a valid key.
fn is_key_exchange(message: &[u8]) -> bool {
    let parameters = message.get(RANDOMS..).and_then(|rest| rest.strip_prefix(DOWNGRADE_AND_CURVE));
    let Some(&[high, low, len, ref point @ ..]) = parameters else { return false };
    let Some((curve, expected)) = curve(u16::from_be_bytes([high, low])) else { return false };
    point.len() == usize::from(len)
        && point.len() == expected
        && point.first() == Some(&UNCOMPRESSED)
        && ParsedPublicKey::try_from(UnparsedPublicKey::new(curve, point)).is_ok()
}

/// A named curve, and the length of its uncompressed points (RFC 8422 section 5.1.1). X25519 is not
/// supported: its messages are shorter than 128 bytes, so that any two bytes out of 256 would form a BER
/// header for them.
fn curve(number: u16) -> Option<(&'static Algorithm, usize)> {
    match number {
        0x0017 => Some((&ECDH_P256, 65)),
        0x0018 => Some((&ECDH_P384, 97)),
        _ => None,
    }
}
