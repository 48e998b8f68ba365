//! Tries operations that must fail in the sandbox: otherwise a kernel, an emulator or a container that
//! accepts a filter and ignores it would go unnoticed.
//!
//! Only calls that are harmless if they succeed are tried. Calls that kill the process are left to the tests.

use std::fs::File;
use std::io;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};

use super::profile::{Profile, Reach};

/// Whether the filter denies system calls that the role does not need.
pub(super) fn calls_fail(profile: Profile<'_>) -> bool {
    let is_closed = refused(nix::sys::utsname::uname())
        && kill(Pid::from_raw(1), None) == Err(nix::Error::EPERM)
        && no_socket(AddressFamily::PACKET);
    is_closed
        && match profile {
            Profile::Gateway { .. } | Profile::Signer | Profile::Echo | Profile::Exporter => {
                no_file("/etc/passwd")
                    && no_socket(AddressFamily::INET)
                    && no_socket(AddressFamily::INET6)
                    && no_socket(AddressFamily::UNIX)
            }
            Profile::Connector(reach) => {
                let paths = match reach {
                    Reach { resolves: false, .. } => no_file("/etc/passwd"),
                    Reach { resolves: true, .. } => {
                        refused_io(&File::options().write(true).open("/dev/null"))
                    }
                };
                // The files that tell whether names need unix sockets can't be read any more.
                let needs_none = !reach.connects_by_path && !reach.finds_sockets && !reach.resolves;
                paths && (!needs_none || no_socket(AddressFamily::UNIX))
            }
        }
}

/// Whether Landlock denies a file that is readable for everybody. No role needs it.
pub(super) fn files_are_out_of_reach() -> bool {
    File::open("/proc/version").is_err()
}

fn no_file(path: &str) -> bool {
    refused_io(&File::open(path))
}

fn no_socket(family: AddressFamily) -> bool {
    matches!(socket(family, SocketType::STREAM, None), Err(Errno::PERM))
}

fn refused<T>(result: nix::Result<T>) -> bool {
    matches!(result, Err(nix::Error::EPERM))
}

fn refused_io<T>(result: &io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| Errno::from_io_error(error) == Some(Errno::PERM))
}
