//! The documented list of messages, and the tags in the end-to-end tests, agree with the tables.

#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use common::ipc::ConnectionId;
use common::ipc::admission::ClientFacts;
use common::ipc::connector::Dialled;
use common::ipc::directions::{DIRECTIONS, Direction};
use common::ipc::gateway::Ended;
use common::ipc::table::{Field, Row};
use common::ipc::wire::VERSION;

/// Environment variable: write the files instead of comparing them.
const GENERATE: &str = "GENERATE";

const HOW: &str = "`GENERATE=1 cargo test -p websockify-common --test messages`";

#[test]
fn documents_list_all_messages() {
    let mut text = format!(
        "# Messages between the processes\n\nGenerated from the tables in `common/src/ipc/` by {HOW}. How a \
         message is written, and what may change after a release, is told by `common/src/ipc/table.rs`; what \
         keeps the rules, by [architecture.md](architecture.md#channels-and-messages).\n"
    );
    for Direction { name, from, to, table, .. } in DIRECTIONS {
        write!(text, "\n## {from} → {to}: `{name}`\n\n").unwrap();
        text.push_str("| tag | message | phase | fields | meaning |\n|---|---|---|---|---|\n");
        for Row { tag, name, about, phases, then, fields, .. } in table {
            let mut phase = phases.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            if let Some(then) = then {
                write!(phase, "; then {then}").unwrap();
            }
            let fields: Vec<_> = fields.iter().map(field).collect();
            let about = about.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
            writeln!(text, "| {tag} | `{name}` | {phase} | {} | {about} |", fields.join(", ")).unwrap();
        }
    }
    compare("docs/development/messages.md", &text);
}

fn field(field: &Field) -> String {
    match field {
        Field { name, is_descriptor: true, .. } => format!("`{name}`: descriptor"),
        Field { name, kind, .. } => format!("`{name}`: `{kind}`"),
    }
}

#[test]
fn end_to_end_tests_know_all_tags() {
    let mut text = format!(
        "\"\"\"Tags of the messages between the processes.\n\nGenerated from the tables in common/src/ipc by\n{}.\n\
         \"\"\"\n\nVERSION = {VERSION}\n",
        HOW.trim_matches('`'),
    );
    for Direction { name, table, .. } in DIRECTIONS {
        write!(text, "\n\nclass {name}:\n").unwrap();
        for Row { tag, constant, .. } in table {
            writeln!(text, "    {constant} = {tag}").unwrap();
        }
    }
    let none = postcard::to_allocvec(&ClientFacts::default()).unwrap();
    assert!(none.iter().all(|byte| *byte == 0), "each fact that is absent is one byte: {none:?}");
    write!(text, "\n\n# A `ClientFacts` that tells nothing.\nNO_FACTS = bytes({})\n", none.len()).unwrap();
    let end = postcard::to_allocvec(&Ended::new(ConnectionId(0), None)).unwrap();
    assert!(end.iter().all(|byte| *byte == 0), "each part that is absent is one byte: {end:?}");
    let about = "What follows the number of the connection in an `Ended` without a session and an offence.";
    write!(text, "\n# {about}\nNO_SESSION = bytes({})\n", end.len() - 1).unwrap();
    let dialled = postcard::to_allocvec(&Dialled {
        id: ConnectionId(0),
        vouched: None,
        target: String::new(),
        secured: false,
        failure: None,
        connect: None,
        lifetime: None,
        user: None,
        token: None,
        expires: None,
    })
    .unwrap();
    assert!(dialled.iter().all(|byte| *byte == 0), "each part that is absent is one byte: {dialled:?}");
    let about = "What follows the target in a `Dialled` that tells nothing else.";
    write!(text, "\n# {about}\nNOTHING_ELSE = bytes({})\n", dialled.len() - 3).unwrap();
    compare("tests/harness/messages.py", &text);
}

fn compare(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name);
    if std::env::var_os(GENERATE).is_some() {
        fs::write(&path, expected).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == expected, "{name} is stale; {HOW} writes it anew");
}
