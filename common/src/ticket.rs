//! Tickets: statements of the supervisor about a connection that the connector can trust although a gateway
//! presents them.
//!
//! A gateway parses data of clients and might be compromised. With the ticket of a connection it obtains one
//! target for one client that has really connected, and nothing else. It can't forge a ticket, because only
//! the supervisor and the connector have the key. It can't alter one, use the ticket of another gateway, use
//! one twice ([`SpentTickets`]), or keep one for later.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use nix::time::{ClockId, clock_gettime};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::ipc::{ClientAddr, ConnectionId, GatewayId};

/// Length of key and seal in bytes: the output length of SHA-256, which RFC 2104 section 3 recommends for the
/// key.
const BYTES: usize = 32;

/// Prefix of the sealed bytes, so that a seal is valid for tickets only, whatever else might use the key in
/// the future.
const CONTEXT: &[u8] = b"websockify connection ticket 1\0";

/// A key of an instance, which is passed to the connectors, but never to a gateway. It is generated at the start, unless
/// machines share it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key([u8; BYTES]);

impl Key {
    /// Creates a random key.
    ///
    /// # Errors
    ///
    /// Fails if getrandom(2) fails.
    pub fn generate() -> io::Result<Self> {
        let mut key = [0; BYTES];
        // getrandom(2) never returns fewer bytes for such a short request.
        if getrandom(&mut key, GetRandomFlags::empty())? != BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self(key))
    }

    /// Creates a key from its bytes.
    #[must_use]
    pub fn new(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// A keyed hash that represents a secret where the secret must not be shown: equal for equal secrets, and
    /// irreversible without the key. The first 64 bits of HMAC-SHA-256 in hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self, secret: &[u8]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(secret);
        let code = mac.finalize().into_bytes();
        code.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    fn seal(&self, claims: &Claims) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(CONTEXT);
        mac.update(&postcard::to_stdvec(claims).ok()?);
        Some(mac)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// The statements of the supervisor about a connection that it hands over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The connection.
    pub connection: ConnectionId,
    /// The gateway that has received it.
    pub gateway: GatewayId,
    /// Its client.
    pub client: ClientAddr,
    /// The address that the client has connected to, if targets are told of that.
    pub listener: Option<SocketAddr>,
    /// Expiry, in seconds of the machine's monotonic clock.
    pub expires: u64,
}

/// Claims under the supervisor's seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The claims.
    pub claims: Claims,
    /// HMAC-SHA-256 (RFC 2104) of the claims.
    seal: [u8; BYTES],
}

/// The reason why a ticket is rejected. A correct gateway only sees [`Self::Expired`] and [`Self::Over`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The seal is not the supervisor's.
    #[error("a forged ticket")]
    Forged,
    /// The ticket belongs to another gateway.
    #[error("a ticket of another gateway")]
    Foreign,
    /// The gateway has used the ticket before.
    #[error("a ticket that it has used before")]
    Reused,
    /// The ticket has expired.
    #[error("an expired ticket")]
    Expired,
    /// The supervisor knew that the connection had ended before the request was received; or a connector that
    /// has died may have accepted the ticket.
    #[error("a ticket for a connection that has ended")]
    Over,
}

impl TicketError {
    /// Whether the gateway that has presented the ticket has broken protocol and can't be trusted any more.
    #[must_use]
    pub fn is_violation(self) -> bool {
        matches!(self, Self::Forged | Self::Foreign | Self::Reused)
    }
}

/// Issues tickets.
#[derive(Debug)]
pub struct Mint {
    key: Key,
    lifetime: Duration,
}

impl Mint {
    /// Creates a mint for tickets that are sealed with `key` and valid for `lifetime`.
    #[must_use]
    pub fn new(key: Key, lifetime: Duration) -> Self {
        Self { key, lifetime }
    }

    /// The key, for the connector.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Validity of tickets.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Issues a ticket. `listener` is the address that the client has connected to.
    #[must_use]
    pub fn ticket(
        &self,
        connection: ConnectionId,
        gateway: GatewayId,
        client: ClientAddr,
        listener: Option<SocketAddr>,
    ) -> Ticket {
        // Rounded up, so that no ticket is valid for less than `lifetime`.
        let expires = now().saturating_add(self.lifetime.as_secs()).saturating_add(1);
        let claims = Claims { connection, gateway, client, listener, expires };
        // Neither HMAC, which takes keys of any length, nor the encoding of numbers and text can fail. If one
        // did, the ticket would be rejected.
        let seal = self.key.seal(&claims).map_or([0; BYTES], |mac| mac.finalize().into_bytes().into());
        Ticket { claims, seal }
    }
}

