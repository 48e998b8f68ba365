//! Prints a configuration as TOML. Parsing the output gives the same configuration, except for secrets, which
//! are never printed.

use std::ops::Range;

use thiserror::Error;
use toml::de::{DeTable, DeValue};

use super::secret::HIDDEN;
use super::tls::Tls;
use super::top::Config;
use super::web::Web;
use super::wrap::Wrap;

/// A path is not UTF-8 and can't be written in TOML.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct PrintError(String);

/// Prints every key that has a value, and marks default values (`--dump`).
///
/// # Errors
///
/// Fails if a path is not UTF-8.
pub fn dump(config: &Config) -> Result<String, PrintError> {
    print(config, true)
}

/// Prints the keys that differ from their defaults (`--print-config`).
///
/// # Errors
///
/// Fails if a path is not UTF-8.
pub fn print_config(config: &Config) -> Result<String, PrintError> {
    print(config, false)
}

fn print(config: &Config, all: bool) -> Result<String, PrintError> {
    let every_table = Config {
        web: Some(Web::default()),
        tls: Some(Tls::default()),
        wrap: Some(Wrap::new(Vec::new())),
        ..Config::default()
    };
    let (defaults, text) = (to_toml(&every_table)?, to_toml(config)?);
    let defaults = entries(&defaults)?;
    let mut printed = String::new();
    let mut last_table = 0;
    for Entry { table, header, key, line, .. } in entries(&text)? {
        let is_default = defaults.iter().any(|default| (default.header, default.line) == (header, line));
        if is_default && !all {
            continue;
        }
        if table != last_table {
            printed += &format!("\n{header}\n");
            last_table = table;
        }
        printed += &if line.contains(&HIDDEN[1..]) { hidden(key) } else { line.to_owned() };
        printed += if is_default { "  # default\n" } else { "\n" };
    }
    Ok(printed)
}

/// Serialises the configuration in the order of its declaration.
fn to_toml(config: &Config) -> Result<String, PrintError> {
    toml::to_string(config).map_err(|error| PrintError(error.to_string()))
}

/// Comment that replaces the line of a secret.
fn hidden(key: &str) -> String {
    format!(
        "# The {key} is not printed, since others should not see it: put it into a file that only root can\n\
         # read, and name that file here.\n\
         #{key}-file = \"/path/to/file\""
    )
}

/// A key and its value in the TOML text.
struct Entry<'a> {
    /// Byte offset of the key.
    at: usize,
    /// Byte offset of its table.
    table: usize,
    /// Header line of its table.
    header: &'a str,
    key: &'a str,
    line: &'a str,
}

/// Lists the keys of `text` in their order.
fn entries(text: &str) -> Result<Vec<Entry<'_>>, PrintError> {
    fn add<'a>(text: &'a str, header: Range<usize>, table: &DeTable<'_>, found: &mut Vec<Entry<'a>>) {
        for (key, value) in table {
            match value.get_ref() {
                DeValue::Table(table) => add(text, value.span(), table, found),
                DeValue::Array(list)
                    if !list.is_empty() && list.iter().all(|one| one.get_ref().is_table()) =>
                {
                    for one in list.iter() {
                        if let DeValue::Table(table) = one.get_ref() {
                            add(text, one.span(), table, found);
                        }
                    }
                }
                _ => found.push(Entry {
                    at: key.span().start,
                    table: header.start,
                    header: &text[header.clone()],
                    key: &text[key.span()],
                    line: &text[key.span().start..value.span().end],
                }),
            }
        }
    }
    let document = DeTable::parse(text).map_err(|error| PrintError(error.to_string()))?;
    let mut found = Vec::new();
    add(text, 0..0, document.get_ref(), &mut found);
    found.sort_by_key(|entry| entry.at);
    Ok(found)
}
