//! Writes the completions of websockify and websockifyctl for bash, zsh and fish into a directory, under the
//! names that the shells expect: `cargo run --example completions -- DIRECTORY`.

#[path = "../src/command_line.rs"]
#[allow(dead_code, reason = "the definition is all that is wanted")]
mod command_line;

use std::ffi::OsString;
use std::io::{Error, ErrorKind, Result};

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::{Shell, generate_to};
use common::config::{Sandbox, TlsVersion, WrapMode, cli};

/// Options with a fixed set of values.
const CHOICES: [(&str, &[&str]); 3] =
    [("ssl-version", TlsVersion::OPTION_VALUES), ("sandbox", Sandbox::WORDS), ("wrap-mode", WrapMode::WORDS)];

fn main() -> Result<()> {
    let directory = std::env::args_os().nth(1);
    let directory =
        directory.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "usage: completions DIRECTORY"))?;
    write(cli::definition(), &directory)?;
    write(command_line::Options::command(), &directory)
}

fn write(definition: Command, directory: &OsString) -> Result<()> {
    let name = definition.get_name().to_owned();
    let mut definition =
        definition.mut_args(with_values).mut_subcommands(|command| command.mut_args(with_values));
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut definition, &name, directory)?;
    }
    Ok(())
}

/// Declares the values of an option for the shells. The program itself validates them later, with better
/// messages.
fn with_values(arg: Arg) -> Arg {
    let choices = CHOICES.iter().find(|(option, _)| arg.get_long() == Some(option));
    if let Some((_, choices)) = choices {
        return arg.value_parser(PossibleValuesParser::new(*choices));
    }
    let hint = match arg.get_value_names().and_then(<[_]>::first).map(|name| name.as_str()) {
        Some("FILE") => ValueHint::FilePath,
        Some("DIR") => ValueHint::DirPath,
        _ => ValueHint::Other,
    };
    if arg.get_action().takes_values() { arg.value_hint(hint) } else { arg }
}
