//! Requests of a gateway to the signer: nothing but structures of TLS handshakes is signed, and nothing that
//! is an ASN.1 structure as well.
#![no_main]

#[path = "../../worker/tests/der_grammar/mod.rs"]
mod der_grammar;

use std::sync::LazyLock;

use common::ipc::signer::GatewayToSigner;
use common::ipc::table::decode;
use der::Decode;
use der::asn1::AnyRef;
use der_grammar::{Choices, Points, structure};
use libfuzzer_sys::fuzz_target;
use worker::signer::structure::{Verdict, judge};

static POINTS: LazyLock<Points> = LazyLock::new(Points::new);

fuzz_target!(|input: &[u8]| {
    if let Ok(GatewayToSigner::Sign { message, .. }) = decode(input, None) {
        check(&message);
    }
    check(input);
    // Bytes of the fuzzer in place of the randoms, followed by a valid fixed part.
    let [which, randoms @ ..] = input else { return };
    if let Some(randoms) = randoms.get(..56) {
        check(&[randoms, &POINTS.fixed(*which)].concat());
    }
    if let Some(made) = structure(&mut Choices(input), &POINTS) {
        assert_eq!(judge(&made, false), Verdict::Ambiguous);
        check(&made);
    }
});

fn check(message: &[u8]) {
    let certificate_verify = |hash: usize| {
        // RFC 8446 section 4.4.3.
        let context = b"TLS 1.3, server CertificateVerify";
        message.len() == 64 + context.len() + 1 + hash
            && message[..64] == [0x20; 64]
            && message[64..64 + context.len()] == context[..]
            && message[64 + context.len()] == 0
    };
    // RFC 8422 section 5.4, after two randoms: secp256r1, secp384r1.
    let key_exchange = |curve: u8, point: usize| {
        message.len() == 64 + 4 + point
            && message[56..69] == [&b"DOWNGRD\x01\x03\0"[..], &[curve, point as u8, 4]].concat()
    };
    let is_1_3 = certificate_verify(32) || certificate_verify(48);
    assert_eq!(judge(message, true) == Verdict::Handshake, is_1_3);
    if is_1_3 || judge(message, false) != Verdict::Handshake {
        return;
    }
    assert!(key_exchange(0x17, 65) || key_exchange(0x18, 97));
    assert!(AnyRef::from_der(message).is_err(), "DER");
    assert!(!message.starts_with(b"SSHSIG"), "SSHSIG");
}
