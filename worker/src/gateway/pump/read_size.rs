//! How much to read at a time.

/// Bytes that a direction asks for with one read: more and more as long as reads fill up and what was
/// read is taken at once, few again when the other side falls behind.
///
/// Large reads spare calls and wake-ups. But what one read gave and the other side does not take has to
/// be kept, so a session that stalls must not have asked for much.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadSize(usize);

impl ReadSize {
    /// The smallest size, with which each direction begins.
    pub(super) const MIN: usize = 64 << 10;

    /// The largest size. Measured in processor time per byte of 64 KiB frames to the target: 256 KiB cost 1.3
    /// times as much as this, 64 KiB 1.7 times.
    pub(super) const MAX: usize = 1 << 20;

    /// The size of the first read.
    pub(super) fn new() -> Self {
        Self(Self::MIN)
    }

    /// The size of the next read, bytes.
    pub(super) fn get(self) -> usize {
        self.0
    }

    /// Learns from a read of `received` bytes, and whether any of it had to be kept.
    pub(super) fn learn(&mut self, received: usize, kept: bool) {
        if kept {
            self.0 = Self::MIN;
        } else if received >= self.0 {
            self.0 = Self::MAX.min(self.0 * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_reads_grow_and_a_stall_shrinks() {
        let mut size = ReadSize::new();
        for _ in 0..20 {
            size.learn(size.get(), false);
        }
        assert_eq!(size.get(), ReadSize::MAX);
        size.learn(100, false);
        assert_eq!(size.get(), ReadSize::MAX, "one short read says nothing");
        size.learn(size.get(), true);
        assert_eq!(size.get(), ReadSize::MIN);
    }
}
