//! Memory that is never written to swap space (mlock(2)), for secrets.

use std::ffi::c_void;
use std::fs;
use std::io;
use std::ptr::NonNull;

use nix::sys::mman::{MlockAllFlags, mlock, mlockall, munlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Amount of memory that the process may still need, in bytes.
const GROWTH: u64 = 4 << 20;

/// Locks all memory that this process writes to: heap, stack, variables, and future mappings. Code and
/// constants, which are most of what is mapped, are not locked, so that a limit of 8 MiB suffices, the
/// default of Linux and systemd.
///
/// # Errors
///
/// Fails if the limit (`RLIMIT_MEMLOCK`) is too low, or if the kernel refuses. Nothing is locked then.
pub fn lock_what_is_written() -> io::Result<()> {
    let limit = raise_limit()?;
    mlockall(MlockAllFlags::MCL_FUTURE)?;
    let locked = lock_what_is_there(limit);
    if locked.is_err() {
        munlockall()?;
    }
    locked
}

/// Unlocks all memory of this process, including future mappings.
///
/// # Errors
///
/// Fails if the kernel refuses.
pub fn unlock() -> io::Result<()> {
    Ok(munlockall()?)
}

/// Raises the limit as far as permitted, and returns it. It must suffice without privileges, because a
/// process with locked memory can allocate no more than that.
fn raise_limit() -> io::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    if setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok() {
        return Ok(RLIM_INFINITY);
    }
    setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard)?;
    Ok(hard)
}

fn lock_what_is_there(limit: u64) -> io::Result<()> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let ranges: Vec<_> = maps.lines().filter_map(written).collect();
    let needed = ranges.iter().fold(GROWTH, |sum, (_, len)| sum.saturating_add(*len as u64));
    if needed > limit {
        let text = format!("RLIMIT_MEMLOCK is {} KiB, {} KiB are needed", limit >> 10, needed >> 10);
        return Err(io::Error::new(io::ErrorKind::OutOfMemory, text));
    }
    for (start, len) in ranges {
        // SAFETY: mlock(2) changes neither content nor permissions of memory, and an address that is no
        // longer mapped is an error.
        unsafe { mlock(start, len) }?;
    }
    Ok(())
}

/// Parses a line of proc_pid_maps(5). Returns the range if it is a private writable mapping.
fn written(line: &str) -> Option<(NonNull<c_void>, usize)> {
    let (range, rest) = line.split_once(' ')?;
    if !rest.starts_with("rw-p") {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let [start, end] = [start, end].map(|number| usize::from_str_radix(number, 16));
    let (start, end) = (start.ok()?, end.ok()?);
    let address = NonNull::new(std::ptr::without_provenance_mut(start))?;
    Some((address, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_told_from_the_rest() {
        let stack = "7ffe8b9f2000-7ffe8ba13000 rw-p 00000000 00:00 0                          [stack]";
        let (start, len) = written(stack).unwrap();
        assert_eq!((start.as_ptr() as usize, len), (0x7ffe_8b9f_2000, 0x21000));
        for other in [
            "558aa6417000-558aa6620000 r--p 00000000 fe:00 5612583 /bin/program",
            "558aa6620000-558aa6a13000 r-xp 00208000 fe:00 5612583 /bin/program",
            "7f0000000000-7f0000001000 rw-s 00000000 00:01 7 /memfd:x (deleted)",
            "rw-p",
            "",
        ] {
            assert!(written(other).is_none(), "{other}");
        }
    }
}
