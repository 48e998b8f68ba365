//! Memory files (memfd_create(2)): sealed files for values that are too long for a datagram.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Maximum size of a file in bytes. The system's bundle of authorities takes a quarter of it.
pub const MAX_BYTES: usize = 4 << 20;

/// Writes `content` to a file and seals it.
///
/// # Errors
///
/// Fails if memory or descriptors run out.
pub fn sealed(content: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(c"websockify", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(content)?;
    let seals =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// Reads a file of [`sealed`] from its beginning, so that one file can be passed to many roles.
///
/// # Errors
///
/// Fails if the file can't be read; `InvalidData` if it is longer than [`MAX_BYTES`].
pub fn content(fd: OwnedFd) -> io::Result<Vec<u8>> {
    content_up_to(fd, MAX_BYTES)
}

/// Reads a file with another limit.
///
/// # Errors
///
/// Fails if the file can't be read; `InvalidData` if it is longer than `max_bytes`.
pub fn content_up_to(fd: OwnedFd, max_bytes: usize) -> io::Result<Vec<u8>> {
    let file = File::from(fd);
    // pread(2) does not move the shared offset, and a sandbox without stat(2) allows it.
    let len = usize::try_from((&file).seek(SeekFrom::End(0))?).unwrap_or(usize::MAX);
    if len > max_bytes {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than any configuration"));
    }
    let mut content = vec![0; len];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}
