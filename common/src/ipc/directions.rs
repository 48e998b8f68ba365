//! All directions of all channels, for tests of every message: fuzzing, documents, end-to-end tests.

use std::os::fd::OwnedFd;

use super::admission::{ConnectorToGateway, GatewayToConnector};
use super::connector::{ConnectorToSupervisor, SupervisorToConnector};
use super::echo::SupervisorToEcho;
use super::exporter::{ExporterToSupervisor, SupervisorToExporter};
use super::gateway::{Ack, GatewayToSupervisor, SupervisorToGateway};
use super::log::LogMessage;
use super::signer::{GatewayToSigner, SignerToGateway, SignerToSupervisor, SupervisorToSigner};
use super::table::{Message, Row, decode};
use super::wire::{self, WireError};
use super::wrapper::{SupervisorToWrapper, WrapperToSupervisor};

/// One direction of a channel.
#[derive(Debug)]
pub struct Direction {
    /// Name of the enum of its messages.
    pub name: &'static str,
    /// The sender.
    pub from: &'static str,
    /// The receiver.
    pub to: &'static str,
    /// Table of its messages.
    pub table: &'static [Row],
    /// Processes any datagram with any descriptor; see [`round_trip`].
    pub round_trip: fn(&[u8], Option<OwnedFd>) -> Result<(), Fault>,
}

/// A fault in the processing of a datagram.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The datagram decodes to a message that can't be encoded.
    #[error("it can be decoded but not encoded: {0}")]
    Write(WireError),
    /// The datagram decodes to a message that encodes to something else.
    #[error("it is decoded as {0} and then as {1}")]
    Changed(String, String),
}

/// All directions.
pub const DIRECTIONS: [Direction; 17] = [
    of::<SupervisorToGateway>(),
    of::<GatewayToSupervisor>(),
    of::<Ack>(),
    of::<SupervisorToConnector>(),
    of::<ConnectorToSupervisor>(),
    of::<GatewayToConnector>(),
    of::<ConnectorToGateway>(),
    of::<SupervisorToSigner>(),
    of::<SignerToSupervisor>(),
    of::<GatewayToSigner>(),
    of::<SignerToGateway>(),
    of::<SupervisorToExporter>(),
    of::<ExporterToSupervisor>(),
    of::<SupervisorToWrapper>(),
    of::<WrapperToSupervisor>(),
    of::<SupervisorToEcho>(),
    of::<LogMessage>(),
];

const fn of<M: Message>() -> Direction {
    Direction { name: M::NAME, from: M::ENDS.0, to: M::ENDS.1, table: M::TABLE, round_trip: round_trip::<M> }
}

/// Decodes a datagram, both with its descriptor and as if that had been lost. A valid message is encoded and
/// decoded again.
///
/// # Errors
///
/// Fails if the message does not survive that.
fn round_trip<M: Message>(datagram: &[u8], fd: Option<OwnedFd>) -> Result<(), Fault> {
    if let Ok((tag, reader)) = wire::open(datagram, None) {
        // Only a panic would matter here.
        let _ = M::lost(tag, reader);
    }
    let Ok(message) = decode::<M>(datagram, fd) else { return Ok(()) };
    let encoded = message.encode().map_err(Fault::Write)?;
    // The copied descriptor has another number, which `Debug` shows.
    if encoded.fd.is_some() {
        return Ok(());
    }
    let again = decode::<M>(encoded.bytes(), None).map_err(Fault::Write)?;
    let (before, after) = (format!("{message:?}"), format!("{again:?}"));
    if before == after { Ok(()) } else { Err(Fault::Changed(before, after)) }
}
