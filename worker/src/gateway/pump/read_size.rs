//! Adaptive read sizes.

use crate::gateway::kept::Kept;
use crate::gateway::transport::Transport;

/// The size of a direction's next read. It doubles as long as reads fill the buffer, and is limited to what the other
/// side accepts at once.
///
/// Large reads save system calls and wake-ups. But whatever the other side does not accept must be kept in memory, so
/// before a large read the kernel is asked how much space its send buffer has.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadSize(usize);

impl ReadSize {
    /// Initial size, in bytes, and the most that a session keeps for a side that does not read. A TLS record holds as
    /// much (RFC 8446 section 5.1).
    pub(super) const MIN: usize = 16 << 10;

    /// Largest size, in bytes. Measured as processor time per byte with 64 KiB frames to the target, 256 KiB cost 1.3
    /// times as much as 1 MiB, and 64 KiB 1.7 times.
    pub(super) const MAX: usize = 1 << 20;

    /// Smallest size, in bytes, while the gateway keeps more than `limits.unsent-bytes`. It is small enough to be kept
    /// for every connection that a gateway can have.
    const OVER_LIMIT: usize = 1 << 10;

    /// Starts with [`Self::MIN`].
    pub(super) fn new() -> Self {
        Self(Self::MIN)
    }

    /// Size of the next read whose data goes to `to`, in bytes.
    pub(super) fn get(self, to: &Transport) -> usize {
        let size = self.0;
        let smallest = if Kept::is_over_limit() { Self::OVER_LIMIT } else { Self::MIN };
        if size <= smallest { size } else { to.socket().send_space().clamp(smallest, size) }
    }

    /// Adapts the size to a read that returned `received` of the `requested` bytes.
    pub(super) fn learn(&mut self, received: usize, requested: usize) {
        if received >= requested && requested >= self.0 {
            self.0 = Self::MAX.min(self.0 * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use common::sys::stream::StreamSocket;

    use super::*;

    /// Runs `test` with a side whose peer does not read, what fills its send buffer, and the size of a direction that
    /// has grown to the largest.
    fn with_stalled_side(test: impl FnOnce(&Transport, &mut dyn FnMut(), ReadSize)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _guard = runtime.enter();
        let (ours, _peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut writer = ours.try_clone().unwrap();
        let mut fill = move || while writer.write(&[0; 4096]).is_ok() {};
        let mut size = ReadSize::new();
        for _ in 0..20 {
            let requested = size.0;
            size.learn(requested, requested);
        }
        test(&Transport::Plain(StreamSocket::new(OwnedFd::from(ours)).unwrap()), &mut fill, size);
    }

    #[test]
    fn full_reads_grow_as_far_as_the_other_side_has_space() {
        with_stalled_side(|to, fill, size| {
            assert_eq!(size.0, ReadSize::MAX);
            let space = size.get(to);
            assert!((ReadSize::MIN + 1..ReadSize::MAX).contains(&space), "{space}");
            fill();
            assert_eq!(size.get(to), ReadSize::MIN);
        });
    }

    #[test]
    fn a_short_read_does_not_change_the_size() {
        let mut size = ReadSize::new();
        size.learn(100, ReadSize::MIN);
        size.learn(100, 100);
        assert_eq!(size.0, ReadSize::MIN);
    }

    #[test]
    fn a_gateway_over_its_limit_reads_little_for_sides_without_space() {
        with_stalled_side(|to, fill, size| {
            let (space, mut kept) = (size.get(to), Kept::default());
            Kept::set_limit(1000);
            kept.set(1001);
            assert_eq!(size.get(to), space, "a side with space is not affected");
            fill();
            assert_eq!(size.get(to), ReadSize::OVER_LIMIT);
            kept.set(1000);
            assert_eq!(size.get(to), ReadSize::MIN);
            Kept::set_limit(usize::MAX);
        });
    }
}
