//! Masking of payload (RFC 6455 section 5.3).

/// The masking key of a frame, turned so that its first byte is for the next byte of payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask([u8; 4]);

/// Bytes that are unmasked in one step: as wide as common vector registers.
const STEP: usize = 32;

impl Mask {
    /// The key as it stands in the frame's header.
    #[must_use]
    pub fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// Unmasks the next bytes of payload, which are `len` bytes of `buf` from `from` on, and moves them
    /// to `to`, in one pass. `to` must not be behind `from`: each step is read whole before it is
    /// written, and nothing is written over what was not read yet.
    ///
    /// Does nothing if `buf` ends before the payload.
    pub fn unmask_down(&mut self, buf: &mut [u8], from: usize, to: usize, len: usize) {
        debug_assert!(to <= from, "payload only moves down");
        let Some(window) = buf.get_mut(to..from + len) else { return };
        let gap = from - to;
        let wide = self.wide();
        let mut at = 0;
        while at + STEP <= len {
            let Some(source) = window.get(at + gap..).and_then(|rest| rest.first_chunk::<STEP>()) else {
                return;
            };
            let mut step = *source;
            for (byte, key) in step.iter_mut().zip(&wide) {
                *byte ^= key;
            }
            let Some(place) = window.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<STEP>()) else {
                return;
            };
            *place = step;
            at += STEP;
        }
        let rest = len - at;
        for (offset, key) in wide.iter().enumerate().take(rest) {
            let Some(byte) = window.get(at + gap + offset).copied() else { return };
            if let Some(place) = window.get_mut(at + offset) {
                *place = byte ^ key;
            }
        }
        self.0.rotate_left(rest % 4);
    }

    /// The key as often as it fits into a step.
    fn wide(self) -> [u8; STEP] {
        let mut wide = [0; STEP];
        for place in wide.chunks_exact_mut(4) {
            place.copy_from_slice(&self.0);
        }
        wide
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length_unmask_like_the_definition() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let payload: Vec<u8> = (0..=u8::MAX).cycle().take(300).collect();
        let expected: Vec<u8> = payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
        for piece in 1..payload.len() {
            for gap in [0, 1, 6, 31, 32, 100] {
                let mut mask = Mask::new(key);
                let mut buf = [vec![0xee; gap], payload.clone()].concat();
                for at in (0..payload.len()).step_by(piece) {
                    mask.unmask_down(&mut buf, at + gap, at, piece.min(payload.len() - at));
                }
                assert_eq!(buf[..payload.len()], expected, "in pieces of {piece}, {gap} bytes down");
            }
        }
    }

    #[test]
    fn payload_that_is_not_there_is_left_alone() {
        let mut buf = [1, 2, 3];
        Mask::new([9; 4]).unmask_down(&mut buf, 1, 0, 3);
        assert_eq!(buf, [1, 2, 3]);
    }
}