impl Ticket {
    /// Verifies that the ticket was sealed with `key` for `gateway` and has not expired. The comparison takes
    /// constant time, so that timing reveals nothing about the correct seal.
    ///
    /// # Errors
    ///
    /// The reason why it is rejected.
    pub fn verify(&self, key: &Key, gateway: GatewayId) -> Result<(), TicketError> {
        let seal = key.seal(&self.claims).ok_or(TicketError::Forged)?;
        seal.verify_slice(&self.seal).map_err(|_| TicketError::Forged)?;
        if self.claims.gateway != gateway {
            return Err(TicketError::Foreign);
        }
        if self.claims.expires < now() { Err(TicketError::Expired) } else { Ok(()) }
    }

    /// Whether the ticket will still be valid after `duration`.
    #[must_use]
    pub fn outlasts(&self, duration: Duration) -> bool {
        now().saturating_add(duration.as_secs()) < self.claims.expires
    }
}

/// Seconds of the monotonic clock, which all processes of a machine share. Read through libc, which needs no
/// system call; rustix would look up the vDSO at its first use, which the sandbox does not permit.
fn now() -> u64 {
    // Every Linux has this clock. Without it no ticket would be valid.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(u64::MAX, |now| u64::try_from(now.tv_sec()).unwrap_or(u64::MAX))
}

/// The spent tickets, so that none is used twice.
///
/// Each connection has one ticket. The state of the ticket is kept until the connection has ended or has a
/// target, and after that until the ticket has expired: about 50 bytes for each connection that exists or has
/// existed within the validity of a ticket. Entries are never evicted to make room.
#[derive(Debug)]
pub struct SpentTickets {
    lifetime: Duration,
    seen: HashMap<ConnectionId, Use>,
    /// Connections whose tickets are spent for good, with the time of their expiry.
    leaving: VecDeque<(u64, ConnectionId)>,
    before: SpentBefore,
}

/// Tickets that an earlier connector may have accepted: those of all connections up to a number, with
/// exceptions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpentBefore {
    /// Number of the last connection at that time.
    pub last: u64,
    /// Connections that existed then, and had no target as far as the supervisor knew.
    pub fresh: BTreeSet<ConnectionId>,
}

impl SpentBefore {
    fn is_spent(&self, connection: ConnectionId) -> bool {
        connection.0 <= self.last && !self.fresh.contains(&connection)
    }
}

/// State of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Used for this number of pages, and usable again.
    Pages(u32),
    /// In use for a page, after this number of pages.
    Page(u32),
    /// Spent.
    Spent,
    /// The connection has ended.
    Over,
}

impl SpentTickets {
    /// Creates an empty set. Tickets are valid for `lifetime`.
    #[must_use]
    pub fn new(lifetime: Duration) -> Self {
        Self { lifetime, seen: HashMap::new(), leaving: VecDeque::new(), before: SpentBefore::default() }
    }

    /// Continues for a connector that has died.
    pub fn follow(&mut self, before: SpentBefore) {
        self.before = before;
    }

    /// Uses a ticket, which must have been verified.
    ///
    /// # Errors
    ///
    /// Fails if the ticket is spent or in use, or if its connection has ended.
    pub fn take(&mut self, claims: &Claims) -> Result<(), TicketError> {
        let connection = claims.connection;
        let pages = match self.seen.get(&connection) {
            None if self.before.is_spent(connection) => return Err(TicketError::Over),
            None => 0,
            Some(Use::Pages(pages)) => *pages,
            Some(Use::Page(_) | Use::Spent) => return Err(TicketError::Reused),
            Some(Use::Over) => return Err(TicketError::Over),
        };
        self.seen.insert(connection, Use::Page(pages));
        Ok(())
    }

