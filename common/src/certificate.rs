//! The parts of certificates that the service needs: the certificates of a file, their validity and their
//! public keys. Clients, not the service, decide whether to trust them, so that a certificate of version 1 is
//! accepted as well.

use std::time::SystemTime;

use der::asn1::{AnyRef, ContextSpecific, Int};
use der::{Decode, Header, Reader, SliceReader, Tag, TagNumber, Tagged};

use crate::pem;

/// PEM labels of certificates. In the last one, OpenSSL appends trust settings.
const LABELS: [&[u8]; 3] = [b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"];

/// A certificate in a PEM file can't be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("certificate {0} of the file is damaged")]
pub struct Damaged(
    /// Number of the certificate in the file, counted from 1.
    pub usize,
);

/// Reads the certificates of a PEM file in DER. Private keys in the same file are not decoded.
///
/// # Errors
///
/// Fails if the content of a block is not a certificate.
pub fn read_all(file: &[u8]) -> Result<Vec<Vec<u8>>, Damaged> {
    let blocks = pem::blocks(file).into_iter().filter(|block| LABELS.contains(&block.label));
    let certificates = blocks.enumerate().map(|(index, block)| {
        let der = block.der().ok_or(Damaged(index + 1))?;
        first_sequence(&der).map(<[u8]>::to_vec).ok_or(Damaged(index + 1))
    });
    certificates.collect()
}

/// The sequence at the beginning of `der`.
fn first_sequence(der: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(der).ok()?;
    let any = AnyRef::decode(&mut reader).ok()?;
    let len = usize::try_from(reader.position()).ok()?;
    (any.tag() == Tag::Sequence).then(|| der.get(..len)).flatten()
}

/// The end of a DER certificate's validity, `notAfter`; `None` if it can't be parsed.
#[must_use]
pub fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    validity(certificate).map(|(_, end)| end)
}

/// Beginning and end of a DER certificate's validity (RFC 5280 section 4.1.2.5); `None` if it can't be
/// parsed.
#[must_use]
pub fn validity(certificate: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let mut reader = at_validity(certificate)?;
    enter(&mut reader)?;
    Some((time(&mut reader)?, time(&mut reader)?))
}

fn time(reader: &mut SliceReader<'_>) -> Option<SystemTime> {
    let time = AnyRef::decode(reader).ok()?;
    match time.tag() {
        Tag::UtcTime => Some(time.decode_as::<der::asn1::UtcTime>().ok()?.to_system_time()),
        Tag::GeneralizedTime => Some(time.decode_as::<der::asn1::GeneralizedTime>().ok()?.to_system_time()),
        _ => None,
    }
}

/// Whether a certificate has version 1 (RFC 5280 section 4.1.2.1), which is the default; false if it can't be
/// parsed.
#[must_use]
pub fn is_version_1(certificate: &[u8]) -> bool {
    let version = || {
        let mut reader = SliceReader::new(certificate).ok()?;
        enter(&mut reader)?;
        enter(&mut reader)?;
        ContextSpecific::<u8>::decode_explicit(&mut reader, TagNumber(0)).ok()
    };
    version().is_some_and(|version| version.is_none_or(|version| version.value == 0))
}

/// The public key of a DER certificate, `subjectPublicKeyInfo` (RFC 5280 section 4.1.2.7); `None` if it can't
/// be parsed.
#[must_use]
pub fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut reader = at_validity(certificate)?;
    let _validity = AnyRef::decode(&mut reader).ok()?;
    let _subject = AnyRef::decode(&mut reader).ok()?;
    let begin = usize::try_from(reader.position()).ok()?;
    let key = AnyRef::decode(&mut reader).ok()?;
    let end = usize::try_from(reader.position()).ok()?;
    (key.tag() == Tag::Sequence).then(|| certificate.get(begin..end)).flatten()
}

/// A reader positioned at the validity, after version (optional), serial number, algorithm and issuer.
fn at_validity(certificate: &[u8]) -> Option<SliceReader<'_>> {
    let mut reader = SliceReader::new(certificate).ok()?;
    // The outer sequence, and the signed part in it.
    enter(&mut reader)?;
    enter(&mut reader)?;
    let _: Option<ContextSpecific<AnyRef<'_>>> =
        ContextSpecific::decode_explicit(&mut reader, TagNumber(0)).ok()?;
    let _serial = Int::decode(&mut reader).ok()?;
    let _algorithm = AnyRef::decode(&mut reader).ok()?;
    let _issuer = AnyRef::decode(&mut reader).ok()?;
    Some(reader)
}

