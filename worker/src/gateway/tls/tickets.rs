//! TLS session tickets (RFC 8446 section 4.6.1, RFC 5077). All gateways of an instance derive the same keys,
//! so that a client can resume its TLS session with any of them. So do those of other machines with the same secrets.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use common::ipc::setup::TicketSecret;
use rustls::server::ProducesTickets;

/// Time for which one key issues tickets, in seconds. A ticket is valid until the end of the following
/// period.
const PERIOD: u64 = 6 * 60 * 60;

/// Length of the period's number at the beginning of a ticket, in bytes.
const HEAD: usize = 8;

/// Issues and opens tickets.
pub(super) struct Tickets {
    /// The first issues tickets, all open them.
    secrets: Vec<hmac::Key>,
}

impl Tickets {
    /// Creates the keys from the secrets of the instance.
    pub(super) fn new(secrets: &[TicketSecret]) -> Self {
        let key = |secret: &TicketSecret| hmac::Key::new(hmac::HMAC_SHA256, secret.reveal());
        Self { secrets: secrets.iter().map(key).collect() }
    }

    fn seal(&self, period: u64, plain: &[u8]) -> Option<Vec<u8>> {
        let head = period.to_be_bytes();
        let mut sealed = plain.to_vec();
        let nonce =
            key(self.secrets.first()?, head)?.seal_in_place_append_tag(Aad::from(head), &mut sealed).ok()?;
        Some([&head, nonce.as_ref().as_slice(), &sealed].concat())
    }

    fn open(&self, now: u64, ticket: &[u8]) -> Option<Vec<u8>> {
        let (head, rest) = ticket.split_first_chunk::<HEAD>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let period = u64::from_be_bytes(*head);
        if period != now && period.checked_add(1) != Some(now) {
            return None;
        }
        self.secrets.iter().find_map(|secret| {
            let (nonce, mut sealed) = (Nonce::assume_unique_for_key(*nonce), sealed.to_vec());
            Some(key(secret, *head)?.open_in_place(nonce, Aad::from(*head), &mut sealed).ok()?.to_vec())
        })
    }
}

/// Derives the key of a period. It opens the tickets of that period only.
fn key(secret: &hmac::Key, period: [u8; HEAD]) -> Option<RandomizedNonceKey> {
    RandomizedNonceKey::new(&AES_256_GCM, hmac::sign(secret, &period).as_ref()).ok()
}

/// Number of the current period; 0 if the clock is before 1970.
fn current_period() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / PERIOD)
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // Lifetime of a ticket that is issued at the end of a period.
        u32::try_from(PERIOD).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(current_period(), plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(current_period(), cipher)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(byte: u8) -> Tickets {
        Tickets::new(&[TicketSecret::new([byte; 32])])
    }

    #[test]
    fn every_gateway_of_an_instance_opens_a_ticket_and_no_other_does() {
        let ticket = tickets(1).seal(7, b"state").unwrap();
        assert_eq!(tickets(1).open(7, &ticket).as_deref(), Some(&b"state"[..]));
        assert_eq!(tickets(2).open(7, &ticket), None);
    }

    #[test]
    fn the_second_secret_opens_tickets_and_issues_none() {
        let both = Tickets::new(&[TicketSecret::new([1; 32]), TicketSecret::new([2; 32])]);
        let issued = both.seal(7, b"state").unwrap();
        assert!(tickets(1).open(7, &issued).is_some() && tickets(2).open(7, &issued).is_none());
        assert!(both.open(7, &tickets(2).seal(7, b"state").unwrap()).is_some());
        assert_eq!(Tickets::new(&[]).seal(7, b"state"), None);
    }

    #[test]
    fn a_ticket_ends_with_the_period_after_its_own() {
        let ticket = tickets(1).seal(7, b"state").unwrap();
        for (now, good) in [(6, false), (7, true), (8, true), (9, false)] {
            assert_eq!(tickets(1).open(now, &ticket).is_some(), good, "in period {now}");
        }
    }

    #[test]
    fn a_modified_ticket_is_rejected() {
        let ticket = tickets(1).seal(7, b"state").unwrap();
        for bit in 0..ticket.len() * 8 {
            let mut changed = ticket.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(tickets(1).open(7, &changed), None, "bit {bit}");
        }
        for len in 0..ticket.len() {
            assert_eq!(tickets(1).open(7, &ticket[..len]), None, "{len} bytes");
        }
    }
}
