//! Log lines about sources: at most one a minute for each, and few for all.

use std::fmt;
use std::time::Duration;

use common::ipc::offence::Offence;

use super::{Reason, Source};

/// Time between two lines on average, and number of lines that may be written at once.
const INTERVAL: Duration = Duration::from_secs(1);
const BURST: u32 = 60;

/// The lines that may be written about all sources.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogBudget(Duration);

impl LogBudget {
    /// Takes a line, if there is one left.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let used = self.0.max(now) + INTERVAL;
        let may = used.saturating_sub(now) <= INTERVAL * BURST;
        if may {
            self.0 = used;
        }
        may
    }
}

/// A log line about a source whose connections are turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) source: Source,
    pub(crate) reason: Reason,
    /// The offence with which the source has reached the threshold.
    pub(crate) offence: Option<Offence>,
    /// What is left of the penalty.
    pub(crate) penalty: Duration,
    /// Number of connections that were turned away since the last line.
    pub(crate) connections: u64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, reason, offence, penalty, connections } = self;
        let seconds = penalty.as_secs_f64().ceil();
        let why = match reason {
            Reason::Penalty => match offence {
                Some(offence) => {
                    return write!(f, "{source}: banned for {seconds} s because of {}", offence.as_str());
                }
                None => {
                    return write!(
                        f,
                        "{source}: banned for {seconds} s; {connections} connections were closed"
                    );
                }
            },
            Reason::Connections => "its connections without a session",
            Reason::Sessions => "its sessions",
            Reason::Rate => "its new connections per second",
            Reason::TlsRate => "its TLS handshakes per second",
            Reason::EarlyDrop => "the connections of all clients without a session",
        };
        write!(f, "{source}: over the limit of {why}; {connections} connections were closed")
    }
}
