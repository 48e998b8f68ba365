//! Between the signer, which holds a TLS key, and those who need its signatures.

use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::wire::{self, Encoded, Message, WireError};
use super::{GatewayId, Violation};

/// What a signer is told by the supervisor.
#[derive(Debug)]
pub enum SupervisorToSigner {
    /// First of all: a [`super::setup::SignerSetup`] as a file in memory. Answer with `Ready`.
    Setup(OwnedFd),
    /// A channel to a gateway.
    Gateway {
        /// Which gateway has the other end.
        id: GatewayId,
        /// Our end.
        channel: OwnedFd,
    },
    /// Is somebody there? Answer with `Here` at once.
    Ask,
}

impl Message for SupervisorToSigner {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        match self {
            Self::Setup(fd) => wire::body(1, &(), Some(fd.as_fd())),
            Self::Gateway { id, channel } => wire::body(2, id, Some(channel.as_fd())),
            Self::Ask => wire::body(3, &(), None),
        }
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        match tag {
            1 => wire::fields(tag, body).and_then(|()| Ok(Self::Setup(wire::with_fd(fd)?))),
            2 => Ok(Self::Gateway { id: wire::fields(tag, body)?, channel: wire::with_fd(fd)? }),
            3 => wire::without_fd(fd).and_then(|()| wire::fields(tag, body)).map(|()| Self::Ask),
            _ => Err(WireError::Tag(tag)),
        }
    }
}

/// What a signer says to the supervisor.
#[derive(Debug, PartialEq, Eq)]
pub enum SignerToSupervisor {
    /// So far confined, and the key is loaded.
    Ready(Level, KeyDescription),
    /// It can't be; a human should read why.
    Failed(String),
    /// A gateway breaks protocol.
    Violation(Violation),
    /// The answer to `Ask`.
    Here,
}

/// What everybody may know about a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDescription {
    /// SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7), DER.
    pub public_key: Vec<u8>,
    /// The signature schemes that it can serve (RFC 8446 section 4.2.3), best first.
    pub schemes: Vec<u16>,
}

impl Message for SignerToSupervisor {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        match self {
            Self::Ready(level, key) => wire::body(1, &(level, key), None),
            Self::Failed(why) => wire::body(2, why, None),
            Self::Violation(violation) => wire::body(3, violation, None),
            Self::Here => wire::body(4, &(), None),
        }
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        wire::without_fd(fd)?;
        match tag {
            1 => wire::fields(tag, body).map(|(level, key)| Self::Ready(level, key)),
            2 => Ok(Self::Failed(wire::fields(tag, body)?)),
            3 => Ok(Self::Violation(wire::fields(tag, body)?)),
            4 => wire::fields(tag, body).map(|()| Self::Here),
            _ => Err(WireError::Tag(tag)),
        }
    }
}

/// What a gateway asks of a signer.
#[derive(Debug, PartialEq, Eq)]
pub enum GatewayToSigner {
    /// Sign a structure of a TLS handshake.
    Sign {
        /// Stands in the answer, so that a late one is not taken for another's.
        id: u64,
        /// Signature scheme (RFC 8446 section 4.2.3).
        scheme: u16,
        /// What is to be signed, before hashing.
        message: Vec<u8>,
    },
}

impl Message for GatewayToSigner {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        match self {
            Self::Sign { id, scheme, message } => wire::body(1, &(id, scheme, message), None),
        }
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        wire::without_fd(fd)?;
        match tag {
            1 => {
                let (id, scheme, message) = wire::fields(tag, body)?;
                Ok(Self::Sign { id, scheme, message })
            }
            _ => Err(WireError::Tag(tag)),
        }
    }
}

/// What a signer answers.
#[derive(Debug, PartialEq, Eq)]
pub enum SignerToGateway {
    /// The signature.
    Signature {
        /// Of the question.
        id: u64,
        /// As the scheme has it.
        signature: Vec<u8>,
    },
    /// The message is not a structure of a TLS handshake, or the scheme is not the key's.
    Refused {
        /// Of the question.
        id: u64,
    },
}

impl Message for SignerToGateway {
    fn encode(&self) -> Result<Encoded<'_>, WireError> {
        match self {
            Self::Signature { id, signature } => wire::body(1, &(id, signature), None),
            Self::Refused { id } => wire::body(2, id, None),
        }
    }

    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError> {
        wire::without_fd(fd)?;
        match tag {
            1 => {
                let (id, signature) = wire::fields(tag, body)?;
                Ok(Self::Signature { id, signature })
            }
            2 => Ok(Self::Refused { id: wire::fields(tag, body)? }),
            _ => Err(WireError::Tag(tag)),
        }
    }
}
