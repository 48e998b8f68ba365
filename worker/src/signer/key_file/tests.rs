//! One key in each form. The files in `fuzz/seeds/keys` were written by `openssl` with the pass phrase
//! `secret`.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;

use super::*;

fn file(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/keys").join(name)).unwrap()
}

const ENCRYPTED: [&str; 5] = ["pbkdf2.key", "scrypt.key", "pbes1.key", "pkcs12.key", "traditional.key"];

#[test]
fn each_form_is_the_same_key() {
    let public = |name| {
        let key = any_supported_type(&read(&file(name), Some("secret")).unwrap()).unwrap();
        key.public_key().unwrap().to_vec()
    };
    for name in ENCRYPTED.into_iter().chain(["plain.key"]) {
        assert_eq!(public(name), public("ec.key"), "{name}");
    }
}

#[test]
fn without_the_right_pass_phrase_there_is_no_key() {
    for name in ENCRYPTED {
        assert_eq!(read(&file(name), None).unwrap_err(), KeyFileError::NoPassword, "{name}");
        for wrong in ["", "Secret", "secret "] {
            assert_eq!(read(&file(name), Some(wrong)).unwrap_err(), KeyFileError::WrongPassword, "{name}");
        }
    }
}

#[test]
fn unusable_files_have_specific_errors() {
    let block = |label: &str, text: &str| format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n");
    let error = |file: String| read(file.as_bytes(), Some("secret")).unwrap_err();
    assert_eq!(error(block("CERTIFICATE", "QUJD")), KeyFileError::Missing);
    assert_eq!(error(block("PRIVATE KEY", "QUJ")), KeyFileError::Damaged);
    assert_eq!(error(block("ENCRYPTED PRIVATE KEY", "QUJD")), KeyFileError::Damaged);
    let other = "OPENSSH PRIVATE KEY";
    assert_eq!(error(block(other, "QUJD")), KeyFileError::OtherForm(other.into()));
    let headers = "Proc-Type: 4,ENCRYPTED\nDEK-Info: SEED-CBC,0123456789ABCDEF0123456789ABCDEF\n\nQUJD";
    assert_eq!(error(block("EC PRIVATE KEY", headers)), KeyFileError::UnknownEncryption("SEED-CBC".into()));
    let headers = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123\n\nQUJD";
    assert_eq!(error(block("EC PRIVATE KEY", headers)), KeyFileError::Damaged);
}

proptest! {
    #[test]
    fn no_modified_file_panics(
        name in prop::sample::select(ENCRYPTED.to_vec()),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut file = file(name);
        let at = at.index(file.len());
        file[at] = byte;
        let _ = is_readable(&file, "secret");
    }
}
