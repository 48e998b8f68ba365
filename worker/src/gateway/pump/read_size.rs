//! Adaptive read sizes.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::gateway::kept::Kept;
use crate::gateway::transport::Transport;

/// Period for which the kernel is not trusted with large writes after it has accepted less than it had space for. That
/// happens when TCP runs out of memory on the whole system (tcp(7), `tcp_mem`).
const DISTRUST: Duration = Duration::from_secs(10);

/// Data beyond this number of bytes is kept only if the kernel has accepted less than it had space for. Two TLS records
/// can be on their way.
const SHORTFALL: usize = 2 * ReadSize::MIN;

thread_local! {
    static DISTRUSTED_UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The size of a direction's next read. It doubles as long as reads fill the buffer, and is limited to what the other
/// side accepts at once.
///
/// Large reads save system calls and wake-ups. But whatever the other side does not accept must be kept in memory, so
/// before a large read the kernel is asked how much space its send buffer has.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadSize(usize);

impl ReadSize {
    /// Initial size, in bytes, and the most that a session keeps for a side that does not read, unless the kernel accepts
    /// less than it has space for. A TLS record holds as much (RFC 8446 section 5.1).
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
        let is_over_limit = Kept::is_over_limit();
        let smallest = if is_over_limit { Self::OVER_LIMIT } else { Self::MIN };
        if is_distrusted() {
            return smallest;
        }
        let size = if is_over_limit { Self::MIN } else { self.0 };
        if size <= smallest {
            return size;
        }
        // The kernel's own structures take some of the space.
        let space = to.socket().send_space();
        (space - space / 8).clamp(smallest, size)
    }

    /// Adapts the size to a read that returned `received` of the `requested` bytes, of which `kept` were not accepted.
    pub(super) fn learn(&mut self, received: usize, requested: usize, kept: usize) {
        if kept > SHORTFALL {
            self.0 = Self::MIN;
            DISTRUSTED_UNTIL.set(Some(Instant::now() + DISTRUST));
        } else if received >= requested && requested >= self.0 {
            self.0 = Self::MAX.min(self.0 * 2);
        }
    }
}

/// Whether the kernel has accepted less than it had space for a short time ago. The clock is read only if it has.
fn is_distrusted() -> bool {
    let Some(end) = DISTRUSTED_UNTIL.get() else { return false };
    let is_distrusted = Instant::now() < end;
    if !is_distrusted {
        DISTRUSTED_UNTIL.set(None);
    }
    is_distrusted
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
            size.learn(requested, requested, 0);
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
        size.learn(100, ReadSize::MIN, 0);
        size.learn(100, 100, 0);
        assert_eq!(size.0, ReadSize::MIN);
    }

    #[test]
    fn a_gateway_over_its_limit_reads_little_for_sides_without_space() {
        with_stalled_side(|to, fill, size| {
            let mut kept = Kept::default();
            Kept::set_limit(1000);
            kept.set(1001);
            assert_eq!(size.get(to), ReadSize::MIN, "a side with space");
            fill();
            assert_eq!(size.get(to), ReadSize::OVER_LIMIT);
            kept.set(1000);
            assert_eq!(size.get(to), ReadSize::MIN);
            Kept::set_limit(usize::MAX);
        });
    }

    #[test]
    fn when_the_kernel_accepts_less_than_it_has_space_for_reads_are_small() {
        with_stalled_side(|to, _, mut size| {
            let large = size.get(to);
            size.learn(large, large, SHORTFALL);
            assert_eq!(size.get(to), large, "no more than may be on its way");
            let mut other = ReadSize::new();
            other.learn(large, large, SHORTFALL + 1);
            assert_eq!((size.get(to), other.get(to)), (ReadSize::MIN, ReadSize::MIN), "in all sessions");
            DISTRUSTED_UNTIL.set(Some(Instant::now()));
            assert_eq!((size.get(to), other.get(to)), (large, ReadSize::MIN), "later");
        });
    }
}
