//! Incremental decoding and encoding of frames (RFC 6455 section 5).
//!
//! The decoder stores at most one header and one control frame, never data: payload is unmasked in place and
//! handed to the caller at once. The announced length of a frame allocates nothing.

use std::ops::Range;

use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::close::{self, Close, ControlPayload, MAX_CONTROL, Violation};
use super::mask::Mask;

/// Maximum header length of a client's frame: 2 bytes, a 64-bit length, a masking key.
const MAX_CLIENT_HEADER: usize = 14;

/// Maximum header length of a server's frame: 2 bytes and a 64-bit length.
pub const MAX_SERVER_HEADER: usize = 10;

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Decodes the frames of one client.
#[derive(Debug)]
pub struct Decoder {
    accept_text: bool,
    /// The beginning of an incomplete header.
    header: [u8; MAX_CLIENT_HEADER],
    header_len: usize,
    frame: Frame,
    /// The last fragment of the current message is still to come.
    in_message: bool,
    control: ControlPayload,
    pong_due: Option<ControlPayload>,
    /// Number of data frames that have begun.
    frames: u64,
}

/// The current frame.
#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: Kind,
    /// Number of payload bytes still to come.
    remaining: u64,
    mask: Mask,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Ping,
    Pong,
    Close,
}

/// Result of decoding a buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Range of the buffer that now holds the payload of all data frames, without gaps.
    pub payload: Range<usize>,
    /// The event that ends the client's frames, if there is one. Bytes after it are ignored.
    pub end: Option<End>,
}

/// End of a client's frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A Close frame.
    Close(Close),
    /// A protocol violation.
    Violation(Violation),
}

/// A parsed header.
struct Header {
    first: u8,
    payload_len: u64,
    mask: Mask,
    len: usize,
}

impl Decoder {
    /// Creates a decoder. Text messages are violations unless `accept_text` is set.
    #[must_use]
    pub fn new(accept_text: bool) -> Self {
        Self {
            accept_text,
            header: [0; MAX_CLIENT_HEADER],
            header_len: 0,
            frame: Frame { kind: Kind::Data, remaining: 0, mask: Mask::default() },
            in_message: false,
            control: ControlPayload::EMPTY,
            pong_due: None,
            frames: 0,
        }
    }

    /// Number of data frames that have begun so far. Each fragment of a message counts.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Whether the current frame is incomplete.
    #[must_use]
    pub fn is_within_frame(&self) -> bool {
        self.frame.remaining > 0
    }

    /// Takes the payload of the last ping that is not answered yet. Of several pings only the last needs an
    /// answer (RFC 6455 section 5.5.3).
    pub fn take_pong(&mut self) -> Option<ControlPayload> {
        self.pong_due.take()
    }

    /// Whether a pong is due.
    #[must_use]
    pub fn owes_pong(&self) -> bool {
        self.pong_due.is_some()
    }

    /// Decodes `buf`. Payload is unmasked and moved together in place.
    #[inline(never)]
    pub fn decode(&mut self, buf: &mut [u8]) -> Decoded {
        let mut payload = 0..0;
        let mut at = 0;
        while at < buf.len() {
            if self.frame.remaining == 0 {
                if self.header_len == 0 && !self.in_message && !payload.is_empty() {
                    (at, payload.end) = self.short_messages(buf, at, payload.end);
                }
                match self.header(&buf[at..]) {
                    Ok(Some(used)) => at += used,
                    Ok(None) => break,
                    Err(violation) => return Decoded { payload, end: Some(End::Violation(violation)) },
                }
            }
            let rest = buf.len() - at;
            let len = usize::try_from(self.frame.remaining).map_or(rest, |remaining| remaining.min(rest));
            self.frame.remaining -= len as u64;
            if self.frame.kind == Kind::Data {
                // The first payload stays in place; later payload is moved down behind it.
                let to = if payload.is_empty() { at } else { payload.end };
                self.frame.mask.unmask_down(buf, at, to, len);
                if len > 0 {
                    payload = if payload.is_empty() { at..at + len } else { payload.start..to + len };
                }
            } else {
                self.frame.mask.unmask_down(buf, at, at, len);
                self.control.extend(&buf[at..at + len]);
            }
            at += len;
            if self.frame.remaining == 0 && self.frame.kind != Kind::Data {
                if let Some(end) = self.control_frame() {
                    return Decoded { payload, end: Some(end) };
                }
            }
        }
        Decoded { payload, end: None }
    }

    /// Parses a header at the beginning of `bytes` and returns its length. An incomplete header is stored,
    /// and the result is `None`.
    fn header(&mut self, bytes: &[u8]) -> Result<Option<usize>, Violation> {
        if self.header_len == 0 {
            if let Some(header) = parse(bytes)? {
                self.begin(&header)?;
                return Ok(Some(header.len));
            }
        }
        let kept = self.header_len;
        let room = &mut self.header[kept..];
        let added = room.len().min(bytes.len());
        for (place, byte) in room.iter_mut().zip(bytes) {
            *place = *byte;
        }
        self.header_len = kept + added;
        let Some(header) = parse(&self.header[..self.header_len])? else {
            return Ok(None);
        };
        self.header_len = 0;
        self.begin(&header)?;
        Ok(Some(header.len - kept))
    }

