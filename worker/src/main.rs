//! `websockify-worker ROLE`: started by `websockify`, with a channel to it as standard input and the
//! log as standard output. Of no use when started by hand.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use common::sys::inherited;
use worker::{connector, echo, exporter, gateway, plugin, signer, wrapper};

fn main() -> ExitCode {
    let role = std::env::args().nth(1).unwrap_or_default();
    if role == "plugin" {
        let error = plugin::run(std::env::args_os().skip(2));
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let (Ok(control), Ok(log)) = (inherited::take(0), inherited::take(1)) else {
        eprintln!("websockify-worker is started by websockify, not by hand");
        return ExitCode::FAILURE;
    };
    let ended = match role.as_str() {
        "gateway" => gateway::run(control, log),
        "connector" => connector::run(control, log),
        "signer" => signer::run(control, log),
        "echo" => echo::run(control, log),
        "exporter" => exporter::run(control, log),
        "wrapper" => wrapper::run(control, log),
        _ => Err(std::io::Error::other(format!("there is no role {role:?}"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("websockify-worker {role}: {error}");
            ExitCode::FAILURE
        }
    }
}
