//! No public key, certificate or JWK is taken for a shared secret, whatever its encoding.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P256K1_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use data_encoding::{BASE32, BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXUPPER};
use proptest::prelude::*;

use super::key::{Key, KeyError};

/// A certificate with a P-256 key, made by `openssl req -x509`.
const CERTIFICATE: &str = include_str!("key_tests/certificate.b64");

/// Public keys of every kind, and structures that contain one, in DER. The first five are supported.
fn structures() -> Vec<(&'static str, Vec<u8>)> {
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let spki = |key: &dyn AsDer<PublicKeyX509Der<'static>>| key.as_der().unwrap().as_ref().to_vec();
    let mut found = vec![
        ("RSA", spki(rsa.public_key())),
        ("Ed25519", spki(ed25519.public_key())),
        ("certificate", BASE64.decode(CERTIFICATE.replace('\n', "").as_bytes()).unwrap()),
        ("private RSA", AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).unwrap().as_ref().to_vec()),
    ];
    for (name, curve) in [
        ("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
        ("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ("P-521", &ECDSA_P521_SHA512_FIXED_SIGNING),
        ("secp256k1", &ECDSA_P256K1_SHA256_FIXED_SIGNING),
    ] {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        found.push((name, spki(pair.public_key())));
        found.push((name, pair.public_key().as_ref().to_vec()));
    }
    found.push(("RSA of PKCS #1", rsa.public_key().as_ref().to_vec()));
    let blob = |parts: &[&[u8]]| {
        let part = |part: &&[u8]| [&u32::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
        parts.iter().flat_map(part).collect::<Vec<u8>>()
    };
    found.push(("OpenSSH's Ed25519", blob(&[b"ssh-ed25519", ed25519.public_key().as_ref()])));
    found.push(("OpenSSH's RSA", blob(&[b"ssh-rsa", &[1, 0, 1], &[0x99; 257]])));
    found.push(("OpenSSH's P-256", blob(&[b"ecdsa-sha2-nistp256", b"nistp256", &[4; 65]])));
    found
}

/// Encodings of a byte string.
fn spellings(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let with = |encoding: &Encoding| encoding.encode(bytes);
    let base64 = with(&BASE64);
    let lines = |text: &str| {
        let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8(line.to_vec()).unwrap());
        lines.collect::<Vec<_>>().join("\n")
    };
    let pem = |label: &str| format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines(&base64));
    let spki = pem("PUBLIC KEY");
    let colons: Vec<_> =
        with(&HEXLOWER).as_bytes().chunks(2).map(|two| two.escape_ascii().to_string()).collect();
    let texts = [
        ("base64", base64.clone()),
        ("base64 without padding", with(&BASE64_NOPAD)),
        ("base64url", with(&BASE64URL)),
        ("base64url without padding", with(&BASE64URL_NOPAD)),
        ("base64 in lines", lines(&base64)),
        ("base64 in base64", BASE64.encode(base64.as_bytes())),
        ("base64 in quotes", format!("\"{base64}\"")),
        ("base64 after a BOM", format!("\u{feff}{base64}")),
        ("hex", with(&HEXLOWER)),
        ("upper-case hex", with(&HEXUPPER)),
        ("hex with a prefix", format!("0x{}", with(&HEXLOWER))),
        ("hex with colons", colons.join(":")),
        ("hex of base64", HEXLOWER.encode(base64.as_bytes())),
        ("base32", with(&BASE32)),
        ("PEM", spki.clone()),
        ("PEM of a certificate", pem("CERTIFICATE")),
        ("PEM with an odd label", pem("SSH2 PUBLIC KEY")),
        ("PEM in lower case", spki.to_lowercase()),
        ("PEM with CRLF", spki.replace('\n', "\r\n")),
        ("PEM with CR", spki.replace('\n', "\r")),
        ("indented PEM", spki.replace('\n', "\n    ")),
        ("PEM after a BOM", format!("\u{feff}{spki}")),
        ("PEM in one line", spki.replace('\n', "\\n")),
        ("PEM without blanks", spki.replace([' ', '\n'], "")),
        ("PEM in base64", BASE64.encode(spki.as_bytes())),
        ("PEM in base64url", BASE64URL_NOPAD.encode(spki.as_bytes())),
        ("PEM in hex", HEXLOWER.encode(spki.as_bytes())),
    ];
    let mut found = vec![("bytes", bytes.to_vec()), ("bytes and a line break", [bytes, b"\n"].concat())];
    found.extend(texts.into_iter().flat_map(|(name, text)| {
        let around = format!(" \n{text}\r\n\t");
        [(name, text.into_bytes()), (name, around.into_bytes())]
    }));
    found
}

#[test]
fn no_encoding_of_a_key_is_taken_for_a_secret() {
    for (kind, bytes) in structures() {
        for (spelling, file) in spellings(&bytes) {
            let key = Key::read(&file);
            assert!(!matches!(key, Ok(Key::Octets(_))), "{kind} as {spelling}: {key:?}");
        }
    }
}

#[test]
fn keys_in_der_are_accepted() {
    for (kind, bytes) in structures().into_iter().filter(|(_, bytes)| bytes.starts_with(&[0x30])) {
        if kind == "RSA of PKCS #1" {
            assert_eq!(Key::read(&bytes).err(), Some(KeyError::UnsupportedDer));
            continue;
        }
        for (spelling, file) in spellings(&bytes) {
            if ["bytes", "base64", "base64 in lines", "base64url", "hex"].contains(&spelling) {
                assert!(Key::read(&file).is_ok(), "{kind} as {spelling}: {:?}", Key::read(&file));
            }
        }
    }
}

#[test]
fn no_json_web_key_is_taken_for_a_secret() {
    let key = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4","e":"AQAB"}"#;
    for text in [key.to_owned(), format!("{{\"keys\":[{key}]}}"), format!("[{key}]"), format!(" \n{key}\n")] {
        for (spelling, file) in
            spellings(text.as_bytes()).into_iter().filter(|(name, _)| !name.contains("PEM"))
        {
            let refused = Key::read(&file).err();
            assert!(matches!(refused, Some(KeyError::Json)), "{text} as {spelling}: {refused:?}");
        }
    }
}

#[test]
fn errors_name_the_reason() {
    for (file, error) in [
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA8 vnc@example.com", KeyError::Ssh),
        ("ecdsa-sha2-nistp256 AAAA", KeyError::Ssh),
        ("-----begin public key-----", KeyError::Unsupported),
        ("---- BEGIN SSH2 PUBLIC KEY ----", KeyError::Unsupported),
        ("-----BEGINPUBLICKEY-----AAAA", KeyError::Unsupported),
        ("{}", KeyError::Json),
        ("MAMCAQE=", KeyError::UnsupportedDer),
    ] {
        assert_eq!(Key::read(file.as_bytes()).err(), Some(error), "{file}");
    }
}

proptest! {
    #[test]
    fn a_random_secret_is_accepted(secret in prop::collection::vec(any::<u8>(), 16..32)) {
        for encoding in [BASE64, BASE64URL, BASE64URL_NOPAD] {
            let read = Key::read(encoding.encode(&secret).as_bytes());
            prop_assert!(matches!(read, Ok(Key::Octets(octets)) if *octets == secret));
        }
    }
}
