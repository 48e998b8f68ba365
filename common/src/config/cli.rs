//! The command line of the original `websockify` 0.13.0, and a few options of our own.
//!
//! Parsing has three steps. `expand` resolves which option each word means, as Python's optparse does.
//! `options` declares the options for clap. `convert` turns the parsed options into a [`Config`]. Nothing
//! here prints or ends the process.

mod convert;
mod error;
mod expand;
mod options;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use super::path::relative_to;
use super::top::Config;
use super::{file, print};
pub use error::CliError;
pub(super) use options::{Options, WITHOUT_KEY};

/// A parsed command line.
#[derive(Debug)]
pub struct CommandLine {
    /// The action.
    pub command: Command,
    /// The file of `--config`, which a reload reads again.
    pub file: Option<PathBuf>,
    /// Run in the background (`-D`).
    pub daemon: bool,
    /// Warnings for the log, one line each, about options that have no effect.
    pub notes: Vec<String>,
}

/// An action that a command line requests.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the service.
    Run(Box<Config>),
    /// Only print the findings of [`Config::check`] (`--check`).
    Check(Box<Config>),
    /// Print a text to standard output: help, version, or a configuration as TOML.
    Print(String),
}

/// Parses a command line, including the program's name.
///
/// # Errors
///
/// Fails with a text for standard error and an exit status: [`crate::exit_code::USAGE`] for an invalid
/// command line, [`crate::exit_code::CONFIG`] for an invalid file of `--config`.
pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<CommandLine, CliError> {
    let definition = Options::command();
    let words = expand::expand(args.into_iter().skip(1), &definition)?;
    let behind_dashes = words.iter().position(|word| word == "--").map(|at| words.len() - at - 1);
    // `expand` stops at a request for help. Words after `--` belong to the wrapped program.
    match words.last().filter(|_| behind_dashes.is_none()) {
        Some(word) if word == "--help" => return Ok(print(long_help(definition))),
        Some(word) if word == "-h" => return Ok(print(short_help(definition))),
        _ => {}
    }
    let program = OsString::from("websockify");
    // Relative paths start at the current directory. If that can't be determined, they are kept, and opening
    // them fails.
    let here = std::env::current_dir().unwrap_or_default();
    let (matches, mut options) = relative_to(&here, || {
        let matches = definition.try_get_matches_from(std::iter::once(program).chain(words))?;
        Options::from_arg_matches(&matches).map(|options| (matches, options))
    })
    .map_err(|error| CliError::from_clap(&error))?;
    options.behind_dashes = behind_dashes;
    if options.version {
        return Ok(print(format!("websockify {}\n", env!("CARGO_PKG_VERSION"))));
    }

    if [options.check, options.dump, options.print_config].into_iter().filter(|given| *given).count() > 1 {
        return Err(CliError::usage("only one of --check, --dump and --print-config can be used"));
    }
    let mut notes = Vec::new();
    let (check, dump, print_config, daemon) =
        (options.check, options.dump, options.print_config, options.daemon);
    let (config, file) = match options.config.take_if(|path| !path.as_os_str().is_empty()) {
        Some(path) => {
            refuse_beside_config(&matches)?;
            let mut config = file::load(&path).map_err(CliError::in_file)?;
            config.verbose |= options.file.verbose;
            (config, Some(path.to_path_buf()))
        }
        None => {
            let certificate = matches.get_raw("tls.certificate").and_then(|mut words| words.next());
            let certificate = certificate.unwrap_or_default();
            (relative_to(&here, || convert::to_config(options, certificate, &mut notes))?, None)
        }
    };
    let command = if check {
        Command::Check(Box::new(config))
    } else if dump {
        Command::Print(print::dump(&config).map_err(CliError::usage)?)
    } else if print_config {
        Command::Print(print::print_config(&config).map_err(CliError::usage)?)
    } else {
        Command::Run(Box::new(config))
    };
    if daemon && matches!(command, Command::Print(_)) {
        notes.push("-D can't be part of a configuration file: give it beside --config".to_owned());
    }
    Ok(CommandLine { command, file, daemon, notes })
}

/// The clap definition of the options, for shell completions.
#[must_use]
pub fn definition() -> clap::Command {
    Options::command()
}

fn print(text: String) -> CommandLine {
    CommandLine { command: Command::Print(text), file: None, daemon: false, notes: Vec::new() }
}

fn short_help(definition: clap::Command) -> String {
    definition
        .help_template("Usage: {usage}\n\n{about}\n\n{options}\n\n--help shows all options and examples.\n")
        .render_help()
        .to_string()
}

fn long_help(definition: clap::Command) -> String {
    definition
        .help_template("Usage: {usage}\n\n{about}\n\n{all-args}{after-help}\n")
        .after_long_help(options::EXAMPLES)
        .render_long_help()
        .to_string()
}

/// Rejects options beside `--config`: the file is the complete configuration, and it would be unclear which
/// of both wins.
fn refuse_beside_config(matches: &ArgMatches) -> Result<(), CliError> {
    const ALLOWED: [&str; 5] = ["config", "check", "dump", "verbose", "daemon"];
    let given = matches
        .ids()
        .map(clap::Id::as_str)
        .find(|id| !ALLOWED.contains(id) && matches.value_source(id) == Some(ValueSource::CommandLine));
    let Some(id) = given else { return Ok(()) };
    if id == "addresses" {
        return Err(CliError::usage("Too many arguments")
            .help("with --config the addresses stand in the file, as `listen` and `target`"));
    }
    let definition = Options::command();
    let option = definition.get_arguments().find(|arg| arg.get_id() == id).and_then(clap::Arg::get_long);
    let error = CliError::usage(format!("--{} can't be used with --config", option.unwrap_or(id)));
    let key = (!WITHOUT_KEY.contains(&id)).then(|| id.replace('_', "-"));
    Err(key.into_iter().fold(error, |error, key| error.help(format!("write `{key}` into the file"))))
}
