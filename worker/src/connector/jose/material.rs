//! Detection of key files that are not a shared secret, whatever their encoding.
//!
//! If the bytes of a public key became the secret of an HMAC, everyone who knows that key could sign tokens.
//! Every text encoding shares characters with base64url, in which secrets are written, so a file is decoded
//! as each of them, and the result again. A bare number, such as the modulus of an RSA key or the 32 bytes of
//! an Ed25519 key, can't be distinguished from a secret.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256K1_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    ParsedPublicKey, VerificationAlgorithm,
};
use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER_PERMISSIVE};
use zeroize::Zeroizing;

/// Maximum number of nested encodings that are decoded.
const MAX_DEPTH: u32 = 3;

/// Beginnings of the delimiter lines of PEM (RFC 7468) and of SSH public key files (RFC 4716), in lower case.
const PEM_MARKS: [&str; 2] = ["-----begin", "---- begin"];

/// Prefixes of the key types in OpenSSH public keys (RFC 4253 section 6.6, RFC 5656, RFC 8709).
const SSH_TYPES: [&[u8]; 4] = [b"ssh-", b"ecdsa-sha2-", b"sk-ssh-", b"sk-ecdsa-"];

/// Beginning of OpenSSH private keys.
const SSH_PRIVATE: &[u8] = b"openssh-key-v1\0";

/// DER of the object identifiers of RSA, elliptic curves, and Ed25519 and its relatives. One of them is in
/// every public key, PKCS #8 private key and certificate.
const ALGORITHMS: [&[u8]; 3] = [
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01",
    b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
    b"\x30\x05\x06\x03\x2b\x65",
];

/// Curves whose bare points are detected (SEC 1 section 2.3.3).
const CURVES: [&dyn VerificationAlgorithm; 4] = [
    &ECDSA_P256_SHA256_FIXED,
    &ECDSA_P256K1_SHA256_FIXED,
    &ECDSA_P384_SHA384_FIXED,
    &ECDSA_P521_SHA512_FIXED,
];

/// The content of a key file that is not a shared secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Material {
    /// Text with PEM delimiters.
    Pem(Zeroizing<Vec<u8>>),
    /// A DER structure, or bytes that contain a part of one.
    Der(Zeroizing<Vec<u8>>),
    /// JSON, such as a JWK or a JWKS (RFC 7517).
    Json,
    /// A key of OpenSSH.
    Ssh,
    /// A point on an elliptic curve.
    Point,
}

impl Material {
    /// Classifies the content of a file. Returns `None` for a shared secret.
    pub(super) fn find(file: &[u8]) -> Option<Self> {
        find(file, MAX_DEPTH)
    }
}

fn find(bytes: &[u8], depth: u32) -> Option<Material> {
    let found = in_bytes(bytes);
    if found.is_some() || depth == 0 {
        return found;
    }
    let text = Zeroizing::new(std::str::from_utf8(bytes).ok()?.to_owned());
    in_text(&text).or_else(|| spellings(&text).find_map(|spelling| find(&spelling, depth - 1)))
}

fn in_bytes(bytes: &[u8]) -> Option<Material> {
    let contains = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    let sequence = sequence(bytes);
    if sequence.is_some() || ALGORITHMS.iter().any(|algorithm| contains(algorithm)) {
        return Some(Material::Der(Zeroizing::new(sequence.unwrap_or(bytes).to_vec())));
    }
    let name = bytes.split_at_checked(4).filter(|(length, _)| length.starts_with(&[0, 0, 0]));
    let is_ssh = name.is_some_and(|(_, name)| SSH_TYPES.iter().any(|kind| name.starts_with(kind)));
    if is_ssh || bytes.starts_with(SSH_PRIVATE) {
        return Some(Material::Ssh);
    }
    let is_point = CURVES.iter().any(|curve| ParsedPublicKey::new(*curve, bytes).is_ok());
    is_point.then_some(Material::Point)
}

fn in_text(text: &str) -> Option<Material> {
    let text = text.trim_matches(is_around);
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    if PEM_MARKS.iter().any(|mark| lower.contains(mark)) {
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        return Some(Material::Pem(Zeroizing::new(lines.join("\n").into_bytes())));
    }
    if text.starts_with(['{', '[']) {
        return Some(Material::Json);
    }
    SSH_TYPES.iter().any(|kind| lower.as_bytes().starts_with(kind)).then_some(Material::Ssh)
}

/// White space, or the byte order mark that editors put at the beginning of a text.
fn is_around(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

/// Decodes a text in each possible encoding. White space and separators of digits are ignored.
fn spellings(text: &str) -> impl Iterator<Item = Zeroizing<Vec<u8>>> + use<> {
    let bare: String = text.chars().filter(|c| !is_around(*c) && *c != ':').collect();
    let bare = Zeroizing::new(bare.trim_matches(['"', '\'']).trim_end_matches('=').to_owned());
    let digits = bare.strip_prefix("0x").or(bare.strip_prefix("0X")).unwrap_or(&bare);
    let forms: [(&Encoding, Zeroizing<String>); 4] = [
        (&HEXLOWER_PERMISSIVE, Zeroizing::new(digits.to_owned())),
        (&BASE64_NOPAD, bare.clone()),
        (&BASE64URL_NOPAD, bare.clone()),
        (&BASE32_NOPAD, Zeroizing::new(bare.to_ascii_uppercase())),
    ];
    let decoded = forms.map(|(encoding, text)| encoding.decode(text.as_bytes()).ok().map(Zeroizing::new));
    decoded.into_iter().flatten()
}

/// Returns the content of a DER `SEQUENCE` at the beginning of `bytes`, if its elements fill it. Random bytes
/// hardly ever begin with one.
fn sequence(bytes: &[u8]) -> Option<&[u8]> {
    let (0x30, mut content, after) = element(bytes)? else { return None };
    while !content.is_empty() {
        (_, _, content) = element(content)?;
    }
    Some(&bytes[..bytes.len() - after.len()])
}

/// Parses the first DER element (X.690 section 10) into its tag, its content, and the bytes after it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |number, digit| number << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}
