//! The records of a session in the log: one when it opens, and exactly one when it has closed.
//!
//! The supervisor writes them, since it outlives whoever serves the session. What a client has sent is
//! escaped, and nobody's token or payload gets here.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use common::ipc::gateway::{ClosedBy, SessionSummary};
use common::ipc::request::Request;
use common::ipc::{ClientAddr, ConnectionId};
use common::log::Escaped;
use serde::{Deserialize, Serialize};
use tracing::field::{DisplayValue, display};

use crate::log::{self, message_id};

/// Who has ended a session whose gateway died.
pub(crate) const CRASH: &str = "crash";

/// What tells the sessions of this run from those of all others: random, and no secret.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Run(u64);

impl Default for Run {
    fn default() -> Self {
        // The standard library seeds this from the system's random bytes.
        Self(RandomState::new().build_hasher().finish())
    }
}

/// A session's name: 128 bits, the last of which are its connection's number.
struct SessionId(Run, ConnectionId);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0.0, self.1.0)
    }
}

/// The session that a record is about.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    /// The run that it belongs to.
    pub(crate) run: Run,
    /// Its connection.
    pub(crate) id: ConnectionId,
    /// The client.
    pub(crate) client: &'a ClientAddr,
    /// The process that serves it.
    pub(crate) gateway: i32,
    /// Where it goes.
    pub(crate) target: &'a str,
    /// What the client has asked for, as far as that is known.
    pub(crate) request: Option<&'a Request>,
}

/// One field of a request, if it is there.
fn field<'a>(
    request: Option<&'a Request>,
    which: impl Fn(&'a Request) -> &'a Option<String>,
) -> Option<DisplayValue<Escaped<'a>>> {
    request.and_then(|request| which(request).as_deref()).map(|text| display(Escaped(text)))
}

/// A session has begun. This goes to the journal alone: the lines for humans already say so.
pub(crate) fn opened(subject: &Subject<'_>) {
    let Subject { run, id, client, gateway, target, request } = *subject;
    tracing::info!(
        target: log::JOURNAL_ONLY,
        message_id = message_id::SESSION_OPENED,
        websockify_session = %SessionId(run, id),
        websockify_client = %client,
        websockify_worker_pid = gateway,
        websockify_target = target,
        websockify_host = field(request, |request| &request.host),
        websockify_path = field(request, |request| &request.path),
        websockify_origin = field(request, |request| &request.origin),
        websockify_user_agent = field(request, |request| &request.user_agent),
        websockify_subprotocol = field(request, |request| &request.subprotocol),
        websockify_tls_version = field(request, |request| &request.tls_version),
        websockify_tls_cipher = field(request, |request| &request.tls_cipher),
        "session {id} of {client} to {target} opened",
    );
}

/// A session has ended. Without a summary its gateway has died.
pub(crate) fn closed(subject: &Subject<'_>, summary: Option<&SessionSummary>, lasted: Duration) {
    let Subject { run, id, client, gateway, target, request } = *subject;
    let (to_target, to_client) = summary.map_or((0, 0), |sum| (sum.to_target, sum.to_client));
    let closed_by = summary.map_or(CRASH, |sum| ClosedBy::as_str(sum.closed_by));
    let close_code = summary.map_or(1006, |sum| sum.close_code);
    tracing::info!(
        target: "websockify::session",
        message_id = message_id::SESSION_CLOSED,
        websockify_session = %SessionId(run, id),
        websockify_client = %client,
        websockify_worker_pid = gateway,
        websockify_target = target,
        websockify_host = field(request, |request| &request.host),
        websockify_path = field(request, |request| &request.path),
        websockify_origin = field(request, |request| &request.origin),
        websockify_user_agent = field(request, |request| &request.user_agent),
        websockify_subprotocol = field(request, |request| &request.subprotocol),
        websockify_tls_version = field(request, |request| &request.tls_version),
        websockify_tls_cipher = field(request, |request| &request.tls_cipher),
        websockify_bytes_in = to_target,
        websockify_bytes_out = to_client,
        websockify_duration_usec = u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX),
        websockify_closed_by = closed_by,
        websockify_close_code = close_code,
        "session {id} to {target} closed by {closed_by} ({close_code}) after {:.1} s, \
         {to_target} bytes in, {to_client} bytes out",
        lasted.as_secs_f64(),
    );
}
