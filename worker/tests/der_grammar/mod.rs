//! Signed ASN.1 structures that pass for a ServerKeyExchange of TLS 1.2: the bytes that a gateway chooses are
//! in a string of the structure.

#![allow(dead_code, reason = "not every user needs all of it")]

use aws_lc_rs::agreement::{Algorithm, ECDH_P256, ECDH_P384, PrivateKey};

/// Position of the fixed part of a ServerKeyExchange: after the client's random, and 24 bytes of the
/// server's.
const FIXED: usize = 56;

/// Tags of signed structures, and of possible ones: SEQUENCE, SET, context-specific and application tags,
/// strings, tags with long numbers, and the body of a card verifiable certificate.
const OUTER: [&[u8]; 12] = [
    &[0x30],
    &[0x31],
    &[0xa0],
    &[0xa3],
    &[0x60],
    &[0x69],
    &[0x04],
    &[0x24],
    &[0x0c],
    &[0x7f, 0x4e],
    &[0x3f, 0x81, 0x01],
    &[0xe0],
];

/// Tags of strings with arbitrary content.
const STRINGS: [&[u8]; 9] =
    [&[0x04], &[0x03], &[0x0c], &[0x13], &[0x14], &[0x1e], &[0x80], &[0x84], &[0x5f, 0x37]];

/// Complete items that precede the string, by kind of structure.
const SHAPES: [&[&[u8]]; 7] = [
    // CertificationRequestInfo (RFC 2986): version.
    &[b"\x02\x01\x00"],
    // SignedAttributes (RFC 5652 section 5.3): content type.
    &[b"\x30\x18\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03\x31\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"],
    // TBSCertificate (RFC 5280 section 4.1): version, serial number, ecdsa-with-SHA256.
    &[b"\xa0\x03\x02\x01\x02", b"\x02\x01\x07", b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"],
    // ResponseData of OCSP (RFC 6960 section 4.2.1): an empty name, a time.
    &[b"\xa1\x02\x30\x00", b"\x18\x0f20261129000000Z"],
    // TBSCertList (RFC 5280 section 5.1): version, ecdsa-with-SHA256, an empty name, a time.
    &[
        b"\x02\x01\x01",
        b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
        b"\x30\x00",
        b"\x17\x0d261129000000Z",
    ],
    // TSTInfo (RFC 3161 section 2.4.2): version, a policy.
    &[b"\x02\x01\x01", b"\x06\x03\x2a\x03\x04"],
    &[],
];

/// Choices from the bytes of the fuzzer or of a property test; zeros when they are used up.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.next()) % all.len()]
    }
}

/// A point on P-256 that ends with two zeros, like a value of indefinite length.
const ENDS_WITH_ZEROS: &[u8] =
    b"\x04\xe4\x43\x27\xdc\x46\xf1\x85\xc3\x38\x14\x58\x9d\xe4\x43\xd7\x0b\xa1\xbc\x47\x45\x06\
    \x19\xfc\xce\x1e\x97\x3e\x80\x7a\x24\xa7\xbe\x32\x08\x2e\xb3\x94\x49\xc6\x87\x2f\x96\x07\
    \x1c\x81\x5e\xe8\xb6\xbd\x4e\xee\x98\xd0\x1a\x07\x35\xa1\x25\xce\xd7\x3d\xd4\x00\x00";

/// Ephemeral keys: points on their curves.
pub(crate) struct Points(Vec<Vec<u8>>);

impl Points {
    /// Generates points, and adds [`ENDS_WITH_ZEROS`].
    #[allow(clippy::new_without_default, reason = "they are made anew each time")]
    pub(crate) fn new() -> Self {
        let point = |curve: &'static Algorithm| {
            let key = PrivateKey::generate(curve).expect("a key");
            key.compute_public_key().expect("its point").as_ref().to_vec()
        };
        Self(vec![point(&ECDH_P256), point(&ECDH_P384), ENDS_WITH_ZEROS.to_vec()])
    }

    /// The fixed part of a ServerKeyExchange.
    pub(crate) fn fixed(&self, which: u8) -> Vec<u8> {
        let point = &self.0[usize::from(which) % self.0.len()];
        let curve = if point.len() == 65 { 0x17 } else { 0x18 };
        [&b"DOWNGRD\x01\x03\x00"[..], &[curve, u8::try_from(point.len()).expect("a length")], point].concat()
    }
}

/// The header of a value that has `left` bytes in total, with one of several encodings of its length.
fn header(tag: &[u8], left: usize, choices: &mut Choices<'_>) -> Vec<u8> {
    let byte = |len: usize| u8::try_from(len).expect("a short structure");
    let zeros = choices.one_of(&[0, 0, 0, 1, 2, 7, 20]);
    let short = left - tag.len() - 1;
    if zeros == 0 && short < 0x80 {
        return [tag, &[byte(short)]].concat();
    }
    [tag, &[0x81 + byte(zeros)], &vec![0; zeros], &[byte(short - 1 - zeros)]].concat()
}

/// Builds a structure that passes for a ServerKeyExchange. Returns `None` if the choices allow none.
pub(crate) fn structure(choices: &mut Choices<'_>, points: &Points) -> Option<Vec<u8>> {
    let fixed = points.fixed(choices.next());
    let total = FIXED + fixed.len();
    let outer = choices.one_of(&OUTER);
    let is_indefinite = fixed.ends_with(&[0, 0]) && choices.next() % 2 == 1;
    let (mut message, end) = if is_indefinite {
        ([outer, &[0x80]].concat(), total - 2)
    } else {
        (header(outer, total, choices), total)
    };
    choices.one_of(&SHAPES).iter().for_each(|item| message.extend_from_slice(item));
    let string = choices.one_of(&STRINGS);
    message.extend(header(string, end - message.len(), choices));
    if message.len() > FIXED {
        return None;
    }
    message.resize_with(FIXED, || choices.next());
    message.extend(fixed);
    Some(message)
}
