//! The expiry of a certificate, of which the supervisor and `websockifyctl check` warn.

use std::time::SystemTime;

use der::asn1::{AnyRef, ContextSpecific, Int};
use der::{Decode, Header, SliceReader, Tag, TagNumber, Tagged};

/// The end of validity of a certificate in DER, `notAfter` (RFC 5280 section 4.1.2.5); none if it can't be parsed.
///
/// The fields before it are, in this order: version (optional), serial number, algorithm, issuer.
pub fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    let mut reader = SliceReader::new(certificate).ok()?;
    // The certificate, and in it the signed part.
    enter(&mut reader)?;
    enter(&mut reader)?;
    let _: Option<ContextSpecific<AnyRef<'_>>> =
        ContextSpecific::decode_explicit(&mut reader, TagNumber(0)).ok()?;
    let _serial = Int::decode(&mut reader).ok()?;
    let _algorithm = AnyRef::decode(&mut reader).ok()?;
    let _issuer = AnyRef::decode(&mut reader).ok()?;
    // The validity: `notBefore`, `notAfter`.
    enter(&mut reader)?;
    let _begin = AnyRef::decode(&mut reader).ok()?;
    let end = AnyRef::decode(&mut reader).ok()?;
    match end.tag() {
        Tag::UtcTime => Some(end.decode_as::<der::asn1::UtcTime>().ok()?.to_system_time()),
        Tag::GeneralizedTime => Some(end.decode_as::<der::asn1::GeneralizedTime>().ok()?.to_system_time()),
        _ => None,
    }
}

/// Enters a sequence.
fn enter(reader: &mut SliceReader<'_>) -> Option<()> {
    let header = Header::decode(reader).ok()?;
    (header.tag() == Tag::Sequence).then_some(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::not_after;

    /// The beginning of a certificate that is valid from `begin` to `end`, up to its key, with or without a version.
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
    fn anything_else_has_no_end() {
        let good = certificate(&[], 0x17, b"260101000000Z", b"270101000000Z");
        for length in 0..good.len() {
            assert_eq!(not_after(&good[..length]), None);
        }
        assert_eq!(not_after(&certificate(&[], 0x17, b"260101000000Z", b"27010100000Z")), None);
        assert_eq!(not_after(&certificate(&[], 0x04, b"260101000000Z", b"270101000000Z")), None);
    }
}
