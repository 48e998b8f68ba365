//! `rebind.so`: preloaded into a program (ld.so(8), `LD_PRELOAD`), it moves the port that the program listens
//! on to loopback, so that another program can hold the port itself.
//!
//! `REBIND_OLD_PORT` is the port that the program binds, `REBIND_NEW_PORT` the one that it gets instead. If
//! either is missing, nothing changes.
//!
//! It runs in programs of any kind: between fork and exec, on any thread, under a system call filter of the
//! program's own. So it has no standard library, allocates nothing, starts nothing, takes no lock after it is
//! loaded, and makes no system calls except for a bind that it moves.
#![cfg_attr(not(test), no_std)]

mod environment;
mod next;
mod rewrite;
mod socket;

use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};

use rewrite::{Address, MAX_LENGTH};

/// Set once the environment has been read and the next definition of `bind` has been looked up.
static READY: AtomicBool = AtomicBool::new(false);

/// Called by the dynamic linker when the library is loaded, before `main` and thus before any thread.
extern "C" fn load() {
    environment::read();
    next::find();
    READY.store(true, Ordering::Release);
}

#[cfg(not(test))]
#[used]
// SAFETY: the dynamic linker calls each entry of this section once, as a C function. It may pass arguments,
// which `load` ignores.
#[unsafe(link_section = ".init_array")]
static LOAD: extern "C" fn() = load;

/// bind(2), with the address of the configured port replaced by one on loopback.
///
/// # Safety
///
/// Like bind(2): `address` must point to `length` bytes.
// SAFETY: this function replaces the C function of this name and has the same signature.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn bind(descriptor: c_int, address: *const c_void, length: u32) -> c_int {
    // The initialiser of another library may run before ours. Calling it twice is harmless.
    if !READY.load(Ordering::Acquire) {
        load();
    }
    // SAFETY: guaranteed by the caller.
    let moved = unsafe { moved(descriptor, address, length) };
    let (address, length) = match &moved {
        Some((moved, length)) => (moved.as_ptr(), *length),
        None => (address, length),
    };
    // SAFETY: either the caller's address, or our own array of at least that length.
    unsafe { next::bind(descriptor, address, length) }
}

/// Returns the address to bind instead of `address`, and its length; `None` unless this is the configured
/// port of a stream socket.
///
/// # Safety
///
/// Like [`bind`].
unsafe fn moved(descriptor: c_int, address: *const c_void, length: u32) -> Option<(Address, u32)> {
    let rule = environment::rule()?;
    if address.is_null() {
        return None;
    }
    let length = length.min(MAX_LENGTH);
    let mut copy = Address::zero();
    // SAFETY: guaranteed by the caller, and `copy` has room for `MAX_LENGTH` bytes.
    unsafe { core::ptr::copy_nonoverlapping(address.cast::<u8>(), copy.as_mut_ptr(), length as usize) };
    if !copy.has_port(length, rule.old) || !socket::is_stream(descriptor) {
        return None;
    }
    // The new port may be reserved by a socket that does not listen.
    socket::allow_reuse(descriptor);
    copy.move_to_loopback(rule.new, || socket::is_v6_only(descriptor));
    Some((copy, length))
}

/// Never called: the built library does not contain this function, which shows that nothing here panics.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn abort() -> !;
    }
    abort()
}
