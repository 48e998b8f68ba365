//! A queue of notifications, as sending them must not block.
//!
//! The socket of the service manager has a queue of its own, by default of ten messages for all services
//! together. If it is full, a blocking send would delay every client. Messages that find no room wait here.

use std::collections::VecDeque;
use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Maximum number of waiting messages. If there are more, the oldest are dropped, as only the latest are
/// current.
const MAX_WAITING: usize = 64;

/// Notifications that have not been sent yet.
#[derive(Debug)]
pub(super) struct Queue {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Events in their order.
    events: VecDeque<String>,
    /// The latest status line. It is sent after the events.
    status: Option<String>,
}

impl Queue {
    /// Opens the queue to the service manager, if there is one (sd_notify(3)).
    pub(super) fn open() -> io::Result<Option<Self>> {
        let Some(place) = env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let address = match place.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
        };
        Self::to(&address).map(Some)
    }

    fn to(address: &SocketAddr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(address)?;
        Ok(Self { socket, address: address.clone(), events: VecDeque::new(), status: None })
    }

    /// Adds an event after the waiting ones. Repetitions of the last one are skipped.
    pub(super) fn push(&mut self, event: String) {
        if self.events.back() == Some(&event) {
            return;
        }
        if self.events.len() == MAX_WAITING {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Replaces the status line.
    pub(super) fn set_status(&mut self, status: String) {
        self.status = Some(status);
    }

    /// Sends as much as there is room for. Returns whether the queue is empty.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while let Some(message) = self.events.front().or(self.status.as_ref()) {
            let mut sent = self.socket.send(message.as_bytes());
            if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
                // The service manager has recreated its socket.
                sent = self.socket.send_to_addr(message.as_bytes(), &self.address);
                let _ = self.socket.connect_addr(&self.address);
            }
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                sent => {
                    // Retrying this message would be useless.
                    if self.events.pop_front().is_none() {
                        self.status = None;
                    }
                    sent?;
                }
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_socket_does_not_block_and_loses_no_event() {
        let name = format!("websockify-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let mut queue = Queue::to(&address).unwrap();
        let mut before = 0;
        while queue.socket.send(b"full").is_ok() {
            before += 1;
        }
        queue.set_status("STATUS=one".into());
        for event in ["READY=1", "WATCHDOG=1", "WATCHDOG=1"] {
            queue.push(event.into());
            assert!(!queue.flush().unwrap());
        }
        queue.set_status("STATUS=two".into());
        assert!(!queue.flush().unwrap());
        let mut received = Vec::new();
        manager.set_nonblocking(true).unwrap();
        let mut text = [0; 100];
        while !queue.flush().unwrap() || received.len() < before + 3 {
            let len = manager.recv(&mut text).unwrap();
            received.push(String::from_utf8_lossy(&text[..len]).into_owned());
        }
        assert_eq!(received[before..], ["READY=1", "WATCHDOG=1", "STATUS=two"]);
    }

    #[test]
    fn waiting_messages_are_bounded() {
        let name = format!("websockify-notify-bound-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let _manager = UnixDatagram::bind_addr(&address).unwrap();
        let mut queue = Queue::to(&address).unwrap();
        for number in 0..1000 {
            queue.push(format!("MONOTONIC_USEC={number}"));
        }
        assert_eq!(queue.events.len(), MAX_WAITING);
        assert_eq!(queue.events.back().unwrap(), "MONOTONIC_USEC=999");
    }
}
