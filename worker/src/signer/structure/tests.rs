use aws_lc_rs::agreement::{ECDH_P256, ECDH_P384, PrivateKey};

use super::*;

fn verify(hash: usize) -> Vec<u8> {
    [&[b' '; 64][..], CONTEXT_1_3, &vec![7; hash]].concat()
}

fn point(curve: &'static Algorithm) -> Vec<u8> {
    PrivateKey::generate(curve).unwrap().compute_public_key().unwrap().as_ref().to_vec()
}

/// The signed data with these parameters after [`DOWNGRADE_AND_CURVE`].
fn exchange(parameters: &[u8]) -> Vec<u8> {
    [&[0xff; RANDOMS][..], DOWNGRADE_AND_CURVE, parameters].concat()
}

fn on_p256() -> Vec<u8> {
    exchange(&[&[0, 0x17, 65][..], &point(&ECDH_P256)].concat())
}

fn on_p384() -> Vec<u8> {
    exchange(&[&[0, 0x18, 97][..], &point(&ECDH_P384)].concat())
}

/// Returns `message` with other bytes from `at` on.
fn with(message: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = message.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    changed
}

#[test]
fn handshakes_are_signed() {
    for message in [verify(32), verify(48), on_p256(), on_p384()] {
        assert_eq!(judge(&message, false), Verdict::Handshake, "{message:02x?}");
    }
}

#[test]
fn data_that_is_no_handshake_is_foreign() {
    let mut client = verify(32);
    client[73..79].copy_from_slice(b"client");
    let (good, p384) = (on_p256(), on_p384());
    let x25519 = exchange(&[&[0, 0x1d, 32][..], &[7; 32]].concat());
    for refused in [
        vec![],
        verify(33),
        verify(0),
        client,
        good[..good.len() - 1].to_vec(),
        [&good[..], &[0]].concat(),
        exchange(&[0, 0x17, 65]),
        x25519,
        // A server without TLS 1.3.
        with(&good, 56, b"\xff"),
        // Another curve type, another curve, another length.
        with(&good, 64, &[1]),
        with(&good, 66, &[0x18]),
        with(&good, 67, &[64]),
        // A compressed point, a hybrid one, and invalid points.
        with(&good, 68, &[2]),
        with(&good, 68, &[6]),
        with(&good, good.len() - 1, &[good[good.len() - 1] ^ 1]),
        with(&p384, p384.len() - 1, &[p384[p384.len() - 1] ^ 1]),
        b"-----BEGIN CERTIFICATE-----".to_vec(),
        vec![b' '; 200],
    ] {
        assert_eq!(judge(&refused, false), Verdict::Foreign, "{refused:02x?}");
    }
}

#[test]
fn no_handshake_of_tls_1_2_is_signed_where_it_is_not_offered() {
    for message in [on_p256(), on_p384()] {
        assert_eq!(judge(&message, true), Verdict::Foreign);
    }
    assert_eq!(judge(&verify(32), true), Verdict::Handshake);
}

/// Every single-byte tag, and every encoding of a length that matches the message.
#[test]
fn no_value_of_ber_is_signed() {
    for message in [on_p256(), on_p384()] {
        for tag in 0..=u8::MAX {
            let tag = if tag & 0x1f == 0x1f { vec![tag, 0x81, 0x4e] } else { vec![tag] };
            for zeros in 0..40 {
                let head = [&tag[..], &[0x81 + zeros], &vec![0; usize::from(zeros)], &[0]].concat();
                let len = u8::try_from(message.len() - head.len()).unwrap();
                let value = with(&with(&message, 0, &head), head.len() - 1, &[len]);
                assert_eq!(judge(&value, false), Verdict::Ambiguous, "{value:02x?}");
                // With another length it is not a BER value.
                let longer = with(&value, head.len() - 1, &[len + 1]);
                assert_eq!(judge(&longer, false), Verdict::Handshake, "{longer:02x?}");
            }
        }
    }
}

#[test]
fn nothing_of_another_protocol_is_signed() {
    for (at, bytes) in [
        (0, &b"SSHSIG\0\0\0\x03git\0"[..]),
        (0, b"\0\0\0\x20\x01"),
        (0, b"\x84\x6aSignature1"),
        (0, b"\x98\x04\x78\x0aSignature1"),
        (0, b"\x85\x70CounterSignature"),
        (0, b"DSSEv1 28 application/vnd.in-toto+json"),
        (0, b"#!/bin/sh\nrm -rf /\n"),
        (0, b"eyJhbGciOiJFUzI1NiJ9."),
        (0, b"From: root\r\nTo: you\r\n"),
    ] {
        let message = with(&on_p256(), at, bytes);
        assert_eq!(judge(&message, false), Verdict::Ambiguous, "{message:02x?}");
    }
    assert!(lookalike::is_other_structure(&with(&on_p256(), 127, b"\x04\xff\0\0\0\x0c")), "OpenPGP");
}

/// Clients seldom see a rejection: in random bytes a 16-bit length is correct once in 65536.
#[test]
fn handshakes_are_hardly_ever_rejected() {
    let message = on_p256();
    let refused = (0..=u16::MAX).filter(|two| {
        lookalike::is_other_structure(&with(&message, 0, &[&[0x69][..], &two.to_be_bytes()].concat()))
    });
    assert_eq!(refused.count(), 1);
}
