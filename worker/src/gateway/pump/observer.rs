//! Observers of a session's traffic: a recording, or the marks of `--traffic`. Most sessions have none.

use std::sync::Arc;

use common::ipc::ConnectionId;
use common::log::Outgoing;

use crate::gateway::recording::{self, Direction, Recording};

/// Records a session, or writes marks of its traffic to the log.
#[derive(Debug)]
pub struct Observer {
    id: ConnectionId,
    recording: Option<Recording>,
    marks: Option<Arc<Outgoing>>,
}

impl Observer {
    /// Creates an observer, or `None` if nothing is to be observed.
    #[must_use]
    pub fn new(
        id: ConnectionId,
        recording: Option<Recording>,
        marks: Option<Arc<Outgoing>>,
    ) -> Option<Box<Self>> {
        if recording.is_none() && marks.is_none() {
            return None;
        }
        let observer = Self { id, recording, marks };
        // The original prints its legend at the beginning of each session.
        observer.mark("\n");
        Some(Box::new(observer))
    }

    /// Data was received from the client: the end of a frame, or a part.
    pub(super) fn client_received(&mut self, data: &[u8], is_part: bool) {
        self.mark(if is_part { "}." } else { "}" });
        self.record(Direction::FromClient, data);
    }

    /// Data was written to the target: all of it, or a part.
    pub(super) fn target_sent(&self, is_part: bool) {
        self.mark(if is_part { ">." } else { ">" });
    }

    /// Data was received from the target.
    pub(super) fn target_received(&mut self, data: &[u8]) {
        self.mark("{");
        self.record(Direction::ToClient, data);
    }

    /// Data was written to the client: all of it, or a part.
    pub(super) fn client_sent(&self, is_part: bool) {
        self.mark(if is_part { "<." } else { "<" });
    }

    fn mark(&self, mark: &str) {
        if let Some(outgoing) = &self.marks {
            outgoing.mark(mark);
        }
    }

    fn record(&mut self, direction: Direction, data: &[u8]) {
        if let Some(Err(error)) = self.recording.as_mut().map(|recording| recording.add(direction, data)) {
            recording::log_end(self.id, &error);
            self.recording = None;
        }
    }
}
