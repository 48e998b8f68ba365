//! Questions of a gateway to the signer: none but structures of TLS handshakes are signed.
#![no_main]

use common::ipc::signer::GatewayToSigner;
use common::ipc::table::decode;
use libfuzzer_sys::fuzz_target;
use worker::signer::structure::is_handshake;

fuzz_target!(|input: &[u8]| {
    if let Ok(GatewayToSigner::Sign { message, .. }) = decode(input, None) {
        check(&message);
    }
    check(input);
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
    // RFC 8422 section 5.4, behind two randoms: secp256r1, secp384r1, x25519.
    let key_exchange = |curve: u8, point: usize| {
        message.len() == 64 + 4 + point && message[64..68] == [3, 0, curve, point as u8]
    };
    let expected = certificate_verify(32)
        || certificate_verify(48)
        || key_exchange(0x17, 65)
        || key_exchange(0x18, 97)
        || key_exchange(0x1d, 32);
    assert_eq!(is_handshake(message), expected);
}
