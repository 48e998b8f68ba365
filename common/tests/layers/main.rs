//! Code imports from lower layers only, and circles of imports have at most two files.

#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use imports::Sources;

/// Maximum number of files in a circle of imports.
const MAX_CIRCLE: usize = 2;

/// A directory with its files and subdirectories in layers, from top to bottom. Entries on one line do not
/// import from each other.
struct House {
    directory: &'static str,
    layers: &'static [&'static str],
}

const HOUSES: &[House] = &[
    House {
        directory: "supervisor/src",
        layers: &["main", "run", "banner", "life", "control", "path", "roles", "files", "state", "os"],
    },
    House {
        directory: "supervisor/ctl/src",
        layers: &[
            "main",
            "apply drain health remote revoke ticket",
            "files",
            "visible certificate",
            "show systemctl command_line",
            "output terminal",
            "instances secret",
        ],
    },
    House { directory: "supervisor/generator/src", layers: &["main", "dropin", "source"] },
    House {
        directory: "worker/src",
        layers: &[
            "main",
            "lib",
            "gateway connector signer exporter echo wrapper plugin",
            "family",
            "sandbox",
            "role beneath",
        ],
    },
    House {
        directory: "worker/src/gateway",
        layers: &[
            "mod",
            "connection",
            "requests",
            "new_session",
            "state",
            "page",
            "pump tls web",
            "connections recording http transport",
            "kept",
            "admission certificate outbox proxy_header websocket",
        ],
    },
    House {
        directory: "worker/src/connector",
        layers: &[
            "mod",
            "answer recheck",
            "dialling",
            "state",
            "policy admitted",
            "auth token site",
            "plugin",
            "http target",
            "endpoint program by_root hashing proxy_header",
            "dial grant jose client_request questions turns under_way waiting",
            "reach",
        ],
    },
];

/// The crates with sources of programs.
const CRATES: [&str; 7] =
    ["common", "common/link", "rebind", "supervisor", "supervisor/ctl", "supervisor/generator", "worker"];

fn sources(name: &str) -> Sources {
    Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name).join("src"))
}

impl House {
    /// The entry of this directory that contains a file of the crate.
    fn room<'a>(&self, file: &'a str) -> Option<&'a str> {
        let (_, below) = self.directory.split_once("src").unwrap();
        let below = below.trim_start_matches('/');
        let inside = file.strip_prefix(below)?;
        let inside = if below.is_empty() { inside } else { inside.strip_prefix('/')? };
        Some(inside.split('/').next().unwrap().trim_end_matches(".rs"))
    }

    fn layer(&self, room: &str) -> Option<usize> {
        self.layers.iter().position(|layer| layer.split(' ').any(|one| one == room))
    }

    /// Returns violations of the layers in this directory.
    fn mistakes(&self, sources: &Sources) -> Vec<String> {
        let mut wrong = BTreeSet::new();
        let rooms: BTreeSet<_> = sources.files().into_iter().filter_map(|file| self.room(file)).collect();
        for room in rooms.iter().filter(|room| self.layer(room).is_none()) {
            wrong.insert(format!("{}: {room} has no layer", self.directory));
        }
        for room in self.layers.iter().flat_map(|layer| layer.split(' ')).filter(|room| !rooms.contains(room))
        {
            wrong.insert(format!("{}: there is no {room}", self.directory));
        }
        for (file, imported) in sources.imports() {
            let Some(from) = self.room(file) else { continue };
            for (other, to) in imported.into_iter().filter_map(|other| Some((other, self.room(other)?))) {
                if from != to && self.layer(from) >= self.layer(to) {
                    wrong.insert(format!(
                        "{}: {file} imports {other}, but {from} is not above {to}",
                        self.directory
                    ));
                }
            }
        }
        wrong.into_iter().collect()
    }
}

/// The largest sets of files that import each other, directly or indirectly.
fn circles<'a>(imports: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<Vec<&'a str>> {
    let reached = |from: &'a str| {
        let mut reached = BTreeSet::new();
        let mut left = vec![from];
        while let Some(file) = left.pop() {
            left.extend(imports[file].iter().filter(|other| reached.insert(**other)));
        }
        reached
    };
    let reached: BTreeMap<_, _> = imports.keys().map(|file| (*file, reached(file))).collect();
    let circle = |file: &&'a str| {
        let both = reached[file].iter().filter(|other| reached[**other].contains(file));
        both.copied().collect::<Vec<_>>()
    };
    imports.keys().map(circle).filter(|circle| circle.len() > MAX_CIRCLE).collect()
}

/// The circles of a crate that are too large.
fn large_circles(name: &str) -> Vec<String> {
    let sources = sources(name);
    circles(&sources.imports()).iter().map(|circle| format!("{name}: a circle of {circle:#?}")).collect()
}

