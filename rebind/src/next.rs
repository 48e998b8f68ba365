//! The definition of `bind` that programs would use without this library: that of the next library in search
//! order, which may be another preloaded one or the C library.
//!
//! It is looked up with dlsym(3). A plain reference to that function would be bound to the version of the C
//! library that this library is built with, 2.34 or newer, so that programs with an older one could not load
//! it. Therefore the reference names the oldest version, which all C libraries have. Up to 2.33 dlsym belongs
//! to libdl, which not every program loads. So the reference is weak, and without libdl the system call is
//! made directly.

use core::ffi::{c_char, c_int, c_long, c_void};
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

type Bind = unsafe extern "C" fn(c_int, *const c_void, u32) -> c_int;
type Dlsym = unsafe extern "C" fn(*mut c_void, *const c_char) -> *mut c_void;

/// `RTLD_NEXT` of dlfcn.h: search the libraries after the calling one.
const RTLD_NEXT: *mut c_void = null_mut::<c_void>().wrapping_byte_sub(1);

// Without the standard library, nothing else links the C library.
#[link(name = "c")]
unsafe extern "C" {}

/// The next definition; null if there is none.
static NEXT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Looks up the next definition. Must be called while the program is being loaded, since dlsym takes a lock.
pub(crate) fn find() {
    let Some(dlsym) = dlsym() else { return };
    // SAFETY: both arguments are what dlsym(3) takes.
    let next = unsafe { dlsym(RTLD_NEXT, c"bind".as_ptr()) };
    NEXT.store(next, Ordering::Relaxed);
}

/// Calls the next definition.
///
/// # Safety
///
/// Like bind(2).
pub(crate) unsafe fn bind(socket: c_int, address: *const c_void, length: u32) -> c_int {
    let next = NEXT.load(Ordering::Relaxed);
    if next.is_null() {
        // SAFETY: guaranteed by the caller.
        return unsafe { bind_directly(socket, address, length) };
    }
    // SAFETY: a symbol of this name is called by C programs as bind(2), and therefore has this signature.
    let next = unsafe { transmute::<*mut c_void, Bind>(next) };
    // SAFETY: guaranteed by the caller.
    unsafe { next(socket, address, length) }
}

/// The system call through syscall(2), which sets errno.
unsafe fn bind_directly(socket: c_int, address: *const c_void, length: u32) -> c_int {
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }
    #[cfg(target_arch = "x86_64")]
    const SYS_BIND: c_long = 49;
    #[cfg(not(target_arch = "x86_64"))]
    const SYS_BIND: c_long = 200;
    // SAFETY: the arguments of the system call with this number, which the caller guarantees to be valid.
    let result = unsafe { syscall(SYS_BIND, socket, address, length) };
    if result == 0 { 0 } else { -1 }
}

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".weak rebind_dlsym",
    ".symver rebind_dlsym, dlsym@GLIBC_2.2.5",
    ".hidden rebind_find_dlsym",
    ".globl rebind_find_dlsym",
    ".type rebind_find_dlsym, @function",
    "rebind_find_dlsym:",
    "mov rax, qword ptr [rip + rebind_dlsym@GOTPCREL]",
    "ret",
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".weak rebind_dlsym",
    ".symver rebind_dlsym, dlsym@GLIBC_2.17",
    ".hidden rebind_find_dlsym",
    ".globl rebind_find_dlsym",
    ".type rebind_find_dlsym, %function",
    "rebind_find_dlsym:",
    "adrp x0, :got:rebind_dlsym",
    "ldr x0, [x0, :got_lo12:rebind_dlsym]",
    "ret",
);

/// Returns dlsym(3), if the program has it.
fn dlsym() -> Option<Dlsym> {
    unsafe extern "C" {
        safe fn rebind_find_dlsym() -> *mut c_void;
    }
    let dlsym = rebind_find_dlsym();
    if dlsym.is_null() {
        return None;
    }
    // SAFETY: the assembly above returns the address of the C library's function of this name.
    Some(unsafe { transmute::<*mut c_void, Dlsym>(dlsym) })
}
