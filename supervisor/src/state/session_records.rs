//! Session records in the log: one when a session opens and exactly one when it has closed.
//!
//! The supervisor writes them because it outlives the gateway. Client strings are escaped; tokens and payload never
//! get here.

use std::time::Duration;

use common::ipc::gateway::{ClosedBy, SessionSummary};
use common::ipc::request::Request;
use common::ipc::{ClientAddr, ConnectionId};
use common::log::Escaped;
use tracing::field::{DisplayValue, display};

use crate::os::log::{self, message_id};
use crate::state::session::{Opening, Run};

/// Originator of the end of a session whose gateway died.
pub(crate) const CRASH: &str = "crash";

/// No Close frame was received (RFC 6455 section 7.4.1).
const NO_CLOSE_FRAME: u16 = 1006;

/// The connection to the target broke (RFC 6455 section 7.4.1: an unexpected condition).
const BROKEN: u16 = 1011;

/// The session of a record.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    /// The run of the session.
    pub(crate) run: Run,
    /// Its connection.
    pub(crate) id: ConnectionId,
    /// The other end of its connection.
    pub(crate) peer: &'a ClientAddr,
    /// Process id of its gateway.
    pub(crate) gateway: i32,
    /// Facts from the beginning of the session.
    pub(crate) opening: &'a Opening,
    /// The client's request, if it is known.
    pub(crate) request: Option<&'a Request>,
}

/// A field of the request, if it is present.
fn field<'a>(
    request: Option<&'a Request>,
    which: impl Fn(&'a Request) -> &'a Option<String>,
) -> Option<DisplayValue<Escaped<'a>>> {
    request.and_then(|request| which(request).as_deref()).map(|text| display(Escaped(text)))
}

