//! Between the signer, which holds a TLS key, and those who need its signatures.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::table::messages;
use super::{GatewayId, Violation};

messages! {
    /// What a signer is told.
    pub enum SupervisorToSigner: "supervisor" => "signer" {
        /// A `SignerSetup` as a file in memory. Answered with `Ready`.
        SETUP = 1 in Setup then Serving: Setup(file: OwnedFd [fd]),
        /// A channel to a gateway.
        GATEWAY = 2 in Serving: Gateway {
            /// Which gateway has the other end.
            id: GatewayId,
            /// The signer's end.
            channel: OwnedFd [fd],
        },
        /// Answered with `Pong` at once, to show that the role does not hang.
        PING = 3 in Serving: Ping,
    }
}

messages! {
    /// What a signer says to the supervisor.
    #[derive(PartialEq, Eq)]
    pub enum SignerToSupervisor: "signer" => "supervisor" {
        /// So far confined, and the key is loaded.
        READY = 1 in Starting then Serving: Ready(level: Level, key: KeyDescription),
        /// It can't be; a human should read why.
        FAILED = 2 in Starting: Failed(reason: String),
        /// A gateway breaks protocol.
        VIOLATION = 3 in Serving: Violation(violation: Violation),
        /// The answer to `Ping`.
        PONG = 4 in Serving: Pong,
    }
}

messages! {
    /// What a gateway asks of a signer.
    #[derive(PartialEq, Eq)]
    pub enum GatewayToSigner: "gateway" => "signer" {
        /// Sign a structure of a TLS handshake.
        SIGN = 1 in Serving: Sign {
            /// Stands in the answer, so that a late one is not taken for another's.
            id: u64,
            /// Signature scheme (RFC 8446 section 4.2.3).
            scheme: u16,
            /// What is to be signed, before hashing.
            message: Vec<u8>,
        },
    }
}

messages! {
    /// What a signer answers.
    #[derive(PartialEq, Eq)]
    pub enum SignerToGateway: "signer" => "gateway" {
        /// The signature.
        SIGNATURE = 1 in Serving: Signature {
            /// Of the question.
            id: u64,
            /// As the scheme has it.
            signature: Vec<u8>,
        },
        /// The message is not a structure of a TLS handshake, or could be something else as well, or the scheme is not
        /// the key's.
        REFUSED = 2 in Serving: Refused {
            /// Of the question.
            id: u64,
        },
    }
}

/// What everybody may know about a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDescription {
    /// SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), DER.
    pub public_key: Vec<u8>,
    /// The signature schemes that it can serve (RFC 8446 section 4.2.3), best first.
    pub schemes: Vec<u16>,
}
