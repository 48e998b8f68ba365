//! What the crates that we depend on may not be: parsers of network protocols (TLS, HTTP, WebSocket) in the privileged
//! program, or newer than the oldest Rust that we support.

#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Crates that implement network protocols, or hold their secrets.
const FORBIDDEN: [&str; 6] =
    ["aws-lc-rs", "hyper", "rustls", "tokio-rustls", "tokio-tungstenite", "tungstenite"];

/// What cargo prints, run without a network in a directory of the sources.
fn cargo(directory: &str, words: &[&str]) -> String {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
    let words = words.iter().chain(&["--offline", "--locked"]);
    let output = Command::new(env!("CARGO")).args(words).current_dir(sources).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The crates that a program of the workspace is linked with, including the features that a build of the
/// whole workspace enables.
fn linked_into(package: &str) -> Vec<String> {
    let tree = cargo(".", &["tree", "--workspace", "--edges=normal", "--prefix=depth", "--no-dedupe"]);
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

/// A version of Rust such as 1.85 or 1.85.0.
fn release(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap()).chain([0, 0]).take(3).collect()
}

#[test]
fn no_crate_needs_a_newer_rust_than_we_say() {
    let ours = release(env!("CARGO_PKG_RUST_VERSION"));
    for workspace in [".", "rebind"] {
        let platform = "--filter-platform=x86_64-unknown-linux-gnu";
        let metadata = cargo(workspace, &["metadata", "--format-version=1", platform]);
        let metadata: Value = metadata.parse().unwrap();
        let declared = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|package| Some((package["name"].as_str()?, package["rust_version"].as_str()?)));
        let newer: Vec<_> = declared.filter(|(_, version)| release(version) > ours).collect();
        assert!(newer.is_empty(), "{workspace} depends on crates that need a newer Rust: {newer:?}");
    }
}
