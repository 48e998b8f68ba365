//! Manual pages and schema name what the program has, and nothing else; `-h` fits a screen.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use serde_json::Value;

use super::super::cli;
use super::all_keys;

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Says what `document` lacks of what the program has, and what it has too much.
fn assert_same(document: &str, written: &BTreeSet<String>, program: &BTreeSet<String>) {
    let missing: Vec<_> = program.difference(written).collect();
    let unknown: Vec<_> = written.difference(program).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "docs/{document} lacks {missing:#?}, and has {unknown:#?}"
    );
}

/// The tags of `.TP` paragraphs below `section` in a manual page as plain words, each with the name of
/// its `.SS`.
fn tags(page: &str, section: &str) -> Vec<(String, String)> {
    let heading = format!(".SH {section}");
    let mut lines = page.lines().skip_while(|line| *line != heading).skip(1);
    let (mut subsection, mut tags) = (String::new(), Vec::new());
    while let Some(line) = lines.next() {
        if line.starts_with(".SH ") {
            break;
        } else if let Some(name) = line.strip_prefix(".SS ") {
            subsection = name.replace("\\-", "-");
        } else if line == ".TP" {
            let tag = lines.next().unwrap_or_default().replace("\\-", "-").replace(['"', ','], " ");
            let (_macro, words) = tag.split_once(' ').unwrap_or_default();
            tags.push((subsection.clone(), words.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    tags
}

#[test]
fn the_manual_page_has_every_option_as_it_is() {
    let mut definition = cli::Options::command();
    definition.build();
    let options = definition
        .get_arguments()
        .filter_map(|arg| {
            let long = arg.get_long()?;
            let short = arg.get_short().map(|letter| format!("-{letter} ")).unwrap_or_default();
            let value = match arg.get_value_names() {
                Some([name]) if arg.get_action().takes_values() => format!(" {name}"),
                _ => String::new(),
            };
            let heading = arg.get_help_heading().unwrap_or_default();
            Some(format!("{heading}: {short}--{long}{value}"))
        })
        .collect();
    let written = tags(&document("man/websockify.1"), "OPTIONS")
        .into_iter()
        .map(|(heading, words)| format!("{heading}: {words}"))
        .collect();
    assert_same("man/websockify.1", &written, &options);
}

#[test]
fn the_manual_page_has_every_key() {
    let written = tags(&document("man/websockify.toml.5"), "KEYS")
        .into_iter()
        .map(|(subsection, words)| {
            let key = words.split_whitespace().next().unwrap_or_default();
            match subsection.strip_prefix('[').and_then(|table| table.strip_suffix(']')) {
                Some(table) => format!("{table}.{key}"),
                None => key.to_owned(),
            }
        })
        .collect();
    assert_same("man/websockify.toml.5", &written, &all_keys());
}

/// The properties of a table in a schema, also where it is one of several choices.
fn properties(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    let choices = schema["anyOf"].as_array().into_iter().flatten();
    choices.chain([schema]).find_map(|choice| choice["properties"].as_object())
}

#[test]
fn the_schema_has_every_key() {
    let schema: Value = serde_json::from_str(&document("websockify.schema.json")).unwrap();
    let mut written = BTreeSet::new();
    for (key, value) in schema["properties"].as_object().unwrap() {
        let below = properties(value);
        // What is only a table, or several of them, is no key itself.
        let choices = value["anyOf"].as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let is_table = choices.iter().all(|choice| choice["type"] == "object" || choice["type"] == "array");
        if below.is_none() || !is_table {
            written.insert(key.clone());
        }
        written.extend(below.into_iter().flatten().map(|(name, _)| format!("{key}.{name}")));
    }
    assert_same("websockify.schema.json", &written, &all_keys());
}

#[test]
fn the_short_help_fits_a_screen() {
    let line = cli::from_args(["websockify", "-h"].map(Into::into)).unwrap();
    let cli::Command::Print(help) = line.command else { panic!("{line:?}") };
    assert!(help.lines().count() <= 40, "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
}
