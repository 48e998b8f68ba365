//! One end of a channel that the event loop does not watch. Its owner reads it at convenient times.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::channel::ChannelError;
use super::table::{Conversation, Message};
use super::wire::WireError;
use crate::sys::seqpacket;

/// Maximum length of a message in bytes. Messages of such a channel are short.
const MAX_BYTES: usize = 64;

/// One end. Nothing is sent before the role serves, so that the conversation has a single phase.
#[derive(Debug)]
pub struct AckChannel(OwnedFd);

impl AckChannel {
    /// Wraps an end of [`super::channel::Channel::pair`].
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends a message if the channel has room for it. Returns whether it had.
    ///
    /// # Errors
    ///
    /// Fails if the other end is closed or the message can't be sent.
    pub fn try_send<M: Message>(&self, message: &M) -> Result<bool, ChannelError> {
        match seqpacket::send(self.0.as_fd(), message.encode()?.bytes(), None) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives the next message, if one has arrived.
    ///
    /// # Errors
    ///
    /// Fails if the other end is closed or breaks protocol.
    pub fn try_receive<M: Message>(&self) -> Result<Option<M>, ChannelError> {
        let mut buffer = [0; MAX_BYTES];
        match seqpacket::receive(self.0.as_fd(), &mut buffer) {
            Ok(Some(datagram)) if datagram.truncated => Err(WireError::Truncated.into()),
            Ok(Some(datagram)) => {
                let bytes = buffer.get(..datagram.len).ok_or(WireError::Truncated)?;
                Ok(Some(Conversation::default().decode(bytes, datagram.fd)?))
            }
            Ok(None) => Err(ChannelError::Closed),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for AckChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