    /// Returns a ticket that was used for a page, so that it can be used for up to `limit` pages in total.
    pub fn give_back(&mut self, claims: &Claims, limit: u32) {
        if let Some(used) = self.seen.get_mut(&claims.connection) {
            if let Use::Page(pages) = *used {
                *used = if pages + 1 < limit { Use::Pages(pages + 1) } else { Use::Spent };
            }
        }
    }

    /// Marks the ticket of a connection that has a target as spent.
    pub fn spend(&mut self, connection: ConnectionId) {
        self.leave(connection, Use::Spent);
    }

    /// Marks a connection as ended.
    pub fn forget(&mut self, connection: ConnectionId) {
        self.leave(connection, Use::Over);
    }

    /// Stores the final state of a ticket until the ticket has expired.
    fn leave(&mut self, connection: ConnectionId, became: Use) {
        let now = now();
        self.expire(now);
        self.seen.insert(connection, became);
        // Both the expiry and the current time are rounded to seconds.
        let expires = now.saturating_add(self.lifetime.as_secs()).saturating_add(2);
        self.leaving.push_back((expires, connection));
    }

    /// Removes the states of expired tickets.
    fn expire(&mut self, now: u64) {
        while let Some((_, connection)) = self.leaving.front().filter(|(expires, _)| *expires < now) {
            self.seen.remove(connection);
            self.leaving.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: GatewayId = GatewayId(3);
    const HOUR: Duration = Duration::from_secs(3600);

    fn client() -> ClientAddr {
        ClientAddr::Ip(([192, 0, 2, 7], 40000).into())
    }

    fn mint() -> Mint {
        Mint::new(Key::generate().unwrap(), HOUR)
    }

    fn ticket(mint: &Mint, connection: u64) -> Ticket {
        mint.ticket(ConnectionId(connection), GATEWAY, client(), None)
    }

    #[test]
    fn a_ticket_is_good_for_its_gateway() {
        let mint = mint();
        let ticket = ticket(&mint, 7);
        assert_eq!(ticket.verify(mint.key(), GATEWAY), Ok(()));
        assert_eq!(ticket.verify(mint.key(), GatewayId(4)), Err(TicketError::Foreign));
        let other = super::Key::generate().unwrap();
        assert_eq!(ticket.verify(&other, GATEWAY), Err(TicketError::Forged), "another instance's");
    }

    #[test]
    fn a_changed_bit_invalidates_a_ticket() {
        let mint = mint();
        let bytes = postcard::to_stdvec(&ticket(&mint, 7)).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(forged) = postcard::from_bytes::<Ticket>(&changed) {
                assert_eq!(forged.verify(mint.key(), GATEWAY), Err(TicketError::Forged), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_replaced_claim_invalidates_a_ticket() {
        let mint = mint();
        let good = ticket(&mint, 7);
        let claims = &good.claims;
        let replaced = [
            Claims { connection: ConnectionId(8), ..claims.clone() },
            Claims { gateway: GatewayId(4), ..claims.clone() },
            Claims { client: ClientAddr::Ip(([192, 0, 2, 8], 40000).into()), ..claims.clone() },
            Claims { client: ClientAddr::Ip(([192, 0, 2, 7], 40001).into()), ..claims.clone() },
            Claims { client: ClientAddr::Unix("192.0.2.7".into()), ..claims.clone() },
            Claims { listener: Some(([192, 0, 2, 1], 6080).into()), ..claims.clone() },
            Claims { expires: claims.expires + 1, ..claims.clone() },
        ];
        for claims in replaced {
            let gateway = claims.gateway;
            let forged = Ticket { claims, seal: good.seal };
            assert_eq!(forged.verify(mint.key(), gateway), Err(TicketError::Forged), "{forged:?}");
        }
    }

    #[test]
    fn a_ticket_expires() {
        let mint = Mint::new(Key::generate().unwrap(), HOUR);
        let fresh = ticket(&mint, 7);
        assert!(fresh.outlasts(HOUR / 2) && !fresh.outlasts(HOUR * 2));
        let claims = Claims { expires: now() - 1, ..fresh.claims };
        let seal = mint.key().seal(&claims).unwrap().finalize().into_bytes().into();
        assert_eq!(Ticket { claims, seal }.verify(mint.key(), GATEWAY), Err(TicketError::Expired));
    }

    #[test]
    fn a_ticket_is_used_once() {
        let mint = mint();
        let mut spent = SpentTickets::new(HOUR);
        let (first, second) = (ticket(&mint, 1), ticket(&mint, 2));
        assert_eq!(spent.take(&second.claims), Ok(()));
        assert_eq!(spent.take(&first.claims), Ok(()), "connections need not ask in their order");
        assert_eq!(spent.take(&first.claims), Err(TicketError::Reused));
    }

    #[test]
    fn a_ticket_is_good_for_some_pages_and_once_at_a_time() {
        let mint = mint();
        let mut spent = SpentTickets::new(HOUR);
        let claims = ticket(&mint, 1).claims;
        for _ in 0..2 {
            assert_eq!(spent.take(&claims), Ok(()));
            assert_eq!(spent.take(&claims), Err(TicketError::Reused), "while it is being used");
            spent.give_back(&claims, 2);
        }
        assert_eq!(spent.take(&claims), Err(TicketError::Reused));
    }

    #[test]
    fn a_connection_that_has_ended_can_not_use_its_ticket() {
        let mint = mint();
        for is_used in [false, true] {
            let mut spent = SpentTickets::new(HOUR);
            let claims = ticket(&mint, 1).claims;
            if is_used {
                assert_eq!(spent.take(&claims), Ok(()));
            }
            spent.forget(claims.connection);
            assert_eq!(spent.take(&claims), Err(TicketError::Over));
            spent.give_back(&claims, 9);
            assert_eq!(spent.take(&claims), Err(TicketError::Over), "nor when a page comes too late");
        }
        assert!(!TicketError::Over.is_violation(), "its question may have been on its way");
    }

    /// The connection may present its ticket as long as the supervisor does not report its end.
    #[test]
    fn a_spent_ticket_stays_spent_while_its_connection_exists() {
        let mint = mint();
        let mut spent = SpentTickets::new(HOUR);
        let claims = ticket(&mint, 1).claims;
        assert_eq!(spent.take(&claims), Ok(()));
        spent.expire(now() + 2 * HOUR.as_secs());
        assert_eq!(spent.take(&ticket(&mint, 1).claims), Err(TicketError::Reused));
    }

    #[test]
    fn states_of_tickets_are_kept_until_they_expire() {
        let mint = mint();
        let mut spent = SpentTickets::new(HOUR);
        for connection in 1..=1000 {
            assert_eq!(spent.take(&ticket(&mint, connection).claims), Ok(()));
            if connection % 2 == 0 {
                spent.spend(ConnectionId(connection));
            } else {
                spent.forget(ConnectionId(connection));
            }
        }
        assert_eq!(spent.take(&ticket(&mint, 2).claims), Err(TicketError::Reused));
        let began = now();
        spent.expire(began + HOUR.as_secs());
        assert_eq!(spent.seen.len(), 1000);
        spent.expire(began + HOUR.as_secs() + 4);
        assert!(spent.seen.is_empty() && spent.leaving.is_empty());
    }

    #[test]
    fn tickets_spent_with_an_earlier_connector_stay_spent() {
        let mint = mint();
        let mut spent = SpentTickets::new(HOUR);
        spent.follow(SpentBefore { last: 2, fresh: [ConnectionId(1)].into() });
        assert_eq!(spent.take(&ticket(&mint, 1).claims), Ok(()), "it has had no target");
        assert_eq!(spent.take(&ticket(&mint, 1).claims), Err(TicketError::Reused));
        assert_eq!(spent.take(&ticket(&mint, 2).claims), Err(TicketError::Over));
        assert_eq!(spent.take(&ticket(&mint, 3).claims), Ok(()), "it came later");
    }

    #[test]
    fn a_key_is_not_shown() {
        let mint = mint();
        assert!(format!("{mint:?}").contains("Key(…)"));
    }

    /// A ticket must be cheap compared to a connection, which costs some hundred microseconds.
    #[test]
    fn tickets_are_cheap() {
        let mint = mint();
        let began = std::time::Instant::now();
        for connection in 0..1000 {
            ticket(&mint, connection).verify(mint.key(), GATEWAY).unwrap();
        }
        let each = began.elapsed() / 1000;
        assert!(each < Duration::from_micros(100), "{each:?}");
    }
}
