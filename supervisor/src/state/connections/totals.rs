//! Sums over connections and sessions, for the status and for metrics.

use std::collections::BTreeMap;

use common::ipc::gateway::{Frames, SessionSummary};
use serde::{Deserialize, Serialize};

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Sessions that are open.
    pub(crate) sessions: u64,
    /// Sessions that were opened.
    pub(crate) opened: u64,
    /// Bytes of payload, both directions, of sessions that have ended.
    pub(crate) bytes: u64,
}

/// Bounds of the buckets of [`EndedSessions::buckets`], seconds.
const DURATIONS: [u32; 8] = [1, 10, 60, 300, 900, 3600, 14400, 86400];

/// Sums over sessions that have ended, for metrics.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EndedSessions {
    /// How many, by who ended them.
    pub(crate) closed_by: BTreeMap<String, u64>,
    /// Bytes of payload to targets.
    pub(crate) to_target: u64,
    /// Bytes of payload to clients.
    pub(crate) to_client: u64,
    /// Frames, as far as gateways count them.
    pub(crate) frames: Frames,
    /// How long they took together.
    pub(crate) seconds: f64,
    durations: [u64; DURATIONS.len() + 1],
}

impl EndedSessions {
    /// How many took up to so many seconds, and longer than the bound before. The last has no bound.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (String, u64)> {
        let bounds = DURATIONS.iter().map(u32::to_string).chain(["+Inf".into()]);
        bounds.zip(self.durations)
    }

    /// Adds a session. Without a summary its gateway has died.
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
