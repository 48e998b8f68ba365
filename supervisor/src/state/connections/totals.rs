//! Sums over connections and sessions, for status and metrics.

use std::collections::BTreeMap;

use common::ipc::gateway::{Frames, SessionSummary};
use serde::{Deserialize, Serialize};

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Open sessions.
    pub(crate) sessions: u64,
    /// Sessions that were opened.
    pub(crate) opened: u64,
    /// Bytes of payload in both directions, of sessions that have ended.
    pub(crate) bytes: u64,
}

/// Bounds of [`EndedSessions::buckets`], in seconds.
const DURATIONS: [u32; 8] = [1, 10, 60, 300, 900, 3600, 14400, 86400];

/// Sums over sessions that have ended, for metrics.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EndedSessions {
    /// Number of sessions by the side that has ended them.
    pub(crate) closed_by: BTreeMap<String, u64>,
    /// Bytes of payload to targets.
    pub(crate) to_target: u64,
    /// Bytes of payload to clients.
    pub(crate) to_client: u64,
    /// Frames, if gateways count them.
    pub(crate) frames: Frames,
    /// Sum of their durations.
    pub(crate) seconds: f64,
    durations: [u64; DURATIONS.len() + 1],
}

impl EndedSessions {
    /// Number of sessions by duration: those up to each bound in seconds and above the previous one. The last
    /// bucket is unbounded.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (String, u64)> {
        let bounds = DURATIONS.iter().map(u32::to_string).chain(["+Inf".into()]);
        bounds.zip(self.durations)
    }

    /// Adds a session. There is no summary if its gateway has died.
    pub(super) fn add(&mut self, closed_by: &str, summary: Option<&SessionSummary>, seconds: f64) {
        *self.closed_by.entry(closed_by.into()).or_default() += 1;
        if let Some(summary) = summary {
            self.to_target = self.to_target.saturating_add(summary.to_target);
            self.to_client = self.to_client.saturating_add(summary.to_client);
            let frames = summary.frames;
            self.frames.to_target = self.frames.to_target.saturating_add(frames.to_target);
            self.frames.to_client = self.frames.to_client.saturating_add(frames.to_client);
        }
        self.seconds += seconds;
        let bucket = DURATIONS.iter().take_while(|bound| seconds > f64::from(**bound)).count();
        if let Some(count) = self.durations.get_mut(bucket) {
            *count += 1;
        }
    }
}
