//! Tickets: no forged ticket is accepted, and none is valid twice.
#![no_main]

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use common::ipc::{ClientAddr, ConnectionId, GatewayId};
use common::ticket::{Claims, Key, Mint, SpentTickets, Ticket, TicketError};
use libfuzzer_sys::fuzz_target;

/// A key that the input can't contain.
static MINT: LazyLock<Mint> =
    LazyLock::new(|| Mint::new(Key::generate().expect("random bytes"), Duration::from_secs(3600)));

fuzz_target!(|input: &[u8]| {
    if let Ok(ticket) = postcard::from_bytes::<Ticket>(input) {
        for gateway in [GatewayId(0), GatewayId(1), ticket.claims.gateway] {
            assert_eq!(ticket.verify(MINT.key(), gateway), Err(TicketError::Forged));
        }
    }
    flip(input);
    take(input);
});

/// Replaces one byte of a valid ticket by one of the input.
fn flip(input: &[u8]) {
    let &[at, byte, ..] = input else { return };
    let client = ClientAddr::Ip(([192, 0, 2, 7], 40000).into());
    let good = MINT.ticket(ConnectionId(300), GatewayId(2), client, None);
    assert_eq!(good.verify(MINT.key(), GatewayId(2)), Ok(()));
    let mut bytes = postcard::to_stdvec(&good).expect("a ticket can be written");
    let at = usize::from(at) % bytes.len();
    bytes[at] = byte;
    if let Ok(changed) = postcard::from_bytes::<Ticket>(&bytes) {
        let verified = changed.verify(MINT.key(), changed.claims.gateway);
        assert_eq!(verified.is_ok(), changed == good, "byte {at} is now {byte}");
    }
}

/// Uses tickets of connections in any order, and ends connections in between.
fn take(input: &[u8]) {
    let mut spent = SpentTickets::new(Duration::from_secs(3600));
    let mut model = HashMap::new();
    for byte in input.iter().take(500) {
        let (connection, ends) = (ConnectionId(1 + u64::from(byte & 0x7f)), byte & 0x80 != 0);
        if ends {
            spent.forget(connection);
            model.insert(connection, TicketError::Over);
            continue;
        }
        let client = ClientAddr::Unix(String::new());
        let taken = spent.take(&Claims {
            connection,
            gateway: GatewayId(1),
            client,
            listener: None,
            expires: u64::MAX,
        });
        assert_eq!(taken, model.get(&connection).map_or(Ok(()), |error| Err(*error)));
        model.entry(connection).or_insert(TicketError::Reused);
    }
}
