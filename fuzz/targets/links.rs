//! Links and the files of their keys: any text is opened or rejected, and so is any content that a key has sealed,
//! without a panic.
#![no_main]

use common::tokens::link_keys::LinkKeys;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = LinkKeys::parse(text.as_bytes());
    let Ok(keys) = LinkKeys::parse(&[b'a'; 64]) else { return };
    if let Ok(policy) = link::open(text, &keys) {
        assert!(!policy.target.is_empty());
    }
    if let Ok(link) = link::seal(text, &keys) {
        let _ = link::open(&link, &keys);
    }
});
