//! The downlink of a session: bytes of the target become frames for the client.

use std::io;
use std::task::{Context, Poll};

use common::ipc::gateway::ClosedBy;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::scratch::Scratch;
use super::turn::Turn;
use super::{Downlink, Input, Session};
use crate::gateway::websocket::close::ControlPayload;
use crate::gateway::websocket::frame::{MAX_SERVER_HEADER, control_frame, write_header};

impl Session {
    /// Makes as much progress as possible. Returns whether there was any.
    pub(super) fn poll_downlink(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        turn: &mut Turn,
    ) -> bool {
        if self.downlink == Downlink::Closed {
            return false;
        }
        let waited = !self.to_client.is_empty();
        let moved = self.try_downlink(cx, scratch, turn).unwrap_or_else(|_| {
            self.client_lost(ClosedBy::Client);
            true
        });
        moved || waited && self.to_client.is_empty()
    }

    /// Like [`Self::poll_downlink`]. Errors are those of the client's connection.
    fn try_downlink(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        turn: &mut Turn,
    ) -> io::Result<bool> {
        let waited = !self.to_client.is_empty();
        if self.to_client.poll_flush(cx, &mut self.client)?.is_pending() {
            return Ok(false);
        }
        if let Some(observer) = self.observer.as_ref().filter(|_| waited) {
            observer.client_sent(false);
        }
        self.send_control_frames(cx)?;
        match &self.downlink {
            Downlink::Open => self.read_target(cx, scratch, turn),
            Downlink::Closing(payload) => {
                let close = control_frame(Control::Close, payload);
                self.downlink = Downlink::Finishing;
                self.to_client.send(cx, &mut self.client, &close)?;
                Ok(true)
            }
            Downlink::Finishing => {
                // Closing the socket would not send FIN: the supervisor may still hold its copy.
                if self.client.poll_shutdown(cx)?.is_pending() {
                    return Ok(false);
                }
                self.downlink = Downlink::Closed;
                Ok(true)
            }
            Downlink::Closed => Ok(false),
        }
    }

    /// Sends pending pings and pongs, which may stand between any two frames but not after a Close frame.
    fn send_control_frames(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !matches!(self.downlink, Downlink::Open | Downlink::Closing(_)) {
            return Ok(());
        }
        if let Some(pong) = self.decoder.take_pong() {
            self.to_client.send(cx, &mut self.client, &control_frame(Control::Pong, &pong))?;
        }
        if std::mem::take(&mut self.ping_due) {
            let ping = control_frame(Control::Ping, &ControlPayload::EMPTY);
            self.to_client.send(cx, &mut self.client, &ping)?;
        }
        Ok(())
    }

    /// Reads from the target and sends what it has read as one frame.
    fn read_target(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        turn: &mut Turn,
    ) -> io::Result<bool> {
        let Some(target) = &mut self.target else { return Ok(false) };
        if target.poll_recv_ready(cx).is_pending() {
            return Ok(false);
        }
        let Scratch { data, ciphertext } = scratch;
        let size = turn.limit(self.target_read.get(&self.client));
        let received = match target.poll_recv(cx, size, &mut data[MAX_SERVER_HEADER..], ciphertext) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(received)) => received,
            Poll::Ready(Err(_)) => {
                self.from_target = Input::Over;
                self.target_lost();
                let reason = ControlPayload::close(CloseCode::Error, "Target connection failed");
                self.end_downlink(ClosedBy::Target, reason);
                return Ok(true);
            }
        };
        if received == 0 {
            self.from_target = Input::Over;
            self.end_downlink(ClosedBy::Target, ControlPayload::close(CloseCode::Normal, "Target closed"));
            return Ok(true);
        }
        turn.spend(received);
        if let Some(observer) = &mut self.observer {
            observer.target_received(&data[MAX_SERVER_HEADER..MAX_SERVER_HEADER + received]);
        }
        let start = write_header(data, MAX_SERVER_HEADER, OpCode::Data(Data::Binary), received);
        let frame = &data[start..MAX_SERVER_HEADER + received];
        self.bytes_to_client += received as u64;
        self.frames_to_client += 1;
        self.to_client.send(cx, &mut self.client, frame)?;
        if let Some(observer) = &self.observer {
            observer.client_sent(!self.to_client.is_empty());
        }
        self.moderation.target_spoke(received);
        self.target_read.learn(received, size, self.to_client.len() + self.client.unsent());
        Ok(true)
    }
}
