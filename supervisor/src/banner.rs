//! The lines that a start prints, which scripts wait for and search.

use common::addr::TargetAddr;
use common::config::{Config, Target, Tls, Web};

use crate::confinement::Confinement;
use crate::listen::Listening;

/// Prints the settings in the words of the original.
pub(crate) fn print(config: &Config, confinement: &Confinement, listeners: &[Listening]) {
    let say = |text: String| tracing::info!(target: "websockify::banner", "{text}");
    say("WebSocket server settings:".into());
    let names: Vec<_> = listeners.iter().map(|one| one.name.as_str()).collect();
    let from = if config.inetd { "inetd".into() } else { names.join(", ") };
    match (config.inetd, listeners) {
        (true, _) => say("  - Listen for inetd connections".into()),
        (false, [Listening { unix_path: Some(path), .. }]) => {
            say(format!("  - Listen on unix socket {}", path.display()));
        }
        _ => say(format!("  - Listen on {from}")),
    }
    match &config.web {
        Some(Web::Files { root, listing: true }) => {
            say(format!("  - Web server. Web root: {}", root.display()))
        }
        Some(Web::Files { root, listing: false }) => {
            say(format!("  - Web server (no directory listings). Web root: {}", root.display()));
        }
        Some(Web::Demo) => say(format!("  - Demo page: http://{from}/")),
        None => {}
    }
    match &config.tls {
        Some(Tls { certificate, required, .. }) if certificate.exists() => {
            say("  - SSL/TLS support".into());
            if *required {
                say("  - Deny non-SSL/TLS connections".into());
            }
        }
        _ => say("  - No SSL/TLS support (no cert file)".into()),
    }
    if let Some(level) = confinement.describe() {
        say(format!("  - Sandbox: {level}"));
    }
    if let Some(missing) = confinement.missing() {
        tracing::warn!(target: "websockify::banner", "clients are served with less confinement: no {missing}");
    }
    let secured = if config.target_tls.is_some() { " (using SSL)" } else { "" };
    match &config.target {
        Target::Static(TargetAddr::Unix(path)) => {
            say(format!("  - proxying from {from} to {}", path.display()));
        }
        Target::Static(target) => say(format!("  - proxying from {from} to {target}{secured}")),
        Target::Demo => say(format!("  - proxying from {from} to the built-in echo")),
    }
}
