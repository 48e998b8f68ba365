//! Configuration files: any text is either rejected with a place, or parses to the same configuration after
//! it was printed.
#![no_main]

use std::path::Path;

use common::config::{file, print};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Reading such a file is not the subject of this test.
    if text.contains("password-file") {
        return;
    }
    let path = Path::new("/etc/websockify/instance.toml");
    match file::parse(text, path) {
        Ok(config) => {
            let Ok(printed) = print::print_config(&config) else { return };
            // A source that may hold a secret is not printed, so that it can't be parsed again.
            if printed.contains("#source-file") {
                return;
            }
            let again = file::parse(&printed, path).unwrap_or_else(|error| panic!("{error}\n{printed}"));
            assert_eq!(print::dump(&again).ok(), print::dump(&config).ok(), "{printed}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
