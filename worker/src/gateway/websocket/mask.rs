//! Masking of payload (RFC 6455 section 5.3).

/// The masking key of a frame, rotated so that its first byte applies to the next byte of payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask([u8; 4]);

/// Number of bytes that are unmasked in one step: the width of the vector registers of every processor.
const STEP: usize = 16;

/// Number of bytes that are moved and then unmasked where this can't be done in one pass. They stay in the
/// processor's L1 cache in between.
const BLOCK: usize = 4 << 10;

impl Mask {
    /// Creates the mask from the key in a frame's header.
    #[must_use]
    pub fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// Unmasks the next `len` bytes of payload at `from` in `buf`, and moves them to `to`, where `to <=
    /// from`. No byte is overwritten before it is read.
    ///
    /// # Panics
    ///
    /// Panics if `buf` ends before the payload.
    pub fn unmask_down(&mut self, buf: &mut [u8], from: usize, to: usize, len: usize) {
        let gap = from - to;
        let window = &mut buf[to..from + len];
        if let Some((place, source)) = window.split_at_mut_checked(gap).filter(|_| gap >= len) {
            return self.unmask_onto(source, &mut place[..len]);
        }
        for at in (0..len).step_by(BLOCK) {
            let end = len.min(at + BLOCK);
            if gap > 0 {
                window.copy_within(at + gap..end + gap, at);
            }
            self.unmask(&mut window[at..end]);
        }
    }

    /// Unmasks the next bytes of payload from `source` to `place`, which has the same length.
    #[inline]
    pub fn unmask_onto(&mut self, source: &[u8], place: &mut [u8]) {
        let key = u32::from_ne_bytes(self.0);
        let (mut sources, mut places) = (source.chunks_exact(STEP), place.chunks_exact_mut(STEP));
        for (source, place) in (&mut sources).zip(&mut places) {
            let (Some(source), Some(place)) = (source.first_chunk(), place.first_chunk_mut()) else {
                unreachable!()
            };
            *place = unmasked(*source, key);
        }
        let (source, place) = (sources.remainder(), places.into_remainder());
        let (mut sources, mut places) = (source.chunks_exact(4), place.chunks_exact_mut(4));
        for (source, place) in (&mut sources).zip(&mut places) {
            let (Some(source), Some(place)) = (source.first_chunk(), place.first_chunk_mut()) else {
                unreachable!()
            };
            *place = word(*source, key);
        }
        let (source, place) = (sources.remainder(), places.into_remainder());
        for ((byte, place), key) in source.iter().zip(place).zip(self.0) {
            *place = byte ^ key;
        }
        self.0.rotate_left(source.len());
    }

    /// Unmasks the next bytes of payload in place.
    fn unmask(&mut self, payload: &mut [u8]) {
        let key = u32::from_ne_bytes(self.0);
        let mut places = payload.chunks_exact_mut(4);
        for place in &mut places {
            let Some(place) = place.first_chunk_mut() else { unreachable!() };
            *place = word(*place, key);
        }
        let odd = places.into_remainder();
        for (byte, key) in odd.iter_mut().zip(self.0) {
            *byte ^= key;
        }
        self.0.rotate_left(odd.len());
    }
}

/// Unmasks one word.
#[inline]
fn word(masked: [u8; 4], key: u32) -> [u8; 4] {
    (u32::from_ne_bytes(masked) ^ key).to_ne_bytes()
}

/// Unmasks one step. The length is a constant, so that the compiler emits a vector instruction.
#[inline]
fn unmasked(bytes: [u8; STEP], key: u32) -> [u8; STEP] {
    let mut payload = [0; STEP];
    for (place, bytes) in payload.chunks_exact_mut(4).zip(bytes.chunks_exact(4)) {
        let (Some(place), Some(bytes)) = (place.first_chunk_mut(), bytes.first_chunk()) else {
            unreachable!()
        };
        *place = word(*bytes, key);
    }
    payload
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
            for gap in [0, 1, 6, 31, 32, 100, 299, 300, 400] {
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
    #[should_panic(expected = "out of range")]
    fn payload_that_is_not_there_is_a_fault() {
        Mask::new([9; 4]).unmask_down(&mut [1, 2, 3], 1, 0, 3);
    }
}
