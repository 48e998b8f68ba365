//! Each promise in `docs/development/threat-model.md` names tests, and these exist.

#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::fs;
use std::path::{Path, PathBuf};

/// Directories that are searched for a file whose directory is not given.
const DIRECTORIES: [&str; 4] = ["tests/suite", "tests/systemd", "worker/tests", "fuzz/targets"];

/// Marks of a file with tests; `main` is that of a test without harness.
const TESTS: [&str; 5] = ["#[test]", "#[tokio::test", "\ndef test_", "fuzz_target!(", "\nfn main("];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The promises, each with its cell of tests.
fn promises(text: &str) -> Vec<(&str, &str)> {
    let (_, promised) = text.split_once("\n## What is promised\n").unwrap();
    let (promised, _) = promised.split_once("\n## ").unwrap();
    let rows =
        promised.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    rows.filter(|(promise, _)| *promise != "promise").collect()
}

/// The text of a file; `None` if there is no such file.
fn text_of(name: &str) -> Option<String> {
    let as_it_stands = [root().join(name)];
    let in_directories = DIRECTORIES.map(|directory| root().join(directory).join(name));
    as_it_stands.iter().chain(&in_directories).find_map(|path| fs::read_to_string(path).ok())
}

/// Errors in a cell of tests.
fn mistakes(cell: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut file = String::new();
    let quoted = cell.split('`').skip(1).step_by(2);
    for reference in quoted {
        // A bare name is that of a test in the previously named file.
        let (path, test) = match reference.split_once("::") {
            Some((path, test)) => (Some(path), Some(test)),
            None if reference.contains('.') => (Some(reference), None),
            None => (None, Some(reference)),
        };
        if let Some(path) = path {
            file = text_of(path).unwrap_or_else(|| {
                wrong.push(format!("there is no {path}"));
                String::new()
            });
        }
        let is_there = match test {
            Some(test) => ["fn", "def"].iter().any(|word| file.contains(&format!("{word} {test}("))),
            None => TESTS.iter().any(|mark| file.contains(mark)),
        };
        if !is_there {
            wrong.push(format!("no test: {reference}"));
        }
    }
    if !cell.contains('`') {
        wrong.push("no test is named".into());
    }
    wrong
}

#[test]
fn each_promise_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/development/threat-model.md")).unwrap();
    let promises = promises(&text);
    assert!(promises.len() > 20, "only {} promises were found", promises.len());
    let wrong: Vec<_> = promises
        .into_iter()
        .map(|(promise, cell)| (promise, mistakes(cell)))
        .filter(|(_, mistakes)| !mistakes.is_empty())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn missing_tests_are_reported() {
    for cell in [
        "by design",
        "`tests/suite/test_nothing.py`",
        "`test_sandbox.py::test_nothing`",
        "`test_sandbox.py`, `test_nothing`",
        "`tests/harness/frames.py`",
    ] {
        assert!(!mistakes(cell).is_empty(), "{cell}");
    }
    assert!(mistakes("`test_sandbox.py::test_an_unknown_mode_is_refused`").is_empty());
}
