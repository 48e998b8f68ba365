//! Resolves which option each word of a command line means, by the rules of Python's optparse, which the
//! original uses.
//!
//! clap's rules differ in two ways that matter: with optparse the value of an option may be any word, even
//! one that begins with a dash, and an abbreviation that is unique in the original must stay so, whatever
//! options we add. The result has full names and values after `=`. Words after `--` are unchanged.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::error::CliError;
use crate::config::similar::most_similar;

/// Options that the original does not have. An abbreviation selects them only if it is not valid in the
/// original.
pub(super) const OUR_OPTIONS: [&str; 9] =
    ["config", "check", "dump", "print-config", "version", "workers", "user", "sandbox", "demo"];

#[derive(Clone, Copy)]
struct KnownOption<'a> {
    name: &'a str,
    takes_value: bool,
}

/// Expands the names of options in `args`, and joins values to them.
pub(super) fn expand(
    args: impl IntoIterator<Item = OsString>,
    definition: &clap::Command,
) -> Result<Vec<OsString>, CliError> {
    let known = known_options(definition);
    let mut args = args.into_iter();
    let mut words = Vec::new();
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        if bytes == b"--" {
            words.push(arg);
            words.extend(args);
            break;
        } else if let Some(long) = bytes.strip_prefix(b"--") {
            let (name, value) = match long.iter().position(|byte| *byte == b'=') {
                Some(at) => (&long[..at], Some(OsStr::from_bytes(&long[at + 1..]).to_owned())),
                None => (long, None),
            };
            let option = find(&String::from_utf8_lossy(name), &known)?;
            words.push(with_value(option, value, &mut args)?);
            // As in the original, the rest is ignored.
            if matches!(option.name, "help" | "version") {
                break;
            }
        } else if bytes.len() > 1 && bytes[0] == b'-' {
            let letters = arg.to_string_lossy();
            words.extend(short_options(&letters[1..])?);
            if letters.contains('h') {
                break;
            }
        } else {
            words.push(arg);
        }
    }
    Ok(words)
}

/// All long options of the definition.
fn known_options(definition: &clap::Command) -> Vec<KnownOption<'_>> {
    let options = definition.get_arguments();
    let takes_value = |arg: &clap::Arg| arg.get_action().takes_values();
    options
        .filter_map(|arg| arg.get_long().map(|name| KnownOption { name, takes_value: takes_value(arg) }))
        .collect()
}

fn find<'a>(name: &str, known: &[KnownOption<'a>]) -> Result<KnownOption<'a>, CliError> {
    if let Some(exact) = known.iter().find(|option| option.name == name) {
        return Ok(*exact);
    }
    let (ours, originals): (Vec<KnownOption<'a>>, Vec<KnownOption<'a>>) = known
        .iter()
        .filter(|option| option.name.starts_with(name))
        .partition(|option| OUR_OPTIONS.contains(&option.name));
    let mut candidates = if originals.is_empty() { ours } else { originals };
    candidates.sort_by_key(|option| option.name);
    match candidates.as_slice() {
        [only] => Ok(*only),
        [] => Err(no_such_option(name, known)),
        _ => {
            let names: Vec<_> = candidates.iter().map(|option| format!("--{}", option.name)).collect();
            Err(CliError::usage(format!("ambiguous option: --{name} ({}?)", names.join(", "))))
        }
    }
}

fn no_such_option(name: &str, known: &[KnownOption<'_>]) -> CliError {
    let error = CliError::usage(format!("no such option: --{}", name.escape_debug()));
    let names = known.iter().map(|option| option.name);
    match most_similar(name, names) {
        Some(similar) => error.help(format!("did you mean --{similar}?")),
        None => error.help("websockify --help lists all options"),
    }
}

fn with_value(
    option: KnownOption<'_>,
    value: Option<OsString>,
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<OsString, CliError> {
    let name = option.name;
    let mut word = OsString::from(format!("--{name}"));
    if option.takes_value {
        let Some(value) = value.or_else(|| rest.next()) else {
            return Err(CliError::usage(format!("--{name} option requires 1 argument")));
        };
        word.push("=");
        word.push(value);
    } else if value.is_some() {
        return Err(CliError::usage(format!("--{name} option does not take a value")));
    }
    Ok(word)
}

/// Expands combined short options such as `-6v`. None of them takes a value.
fn short_options(letters: &str) -> Result<Vec<OsString>, CliError> {
    letters
        .chars()
        .map(|letter| match letter {
            'v' | '6' | 'h' | 'D' => Ok(format!("-{letter}").into()),
            _ => Err(CliError::usage(format!("no such option: -{}", letter.escape_debug()))
                .help("websockify --help lists all options")),
        })
        .collect()
}
