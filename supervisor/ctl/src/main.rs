//! `websockifyctl`: shows and controls running instances through their control sockets, and manages their
//! configuration files.
#![forbid(unsafe_code)]

mod apply;
mod certificate;
mod command_line;
mod drain;
mod files;
mod health;
mod instances;
mod output;
mod remote;
mod revoke;
mod secret;
mod show;
mod systemctl;
mod terminal;
mod ticket;
mod visible;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use clap::Parser;
use common::control::{self, Answer, Request};
use common::exit_code;

use command_line::{Command, Options, Session};
use drain::Supervisor;
use instances::{CtlError, Instance, KnownInstance};
use output::print;

/// Interval of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let options = Options::parse();
    match run(options) {
        Ok(code) => code.into(),
        Err(error) => {
            // The error may contain text from an instance.
            let _ = writeln!(io::stderr(), "websockifyctl: {}", output::safe(&error.to_string()));
            exit_code::FAILURE.into()
        }
    }
}

fn run(options: Options) -> Result<u8, CtlError> {
    let Options { config, run, host, command } = options;
    if !host.is_empty() {
        let all_well = remote::run(&host, command)?;
        return Ok(if all_well { exit_code::SUCCESS } else { exit_code::FAILURE });
    }
    let directory = config.map_or_else(files::default_directory, Ok)?;
    // Commands that only read files need no socket directory.
    let run = || run.clone().or_else(control::directory).ok_or(CtlError::NoDirectory);
    match command {
        Command::List { json } => print(&show::list(&instances::all(&directory, &run()?)?, json)?)?,
        Command::Status { name, json } => {
            let all = match name {
                Some(name) => match Instance::named(&run()?, &name)?.ask(&Request::Status)? {
                    Answer::Status(status) => vec![KnownInstance { name, file: None, status: Some(*status) }],
                    other => return Err(CtlError::unexpected(other)),
                },
                None => instances::all(&directory, &run()?)?,
            };
            print(&show::status(&all, json)?)?;
        }
        Command::Sessions { name, watch, json } => loop {
            let sessions = match Instance::named(&run()?, &name)?.ask(&Request::Sessions)? {
                Answer::Sessions(sessions) => sessions,
                other => return Err(CtlError::unexpected(other)),
            };
            if watch {
                show::clear()?;
            }
            print(&show::sessions(&sessions, json)?)?;
            if !watch {
                break;
            }
            sleep(WATCH_INTERVAL);
        },
        Command::Disconnect { name, session: Session { number, run: of_run } } => {
            done(&run()?, &name, &Request::Disconnect { session: number, run: of_run })?;
        }
        Command::Revoke { name, which, json } => {
            match Instance::named(&run()?, &name)?.ask(&Request::Revoke { which: revoke::which(which)? })? {
                Answer::Revoked(revoked) => print(&show::revoked(revoked, json)?)?,
                other => return Err(CtlError::unexpected(other)),
            }
        }
        Command::Drain { name, wait, timeout, spread } => {
            let run = run()?;
            let supervisor = if wait { Some(Supervisor::of(&run, &name)?) } else { None };
            done(&run, &name, &Request::Drain { timeout, spread })?;
            if let Some(supervisor) = supervisor {
                supervisor.wait()?;
            }
        }
        Command::Reload { name, wait } => done(&run()?, &name, &Request::Reload { wait })?,
        Command::Upgrade { name } => done(&run()?, &name, &Request::Upgrade)?,
        Command::Apply { names, dry_run } => return apply::apply(&directory, &run()?, names, dry_run),
        Command::Health { name: Some(name), credentials } => {
            print(&health::check(&directory, &run()?, &name, credentials)?)?
        }
        Command::Health { name: None, credentials } => {
            print(&health::check_all(&directory, &run()?, &credentials)?)?
        }
        Command::Check { names } => return files::check(&directory, names),
        Command::Show { name } => print(&files::show(&directory, &name)?)?,
        Command::New { name, arguments } => print(&files::new(&directory, &name, arguments)?)?,
        Command::Metrics { name } => match Instance::named(&run()?, &name)?.ask(&Request::Metrics)? {
            Answer::Metrics(text) => print(&output::safe(&text))?,
            other => return Err(CtlError::unexpected(other)),
        },
        Command::Ticket { name, policy, url } => {
            print(&ticket::make(&directory, &name, *policy, url.as_deref())?)?;
        }
        Command::Penalties { name, forgive: Some(source), .. } => {
            done(&run()?, &name, &Request::Forgive { source })?;
        }
        Command::Penalties { name, forgive: None, json } => {
            match Instance::named(&run()?, &name)?.ask(&Request::Penalties)? {
                Answer::Penalties(penalties) => print(&show::penalties(&penalties, json)?)?,
                other => return Err(CtlError::unexpected(other)),
            }
        }
    }
    Ok(exit_code::SUCCESS)
}

/// Sends a request and prints the confirmation.
fn done(run: &Path, name: &str, request: &Request) -> Result<(), CtlError> {
    match Instance::named(run, name)?.ask(request)? {
        Answer::Done(said) => print(&format!("{}\n", output::safe(&said))),
        other => Err(CtlError::unexpected(other)),
    }
}
