//! The uplink of a session: frames of the client become bytes for the target.

use std::task::{Context, Poll};

use common::ipc::gateway::ClosedBy;

use super::read_size::ReadSize;
use super::scratch::Scratch;
use super::turn::Turn;
use super::{Input, Session, Uplink};
use crate::gateway::transport::Transport;
use crate::gateway::websocket::frame::End;

impl Session {
    /// Makes as much progress as possible. Returns whether there was any.
    pub(super) fn poll_uplink(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        turn: &mut Turn,
    ) -> bool {
        let waited = !self.to_target.is_empty();
        if self.awaited.is_some() && waited {
            // One read is kept. A client that hangs up now is noticed by who waits for the target.
            return false;
        }
        if !self.flush_target(cx) {
            return false;
        }
        if self.uplink == Uplink::Draining {
            return self.shut_target(cx);
        }
        self.from_client == Input::Open && self.read_client(cx, scratch, turn) || waited
    }

    /// Writes the pending bytes. Returns whether the target has accepted them all; until then the client is
    /// not read.
    fn flush_target(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(target) = self.target.as_mut().filter(|_| self.uplink != Uplink::Closed) else {
            return true;
        };
        let waited = !self.to_target.is_empty();
        match self.to_target.poll_flush(cx, target) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => {
                if let Some(observer) = self.observer.as_ref().filter(|_| waited) {
                    observer.target_sent(false);
                }
            }
            Poll::Ready(Err(_)) => self.target_lost(),
        }
        true
    }

    /// Sends the end of the stream to the target.
    fn shut_target(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(target) = &mut self.target {
            // Errors are ignored: a target that is gone needs no FIN.
            if target.poll_shutdown(cx).is_pending() {
                return false;
            }
        }
        self.uplink = Uplink::Closed;
        true
    }

    fn read_client(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, turn: &mut Turn) -> bool {
        if !self.early.is_empty() {
            let mut early = std::mem::take(&mut self.early);
            self.take_frames(cx, &mut early);
            return true;
        }
        if self.client.poll_recv_ready(cx).is_pending() {
            return false;
        }
        let Scratch { data, ciphertext } = scratch;
        let wanted = self.target.as_ref().map_or(ReadSize::MIN, |target| self.client_read.get(target));
        let size = turn.limit(wanted);
        match self.client.poll_recv(cx, size, data, ciphertext) {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) => {
                self.closed_by(ClosedBy::Client);
                self.end_uplink();
                // After we have ended the input ourselves, more may arrive.
                self.from_client =
                    if self.limited && !self.client_lost { Input::Discarded } else { Input::Over };
            }
            Poll::Ready(Ok(received)) => {
                turn.spend(received);
                self.heard = true;
                self.moderation.client_spoke(received);
                self.take_frames(cx, &mut data[..received]);
                let kept = self.to_target.len() + self.target.as_ref().map_or(0, Transport::unsent);
                self.client_read.learn(received, size, kept);
            }
            Poll::Ready(Err(_)) => {
                self.client_lost(ClosedBy::Client);
                self.end_uplink();
                self.from_client = Input::Over;
            }
        }
        true
    }

    /// Decodes what has arrived, writes the payload to the target, and handles the end of the client's
    /// frames.
    fn take_frames(&mut self, cx: &mut Context<'_>, received: &mut [u8]) {
        let decoded = self.decoder.decode(received);
        let payload = &received[decoded.payload];
        if let (Uplink::Open, Some(target), false) = (self.uplink, &mut self.target, payload.is_empty()) {
            if let Some(observer) = &mut self.observer {
                observer.client_received(payload, self.decoder.is_within_frame());
            }
            match self.to_target.send(cx, target, payload) {
                Ok(()) => {
                    self.bytes_to_target += payload.len() as u64;
                    if let Some(observer) = &self.observer {
                        observer.target_sent(!self.to_target.is_empty());
                    }
                }
                Err(_) => self.target_lost(),
            }
        }
        if self.awaited.is_some() && self.uplink == Uplink::Open {
            self.to_target.keep(payload);
            self.bytes_to_target += payload.len() as u64;
        }
        match decoded.end {
            None => {}
            Some(End::Close(close)) => {
                self.end_uplink();
                self.from_client = Input::Discarded;
                self.client_said_close = true;
                self.close_code_seen(close.code);
                self.end_downlink(ClosedBy::Client, close.echo);
            }
            Some(End::Violation(violation)) => self.violate(violation),
        }
    }
}
