//! `websockify-worker ROLE`: started by `websockify` with a channel to it as standard input and the log as standard
//! output. It is not meant to be started by hand.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use common::fault;
use common::role::RoleName;
use common::sys::inherited;
use worker::{connector, echo, exporter, gateway, plugin, signer, wrapper};

fn main() -> ExitCode {
    let role = match std::env::args().nth(1).unwrap_or_default().parse() {
        Ok(role) => role,
        Err(unknown) => {
            eprintln!("websockify-worker is started by websockify, not by hand: {unknown}");
            return ExitCode::FAILURE;
        }
    };
    // The supervisor adds the label of the role to text on standard error.
    fault::end_process(|line| eprintln!("{line}"));
    let run = match role {
        RoleName::Gateway => gateway::run,
        RoleName::Connector => connector::run,
        RoleName::Signer => signer::run,
        RoleName::Exporter => exporter::run,
        RoleName::Echo => echo::run,
        RoleName::Wrapper => wrapper::run,
        RoleName::Plugin => {
            return match plugin::run(std::env::args_os().skip(2)) {
                Ok(code) => code.into(),
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            };
        }
    };
    let (Ok(control), Ok(log)) = (inherited::take(0), inherited::take(1)) else {
        eprintln!("websockify-worker is started by websockify, not by hand");
        return ExitCode::FAILURE;
    };
    match run(control, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
