//! The privileged program contains no parser of network protocols: no TLS, HTTP or WebSocket.

#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::process::Command;

/// Crates that implement network protocols, or hold their secrets.
const FORBIDDEN: [&str; 6] =
    ["aws-lc-rs", "hyper", "rustls", "tokio-rustls", "tokio-tungstenite", "tungstenite"];

/// The crates that a program of the workspace is linked with, including the features that a build of the
/// whole workspace enables.
fn linked_into(package: &str) -> Vec<String> {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--offline",
            "--locked",
            "--edges=normal",
            "--prefix=depth",
            "--no-dedupe",
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let is_root = |line: &&str| line.starts_with('0');
    let below = tree.lines().skip_while(|line| !line.starts_with(&format!("0{package} "))).skip(1);
    let names = below.take_while(|line| !is_root(line)).filter_map(|line| line.split(' ').next());
    names.map(|name| name.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned()).collect()
}

#[test]
fn the_supervisor_has_no_parser_of_network_protocols() {
    let linked = linked_into("websockify-supervisor");
    assert!(linked.iter().any(|name| name == "websockify-common"), "{linked:?}");
    let forbidden: Vec<_> =
        FORBIDDEN.into_iter().filter(|name| linked.iter().any(|one| one == name)).collect();
    assert!(forbidden.is_empty(), "the supervisor is linked with {forbidden:?}");
}

#[test]
fn the_list_names_crates_as_they_are_called() {
    let worker = linked_into("websockify-worker");
    for name in FORBIDDEN {
        assert!(worker.iter().any(|one| one == name), "the worker is not linked with {name}");
    }
}
