//! `websockifyctl`: shows and tells running instances what an administrator wants, over their control sockets,
//! and helps with their configuration files.
#![forbid(unsafe_code)]

mod apply;
mod certificate;
#[path = "../expiry.rs"]
mod expiry;
mod files;
mod health;
mod instances;
mod show;
mod systemctl;
mod visible;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use clap::{Parser, Subcommand};
use common::control::{self, Answer, Request};
use common::exit_code;
use common::ipc::SessionId;

use instances::{CtlError, Instance, Known};

/// How often `--watch` looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Shows and controls running instances of websockify.
#[derive(Debug, Parser)]
#[command(name = "websockifyctl", version, disable_help_subcommand = true)]
struct Options {
    /// Folder of the configuration files, default /etc/websockify, or ~/.config/websockify without root.
    #[arg(long, value_name = "DIR", global = true)]
    config: Option<PathBuf>,
    /// Folder of the control sockets, default /run/websockify, or $XDG_RUNTIME_DIR/websockify without root.
    #[arg(long, value_name = "DIR", global = true)]
    run: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All instances that have a configuration file or run.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// How an instance is, or all of them.
    Status {
        name: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// The sessions of an instance.
    Sessions {
        name: String,
        /// Show them again every two seconds.
        #[arg(long)]
        watch: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a session; `sessions` has its number, and the log and the client have its id.
    Disconnect {
        name: String,
        #[arg(value_parser = session, value_name = "SESSION")]
        session: Session,
    },
    /// Let nobody in any more, and end with the last connection.
    Drain { name: String },
    /// Read the configuration again; open sessions go on.
    Reload {
        name: String,
        /// Wait until it is done, and fail if it does.
        #[arg(long)]
        wait: bool,
    },
    /// Let the installed version take over; open sessions go on.
    Upgrade { name: String },
    /// Bring running instances in line with their files, by way of systemd; default all.
    Apply {
        names: Vec<String>,
        /// Only tell what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// Open a session as a client does, and say whether it reaches the target.
    Health {
        name: String,
        #[command(flatten)]
        shown: health::Shown,
    },
    /// Check configuration files, default all.
    Check { names: Vec<String> },
    /// Print the configuration of an instance with all defaults.
    Show { name: String },
    /// Write a configuration file that says the same as a command line of websockify.
    New {
        name: String,
        #[arg(last = true, required = true, value_name = "COMMAND LINE")]
        arguments: Vec<std::ffi::OsString>,
    },
    /// What an instance counts, in the OpenMetrics text format.
    Metrics { name: String },
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(options) {
        Ok(code) => code.into(),
        Err(error) => {
            let _ = writeln!(io::stderr(), "websockifyctl: {error}");
            exit_code::FAILURE.into()
        }
    }
}

fn run(options: Options) -> Result<u8, CtlError> {
    let Options { config, run, command } = options;
    let folder = config.map_or_else(files::default_folder, Ok)?;
    // Who only reads files needs none.
    let run = || run.clone().or_else(control::folder).ok_or(CtlError::NoFolder);
    match command {
        Command::List { json } => print(&show::list(&instances::all(&folder, &run()?)?, json)?)?,
        Command::Status { name, json } => {
            let all = match name {
                Some(name) => match Instance::named(&run()?, &name)?.ask(&Request::Status)? {
                    Answer::Status(status) => vec![Known { name, file: None, status: Some(*status) }],
                    other => return Err(CtlError::unexpected(other)),
                },
                None => instances::all(&folder, &run()?)?,
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
        Command::Drain { name } => done(&run()?, &name, &Request::Drain)?,
        Command::Reload { name, wait } => done(&run()?, &name, &Request::Reload { wait })?,
        Command::Upgrade { name } => done(&run()?, &name, &Request::Upgrade)?,
        Command::Apply { names, dry_run } => return apply::apply(&folder, &run()?, names, dry_run),
        Command::Health { name, shown } => print(&health::check(&folder, &run()?, &name, shown)?)?,
        Command::Check { names } => return files::check(&folder, names),
        Command::Show { name } => print(&files::show(&folder, &name)?)?,
        Command::New { name, arguments } => print(&files::new(&folder, &name, arguments)?)?,
        Command::Metrics { name } => match Instance::named(&run()?, &name)?.ask(&Request::Metrics)? {
            Answer::Metrics(text) => print(&text)?,
            other => return Err(CtlError::unexpected(other)),
        },
    }
    Ok(exit_code::SUCCESS)
}

/// How a session is named: by its number, or by its id, which says of which run of the service it is.
#[derive(Clone, Copy, Debug)]
struct Session {
    number: u64,
    run: Option<u64>,
}

fn session(text: &str) -> Result<Session, String> {
    if let Some(SessionId { run, connection }) = SessionId::parse(text) {
        return Ok(Session { number: connection.0, run: Some(run) });
    }
    let number = text.parse().map_err(|_| "a number, or an id of 32 hexadecimal digits".to_owned())?;
    Ok(Session { number, run: None })
}

/// Has something done, and says that it is.
fn done(run: &Path, name: &str, request: &Request) -> Result<(), CtlError> {
    match Instance::named(run, name)?.ask(request)? {
        Answer::Done(said) => print(&format!("{said}\n")),
        other => Err(CtlError::unexpected(other)),
    }
}

fn print(text: &str) -> Result<(), CtlError> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(CtlError::Output),
    }
}
