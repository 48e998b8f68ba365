//! How a message becomes a datagram: version, tag, body.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Serialize, de::DeserializeOwned};

/// Longest datagram. What is longer travels as a file in memory.
pub const MAX_BYTES: usize = 16 << 10;

/// Stands at the head of each datagram. Bump it with every change of a message: roles of two versions
/// meet when a package is upgraded under a running service.
const VERSION: u8 = 1;

/// A message in one direction of a channel.
///
/// Tags are written out in both methods and never used for another message later.
pub trait Message: Sized {
    /// Its tag, its body, and its descriptor if it carries one.
    ///
    /// # Errors
    ///
    /// As [`body`].
    fn encode(&self) -> Result<Encoded<'_>, WireError>;

    /// The message of this tag, which must have exactly this body and descriptor.
    ///
    /// # Errors
    ///
    /// When tag, body and descriptor don't make a message.
    fn decode(tag: u8, body: &[u8], fd: Option<OwnedFd>) -> Result<Self, WireError>;
}

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

/// Why bytes are not a message. Each is the fault of the other end, but for `Encode` and `TooLong`.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other end speaks another version.
    #[error("message of version {0}, expected {VERSION}")]
    Version(u8),
    /// There is no message of this tag in this direction.
    #[error("message with unknown tag {0}")]
    Tag(u8),
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

/// A datagram with `tag` and the fields of `body`; `fd` goes along.
///
/// # Errors
///
/// When it gets too long.
pub fn body<'a>(
    tag: u8,
    body: &impl Serialize,
    fd: Option<BorrowedFd<'a>>,
) -> Result<Encoded<'a>, WireError> {
    let head = Vec::from([VERSION, tag]);
    let bytes = postcard::to_extend(body, head).map_err(|_| WireError::Encode(tag))?;
    if bytes.len() > MAX_BYTES {
        return Err(WireError::TooLong(tag));
    }
    Ok(Encoded { bytes, fd })
}

/// Takes a datagram apart and decodes it.
///
/// # Errors
///
/// When it is not a message of type `M`.
pub fn decode<M: Message>(datagram: &[u8], fd: Option<OwnedFd>) -> Result<M, WireError> {
    match *datagram {
        [VERSION, tag, ref body @ ..] => M::decode(tag, body, fd),
        [version, _, ..] => Err(WireError::Version(version)),
        _ => Err(WireError::Truncated),
    }
}

/// The fields of a body, all of it.
///
/// # Errors
///
/// When they don't fit or bytes remain.
pub fn fields<T: DeserializeOwned>(tag: u8, body: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(body) {
        Ok((fields, [])) => Ok(fields),
        _ => Err(WireError::Body(tag)),
    }
}

/// The descriptor of a message that carries one.
///
/// # Errors
///
/// When there is none.
pub fn with_fd(fd: Option<OwnedFd>) -> Result<OwnedFd, WireError> {
    fd.ok_or(WireError::Descriptor)
}

/// Makes sure that a message that carries no descriptor has none.
///
/// # Errors
///
/// When there is one; it is closed.
pub fn without_fd(fd: Option<OwnedFd>) -> Result<(), WireError> {
    fd.map_or(Ok(()), |_| Err(WireError::Descriptor))
}
