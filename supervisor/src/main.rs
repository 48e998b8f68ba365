//! `websockify`: opens the listeners, starts the other roles, and hands accepted connections over to them. It
//! never reads a byte that a client or any other network peer has sent.
#![forbid(unsafe_code)]

// Layers, from top to bottom. Each imports from lower ones only.
mod run;

mod banner;

mod life;

mod control;

mod path;

mod roles;

mod files;

mod state;

mod os;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use common::config::Config;
use common::config::check::{Problem, Severity};
use common::config::cli::{self, Command, CommandLine};
use common::exit_code;
use common::fault;
use common::sys::inherited;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tokio::runtime::LocalOptions;

use life::daemon::{self, Daemon};
use life::upgrade::{self, Inheritance, Start};
use os::log::{self, Log};
use os::{limits, notify, orphans, process, program};
use roles::signer;
use run::ServiceError;

/// Number of polls, and pause between them, for the end of killed roles.
const REAP_ROUNDS: u32 = 100;
const REAP_PAUSE: Duration = Duration::from_millis(5);

/// Pause before a configuration that an upgrade needs is read again.
const CONFIG_PAUSE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    fault::end_process(|line| complain(&format_args!("websockify: {line}")));
    process::hide();
    let start = match upgrade::start() {
        Ok(start) => start,
        Err(error) => return fail(&error).into(),
    };
    if let Start::Inherits(inheritance) = start {
        return take_over(*inheritance).into();
    }
    program::note_directory();
    let CommandLine { command, notes, daemon, file } = match cli::from_args(std::env::args_os()) {
        Ok(line) => line,
        Err(error) => {
            complain(&error);
            notify::failed(&error);
            return error.exit_code().into();
        }
    };
    if let (Start::Rehearsal, Command::Run(config)) = (&start, &command) {
        return rehearse(config).into();
    }
    if let (Command::Run(config), true, false) = (&command, daemon, daemon::is_background()) {
        // The background process reports problems of the configuration.
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
        Command::Check(config) => match check(&config, Severity::Note) {
            exit_code::SUCCESS => check_certificate(&config).into(),
            failed => failed.into(),
        },
        // A start reports errors only. A missing certificate, for instance, is a warning: it may still be
        // created.
        Command::Run(config) => match check(&config, Severity::Error) {
            exit_code::SUCCESS => run(*config, daemon, file.as_deref()).into(),
            failed => failed.into(),
        },
    }
}

/// Prints the problems of a configuration that are at least as severe as `least`. Returns the exit status.
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

/// Checks certificate and key with a signer, as a start does. Prints its reason and returns the exit status.
fn check_certificate(config: &Config) -> u8 {
    let mut event_loop = tokio::runtime::Builder::new_current_thread();
    let tried = match event_loop.enable_all().build_local(LocalOptions::default()) {
        Ok(event_loop) => event_loop.block_on(signer::try_out(config)),
        Err(error) => Err(error.to_string()),
    };
    reap_roles();
    let (Some(tls), Err(reason)) = (&config.tls, tried) else { return exit_code::SUCCESS };
    let problem = Problem {
        severity: Severity::Error,
        key: "tls.certificate",
        text: format!("{} can't be used: {reason}", tls.certificate.display()),
        help: "name a certificate and its own key, and the pass phrase of the key if it has one".into(),
    };
    complain(&problem);
    notify::failed(&problem);
    exit_code::CONFIG
}

/// Rehearses an upgrade to this version. Prints the reason to standard error if it would fail.
fn rehearse(config: &Config) -> u8 {
    if check(config, Severity::Error) != exit_code::SUCCESS {
        return exit_code::CONFIG;
    }
    limits::raise_limit();
    let mut event_loop = tokio::runtime::Builder::new_current_thread();
    let rehearsed = match event_loop.enable_all().build_local(LocalOptions::default()) {
        Ok(event_loop) => event_loop.block_on(upgrade::rehearse(config.clone())).map_err(ServiceError::from),
        Err(error) => Err(error.into()),
    };
    reap_roles();
    rehearsed.map_or_else(|error| fail(&error), |()| exit_code::SUCCESS)
}

/// Takes the place of an earlier version in its process. Sessions and listeners would be lost, so this gives
/// up only if there is no event loop.
fn take_over(inheritance: Inheritance) -> u8 {
    // A missing directory is reported below.
    let _ = std::env::set_current_dir(inheritance.directory());
    program::note_directory();
    let (config, file) = loop {
        match cli::from_args(std::env::args_os()) {
            Ok(CommandLine { command: Command::Run(config), file, .. }) => break (config, file),
            Ok(_) => complain(&"websockify: error: the options no longer start the service"),
            // The configuration was valid in the rehearsal.
            Err(error) => complain(&error),
        }
        sleep(CONFIG_PAUSE);
    };
    let log = loop {
        match Log::start(&config, None) {
            Ok(log) => break log,
            Err(error) => _ = fail(&error),
        }
        sleep(CONFIG_PAUSE);
    };
    let control = control::path(file.as_deref(), &config.name);
    serve(log, run::take_over(*config, inheritance, control))
}

fn run(config: Config, in_background: bool, file: Option<&Path>) -> u8 {
    let daemon = match in_background.then(|| Daemon::begin(&config)).transpose() {
        Ok(daemon) => daemon,
        Err(error) => return fail(&error),
    };
    let log = match daemon
        .as_ref()
        .map(Daemon::stderr)
        .transpose()
        .map_err(Into::into)
        .and_then(|stderr| Log::start(&config, stderr))
    {
        Ok(log) => log,
        Err(error) => {
            // The caller's standard error is no longer ours.
            match daemon.and_then(|daemon| daemon.stderr().ok()) {
                Some(stderr) => _ = writeln!(File::from(stderr), "websockify: error: {error}"),
                None => _ = fail(&error),
            }
            return exit_code::FAILURE;
        }
    };
    let daemon = daemon.map(|daemon| (daemon, log.clone()));
    let control = control::path(file, &config.name);
    serve(log, run::run(config, daemon, control))
}

/// Runs the service to its end.
fn serve(log: Log, service: impl Future<Output = Result<u8, ServiceError>>) -> u8 {
    if let Err(error) = inherited::close_others_on_exec() {
        tracing::warn!("roles may inherit unrelated descriptors: {error}");
    }
    limits::raise_limit();
    orphans::adopt();
    let mut event_loop = tokio::runtime::Builder::new_current_thread();
    let served = match event_loop.enable_all().build_local(LocalOptions::default()) {
        Ok(event_loop) => event_loop.block_on(async {
            log.keep_writing()?;
            service.await
        }),
        Err(error) => Err(error.into()),
    };
    reap_roles();
    let status = served.unwrap_or_else(|error| {
        tracing::error!(message_id = log::message_id::SERVICE_FAILED, "websockify: error: {error}",);
        notify::failed(&error);
        exit_code::FAILURE
    });
    log.write_last();
    status
}

/// Waits for the roles, which were killed when their handles were dropped, so that neither they nor their
/// descendants outlive the supervisor.
fn reap_roles() {
    for _ in 0..REAP_ROUNDS {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {
                orphans::end_all();
                sleep(REAP_PAUSE);
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// Reports why nothing was started. Returns the exit status.
fn fail(error: &dyn std::fmt::Display) -> u8 {
    complain(&format_args!("websockify: error: {error}"));
    exit_code::FAILURE
}

/// Prints a message before the log exists. Errors are ignored, as there is no other place to report them.
fn complain(message: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{message}");
}
