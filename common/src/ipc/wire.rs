//! The encoding of messages: version, tag, and the fields one after the other in the format of `postcard`.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Serialize, de::DeserializeOwned};

/// Longest datagram. Larger values travel as memory files.
pub const MAX_BYTES: usize = 16 << 10;

/// Version at the head of each datagram. [`super::table`] says when to increment it.
pub const VERSION: u8 = 1;

/// An encoded message.
#[derive(Debug)]
pub struct Encoded<'a> {
    bytes: Vec<u8>,
    /// The descriptor that accompanies it.
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
    /// Nothing was sent yet.
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

/// Why bytes are not a message. All but `Encode` and `TooLong` are the fault of the other end.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other end uses another version.
    #[error("message of version {0}, expected {VERSION}")]
    Version(u8),
    /// This direction has no message with this tag.
    #[error("message with unknown tag {0}")]
    Tag(u8),
    /// The message is not legal in this phase.
    #[error("message {0} is not allowed in phase {1}")]
    Phase(&'static str, Phase),
    /// The body does not fit the tag.
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
    /// Begins a message.
    pub(super) fn new(tag: u8) -> Self {
        Self { tag, bytes: Vec::from([VERSION, tag]), fd: None }
    }

    /// Adds a field.
    pub(super) fn field(self, field: &impl Serialize) -> Result<Self, WireError> {
        let bytes = postcard::to_extend(field, self.bytes).map_err(|_| WireError::Encode(self.tag))?;
        Ok(Self { bytes, ..self })
    }

    /// Adds the descriptor.
    pub(super) fn descriptor(self, fd: BorrowedFd<'a>) -> Self {
        Self { fd: Some(fd), ..self }
    }

    /// The encoded message.
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
    /// The next field.
    pub(super) fn field<T: DeserializeOwned>(&mut self) -> Result<T, WireError> {
        let (field, rest) = postcard::take_from_bytes(self.rest).map_err(|_| WireError::Body(self.tag))?;
        self.rest = rest;
        Ok(field)
    }

    /// The descriptor.
    pub(super) fn descriptor(&mut self) -> Result<OwnedFd, WireError> {
        self.fd.take().ok_or(WireError::Descriptor)
    }

    /// Makes sure that no bytes and no descriptor are left.
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
/// When it has no tag, or another version.
pub fn open(datagram: &[u8], fd: Option<OwnedFd>) -> Result<(u8, Reader<'_>), WireError> {
    match *datagram {
        [VERSION, tag, ref rest @ ..] => Ok((tag, Reader { tag, rest, fd })),
        [version, _, ..] => Err(WireError::Version(version)),
        _ => Err(WireError::Truncated),
    }
}

/// Decodes a value that is not a message, such as a setup, from all of `bytes`.
///
/// # Errors
///
/// When they do not decode, or bytes remain.
pub fn value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(WireError::Body(0)),
    }
}
