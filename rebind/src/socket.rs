//! Socket options that are read before a socket is moved, and the one that moving requires. errno is
//! preserved: the program only sees the result of its bind.

use core::ffi::{c_int, c_void};
use core::mem::size_of;

// From asm-generic/socket.h and linux/in6.h. The values are equal on all tier 1 targets of Rust.
const SOL_SOCKET: c_int = 1;
const SO_REUSEADDR: c_int = 2;
const SO_TYPE: c_int = 3;
const SOCK_STREAM: c_int = 1;
const IPPROTO_IPV6: c_int = 41;
const IPV6_V6ONLY: c_int = 26;

/// Length of an integer option.
#[expect(clippy::cast_possible_truncation, reason = "4")]
const OPTION_LENGTH: u32 = size_of::<c_int>() as u32;

unsafe extern "C" {
    fn getsockopt(socket: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut u32) -> c_int;
    fn setsockopt(socket: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int;
    safe fn __errno_location() -> *mut c_int;
}

/// Whether this is a stream socket. Ports of datagram sockets are independent and not reserved.
pub(crate) fn is_stream(socket: c_int) -> bool {
    option(socket, SOL_SOCKET, SO_TYPE) == Some(SOCK_STREAM)
}

/// Whether an IPv6 socket rejects IPv4 connections.
pub(crate) fn is_v6_only(socket: c_int) -> bool {
    option(socket, IPPROTO_IPV6, IPV6_V6ONLY) != Some(0)
}

/// Lets the socket share its port with sockets that do not listen (`SO_REUSEADDR`, socket(7)).
pub(crate) fn allow_reuse(socket: c_int) {
    let on: c_int = 1;
    keeping_errno(|| {
        // SAFETY: `on` is an integer of the given length. If the call fails, so will the bind.
        unsafe { setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, (&raw const on).cast(), OPTION_LENGTH) };
    });
}

fn option(socket: c_int, level: c_int, name: c_int) -> Option<c_int> {
    let mut value: c_int = 0;
    let mut length = OPTION_LENGTH;
    let got = keeping_errno(|| {
        // SAFETY: both pointers refer to local variables, and `length` is that of the first.
        unsafe { getsockopt(socket, level, name, (&raw mut value).cast(), &raw mut length) }
    });
    (got == 0).then_some(value)
}

fn keeping_errno<T>(call: impl FnOnce() -> T) -> T {
    let errno = __errno_location();
    // SAFETY: the pointer refers to this thread's errno, which lives as long as the thread.
    let before = unsafe { *errno };
    let result = call();
    // SAFETY: as above.
    unsafe { *errno = before };
    result
}
