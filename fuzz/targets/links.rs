//! Links and the files of their keys: any text is opened or rejected, and so is any content that a key has sealed,
//! without a panic.
#![no_main]

use common::shared_keys::SharedKeys;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = SharedKeys::parse(text.as_bytes());
    let Ok(keys) = SharedKeys::parse(&[b'a'; 64]) else { return };
    if let Ok(policy) = link::open(text, &keys) {
        assert!(!policy.target.is_empty());
    }
    if let Ok(link) = link::seal(text, &keys) {
        let _ = link::open(&link, &keys);
    }
});
