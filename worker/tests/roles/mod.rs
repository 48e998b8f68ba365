//! Roles whose supervisor is the test, and a gateway that breaks the protocol.

#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::ipc::GatewayId;
use common::ipc::channel::Channel;
use common::ipc::table::Message;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::time::timeout;

pub(crate) const GOOD: GatewayId = GatewayId(1);
pub(crate) const EVIL: GatewayId = GatewayId(2);

/// Maximum wait for an event that should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A role whose supervisor is this test. The role ends with the test.
pub(crate) struct Role {
    pub(crate) control: Channel,
    pub(crate) child: Child,
    _log: OwnedFd,
}

impl Role {
    pub(crate) fn start(name: &str) -> Self {
        let (control, theirs) = Channel::pair().unwrap();
        let (log, their_log) = Channel::pair().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_websockify-worker"))
            .arg(name)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(their_log))
            .spawn()
            .unwrap();
        Self { control: Channel::new(control).unwrap(), child, _log: log }
    }

    pub(crate) async fn hear<M: Message>(&self) -> M {
        timeout(PATIENCE, self.control.receive()).await.expect("the role says nothing").unwrap()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends `bytes` with any number of descriptors, unlike the real sender.
pub(crate) fn send_raw(socket: &OwnedFd, bytes: &[u8], fds: usize) {
    let held: Vec<OwnedFd> = (0..fds).map(|_| std::fs::File::open("/dev/null").unwrap().into()).collect();
    let borrowed: Vec<BorrowedFd<'_>> = held.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fds > 0 {
        assert!(control.push(SendAncillaryMessage::ScmRights(&borrowed)));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
}

/// Datagrams that are not valid messages of a gateway to any role.
pub(crate) fn no_messages() -> Vec<(&'static str, Vec<u8>, usize)> {
    vec![
        ("one byte", vec![1], 0),
        ("an empty body", vec![1, 1], 0),
        ("an unknown tag", vec![1, 77], 0),
        ("another version", vec![9, 1], 0),
        ("noise", (0..=255).cycle().take(5000).collect(), 0),
        ("lengths without end", [&[1, 1][..], &[0xff; 200]].concat(), 0),
        ("more than a message may have", vec![1; 20_000], 0),
        ("a descriptor that nobody wants", vec![1, 1], 1),
        ("two descriptors", vec![1, 1], 2),
        ("many descriptors", vec![1, 1], 16),
        ("only descriptors", vec![], 3),
    ]
}
