//! The encoding of messages: version, tag, and the fields one after the other in the format of `postcard`.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Serialize, de::DeserializeOwned};

/// Maximum length of a datagram in bytes. Larger values are sent as memory files.
pub const MAX_BYTES: usize = 16 << 10;

/// Version at the beginning of each datagram. [`super::table`] tells when to increment it.
pub const VERSION: u8 = 1;

/// An encoded message.
#[derive(Debug)]
pub struct Encoded<'a> {
    bytes: Vec<u8>,
    /// The descriptor to send with it.
    pub fd: Option<BorrowedFd<'a>>,
}

impl Encoded<'_> {
    /// The datagram.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The phase of the conversation in one direction of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing has been sent yet.
    Setup,
    /// The role is being set up.
    Starting,
    /// The role serves.
    Serving,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Setup => "setup",
            Self::Starting => "starting",
            Self::Serving => "serving",
        })
    }
}

/// The reason why bytes are not a message. All but `Encode` and `TooLong` are faults of the other end.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The message has another version.
    #[error("message of version {0}, expected {VERSION}")]
    Version(u8),
    /// This direction has no message with this tag.
    #[error("message with unknown tag {0}")]
    Tag(u8),
    /// The message is not legal in this phase.
    #[error("message {0} is not allowed in phase {1}")]
    Phase(&'static str, Phase),
    /// The body does not match the tag.
    #[error("malformed body of message {0}")]
    Body(u8),
    /// A descriptor is missing or superfluous.
    #[error("wrong number of descriptors")]
    Descriptor,
    /// The datagram is too long, was truncated by the kernel, or has no tag.
    #[error("message cut off")]
    Truncated,
    /// A message of this process can't be encoded.
    #[error("cannot encode message {0}")]
    Encode(u8),
    /// A message of this process is too long.
    #[error("message {0} is too long")]
    TooLong(u8),
}

impl From<WireError> for io::Error {
    fn from(error: WireError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Encodes a message.
#[derive(Debug)]
pub struct Writer<'a> {
    tag: u8,
    bytes: Vec<u8>,
    fd: Option<BorrowedFd<'a>>,
}

impl<'a> Writer<'a> {
    /// Starts a message.
    pub(super) fn new(tag: u8) -> Self {
        Self { tag, bytes: Vec::from([VERSION, tag]), fd: None }
    }

    /// Adds a field.
    pub(super) fn field(self, field: &impl Serialize) -> Result<Self, WireError> {
        let bytes = postcard::to_extend(field, self.bytes).map_err(|_| WireError::Encode(self.tag))?;
        Ok(Self { bytes, ..self })
    }

    /// Attaches the descriptor.
    pub(super) fn descriptor(self, fd: BorrowedFd<'a>) -> Self {
        Self { fd: Some(fd), ..self }
    }

    /// Completes the message.
    pub(super) fn finish(self) -> Result<Encoded<'a>, WireError> {
        if self.bytes.len() > MAX_BYTES {
            return Err(WireError::TooLong(self.tag));
        }
        Ok(Encoded { bytes: self.bytes, fd: self.fd })
    }
}

/// Decodes a message.
#[derive(Debug)]
pub struct Reader<'a> {
    tag: u8,
    rest: &'a [u8],
    fd: Option<OwnedFd>,
}

impl<'a> Reader<'a> {
    /// Decodes the next field.
    pub(super) fn field<T: DeserializeOwned>(&mut self) -> Result<T, WireError> {
        let (field, rest) = postcard::take_from_bytes(self.rest).map_err(|_| WireError::Body(self.tag))?;
        self.rest = rest;
        Ok(field)
    }

    /// Takes the descriptor.
    pub(super) fn descriptor(&mut self) -> Result<OwnedFd, WireError> {
        self.fd.take().ok_or(WireError::Descriptor)
    }

    /// Checks that no bytes and no descriptor are left.
    pub(super) fn finish(self) -> Result<(), WireError> {
        match (self.rest, self.fd) {
            ([], None) => Ok(()),
            ([], Some(_)) => Err(WireError::Descriptor),
            _ => Err(WireError::Body(self.tag)),
        }
    }
}

/// Splits a datagram into its tag and a reader of the rest.
///
/// # Errors
///
/// Fails if it has no tag, or another version.
pub fn open(datagram: &[u8], fd: Option<OwnedFd>) -> Result<(u8, Reader<'_>), WireError> {
    match *datagram {
        [VERSION, tag, ref rest @ ..] => Ok((tag, Reader { tag, rest, fd })),
        [version, _, ..] => Err(WireError::Version(version)),
        _ => Err(WireError::Truncated),
    }
}

/// Decodes a value that is not a message, such as a setup, from `bytes`.
///
/// # Errors
///
/// Fails if the bytes do not decode, or if some are left.
pub fn value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(WireError::Body(0)),
    }
}
