//! Messages between the signer, which holds a TLS key, and those who need its signatures.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::table::messages;
use super::{GatewayId, Violation};

messages! {
    /// Messages of the supervisor to the signer.
    pub enum SupervisorToSigner: "supervisor" => "signer" {
        /// The setup, a `SignerSetup` in a memory file. Answered with `Ready`.
        SETUP = 1 in Setup then Serving: Setup(file: OwnedFd [fd]),
        /// A channel to a gateway.
        GATEWAY = 2 in Serving: Gateway {
            /// The gateway at the other end.
            id: GatewayId,
            /// The signer's end of the channel.
            channel: OwnedFd [fd],
        },
        /// Demands a `Pong` at once, to show that the role does not hang.
        PING = 3 in Serving: Ping,
    }
}

messages! {
    /// Messages of the signer to the supervisor.
    #[derive(PartialEq, Eq)]
    pub enum SignerToSupervisor: "signer" => "supervisor" {
        /// The key is loaded, and the role has this level of confinement.
        READY = 1 in Starting then Serving: Ready(level: Level, key: KeyDescription),
        /// The key can't be loaded; the reason is for the administrator.
        FAILED = 2 in Starting: Failed(reason: String),
        /// A gateway has broken protocol.
        VIOLATION = 3 in Serving: Violation(violation: Violation),
        /// Answer to `Ping`.
        PONG = 4 in Serving: Pong,
    }
}

messages! {
    /// Requests of a gateway to the signer.
    #[derive(PartialEq, Eq)]
    pub enum GatewayToSigner: "gateway" => "signer" {
        /// Requests a signature for a structure of a TLS handshake.
        SIGN = 1 in Serving: Sign {
            /// Number that the answer repeats, so that a late answer is not taken for another.
            id: u64,
            /// Signature scheme (RFC 8446 section 4.2.3).
            scheme: u16,
            /// The data to sign, before hashing.
            message: Vec<u8>,
        },
    }
}

messages! {
    /// Answers of the signer to a gateway.
    #[derive(PartialEq, Eq)]
    pub enum SignerToGateway: "signer" => "gateway" {
        /// The signature.
        SIGNATURE = 1 in Serving: Signature {
            /// Number of the request.
            id: u64,
            /// The signature in the encoding of the scheme.
            signature: Vec<u8>,
        },
        /// The data is not a structure of a TLS handshake or is ambiguous, or the key does not support the
        /// scheme.
        REFUSED = 2 in Serving: Refused {
            /// Number of the request.
            id: u64,
        },
    }
}

/// Public description of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDescription {
    /// SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), DER.
    pub public_key: Vec<u8>,
    /// Supported signature schemes (RFC 8446 section 4.2.3), in order of preference.
    pub schemes: Vec<u16>,
}
