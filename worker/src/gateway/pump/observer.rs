//! Who looks on while bytes pass: a recording, or the marks of `--traffic`. Most sessions have nobody.

use std::sync::Arc;

use common::ipc::ConnectionId;
use common::log::Outgoing;

use crate::gateway::recording::{self, Direction, Recording};

/// Records a session, or marks its traffic in the log.
#[derive(Debug)]
pub struct Observer {
    id: ConnectionId,
    recording: Option<Recording>,
    marks: Option<Arc<Outgoing>>,
}

impl Observer {
    /// Nobody if there is neither a recording nor anyone who wants marks.
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
        // The original prints its legend with each session.
        observer.mark("\n");
        Some(Box::new(observer))
    }

    /// Data of the client has come, the last of its frame or a part.
    pub(super) fn client_received(&mut self, data: &[u8], is_part: bool) {
        self.mark(if is_part { "}." } else { "}" });
        self.record(Direction::FromClient, data);
    }

    /// The target has taken all that was for it, or a part.
    pub(super) fn target_sent(&self, is_part: bool) {
        self.mark(if is_part { ">." } else { ">" });
    }

    /// Data of the target has come.
    pub(super) fn target_received(&mut self, data: &[u8]) {
        self.mark("{");
        self.record(Direction::ToClient, data);
    }

    /// The client has taken all that was for it, or a part.
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
