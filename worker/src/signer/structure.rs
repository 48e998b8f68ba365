//! The two structures of a TLS handshake that a server signs. Whatever else is refused, so that a
//! gateway in wrong hands can't have certificates, tokens or logins signed.
#![forbid(unsafe_code)]

/// What a signature of TLS 1.3 begins with: 64 spaces, the context, a zero (RFC 8446 section 4.4.3).
const CONTEXT_1_3: &[u8] = b"TLS 1.3, server CertificateVerify\0";

/// Lengths of the transcript's hash, SHA-256 and SHA-384.
const HASHES: [usize; 2] = [32, 48];

/// Bytes of both randoms before the parameters of TLS 1.2 (RFC 5246 section 7.4.3).
const RANDOMS: usize = 64;

/// `named_curve` (RFC 8422 section 5.4).
const NAMED_CURVE: u8 = 3;

/// Whether `message` is what a server signs in a handshake of TLS 1.3, or of TLS 1.2 with an ephemeral
/// key on a curve.
#[must_use]
pub fn is_handshake(message: &[u8]) -> bool {
    is_certificate_verify(message) || is_key_exchange(message)
}

fn is_certificate_verify(message: &[u8]) -> bool {
    let Some((padding, rest)) = message.split_at_checked(64) else { return false };
    let hash = rest.strip_prefix(CONTEXT_1_3);
    padding.iter().all(|byte| *byte == b' ') && hash.is_some_and(|hash| HASHES.contains(&hash.len()))
}

fn is_key_exchange(message: &[u8]) -> bool {
    let Some((_, parameters)) = message.split_at_checked(RANDOMS) else { return false };
    match parameters {
        &[NAMED_CURVE, high, low, len, ref point @ ..] => {
            point.len() == usize::from(len) && Some(point.len()) == point_len(u16::from_be_bytes([high, low]))
        }
        _ => false,
    }
}

/// Length of a public key on a named curve (RFC 8422 section 5.1.1).
fn point_len(curve: u16) -> Option<usize> {
    match curve {
        0x0017 => Some(65),
        0x0018 => Some(97),
        0x001d => Some(32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_handshakes_are_signed() {
        let verify = |hash: usize| [&[b' '; 64][..], CONTEXT_1_3, &vec![7; hash]].concat();
        let exchange = |parameters: &[u8]| [&[7; RANDOMS][..], parameters].concat();
        let x25519 = [&[3, 0, 0x1d, 32][..], &[7; 32]].concat();
        assert!(is_handshake(&verify(32)) && is_handshake(&verify(48)));
        assert!(is_handshake(&exchange(&x25519)));
        let mut client = verify(32);
        client[73..79].copy_from_slice(b"client");
        for refused in [
            vec![],
            verify(33),
            verify(0),
            client,
            exchange(&x25519[..35]),
            exchange(&[&x25519[..], &[0]].concat()),
            exchange(&[3, 0, 0x17, 32]),
            exchange(&[1, 0, 0x1d, 0]),
            b"-----BEGIN CERTIFICATE-----".to_vec(),
            vec![b' '; 200],
        ] {
            assert!(!is_handshake(&refused), "{refused:?}");
        }
    }
}
