//! Detects a ServerKeyExchange whose first bytes, chosen by a client or a compromised gateway, make it
//! ambiguous.

/// Number of leading bytes that are printable if the message is text. Random bytes are printable once in 4
/// million.
const TEXT: usize = 16;

/// Purpose of a signature in COSE (RFC 9052 section 4.4), and the position before which it begins.
const PURPOSE: &[u8] = b"Signature";
const CBOR_HEAD: usize = 24;

/// Whether `message`, which is longer than 127 bytes, could be a structure of another protocol than TLS:
///
/// - X.509, PKCS #10, CMS, OCSP, card verifiable certificates and everything else that is signed as ASN.1: a
///   BER value.
/// - JOSE, DSSE, mails, scripts, and everything else that is text.
/// - SSH (RFC 4251 section 5): strings, which begin with their length, or SSHSIG.
/// - OpenPGP (RFC 9580 section 5.2.4), which ends with a length.
/// - COSE.
pub(super) fn is_other_structure(message: &[u8]) -> bool {
    is_ber_value(message)
        || message.iter().take(TEXT).all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r'))
        || message.starts_with(b"SSHSIG")
        || matches!(message, [0, 0, 0, ..] | [.., 0, 0, 0, _])
        || message.windows(PURPOSE.len()).take(CBOR_HEAD).any(|part| part == PURPOSE)
}

/// Whether `message` is a single BER value (X.690 section 8.1), with any tag, any content, and any encoding
/// of its length.
fn is_ber_value(message: &[u8]) -> bool {
    let Some((&tag, mut rest)) = message.split_first() else { return false };
    if tag & 0x1f == 0x1f {
        // A long tag number, whose last byte has its highest bit clear.
        let Some(last) = rest.iter().position(|byte| byte & 0x80 == 0) else { return false };
        rest = rest.get(last + 1..).unwrap_or_default();
    }
    match rest {
        [0x80, .., 0, 0] => true,
        [len @ ..=0x7f, contents @ ..] => contents.len() == usize::from(*len),
        [form @ 0x81..=0xff, rest @ ..] => {
            let Some((len, contents)) = rest.split_at_checked(usize::from(form & 0x7f)) else { return false };
            // A length that overflows is not the length of the content.
            let counted = len
                .iter()
                .fold(0, |sum: usize, byte| sum.saturating_mul(256).saturating_add(usize::from(*byte)));
            counted == contents.len()
        }
        _ => false,
    }
}
