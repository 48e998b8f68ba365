//! The parts of RFC 6455 that a load generator needs.

/// The opening handshake.
pub(crate) const OPENING: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A Close frame with the code 1000, masked.
pub(crate) const CLOSE: &[u8] = &[0x88, 0x82, KEY[0], KEY[1], KEY[2], KEY[3], 0x03 ^ KEY[0], 0xe8 ^ KEY[1]];

/// The masking key. It is not zero, so that a gateway can't skip unmasking.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Encodes a binary message of `size` zeros in one frame.
pub(crate) fn message(size: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match (u8::try_from(size), u16::try_from(size)) {
        (Ok(short @ 0..=125), _) => frame.push(0x80 | short),
        (_, Ok(medium)) => {
            frame.push(0x80 | 126);
            frame.extend(medium.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((size as u64).to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(KEY.iter().cycle().take(size));
    frame
}

/// Counts the payload in data of a server.
#[derive(Default)]
pub(crate) struct Payload {
    /// The beginning of an incomplete frame header.
    header: Vec<u8>,
    /// Number of payload bytes of this frame still to come.
    left: usize,
}

impl Payload {
    /// Returns the number of payload bytes in the next piece of the stream.
    pub(crate) fn count(&mut self, mut bytes: &[u8]) -> usize {
        let mut counted = 0;
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let now = self.left.min(bytes.len());
                (self.left, counted, bytes) = (self.left - now, counted + now, &bytes[now..]);
                continue;
            }
            self.header.push(*first);
            bytes = rest;
            let length = match self.header[..] {
                [_, length @ 0..=125] => Some(usize::from(length)),
                [_, 126, a, b] => Some(usize::from(u16::from_be_bytes([a, b]))),
                [_, 127, _, _, _, _, a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d]) as usize),
                _ => None,
            };
            if let Some(length) = length {
                self.header.clear();
                self.left = length;
            }
        }
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_counted_however_it_is_split() {
        for size in [0, 1, 125, 126, 65535, 65536] {
            let mut frame = message(size);
            // Unmasked, as from a server.
            frame[1] &= 0x7f;
            frame.drain(frame.len() - size - 4..frame.len() - size);
            let stream = frame.repeat(3);
            for step in [1, 3, 1000, stream.len()] {
                let mut payload = Payload::default();
                let counted: usize = stream.chunks(step).map(|piece| payload.count(piece)).sum();
                assert_eq!(counted, 3 * size, "size {size}, step {step}");
            }
        }
    }
}
