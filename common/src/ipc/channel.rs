//! One end of a channel between two processes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::ConnectionId;
use super::table::{Conversation, Message};
use super::wire::{MAX_BYTES, Phase, WireError};
use crate::sys::reactor::{After, Registered};
use crate::sys::seqpacket;

/// Pause before another attempt to send, if the event loop can't tell when there is space.
const RETRY: Duration = Duration::from_millis(10);

/// One end of a channel, registered with the event loop of its thread.
#[derive(Debug)]
pub struct Channel {
    socket: Registered,
    buffer: RefCell<Box<[u8]>>,
    /// Phase of the incoming direction.
    heard: Cell<Conversation>,
    /// Held while sending. The event loop wakes one task for each direction of a socket: if several tasks
    /// waited for space, all but the last would never be woken.
    sending: Mutex<()>,
}

/// A received message.
#[derive(Debug)]
pub enum Received<M> {
    /// A complete message.
    Message(M),
    /// A message whose descriptor was lost, because this process has too many open.
    DescriptorLost {
        /// Tag of the message.
        tag: u8,
        /// The connection that the message is about.
        id: ConnectionId,
    },
}

/// The reason why a channel can't be used any more.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other end is closed, as its process has ended.
    #[error("the other end is closed")]
    Closed,
    /// The other end has broken protocol.
    #[error("protocol violation: {0}")]
    Violation(#[from] WireError),
    /// A system call has failed.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for ChannelError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

impl Channel {
    /// Creates a pair of ends for two processes.
    ///
    /// # Errors
    ///
    /// Fails if descriptors run out.
    pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        seqpacket::pair()
    }

    /// Registers an end with the current event loop.
    ///
    /// # Errors
    ///
    /// Fails if the event loop can't register the socket.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        // A blocking socket, which the creator may have left, would block the event loop.
        rustix::io::ioctl_fionbio(&fd, true)?;
        let socket = Registered::new(fd, Interest::READABLE)?;
        Ok(Self {
            socket,
            buffer: RefCell::new(vec![0; MAX_BYTES].into()),
            heard: Cell::default(),
            sending: Mutex::new(()),
        })
    }

    /// Registers an end whose other end is a role that already serves.
    ///
    /// # Errors
    ///
    /// Fails if the event loop can't register the socket.
    pub fn adopted(fd: OwnedFd) -> io::Result<Self> {
        let channel = Self::new(fd)?;
        channel.heard.set(Conversation::resumed(Phase::Serving));
        Ok(channel)
    }

    /// Receives the next message.
    ///
    /// # Errors
    ///
    /// Fails if the other end is closed or breaks protocol. The channel can't be used afterwards.
    pub async fn receive<M: Message>(&self) -> Result<M, ChannelError> {
        match self.receive_or_lose().await? {
            Received::Message(message) => Ok(message),
            Received::DescriptorLost { .. } => Err(WireError::Truncated.into()),
        }
    }

    /// Receives the next message, or the remains of one whose descriptor was lost.
    ///
    /// # Errors
    ///
    /// The same as those of [`Self::receive`].
    pub async fn receive_or_lose<M: Message>(&self) -> Result<Received<M>, ChannelError> {
        poll_fn(|cx| {
            let mut buffer = self.buffer.borrow_mut();
            self.socket.poll_read(cx, |fd| {
                let received = seqpacket::receive(fd, &mut buffer)?;
                Ok((received.map(|datagram| self.interpret(&buffer, datagram)), After::Ready))
            })
        })
        .await?
        .unwrap_or(Err(ChannelError::Closed))
    }

    /// Receives the next message, if one has arrived.
    ///
    /// # Errors
    ///
    /// The same as those of [`Self::receive`].
    pub fn try_receive<M: Message>(&self) -> Result<Option<M>, ChannelError> {
        let mut buffer = self.buffer.borrow_mut();
        match seqpacket::receive(self.socket.as_fd(), &mut buffer) {
            Ok(Some(datagram)) => match self.interpret(&buffer, datagram)? {
                Received::Message(message) => Ok(Some(message)),
                Received::DescriptorLost { .. } => Err(WireError::Truncated.into()),
            },
            Ok(None) => Err(ChannelError::Closed),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a message. Waits while the channel is full; senders take turns.
    ///
    /// # Errors
    ///
    /// Fails if the other end is closed or the message can't be sent.
    pub async fn send<M: Message>(&self, message: &M) -> Result<(), ChannelError> {
        let encoded = message.encode()?;
        let _turn = self.sending.lock().await;
        loop {
            match seqpacket::send(self.socket.as_fd(), encoded.bytes(), encoded.fd) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // If the event loop can't watch the socket, the call is repeated.
                    if self.socket.writable().await.is_err() {
                        sleep(RETRY).await;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends a message if the channel has room for it. Returns whether it had.
    ///
    /// # Errors
    ///
    /// The same as those of [`Self::send`].
    pub fn try_send<M: Message>(&self, message: &M) -> Result<bool, ChannelError> {
        let encoded = message.encode()?;
        match seqpacket::send(self.socket.as_fd(), encoded.bytes(), encoded.fd) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn interpret<M: Message>(
        &self,
        buffer: &[u8],
        datagram: seqpacket::Datagram,
    ) -> Result<Received<M>, ChannelError> {
        let bytes = buffer.get(..datagram.len).ok_or(WireError::Truncated)?;
        let mut heard = self.heard.get();
        let received = if !datagram.truncated {
            Received::Message(heard.decode(bytes, datagram.fd)?)
        } else if datagram.fd.is_none() && datagram.len < MAX_BYTES {
            let (tag, id) = heard.lost::<M>(bytes)?;
            Received::DescriptorLost { tag, id }
        } else {
            return Err(WireError::Truncated.into());
        };
        self.heard.set(heard);
        Ok(received)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
