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
    /// Notes that `open` connections are open. Returns whether a [`release`] is worth its time: when their
    /// number has fallen to half of the peak, and once more when none is left.
    #[must_use]
    pub fn falls_to(&mut self, open: usize) -> bool {
        self.connections = self.connections.max(open);
        let falls = self.connections >= SMALLEST_PEAK && open <= self.connections / 2;
        let is_due = falls || self.has_fallen && open == 0;
        if is_due {
            *self = Self { connections: open, has_fallen: open > 0 };
        }
        is_due
    }
}

/// Returns the free pages of the heap to the system. This takes some milliseconds after thousands of connections.
///
/// glibc returns free memory at the end of the heap only, so without this a process would keep the memory of the
/// largest number of connections that it ever had.
pub fn release() {
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
    fn a_release_is_due_when_half_of_the_connections_have_ended() {
        let mut peak = Peak::default();
        let mut due = Vec::new();
        for open in (1..=300).chain((0..300).rev()) {
            if peak.falls_to(open) {
                due.push(open);
            }
        }
        assert_eq!(due, [150, 75, 37, 18, 0], "a small peak is left alone");
    }
}