/// A duration in the unit of the journal fields.
fn microseconds(duration: Option<Duration>) -> Option<u64> {
    duration.map(|duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// Summarises the end of a session in two letters, like HAProxy's termination state: who ended it, and `D`
/// for data phase. `--` means a normal end.
fn termination(summary: &SessionSummary) -> &'static str {
    match (summary.closed_by, summary.close_code) {
        (ClosedBy::Client, NO_CLOSE_FRAME) => "CD",
        (ClosedBy::Target, BROKEN) => "SD",
        (ClosedBy::Client | ClosedBy::Target, _) => "--",
        (ClosedBy::Violation, _) => "PD",
        (ClosedBy::Timeout, _) => "cD",
        (ClosedBy::Shutdown | ClosedBy::Admin | ClosedBy::Lifetime | ClosedBy::Revoked, _) => "KD",
    }
}

/// Writes a record with its target and id, the fields common to both kinds, and the fields of this kind.
macro_rules! record {
    ($subject:expr, $target:expr, $message_id:expr, $($own:tt)+) => {
        tracing::info!(
            target: $target,
            message_id = $message_id,
            websockify_session = %$subject.run.session($subject.id),
            websockify_client = %$subject.opening.client($subject.peer),
            websockify_proxy = $subject.opening.proxy($subject.peer).map(display),
            websockify_worker_pid = $subject.gateway,
            websockify_target = $subject.opening.target,
            websockify_host = field($subject.request, |request| &request.host),
            websockify_path = field($subject.request, |request| &request.path),
            websockify_origin = field($subject.request, |request| &request.origin),
            websockify_user_agent = field($subject.request, |request| &request.user_agent),
            websockify_subprotocol = field($subject.request, |request| &request.subprotocol),
            websockify_tls_version = field($subject.request, |request| &request.tls_version),
            websockify_tls_cipher = field($subject.request, |request| &request.tls_cipher),
            websockify_user = $subject.opening.user,
            websockify_auth_method = $subject.opening.auth_method,
            websockify_token_hash = $subject.opening.token,
            websockify_connect_usec = microseconds($subject.opening.connect),
            websockify_client_cert = field($subject.request, |request| &request.client_certificate),
            websockify_handshake_usec = microseconds($subject.request.and_then(|request| request.handshake)),
            $($own)+
        )
    };
}

/// Records the beginning of a session, in the journal only: other log lines already tell it to humans.
pub(crate) fn opened(subject: &Subject<'_>) {
    let Subject { id, peer, opening, .. } = *subject;
    let (client, target) = (opening.client(peer), &opening.target);
    record!(
        subject,
        log::JOURNAL_ONLY,
        message_id::SESSION_OPENED,
        "session {id} of {client} to {target} opened",
    );
}

/// Records the end of a session. There is no summary if its gateway has died.
pub(crate) fn closed(subject: &Subject<'_>, summary: Option<&SessionSummary>, lasted: Duration) {
    let Subject { id, opening, .. } = *subject;
    let target = &opening.target;
    let (to_target, to_client) = summary.map_or((0, 0), |sum| (sum.to_target, sum.to_client));
    let frames = summary.map(|sum| sum.frames);
    let closed_by = summary.map_or(CRASH, |sum| ClosedBy::as_str(sum.closed_by));
    let close_code = summary.map_or(NO_CLOSE_FRAME, |sum| sum.close_code);
    record!(
        subject,
        module_path!(),
        message_id::SESSION_CLOSED,
        websockify_bytes_in = to_target,
        websockify_bytes_out = to_client,
        websockify_frames_in = frames.map(|frames| frames.to_target),
        websockify_frames_out = frames.map(|frames| frames.to_client),
        websockify_duration_usec = microseconds(Some(lasted)),
        websockify_closed_by = closed_by,
        websockify_close_code = close_code,
        websockify_close_reason = summary
            .map(|sum| sum.close_reason.as_str())
            .filter(|reason| !reason.is_empty())
            .map(|reason| display(Escaped(reason))),
        websockify_termination = summary.map_or("ID", termination),
        "session {id} to {target} closed by {closed_by} ({close_code}) after {:.1} s, \
         {to_target} bytes in, {to_client} bytes out",
        lasted.as_secs_f64(),
    );
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use common::ipc::gateway::Frames;

    use super::*;

    #[test]
    fn the_reference_explains_each_field() {
        let (here, _) = include_str!("session_records.rs").split_once("#[cfg(test)]").unwrap();
        let names =
            here.lines().filter_map(|line| line.trim().strip_prefix("websockify_")?.split(" =").next());
        let written: BTreeSet<_> = names.map(|name| format!("WEBSOCKIFY_{}", name.to_uppercase())).collect();
        let page = include_str!("../../../docs/reference/journal.md");
        let words = page.split('`').skip(1).step_by(2);
        let explained: BTreeSet<_> =
            words.filter(|word| word.starts_with("WEBSOCKIFY_")).map(ToOwned::to_owned).collect();
        // The instance is in every entry (`os/log/journal.rs`).
        let instance = BTreeSet::from(["WEBSOCKIFY_INSTANCE".to_owned()]);
        assert_eq!(&written | &instance, explained);
    }

    #[test]
    fn each_kind_of_end_has_its_letters() {
        let letters = |closed_by, close_code| {
            let close_reason = String::new();
            termination(&SessionSummary {
                to_target: 0,
                to_client: 0,
                closed_by,
                close_code,
                close_reason,
                frames: Frames::default(),
                client_said_close: false,
            })
        };
        assert_eq!(letters(ClosedBy::Client, 1000), "--");
        assert_eq!(letters(ClosedBy::Client, 1006), "CD");
        assert_eq!(letters(ClosedBy::Target, 1000), "--");
        assert_eq!(letters(ClosedBy::Target, 1011), "SD");
        assert_eq!(letters(ClosedBy::Violation, 1002), "PD");
        assert_eq!(letters(ClosedBy::Timeout, 1001), "cD");
        assert_eq!(letters(ClosedBy::Shutdown, 1001), "KD");
        assert_eq!(letters(ClosedBy::Admin, 1008), "KD");
    }
}
