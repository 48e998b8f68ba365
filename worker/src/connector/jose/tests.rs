use std::time::{Duration, SystemTime};

use aws_lc_rs::cipher::{AES_128, AES_192, AES_256};
use aws_lc_rs::hmac;
use aws_lc_rs::key_wrap::{AesKek, KeyWrap};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use proptest::prelude::*;

use super::claims::{self, ClaimsError};
use super::key::{Key, KeyError};
use super::{JoseError, key_wrap};

/// Key and token of RFC 7515 appendix A.1.
const SECRET: &[u8] =
    b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const SIGNED: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

fn open(token: &str, key: &Key) -> Result<Vec<u8>, JoseError> {
    super::open(token, key).map(|opened| opened.payload)
}

fn secret() -> Key {
    Key::read(SECRET).unwrap()
}

/// Signs a token with any header, with the key of the example.
fn signed(header: &str, payload: &str) -> String {
    let key = BASE64URL_NOPAD.decode(SECRET).unwrap();
    let [header, payload] = [header, payload].map(|part| BASE64URL_NOPAD.encode(part.as_bytes()));
    let input = format!("{header}.{payload}");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), input.as_bytes());
    format!("{input}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap()
}

#[test]
fn the_signed_example_of_rfc_7515_opens() {
    let payload = open(SIGNED, &secret()).unwrap();
    assert!(payload.starts_with(b"{\"iss\":\"joe\""));
}

#[test]
fn the_signed_part_of_a_token_is_known() {
    let opened = super::open(SIGNED, &secret()).unwrap();
    assert_eq!(Some(opened.signed.as_str()), SIGNED.rsplit_once('.').map(|(signed, _)| signed));
}

#[test]
fn a_changed_character_invalidates_a_signed_token() {
    for at in 0..SIGNED.len() {
        let mut token = SIGNED.as_bytes().to_vec();
        token[at] = if token[at] == b'A' { b'B' } else { b'A' };
        assert!(open(std::str::from_utf8(&token).unwrap(), &secret()).is_err(), "at {at}");
    }
}

