//! Socket addresses for bind(2) (ip(7), ipv6(7)), and their replacement by loopback addresses.

use core::ffi::c_void;

/// Length of `sockaddr_in6`, the longest supported address.
pub(crate) const MAX_LENGTH: u32 = 28;

/// Length of `sockaddr_in`.
const V4_LENGTH: u32 = 16;

/// Minimum length of a `sockaddr_in6` that Linux accepts (RFC 2133, without the scope).
const V6_LENGTH: u32 = 24;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

const LOOPBACK_V4: [u8; 4] = [127, 0, 0, 1];
const LOOPBACK_V6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// 127.0.0.1 in the form for sockets of both families (RFC 4291 section 2.5.5.2).
const LOOPBACK_V4_MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];

/// The bytes of a `sockaddr` of either family: family (host byte order), port (network byte order), then for
/// IPv4 the address, and for IPv6 flow information, address and scope.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address([u8; MAX_LENGTH as usize]);

impl Address {
    /// An empty address.
    pub(crate) fn zero() -> Self {
        Self([0; MAX_LENGTH as usize])
    }

    /// Pointer for a function that takes a `sockaddr`.
    pub(crate) fn as_ptr(&self) -> *const c_void {
        self.0.as_ptr().cast()
    }

    /// Pointer to copy a `sockaddr` to, of [`MAX_LENGTH`] bytes at most.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// Whether the first `length` bytes are an IPv4 or IPv6 address with this port.
    pub(crate) fn has_port(&self, length: u32, port: u16) -> bool {
        let whole = match self.family() {
            AF_INET => length >= V4_LENGTH,
            AF_INET6 => length >= V6_LENGTH,
            _ => false,
        };
        whole && u16::from_be_bytes([self.0[2], self.0[3]]) == port
    }

    /// Replaces port and address.
    ///
    /// A socket for both families is moved to 127.0.0.1, which clients of both kinds try first; one for IPv6
    /// only to ::1.
    pub(crate) fn move_to_loopback(&mut self, port: u16, v6_only: impl FnOnce() -> bool) {
        [self.0[2], self.0[3]] = port.to_be_bytes();
        if self.family() == AF_INET {
            [self.0[4], self.0[5], self.0[6], self.0[7]] = LOOPBACK_V4;
            return;
        }
        let loopback = if v6_only() { LOOPBACK_V6 } else { LOOPBACK_V4_MAPPED };
        // Loopback addresses have no scope.
        for (at, byte) in self.0.iter_mut().skip(8).zip(loopback.into_iter().chain([0; 4])) {
            *at = byte;
        }
    }

    fn family(&self) -> u16 {
        u16::from_ne_bytes([self.0[0], self.0[1]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(family: u16, port: u16, rest: &[u8]) -> Address {
        let mut address = Address::zero();
        address.0[..2].copy_from_slice(&family.to_ne_bytes());
        address.0[2..4].copy_from_slice(&port.to_be_bytes());
        address.0[4..4 + rest.len()].copy_from_slice(rest);
        address
    }

    #[test]
    fn ipv4_moves_to_its_loopback() {
        let mut moved = address(AF_INET, 5901, &[192, 0, 2, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        moved.move_to_loopback(40000, || unreachable!("only asked for IPv6"));
        assert_eq!(moved, address(AF_INET, 40000, &[127, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]));
    }

    #[test]
    fn ipv6_moves_to_its_loopback_without_a_scope() {
        let link_local = [1, 2, 3, 4, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 2, 0, 0, 0];
        let mut moved = address(AF_INET6, 5901, &link_local);
        moved.move_to_loopback(40000, || true);
        let mut loopback = [0; 24];
        loopback[..4].copy_from_slice(&[1, 2, 3, 4]);
        loopback[19] = 1;
        assert_eq!(moved, address(AF_INET6, 40000, &loopback));
    }

    #[test]
    fn a_socket_for_both_families_moves_to_the_loopback_of_ipv4() {
        let mut moved = address(AF_INET6, 5901, &[]);
        moved.move_to_loopback(40000, || false);
        assert_eq!(moved.0[8..24], LOOPBACK_V4_MAPPED);
    }

    #[test]
    fn only_complete_addresses_with_the_port_match() {
        assert!(address(AF_INET, 5901, &[]).has_port(16, 5901));
        assert!(address(AF_INET, 5901, &[]).has_port(28, 5901));
        assert!(address(AF_INET6, 5901, &[]).has_port(24, 5901));
        assert!(!address(AF_INET, 5901, &[]).has_port(15, 5901));
        assert!(!address(AF_INET6, 5901, &[]).has_port(23, 5901));
        assert!(!address(AF_INET, 5902, &[]).has_port(16, 5901));
        // unix(7), netlink(7), and AF_UNSPEC.
        for family in [0, 1, 16] {
            assert!(!address(family, 5901, &[]).has_port(28, 5901));
        }
    }
}
