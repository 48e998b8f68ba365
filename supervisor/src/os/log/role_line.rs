//! Log lines of roles. A role may be compromised: its own lines begin with its label, and lines without a
//! label have a form that the supervisor itself does not use. The client's address in a line comes from the
//! supervisor.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use common::ipc::log::{RoleEvent, Severity};
use common::log::Escaped;
use common::role::RoleName;

use super::message_id;

/// Number of lines of each role that were dropped because it exceeded its budget.
static DROPPED: Mutex<BTreeMap<RoleName, u64>> = Mutex::new(BTreeMap::new());

/// A line of a role.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoleLine<'a> {
    pub(crate) role: RoleName,
    /// Label of the role, such as "gateway 1". For output of a wrapped program, the name of the program.
    pub(crate) label: &'a str,
    pub(crate) severity: Severity,
    /// Address of the client that the line is about, or a placeholder.
    pub(crate) client: Option<&'a str>,
    pub(crate) event: Option<RoleEvent>,
    /// Text from the role.
    pub(crate) text: &'a str,
}

/// Logs a line of a role.
pub(crate) fn write(line: &RoleLine<'_>) {
    let name = line.role.as_str();
    let text = shown(line);
    let (message_id, is_stamped) = match line.event {
        Some(RoleEvent::AuthDenied) => (Some(message_id::AUTH_DENIED), false),
        Some(RoleEvent::TokenDenied) => (Some(message_id::TOKEN_DENIED), false),
        Some(RoleEvent::TlsFailed) => (Some(message_id::TLS_FAILED), true),
        Some(RoleEvent::NotSecure | RoleEvent::NoCertificate) => (None, false),
        _ => (None, true),
    };
    let client = line.client.filter(|_| is_stamped);
    macro_rules! log_role {
        ($level:ident) => {
            tracing::$level!(message_id, websockify_role = name, websockify_client = client, "{text}")
        };
    }
    match line.severity {
        Severity::Error => log_role!(error),
        Severity::Warning => log_role!(warn),
        Severity::Info => log_role!(info),
        Severity::Debug => log_role!(debug),
    }
}

/// Formats a line. Most formats are the original's, which scripts search for.
fn shown(line: &RoleLine<'_>) -> String {
    let text = Escaped(line.text);
    let client = line.client.unwrap_or("unknown");
    match line.event {
        None | Some(RoleEvent::Output) => format!("{}: {text}", line.label),
        Some(RoleEvent::AuthDenied | RoleEvent::TokenDenied) => format!("{client}: {text}"),
        Some(RoleEvent::TlsFailed) => format!("TLS handshake {text}"),
        Some(RoleEvent::PlainWebSocket) => format!("{client}: Plain non-SSL (ws://) WebSocket connection"),
        Some(RoleEvent::SecureWebSocket) => format!("{client}: SSL/TLS (wss://) WebSocket connection"),
        Some(RoleEvent::Path) => format!("{client}: Path: '{text}'"),
        Some(RoleEvent::Answered) => format!("\"{text} -"),
        Some(RoleEvent::Refused) => format!("code {text}"),
        Some(RoleEvent::NotSecure) => format!("{client}: non-SSL connection received but disallowed"),
        Some(RoleEvent::NoCertificate) => format!("{client}: SSL connection but '{text}' not found"),
    }
}

/// Counts dropped lines of a role.
pub(crate) fn note_dropped(role: RoleName, count: u64) {
    let mut dropped = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
    let sum = dropped.entry(role).or_default();
    *sum = sum.saturating_add(count);
}

/// Number of dropped lines of each role.
pub(crate) fn dropped() -> Vec<(RoleName, u64)> {
    let dropped = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
    RoleName::ALL.into_iter().map(|role| (role, dropped.get(&role).copied().unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_role_can_write_a_line_that_looks_like_the_supervisors() {
        let forged = "session 9 to 10.0.0.9:5900 closed by client (1000) after 1.0 s";
        let line = |event, client| {
            let (role, severity) = (RoleName::Gateway, Severity::Info);
            shown(&RoleLine { role, label: "gateway 1", severity, client, event, text: forged })
        };
        assert_eq!(line(None, None), format!("gateway 1: {forged}"));
        assert_eq!(line(None, Some("192.0.2.7")), format!("gateway 1: {forged}"));
        let ours = RoleEvent::ALL.into_iter().filter(|event| event.teller() == RoleName::Gateway);
        for event in ours {
            let shown = line(Some(event), Some("192.0.2.7"));
            let forms = [
                "192.0.2.7: Plain",
                "192.0.2.7: SSL",
                "192.0.2.7: Path: '",
                "192.0.2.7: non-SSL",
                "code ",
                "\"",
                "TLS handshake ",
            ];
            assert!(forms.iter().any(|form| shown.starts_with(form)), "{shown}");
        }
    }
}
