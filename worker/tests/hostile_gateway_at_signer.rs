//! A hostile gateway against the real signer: the signer signs TLS handshakes and nothing else, and other gateways are
//! not affected.

#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

mod der_grammar;
mod roles;

use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

use common::config::Sandbox;
use common::ipc::GatewayId;
use common::ipc::channel::Channel;
use common::ipc::setup::{self, SignerSetup};
use common::ipc::signer::{GatewayToSigner, SignerToGateway, SignerToSupervisor, SupervisorToSigner};
use der_grammar::Points;
use roles::{EVIL, GOOD, PATIENCE, Role, no_messages, send_raw};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::time::timeout;

/// Starts a signer with a key of its own.
async fn signer() -> Role {
    signer_of("ed25519", false).await
}

async fn signer_of(kind: &str, only_1_3: bool) -> Role {
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", kind, "-nodes", "-subj", "/CN=localhost", "-days", "9"])
        .args(if kind == "ec" { &["-pkeyopt", "ec_paramgen_curve:P-256"][..] } else { &[] })
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(&directory)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let role = Role::start("signer");
    let setup = SignerSetup {
        run_as: None,
        sandbox: Sandbox::BestEffort,
        certificate: CertificateDer::from_pem_file(directory.path().join("certificate.pem"))
            .unwrap()
            .to_vec(),
        key_pem: std::fs::read(directory.path().join("key.pem")).unwrap(),
        password: None,
        only_1_3,
    };
    role.control.send(&SupervisorToSigner::Setup(setup::file(&setup).unwrap())).await.unwrap();
    let ready: SignerToSupervisor = role.hear().await;
    assert!(!matches!(ready, SignerToSupervisor::Failed(_)), "{ready:?}");
    role
}

async fn introduce_to_signer(signer: &Role, id: GatewayId) -> OwnedFd {
    let (gateway, channel) = Channel::pair().unwrap();
    signer.control.send(&SupervisorToSigner::Gateway { id, channel }).await.unwrap();
    gateway
}

async fn accused_by_signer(signer: &Role) -> GatewayId {
    match signer.hear().await {
        SignerToSupervisor::Violation(violation) => violation.gateway,
        other => panic!("it says {other:?}"),
    }
}

/// The data that a server signs in TLS 1.3 (RFC 8446 section 4.4.3).
fn certificate_verify() -> Vec<u8> {
    [&[b' '; 64][..], b"TLS 1.3, server CertificateVerify\0", &[7; 32]].concat()
}

#[tokio::test(flavor = "current_thread")]
async fn the_signer_signs_handshakes_and_nothing_else() {
    const ED25519: u16 = 0x0807;
    let signer = signer().await;
    let good = Channel::new(introduce_to_signer(&signer, GOOD).await).unwrap();
    let mut id = 0;
    let mut sign = async || {
        id += 1;
        let question = GatewayToSigner::Sign { id, scheme: ED25519, message: certificate_verify() };
        good.send(&question).await.unwrap();
        let answer = timeout(PATIENCE, good.receive()).await.expect("no signature").unwrap();
        assert!(matches!(answer, SignerToGateway::Signature { id: of, .. } if of == id), "{answer:?}");
    };
    sign().await;
    for (scheme, message) in [
        (ED25519, b"a certificate request".to_vec()),
        (ED25519, vec![]),
        (ED25519, [certificate_verify(), vec![0]].concat()),
        (ED25519, certificate_verify()[1..].to_vec()),
        (0x0403, certificate_verify()),
        (0, certificate_verify()),
    ] {
        let evil = Channel::new(introduce_to_signer(&signer, EVIL).await).unwrap();
        evil.send(&GatewayToSigner::Sign { id: 1, scheme, message }).await.unwrap();
        assert_eq!(accused_by_signer(&signer).await, EVIL);
        let answer = timeout(PATIENCE, evil.receive::<SignerToGateway>()).await.expect("no answer");
        assert!(matches!(answer, Ok(SignerToGateway::Refused { .. }) | Err(_)), "{answer:?}");
        sign().await;
    }
    for (what, bytes, fds) in no_messages() {
        let evil = introduce_to_signer(&signer, EVIL).await;
        send_raw(&evil, &bytes, fds);
        assert_eq!(accused_by_signer(&signer).await, EVIL, "{what}");
        sign().await;
    }
}

/// A client can cause ambiguous data, so that no gateway is blamed. But it is not signed.
#[tokio::test(flavor = "current_thread")]
async fn ambiguous_data_is_not_signed() {
    const ECDSA: u16 = 0x0403;
    let points = Points::new();
    let exchange = |which: u8, head: &[u8]| {
        let mut message = [&[0x02; 56][..], &points.fixed(which)].concat();
        message[..head.len()].copy_from_slice(head);
        message
    };
    for (kind, scheme) in [("ec", ECDSA), ("ed25519", 0x0807), ("rsa:2048", 0x0401)] {
        let signer = signer_of(kind, false).await;
        let gateway = Channel::new(introduce_to_signer(&signer, EVIL).await).unwrap();
        for (message, is_signed) in [
            (exchange(0, &[]), true),
            (exchange(1, &[]), true),
            // A certification request, and signed attributes.
            (exchange(0, b"\x30\x81\x82\x02\x01\x00\x30"), false),
            (exchange(1, b"\x30\x81\xa2\x02\x01\x00\x30"), false),
            (exchange(0, b"\x31\x81\x82\x30\x18\x06\x09"), false),
            (exchange(0, b"SSHSIG\0\0\0\x03git"), false),
            (exchange(0, &[]), true),
        ] {
            gateway.send(&GatewayToSigner::Sign { id: 1, scheme, message }).await.unwrap();
            let answer = timeout(PATIENCE, gateway.receive()).await.expect("no answer").unwrap();
            assert_eq!(matches!(answer, SignerToGateway::Signature { .. }), is_signed, "{kind}: {answer:?}");
        }
    }
    let signer = signer_of("ec", true).await;
    let gateway = Channel::new(introduce_to_signer(&signer, EVIL).await).unwrap();
    let question = GatewayToSigner::Sign { id: 1, scheme: ECDSA, message: exchange(0, &[]) };
    gateway.send(&question).await.unwrap();
    assert_eq!(accused_by_signer(&signer).await, EVIL);
}

/// A gateway sends requests without end, and reads nothing.
#[tokio::test(flavor = "current_thread")]
async fn a_flood_of_requests_delays_no_other_gateway() {
    let signer = signer().await;
    let evil = Channel::new(introduce_to_signer(&signer, EVIL).await).unwrap();
    let good = Channel::new(introduce_to_signer(&signer, GOOD).await).unwrap();
    let question = GatewayToSigner::Sign { id: 1, scheme: 0x0807, message: certificate_verify() };
    for _ in 0..20_000 {
        if !evil.try_send(&question).unwrap() {
            tokio::task::yield_now().await;
        }
    }
    good.send(&question).await.unwrap();
    let answer = timeout(Duration::from_secs(1), good.receive()).await.expect("no signature").unwrap();
    assert!(matches!(answer, SignerToGateway::Signature { .. }), "{answer:?}");
}
