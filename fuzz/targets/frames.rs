//! A client's frames: our decoder, fed in pieces, against a reference that has all bytes at once and parses
//! headers with tungstenite.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use worker::gateway::websocket::frame::{Decoder, End};

/// The decoded input of a client.
#[derive(Debug, Default, PartialEq)]
struct Said {
    payload: Vec<u8>,
    /// The payload of the last ping.
    ping: Option<Vec<u8>>,
    end: Option<Ended>,
}

#[derive(Debug, PartialEq)]
enum Ended {
    Close { code: u16, payload: Vec<u8> },
    Violation,
}

fuzz_target!(|input: &[u8]| {
    let [settings, bytes @ ..] = input else { return };
    let accept_text = settings & 0x80 != 0;
    let expected = in_one(bytes, accept_text);
    for piece in [usize::from(settings & 0x7f).max(1), bytes.len().max(1)] {
        assert_eq!(in_pieces(bytes, piece, accept_text), expected, "in pieces of {piece}");
    }
});

fn in_pieces(bytes: &[u8], piece: usize, accept_text: bool) -> Said {
    let mut decoder = Decoder::new(accept_text);
    let mut said = Said::default();
    for part in bytes.chunks(piece) {
        let mut buf = part.to_vec();
        let decoded = decoder.decode(&mut buf);
        said.payload.extend_from_slice(&buf[decoded.payload]);
        if let Some(ping) = decoder.take_pong() {
            said.ping = Some(ping.as_slice().to_vec());
        }
        match decoded.end {
            Some(End::Close(close)) => {
                said.end = Some(Ended::Close { code: close.code, payload: close.echo.as_slice().to_vec() });
            }
            Some(End::Violation(violation)) => {
                assert!(violation.payload().as_slice().len() >= 2);
                said.end = Some(Ended::Violation);
            }
            None => continue,
        }
        break;
    }
    said
}

fn in_one(bytes: &[u8], accept_text: bool) -> Said {
    let mut said = Said::default();
    let mut in_message = false;
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let mut cursor = Cursor::new(rest);
        let (header, len) = match FrameHeader::parse(&mut cursor) {
            Ok(Some(found)) => found,
            Ok(None) => {
                // Two bytes are enough to detect these.
                if rest.len() >= 2 && (rest[0] & 0x70 != 0 || rest[1] & 0x80 == 0) {
                    said.end = Some(Ended::Violation);
                }
                return said;
            }
            Err(_) => {
                said.end = Some(Ended::Violation);
                // The decoder detects an undefined opcode when the header is complete.
                if !header_is_complete(rest) && rest[0] & 0x70 == 0 && rest[1] & 0x80 != 0 {
                    said.end = None;
                }
                return said;
            }
        };
        let taken = cursor.position() as usize;
        let control = matches!(header.opcode, OpCode::Control(_));
        let allowed = match header.opcode {
            OpCode::Data(Data::Continue) => in_message,
            OpCode::Data(Data::Binary) => !in_message,
            OpCode::Data(Data::Text) => accept_text && !in_message,
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => false,
            OpCode::Control(_) => header.is_final && len <= 125,
        };
        let reserved = header.rsv1 || header.rsv2 || header.rsv3;
        let shortest = taken == header.len(len) && len <= i64::MAX as u64;
        let Some(mask) = header.mask.filter(|_| allowed && !reserved && shortest) else {
            said.end = Some(Ended::Violation);
            return said;
        };
        if !control {
            in_message = !header.is_final;
        }
        at += taken;
        let there = usize::try_from(len).unwrap_or(usize::MAX).min(bytes.len() - at);
        let plain = bytes[at..at + there].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
        at += there;
        let is_whole = there as u64 == len;
        match header.opcode {
            OpCode::Data(_) => said.payload.extend(plain),
            OpCode::Control(Control::Ping) if is_whole => said.ping = Some(plain.collect()),
            OpCode::Control(Control::Close) if is_whole => {
                said.end = Some(close(plain.collect()));
                return said;
            }
            OpCode::Control(_) => {}
        }
        if !is_whole {
            return said;
        }
    }
}

fn header_is_complete(rest: &[u8]) -> bool {
    let extended = match rest[1] & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    rest.len() >= 2 + extended + 4
}

fn close(payload: Vec<u8>) -> Ended {
    let code = match payload.as_slice() {
        [] => 1005,
        &[high, low, ref reason @ ..]
            if CloseCode::from(u16::from_be_bytes([high, low])).is_allowed()
                && std::str::from_utf8(reason).is_ok() =>
        {
            u16::from_be_bytes([high, low])
        }
        _ => return Ended::Violation,
    };
    Ended::Close { code, payload }
}
