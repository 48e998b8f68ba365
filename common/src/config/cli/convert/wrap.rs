//! The program behind `--`.

use std::ffi::OsString;

use super::{CliError, Options, given, too_few_arguments};
use crate::config::{Wrap, WrapMode};

/// The program to start: all words behind the listening address, if there was a `--`. As in the original
/// it runs as whoever starts us, root too.
pub(super) fn program<'a>(
    options: &Options,
    addresses: &mut impl Iterator<Item = &'a OsString>,
    notes: &mut Vec<String>,
) -> Result<Option<Wrap>, CliError> {
    let mode = mode(options.wrap_mode.as_deref())?;
    if !options.wraps {
        if options.wrap_mode.is_some() {
            notes.push("--wrap-mode has no effect without a program behind --".to_owned());
        }
        return Ok(None);
    }
    let command: Vec<_> = addresses.cloned().collect();
    if command.is_empty() {
        return Err(too_few_arguments()
            .help("name the program behind --: websockify 5901 --wrap-mode=ignore -- vncserver :1"));
    }
    for (option, given) in [
        ("--demo", options.demo),
        ("--unix-target", given(options.unix_target.as_ref()).is_some()),
        ("--token-plugin", super::plugins::tokens(options)?.is_some()),
    ] {
        if given {
            return Err(CliError::usage(format!("{option} can't be used with a program behind --"))
                .help("the program is the target; leave one of the two out"));
        }
    }
    if !options.inetd && given(options.unix_listen.as_ref()).is_some() {
        return Err(CliError::usage("--unix-listen does not tell which port the program behind -- binds")
            .help("use a configuration file, and name the port as `wrap.port`"));
    }
    let user = nix::unistd::Uid::effective().is_root().then(|| "root".to_owned());
    Ok(Some(Wrap { mode, user, ..Wrap::new(command) }))
}

fn mode(text: Option<&str>) -> Result<WrapMode, CliError> {
    let Some(text) = text else { return Ok(WrapMode::default()) };
    WrapMode::parse(text).ok_or_else(|| {
        CliError::usage(format!(
            "option --wrap-mode: invalid choice: '{}' (choose from 'exit', 'ignore', 'respawn')",
            text.escape_debug()
        ))
    })
}