    /// Starts the frame of a header, if the frame is allowed in this state.
    fn begin(&mut self, header: &Header) -> Result<(), Violation> {
        let fin = header.first & FIN != 0;
        let kind = match OpCode::from(header.first & 0x0f) {
            OpCode::Data(Data::Continue) if self.in_message => Kind::Data,
            OpCode::Data(Data::Continue) => return Err(Violation::UnexpectedContinuation),
            OpCode::Data(Data::Text) if !self.accept_text => return Err(Violation::Text),
            OpCode::Data(Data::Binary | Data::Text) if self.in_message => {
                return Err(Violation::ExpectedContinuation);
            }
            OpCode::Data(Data::Binary | Data::Text) => Kind::Data,
            OpCode::Control(Control::Ping) => Kind::Ping,
            OpCode::Control(Control::Pong) => Kind::Pong,
            OpCode::Control(Control::Close) => Kind::Close,
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
                return Err(Violation::UnknownOpcode(header.first & 0x0f));
            }
        };
        if kind == Kind::Data {
            self.in_message = !fin;
            self.frames += 1;
        } else if !fin {
            return Err(Violation::FragmentedControl);
        } else if header.payload_len > MAX_CONTROL as u64 {
            return Err(Violation::LongControl);
        } else {
            self.control = ControlPayload::EMPTY;
        }
        self.frame = Frame { kind, remaining: header.payload_len, mask: header.mask };
        Ok(())
    }

    /// Handles a complete control frame.
    fn control_frame(&mut self) -> Option<End> {
        match std::mem::replace(&mut self.frame.kind, Kind::Data) {
            Kind::Ping => self.pong_due = Some(std::mem::take(&mut self.control)),
            Kind::Close => {
                let payload = std::mem::take(&mut self.control);
                return Some(close::read(payload).map_or_else(End::Violation, End::Close));
            }
            Kind::Pong | Kind::Data => {}
        }
        None
    }
}

/// Parses a client's header. Returns `None` if it is incomplete.
fn parse(bytes: &[u8]) -> Result<Option<Header>, Violation> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    if first & RESERVED_BITS != 0 {
        return Err(Violation::ReservedBits);
    }
    if second & MASKED == 0 {
        return Err(Violation::Unmasked);
    }
    let (payload_len, key, len) = match (second & !MASKED, rest) {
        (126, &[a, b, k0, k1, k2, k3, ..]) => {
            let payload_len = u16::from_be_bytes([a, b]).into();
            if payload_len < 126 {
                return Err(Violation::BadLength);
            }
            (payload_len, [k0, k1, k2, k3], 8)
        }
        (127, &[a, b, c, d, e, f, g, h, k0, k1, k2, k3, ..]) => {
            let payload_len = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            if payload_len <= u16::MAX.into() || payload_len > i64::MAX as u64 {
                return Err(Violation::BadLength);
            }
            (payload_len, [k0, k1, k2, k3], 14)
        }
        (126 | 127, _) => return Ok(None),
        (short, &[k0, k1, k2, k3, ..]) => (short.into(), [k0, k1, k2, k3], 6),
        _ => return Ok(None),
    };
    Ok(Some(Header { first, payload_len, mask: Mask::new(key), len }))
}

/// Writes the header of a server's frame with `payload_len` bytes so that it ends at `at`. Returns the index
/// of its first byte.
///
/// # Panics
///
/// Panics if there are fewer than [`MAX_SERVER_HEADER`] bytes before `at`.
pub fn write_header(buf: &mut [u8], at: usize, opcode: OpCode, payload_len: usize) -> usize {
    let first = FIN | u8::from(opcode);
    let mut header = [first, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let header = match (u8::try_from(payload_len), u16::try_from(payload_len)) {
        (Ok(short @ ..126), _) => {
            header[1] = short;
            &header[..2]
        }
        (_, Ok(medium)) => {
            header[1] = 126;
            header[2..4].copy_from_slice(&medium.to_be_bytes());
            &header[..4]
        }
        _ => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
            &header[..]
        }
    };
    let start = at - header.len();
    buf[start..at].copy_from_slice(header);
    start
}

/// Encodes a complete control frame.
#[must_use]
pub fn control_frame(control: Control, payload: &ControlPayload) -> Vec<u8> {
    let payload = payload.as_slice();
    let mut frame = vec![0; MAX_SERVER_HEADER];
    let start = write_header(&mut frame, MAX_SERVER_HEADER, OpCode::Control(control), payload.len());
    frame.drain(..start);
    frame.extend_from_slice(payload);
    frame
}

mod short;

#[cfg(test)]
mod tests;
