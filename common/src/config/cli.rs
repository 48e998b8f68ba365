//! The command line: that of the original `websockify` 0.13.0, and a few options of our own.
//!
//! Parsing has three steps, each in its own file: `expand` settles which option each word means, as
//! Python's optparse does; `options` is the list of options for clap; `convert` turns what was given
//! into a [`Config`]. Nothing here prints or ends the process.

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

/// What a command line asks for.
#[derive(Debug)]
pub struct CommandLine {
    /// What to do.
    pub command: Command,
    /// The file of `--config`, to be read again at a reload.
    pub file: Option<PathBuf>,
    /// Serve in the background (`-D`).
    pub daemon: bool,
    /// Remarks for the log, one line each: what was accepted and has no effect.
    pub notes: Vec<String>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve.
    Run(Box<Config>),
    /// Only tell whether [`Config::check`] finds problems (`--check`).
    Check(Box<Config>),
    /// Print this text to standard output: help, version, or a configuration as TOML.
    Print(String),
}

/// Reads a command line, the program's name first.
///
/// # Errors
/// With the text for standard error and the exit code: [`crate::exit_code::USAGE`] for what is wrong on
/// the command line, [`crate::exit_code::CONFIG`] for what is wrong in the file of `--config`.
pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<CommandLine, CliError> {
    let definition = Options::command();
    let words = expand::expand(args.into_iter().skip(1), &definition)?;
    let behind_dashes = words.iter().position(|word| word == "--").map(|at| words.len() - at - 1);
    // Nothing comes after a request for help, and a program's own is not for us.
    match words.last().filter(|_| behind_dashes.is_none()) {
        Some(word) if word == "--help" => return Ok(print(long_help(definition))),
        Some(word) if word == "-h" => return Ok(print(short_help(definition))),
        _ => {}
    }
    let program = OsString::from("websockify");
    // Relative paths start at the current directory. Without one they stay as they are, which is told when they are
    // opened.
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
        notes.push("-D is no part of a configuration: give it beside --config".to_owned());
    }
    Ok(CommandLine { command, file, daemon, notes })
}

/// The options as clap knows them, for completions.
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

/// A file says everything; options beside it would leave in doubt which of them counts.
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
