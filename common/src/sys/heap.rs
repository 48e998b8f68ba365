//! Returning freed memory to the system.

/// Peaks below this number of connections are not worth a release.
const SMALLEST_PEAK: usize = 32;

/// The largest number of open connections since the last release of memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peak {
    connections: usize,
    /// Whether memory was released since no connection was open.
    has_fallen: bool,
}

impl Peak {
    /// Notes that `open` connections are open. When their number has fallen to half of the peak, and once more when
    /// none is left, the free pages of the heap are returned to the system. This takes some milliseconds for thousands
    /// of connections.
    ///
    /// glibc returns free memory at the end of the heap only, so without this a process would keep the memory of the
    /// largest number of connections that it ever had.
    pub fn note(&mut self, open: usize) {
        self.connections = self.connections.max(open);
        let falls = self.connections >= SMALLEST_PEAK && open <= self.connections / 2;
        if falls || self.has_fallen && open == 0 {
            *self = Self { connections: open, has_fallen: open > 0 };
            release();
        }
    }
}

fn release() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time. It changes no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_released_when_half_of_the_connections_have_ended() {
        let mut peak = Peak::default();
        (1..=300).for_each(|open| peak.note(open));
        (151..300).rev().for_each(|open| peak.note(open));
        assert_eq!(peak.connections, 300);
        peak.note(150);
        assert_eq!(peak.connections, 150);
        (1..150).rev().for_each(|open| peak.note(open));
        assert_eq!((peak.connections, peak.has_fallen), (18, true), "a small peak is left alone");
        peak.note(0);
        assert_eq!((peak.connections, peak.has_fallen), (0, false));
    }
}
