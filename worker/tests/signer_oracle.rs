//! The signer as an oracle: no ASN.1 structure is signed, although these pass for a handshake of TLS 1.2 by
//! their length and by all bytes at fixed positions.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at what it does not expect")]

mod der_grammar;

use std::sync::LazyLock;

use der_grammar::{Choices, Points, structure};
use proptest::prelude::*;
use worker::signer::structure::{Verdict, judge};

static POINTS: LazyLock<Points> = LazyLock::new(Points::new);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_structure_of_asn_1_is_signed(choices in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Some(message) = structure(&mut Choices(&choices), &POINTS) {
            prop_assert_eq!(judge(&message, false), Verdict::Ambiguous);
            prop_assert_eq!(judge(&message, true), Verdict::Foreign);
            // The structure would be signed if it were not ASN.1.
            let mut other = message.clone();
            other[..2].copy_from_slice(b"\x02\x00");
            prop_assert_eq!(judge(&other, false), Verdict::Handshake);
        }
    }
}
