//! `websockify`: takes listeners, starts the other roles, hands accepted connections to them, and never
//! reads a byte that a client or any other network peer sent.
#![forbid(unsafe_code)]

// The path of a connection.
mod accept;
mod confinement;
mod connections;
mod dispatch;
mod listen;
mod listeners;

// The roles.
mod connector;
mod echo;
mod gateway;
mod generation;
mod identity;
mod pool;
mod process;
mod role;
mod setup;
mod stamp;
mod tokens;
mod violation;

// The service around them.
mod banner;
mod daemon;
mod lifetime;
mod log;
mod notify;
mod reload;
mod service;
mod signals;

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use common::config::Config;
use common::config::check::Severity;
use common::config::cli::{self, Command, CommandLine};
use common::exit_code;
use common::sys::inherited;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tokio::runtime::LocalOptions;

use daemon::Daemon;
use log::Log;

/// How often and how long a killed role is waited for.
const REAP_ROUNDS: u32 = 100;
const REAP_PAUSE: Duration = Duration::from_millis(5);

fn main() -> ExitCode {
    let CommandLine { command, notes, daemon, .. } = match cli::from_args(std::env::args_os()) {
        Ok(line) => line,
        Err(error) => {
            complain(&error);
            notify::failed(&error);
            return error.exit_code().into();
        }
    };
    if let (Command::Run(config), true, false) = (&command, daemon, daemon::is_background()) {
        // The other process says what there is to say about the configuration.
        return daemon::start(config).unwrap_or_else(|error| fail(&error)).into();
    }
    for note in notes {
        complain(&note);
    }
    match command {
        Command::Print(text) => match writeln!(io::stdout(), "{}", text.trim_end()) {
            Ok(()) => exit_code::SUCCESS.into(),
            Err(_) => exit_code::FAILURE.into(),
        },
        Command::Check(config) => check(&config, Severity::Warning).into(),
        // Warnings are for those who ask: a certificate may well come later.
        Command::Run(config) => match check(&config, Severity::Error) {
            exit_code::SUCCESS => run(*config, daemon).into(),
            failed => failed.into(),
        },
    }
}

/// Says what is wrong with a configuration, as far as it is as bad as `least`; the exit code tells
/// whether it can work.
fn check(config: &Config, least: Severity) -> u8 {
    let problems = config.check();
    for problem in problems.iter().filter(|problem| problem.severity >= least) {
        complain(problem);
    }
    match problems.iter().find(|problem| problem.severity == Severity::Error) {
        Some(fatal) => {
            notify::failed(fatal);
            exit_code::CONFIG
        }
        None => exit_code::SUCCESS,
    }
}

fn run(config: Config, in_background: bool) -> u8 {
    let daemon = match in_background.then(|| Daemon::begin(&config)).transpose() {
        Ok(daemon) => daemon,
        Err(error) => return fail(&error),
    };
    let log = match Log::start(&config, daemon.as_ref()) {
        Ok(log) => log,
        Err(error) => {
            // Standard error is the caller's no more.
            match daemon.and_then(|daemon| daemon.stderr().ok()) {
                Some(stderr) => _ = writeln!(File::from(stderr), "websockify: error: {error}"),
                None => _ = fail(&error),
            }
            return exit_code::FAILURE;
        }
    };
    if let Err(error) = inherited::close_others_on_exec() {
        tracing::warn!(target: "websockify::main", "roles may get descriptors that are not theirs: {error}");
    }
    raise_descriptor_limit();
    let mut event_loop = tokio::runtime::Builder::new_current_thread();
    let served = match event_loop.enable_all().build_local(LocalOptions::default()) {
        Ok(event_loop) => event_loop.block_on(async {
            log.keep_writing()?;
            service::run(config, daemon.map(|daemon| (daemon, log.clone()))).await
        }),
        Err(error) => Err(error.into()),
    };
    reap_roles();
    let failed = served.is_err();
    if let Err(error) = served {
        tracing::error!(target: "websockify::main", "websockify: error: {error}");
        notify::failed(&error);
    }
    log.write_last();
    if failed { exit_code::FAILURE } else { exit_code::SUCCESS }
}

/// Waits for the roles, which were killed when their handles were dropped, so that none is left behind
/// when we are gone.
fn reap_roles() {
    for _ in 0..REAP_ROUNDS {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => sleep(REAP_PAUSE),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// Uses all descriptors that we may: each session takes two in its gateway. Most systems set a low
/// soft limit only for programs that use select(2).
fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        if soft < hard {
            // What is refused leaves us with the limit that there is.
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
    }
}

/// Says why nothing was started; gives the exit code.
fn fail(error: &dyn std::fmt::Display) -> u8 {
    complain(&format_args!("websockify: error: {error}"));
    exit_code::FAILURE
}

/// One message before the log is there. Nobody may read it, and nothing can be done about that.
fn complain(message: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{message}");
}