#[test]
fn code_imports_from_the_layers_below_only() {
    let crate_of = |house: &House| house.directory.split_once("/src").unwrap().0;
    let wrong: Vec<_> = HOUSES.iter().flat_map(|house| house.mistakes(&sources(crate_of(house)))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_more_than_two_files_import_each_other_in_a_circle() {
    let wrong: Vec<_> = CRATES.iter().flat_map(|name| large_circles(name)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The imports of `a/b.rs` with this text, in a crate with a few other files.
fn imports_of(text: &str) -> Vec<String> {
    let files = [
        ("lib.rs", "pub mod a; pub mod c; mod d;"),
        ("a/mod.rs", "mod b; mod e; pub use e::Handed; use crate::c::Taken as Renamed;"),
        ("a/b.rs", text),
        ("a/e.rs", ""),
        ("c.rs", ""),
        ("d/mod.rs", "mod f; pub use crate::a::Handed; #[cfg(test)] mod tests;"),
        ("d/f.rs", ""),
        ("d/tests.rs", "use crate::c;"),
    ];
    let sources = Sources::new("house", files.map(|(file, text)| (file, text.to_owned())));
    sources.imports()["a/b.rs"].iter().map(|file| (*file).to_owned()).collect()
}

#[test]
fn every_form_of_import_is_recognized() {
    for (text, imported) in [
        ("use crate::c::X;", &["c.rs"][..]),
        ("use crate::{c::{X, y as z}, d::{self, f::{F, G}}};", &["c.rs", "d/f.rs", "d/mod.rs"]),
        ("pub(crate) use house::c;", &["c.rs"]),
        ("use super::super::c::*;", &["c.rs"]),
        // Through re-exports.
        ("use super::Handed;", &["a/e.rs", "a/mod.rs"]),
        ("use super::Renamed;", &["a/mod.rs", "c.rs"]),
        ("use crate::d::Handed;", &["a/e.rs", "a/mod.rs", "d/mod.rs"]),
        ("use crate::d; fn g() { d::f::h() }", &["d/f.rs", "d/mod.rs"]),
        // Without `use`.
        ("fn g(x: &crate::c::X<'_>) -> impl Sized { super::e::h('\\'') }", &["a/e.rs", "c.rs"]),
        ("fn g() { debug!(\"{}\", crate::c::h()) }", &["c.rs"]),
    ] {
        assert_eq!(imports_of(text), imported, "{text}");
    }
}

#[test]
fn text_that_is_no_import_is_ignored() {
    for text in [
        "// use crate::c;\n/* crate::c::X */ /// [`crate::c`]\n",
        "const A: &str = \"use crate::c;\"; const B: &str = r#\"\" crate::c::X \"#;",
        "use std::c; use other::house::c::X; fn g() { x.c::<crate>() }",
        "pub(in crate::a) fn g<'a>(c: char) { c == '\"' }",
        "#[cfg(test)] use crate::{c, d}; #[cfg(test)] mod tests { use crate::c; }",
        "#[cfg(test)] #[derive(X)] const A: [u8; { 1 }] = [crate::c::X]; #[cfg(test)] fn g() { crate::c::h() }",
        "#[cfg_attr(test, derive(X), x(y = crate::c::Z))] struct S;",
        "#[cfg(test)] impl X { fn g() { crate::c::h() } }",
    ] {
        assert_eq!(imports_of(text), [""; 0], "{text}");
    }
}

#[test]
fn upward_imports_and_files_without_a_layer_are_reported() {
    let house = House { directory: "x/src", layers: &["main", "a b", "c", "d"] };
    let files = [
        ("main.rs", "use c::X;"),
        ("a.rs", "use crate::b::X;"),
        ("b.rs", ""),
        ("c.rs", "use crate::a::Y;"),
        ("e.rs", ""),
    ];
    let sources = Sources::new("x", files.map(|(file, text)| (file, text.to_owned())));
    let expected = [
        "x/src: a.rs imports b.rs, but a is not above b",
        "x/src: c.rs imports a.rs, but c is not above a",
        "x/src: e has no layer",
        "x/src: there is no d",
    ];
    assert_eq!(house.mistakes(&sources), expected);
}

#[test]
fn circles_of_three_are_reported_and_those_of_two_are_not() {
    let find = |files: &[(&str, &str)]| {
        let sources = Sources::new("x", files.iter().map(|(file, text)| (*file, (*text).to_owned())));
        circles(&sources.imports()).len()
    };
    let two = [("a.rs", "use crate::b::X;"), ("b.rs", "use crate::a::X;"), ("c.rs", "use crate::b::X;")];
    assert_eq!(find(&two), 0);
    let three = [("a.rs", "use crate::b::X;"), ("b.rs", "use crate::c::X;"), ("c.rs", "use crate::a::X;")];
    assert_eq!(find(&three), 1);
}