#[test]
fn a_header_or_claims_in_an_array_are_refused() {
    assert!(open(&signed(r#"{"alg":"HS256"}"#, "{}"), &secret()).is_ok());
    let header = open(&signed(r#"["HS256",null,null,null]"#, "{}"), &secret());
    assert!(matches!(header, Err(JoseError::Header)), "{header:?}");
    for claims in [r#"["h",5900]"#, r#"["h",5900,0,1e12]"#] {
        assert_eq!(pair(claims, SystemTime::now()), Err(ClaimsError::Form), "{claims}");
    }
}

#[test]
fn a_token_without_signature_is_refused() {
    for (header, signature) in [("none", ""), ("None", ""), ("none", ".c2ln"), ("HS256", "")] {
        let header = BASE64URL_NOPAD.encode(format!("{{\"alg\":\"{header}\"}}").as_bytes());
        let token = format!("{header}.e30.{}", signature.trim_start_matches('.'));
        assert!(open(&token, &secret()).is_err(), "{token}");
    }
}

#[test]
fn parameters_that_change_the_meaning_are_refused() {
    let open = |header: &str| open(&signed(header, "{}"), &secret());
    assert_eq!(open(r#"{"alg":"HS256","x":1}"#), Ok(b"{}".to_vec()));
    assert_eq!(open(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#), Err(JoseError::Parameter("crit")));
    assert_eq!(open(r#"{"alg":"HS256","zip":"DEF"}"#), Err(JoseError::Parameter("zip")));
    assert_eq!(open(r#"{"alg":"HS256","alg":"none"}"#), Err(JoseError::Header));
    assert_eq!(open(r#"{"alg":1}"#), Err(JoseError::Header));
    assert_eq!(open("[]"), Err(JoseError::Header));
}

#[test]
fn an_algorithm_that_looks_like_no_name_is_not_logged() {
    let open = |header: &str| open(&signed(header, "{}"), &secret()).unwrap_err().to_string();
    assert!(open(r#"{"alg":"RS256"}"#).contains("\"RS256\""));
    assert!(open(r#"{"alg":"secret words"}"#).contains("\"?\""));
}

#[test]
fn a_short_secret_is_refused() {
    let error = |file: &[u8]| open(SIGNED, &Key::read(file).unwrap());
    assert_eq!(error(b"AAAAAAAAAAAAAAAAAAAA"), Err(JoseError::ShortKey));
    assert_eq!(error(b"AAAAAAAAAAAAAAAAAAAAAA"), Err(JoseError::Signature));
}

#[test]
fn secrets_are_read_with_or_without_padding_and_line_break() {
    for file in ["c2hvcnQ", "c2hvcnQ=", "c2hvcnQ\n", " c2hvcnQ=\r\n", "+/-_"] {
        let key = Key::read(file.as_bytes());
        assert_eq!(matches!(key, Ok(Key::Octets(_))), file != "+/-_", "{file}");
    }
    for file in ["", "\n", "two words", "c", "c2hvcn\0Q", "\u{e9}"] {
        assert_eq!(Key::read(file.as_bytes()).err(), Some(KeyError::Form), "{file}");
    }
}

#[test]
fn pem_is_never_taken_for_a_secret() {
    let block = |label| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    for (label, error) in [
        ("PUBLIC KEY", KeyError::Unsupported),
        ("PRIVATE KEY", KeyError::Unsupported),
        ("CERTIFICATE", KeyError::Unsupported),
        ("ENCRYPTED PRIVATE KEY", KeyError::Encrypted),
        ("DSA PRIVATE KEY", KeyError::Unsupported),
    ] {
        assert_eq!(Key::read(block(label).as_bytes()).err(), Some(error), "{label}");
    }
    assert_eq!(Key::read(b"-----BEGIN PUBLIC KEY-----").err(), Some(KeyError::Unsupported));
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", secret()), "Key(a shared secret)");
}

/// Examples of RFC 3394 sections 4.1, 4.3 and 4.6, and one for 192-bit keys.
#[test]
fn the_examples_of_rfc_3394_unwrap() {
    let key = hex("00112233445566778899aabbccddeeff");
    let kek = hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    let wrapped_128 = hex("1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5");
    let wrapped_192 = hex("96778b25ae6ca435f92b5b97c050aed2468ab8a17ad84e5d");
    let wrapped_256 = hex("64e8c3f9ce0f5ba263e9777905818a2a93c8191e7d6e8ae7");
    assert_eq!(*key_wrap::unwrap(&AES_128, &kek[..16], &wrapped_128).unwrap(), key);
    assert_eq!(*key_wrap::unwrap(&AES_192, &kek[..24], &wrapped_192).unwrap(), key);
    assert_eq!(*key_wrap::unwrap(&AES_256, &kek, &wrapped_256).unwrap(), key);
    for at in 0..wrapped_256.len() {
        let mut changed = wrapped_256.clone();
        changed[at] ^= 1;
        assert!(key_wrap::unwrap(&AES_256, &kek, &changed).is_none(), "{at}");
    }
    for len in 0..24 {
        assert!(key_wrap::unwrap(&AES_256, &kek, &wrapped_256[..len]).is_none(), "{len}");
    }
}

fn pair(claims: &str, now: SystemTime) -> Result<Option<(String, String)>, ClaimsError> {
    claims::read(claims.as_bytes(), now).map(|claims| claims.pair)
}

#[test]
fn times_have_no_leeway() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_500);
    let target = |times: &str| pair(&format!(r#"{{"host":"h","port":1{times}}}"#), now);
    let fine = Ok(Some(("h".to_owned(), "1".to_owned())));
    for times in ["", r#","exp":1000.5"#, r#","nbf":1000.5"#, r#","exp":1001,"nbf":1000"#, r#","iat":9e9"#] {
        assert_eq!(target(times), fine, "{times}");
    }
    assert_eq!(target(r#","exp":1000.4"#), Err(ClaimsError::Expired));
    assert_eq!(target(r#","exp":1000"#), Err(ClaimsError::Expired));
    assert_eq!(target(r#","nbf":1001"#), Err(ClaimsError::Early));
    for times in [r#","exp":null"#, r#","exp":"2000""#, r#","nbf":[]"#, r#","exp":1e999"#] {
        assert_eq!(target(times), Err(ClaimsError::Form), "{times}");
    }
}

#[test]
fn host_and_port_must_be_there_or_a_policy_with_a_target() {
    let target = |claims: &str| pair(claims, SystemTime::now());
    assert_eq!(target(r#"{"port":1}"#), Err(ClaimsError::Missing("host")));
    assert_eq!(target(r#"{"host":"h"}"#), Err(ClaimsError::Missing("port")));
    assert_eq!(target(r#"{"host":"h","port":"5900"}"#), Ok(Some(("h".into(), "5900".into()))));
    assert_eq!(target(r#"{"websockify":{"target":"h:1"}}"#), Ok(None));
    assert_eq!(target(r#"{"host":"h","websockify":{"target":"h:1"}}"#), Ok(None));
    assert_eq!(target(r#"{"host":"h","websockify":{"uses":1}}"#), Err(ClaimsError::Missing("port")));
    for claims in ["", "[]", "1", r#"{"host":1,"port":1}"#, r#"{"host":"h","port":-1}"#] {
        assert_eq!(target(claims), Err(ClaimsError::Form), "{claims}");
    }
    for policy in ["null", "[]", "1", "\"h:1\""] {
        let claims = format!(r#"{{"host":"h","port":1,"websockify":{policy}}}"#);
        assert_eq!(target(&claims), Err(ClaimsError::Form), "{claims}");
    }
}

proptest! {
    #[test]
    fn no_text_is_accepted_or_panics(token in "[A-Za-z0-9_=.-]{0,200}") {
        prop_assert!(open(&token, &secret()).is_err());
    }

    /// Tokens of any number of parts, each of which is well-formed.
    #[test]
    fn no_parts_are_accepted_or_panic(
        alg in prop::sample::select(vec!["HS256", "none", "dir", "A192KW", "RSA-OAEP", "ES256", ""]),
        enc in prop::sample::select(vec!["A128GCM", "A256CBC-HS512", "none", ""]),
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..7),
    ) {
        let header = format!(r#"{{"alg":"{alg}","enc":"{enc}"}}"#);
        let mut token = BASE64URL_NOPAD.encode(header.as_bytes());
        for part in parts {
            token = format!("{token}.{}", BASE64URL_NOPAD.encode(&part));
        }
        prop_assert!(open(&token, &secret()).is_err());
    }

    #[test]
    fn unwrapping_agrees_with_the_library(
        kek in prop::array::uniform32(any::<u8>()),
        key in prop::collection::vec(any::<u8>(), 2..9).prop_map(|halves| {
            halves.iter().flat_map(|byte| [*byte; 8]).collect::<Vec<_>>()
        }),
    ) {
        let mut wrapped = vec![0; key.len() + 8];
        AesKek::new(&aws_lc_rs::key_wrap::AES_256, &kek).unwrap().wrap(&key, &mut wrapped).unwrap();
        let unwrapped = key_wrap::unwrap(&AES_256, &kek, &wrapped).unwrap();
        prop_assert_eq!(&*unwrapped, &key);
    }

    #[test]
    fn no_claims_panic(claims in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = claims::read(&claims, SystemTime::now());
    }

    #[test]
    fn no_key_file_panics(file in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Key::read(&file);
    }
}
