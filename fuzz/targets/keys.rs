//! Files with certificates and private keys, encrypted in every form: any content is parsed or rejected
//! without a panic.
#![no_main]

use common::certificate;
use libfuzzer_sys::fuzz_target;
use worker::signer::key_file;

fuzz_target!(|input: &[u8]| {
    let _ = key_file::is_readable(input, "secret");
    for certificate in certificate::read_all(input).unwrap_or_default() {
        let _ = (certificate::not_after(&certificate), certificate::public_key(&certificate));
    }
});
