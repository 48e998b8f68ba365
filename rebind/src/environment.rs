//! The configuration: `REBIND_OLD_PORT` and `REBIND_NEW_PORT`.

use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicU32, Ordering};

/// A port and its replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The port that the program binds, never 0.
    pub(crate) old: u16,
    /// The port that it gets instead; 0 lets the kernel choose.
    pub(crate) new: u16,
}

/// The rule, with the old port in the upper half; 0 means none. It is stored here since programs change their
/// environment.
static RULE: AtomicU32 = AtomicU32::new(0);

/// Reads the environment. Must be called before the program can change it.
pub(crate) fn read() {
    let rule = match (variable(c"REBIND_OLD_PORT"), variable(c"REBIND_NEW_PORT")) {
        (Some(old), Some(new)) => u32::from(old) << 16 | u32::from(new),
        _ => 0,
    };
    RULE.store(rule, Ordering::Relaxed);
}

/// The rule, if there is one.
pub(crate) fn rule() -> Option<Rule> {
    let [old_high, old_low, new_high, new_low] = RULE.load(Ordering::Relaxed).to_be_bytes();
    let rule =
        Rule { old: u16::from_be_bytes([old_high, old_low]), new: u16::from_be_bytes([new_high, new_low]) };
    (rule.old != 0).then_some(rule)
}

fn variable(name: &CStr) -> Option<u16> {
    unsafe extern "C" {
        fn getenv(name: *const c_char) -> *const c_char;
    }
    // SAFETY: `name` ends with a zero. The result is valid until the environment is changed, which does not
    // happen while libraries are being loaded.
    let value = unsafe {
        let value = getenv(name.as_ptr());
        if value.is_null() {
            return None;
        }
        CStr::from_ptr(value)
    };
    port(value.to_bytes())
}

/// Parses a port as a decimal number.
fn port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u16, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u16::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::port;

    #[test]
    fn a_port_is_a_decimal_number_up_to_65535() {
        assert_eq!(port(b"5901"), Some(5901));
        assert_eq!(port(b"0"), Some(0));
        assert_eq!(port(b"65535"), Some(65535));
        for wrong in [&b""[..], b"65536", b"-1", b" 1", b"1 ", b"0x1", b"99999999999999999999", b"http"] {
            assert_eq!(port(wrong), None, "{}", wrong.escape_ascii());
        }
    }
}