/// Enters a sequence.
fn enter(reader: &mut SliceReader<'_>) -> Option<()> {
    let header = Header::decode(reader).ok()?;
    (header.tag() == Tag::Sequence).then_some(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{Damaged, is_version_1, not_after, public_key, read_all, validity};

    /// Builds the beginning of a certificate that is valid from `begin` to `end`, up to its key, with or
    /// without a version.
    fn certificate(version: &[u8], tag: u8, begin: &[u8], end: &[u8]) -> Vec<u8> {
        let nested = |tag: u8, parts: &[&[u8]]| {
            let content = parts.concat();
            [&[tag, u8::try_from(content.len()).unwrap()], content.as_slice()].concat()
        };
        let validity = nested(0x30, &[&nested(tag, &[begin]), &nested(tag, &[end])]);
        let serial = [2, 1, 7];
        let signed = nested(0x30, &[version, &serial, &nested(0x30, &[]), &nested(0x30, &[]), &validity]);
        nested(0x30, &[&signed])
    }

    #[test]
    fn both_ways_to_write_a_time_are_read() {
        let expected = Some(UNIX_EPOCH + Duration::from_secs(1_798_761_600));
        let short = certificate(&[0xa0, 3, 2, 1, 2], 0x17, b"260101000000Z", b"270101000000Z");
        assert_eq!(not_after(&short), expected);
        let long = certificate(&[], 0x18, b"20260101000000Z", b"20270101000000Z");
        assert_eq!(not_after(&long), expected);
    }

    #[test]
    fn a_certificate_without_version_is_of_version_1() {
        let of = |version: &[u8]| certificate(version, 0x17, b"260101000000Z", b"270101000000Z");
        assert!(is_version_1(&of(&[])) && is_version_1(&of(&[0xa0, 3, 2, 1, 0])));
        assert!(!is_version_1(&of(&[0xa0, 3, 2, 1, 2])) && !is_version_1(b"") && !is_version_1(&[0x30, 0]));
        let (begin, end) = validity(&of(&[])).unwrap();
        assert_eq!(end.duration_since(begin).unwrap(), Duration::from_secs(365 * 86400));
    }

    #[test]
    fn the_public_key_follows_the_subject() {
        let certificate = |rest: &[u8]| {
            let whole = certificate(&[], 0x17, b"260101000000Z", b"270101000000Z");
            // Both sequences grow by what follows the validity.
            let grown = |at: usize| whole[at] + u8::try_from(rest.len()).unwrap();
            [&[0x30, grown(1), 0x30, grown(3)], &whole[4..], rest].concat()
        };
        assert_eq!(public_key(&certificate(&[0x30, 0, 0x30, 2, 5, 0])), Some(&[0x30, 2, 5, 0][..]));
        for rest in [&[][..], &[0x30, 0], &[0x30, 0, 5, 0], &[0x30, 0, 0x30, 3, 5, 0]] {
            assert_eq!(public_key(&certificate(rest)), None, "{rest:?}");
        }
    }

    #[test]
    fn of_a_file_with_keys_and_certificates_the_certificates_are_read() {
        let block = |label: &str, text: &str| {
            format!("-----BEGIN {label}-----\r\n{text}\r\n-----END {label}-----\r\n")
        };
        // Sequences of a number. The last block has OpenSSL's trust settings appended.
        let file = [
            block("CERTIFICATE", "MAMCAQE="),
            block("PRIVATE KEY", "!"),
            block("X509 CERTIFICATE", "MAMCAQI="),
            block("TRUSTED CERTIFICATE", "MAMCAQMwAA=="),
        ];
        let number = |number| vec![0x30, 3, 2, 1, number];
        assert_eq!(read_all(file.concat().as_bytes()), Ok(vec![number(1), number(2), number(3)]));
        for damaged in ["MAMC", "!", "AgEB", ""] {
            let file = [file[0].clone(), block("CERTIFICATE", damaged)].concat();
            assert_eq!(read_all(file.as_bytes()), Err(Damaged(2)), "{damaged}");
        }
    }

    #[test]
    fn anything_else_has_no_end() {
        let good = certificate(&[], 0x17, b"260101000000Z", b"270101000000Z");
        for length in 0..good.len() {
            assert_eq!(not_after(&good[..length]), None);
        }
        assert_eq!(not_after(&certificate(&[], 0x17, b"260101000000Z", b"27010100000Z")), None);
        assert_eq!(not_after(&certificate(&[], 0x04, b"260101000000Z", b"270101000000Z")), None);
    }
}
