//! How a message becomes a datagram: version, tag, and the fields one after the other in the format of `postcard`.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Serialize, de::DeserializeOwned};

/// Longest datagram. What is longer travels as a file in memory.
pub const MAX_BYTES: usize = 16 << 10;

/// Stands at the head of each datagram. When to count it up is written in [`super::table`].
pub const VERSION: u8 = 1;

/// A message ready to be sent.
#[derive(Debug)]
pub struct Encoded<'a> {
    bytes: Vec<u8>,
    /// The descriptor that goes along.
    pub fd: Option<BorrowedFd<'a>>,
}

impl Encoded<'_> {
    /// The whole datagram.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// How far the conversation in one direction of a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing was said.
    Setup,
    /// The role is being prepared for its work.
    Starting,
    /// The role works.
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

/// Why bytes are not a message. Each is the fault of the other end, but for `Encode` and `TooLong`.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other end speaks another version.
    #[error("message of version {0}, expected {VERSION}")]
    Version(u8),
    /// There is no message of this tag in this direction.
    #[error("message with unknown tag {0}")]
    Tag(u8),
    /// The other end says what it must not say now.
    #[error("message {0} is not allowed in phase {1}")]
    Phase(&'static str, Phase),
    /// The body is not what the tag announces.
    #[error("malformed body of message {0}")]
    Body(u8),
    /// A descriptor is missing, or there is one that nobody wants.
    #[error("wrong number of descriptors")]
    Descriptor,
    /// Longer than allowed, cut by the kernel, or without even a tag.
    #[error("message cut off")]
    Truncated,
    /// A message of ours can't be written down.
    #[error("cannot encode message {0}")]
    Encode(u8),
    /// A message of ours is longer than allowed.
    #[error("message {0} is too long")]
    TooLong(u8),
}

impl From<WireError> for io::Error {
    fn from(error: WireError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Writes a message.
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

    /// The message.
    pub(super) fn finish(self) -> Result<Encoded<'a>, WireError> {
        if self.bytes.len() > MAX_BYTES {
            return Err(WireError::TooLong(self.tag));
        }
        Ok(Encoded { bytes: self.bytes, fd: self.fd })
    }
}

/// Reads a message.
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

    /// Makes sure that nothing is left.
    pub(super) fn finish(self) -> Result<(), WireError> {
        match (self.rest, self.fd) {
            ([], None) => Ok(()),
            ([], Some(_)) => Err(WireError::Descriptor),
            _ => Err(WireError::Body(self.tag)),
        }
    }
}

/// Takes a datagram apart: its tag, and what reads the rest.
///
/// # Errors
///
/// When it has no tag, or the version is another.
pub fn open(datagram: &[u8], fd: Option<OwnedFd>) -> Result<(u8, Reader<'_>), WireError> {
    match *datagram {
        [VERSION, tag, ref rest @ ..] => Ok((tag, Reader { tag, rest, fd })),
        [version, _, ..] => Err(WireError::Version(version)),
        _ => Err(WireError::Truncated),
    }
}

/// Reads a value that is not a message, such as a setup: all of `bytes`.
///
/// # Errors
///
/// When it does not fit, or bytes remain.
pub fn value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(WireError::Body(0)),
    }
}
