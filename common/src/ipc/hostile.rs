//! Tests with hostile input: any bytes with any descriptors, in every direction.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use proptest::prelude::*;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::ack_channel::AckChannel;
use super::admission::GatewayToConnector;
use super::channel::{Channel, ChannelError};
use super::directions::DIRECTIONS;
use super::gateway::Ack;
use super::signer::SupervisorToSigner;
use super::wire::{MAX_BYTES, WireError};

fn some_fd() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

/// A file that nothing else in this process opens.
const MARKER: &str = "/proc/version";

/// Number of descriptors of this process that refer to [`MARKER`].
fn marked_fds() -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = links.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link == std::path::Path::new(MARKER)).count()
}

/// Decodes in each direction in turn. Any result but a panic is acceptable.
fn decode_all(bytes: &[u8], with_fd: bool) {
    for direction in DIRECTIONS {
        (direction.round_trip)(bytes, with_fd.then(some_fd)).unwrap();
    }
}

/// Sends `bytes` with any number of descriptors, unlike the real sender.
fn send(socket: &OwnedFd, bytes: &[u8], fds: usize) {
    let held: Vec<_> = (0..fds).map(|_| std::fs::File::open(MARKER).unwrap()).collect();
    let borrowed: Vec<BorrowedFd<'_>> = held.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fds > 0 {
        assert!(control.push(SendAncillaryMessage::ScmRights(&borrowed)));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), with_fd: bool) {
        decode_all(&bytes, with_fd);
    }

    /// Bodies are decoded, as the version and the tag are valid.
    #[test]
    fn any_body_is_decoded_or_refused(
        tag in 0u8..20,
        body in prop::collection::vec(any::<u8>(), 0..300),
        with_fd: bool,
    ) {
        decode_all(&[&[1, tag], body.as_slice()].concat(), with_fd);
    }

    /// Lengths that promise more than there is must not cause allocations.
    #[test]
    fn announced_lengths_allocate_nothing(tag in 0u8..20, count in 1usize..4) {
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x01].repeat(count);
        decode_all(&[&[1, tag], huge.as_slice()].concat(), false);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn invalid_messages_are_rejected_and_leak_no_descriptor() {
    let good = [1, 1];
    for fds in 0..=16 {
        let (theirs, ours) = Channel::pair().unwrap();
        let channel = Channel::new(ours).unwrap();
        send(&theirs, &good, fds);
        let received = channel.receive::<SupervisorToSigner>().await;
        match fds {
            0 => assert!(matches!(received, Err(ChannelError::Violation(WireError::Descriptor)))),
            1 => assert!(matches!(received, Ok(SupervisorToSigner::Setup(_)))),
            _ => assert!(
                matches!(received, Err(ChannelError::Violation(WireError::Truncated))),
                "{fds} descriptors: {received:?}"
            ),
        }
        let (theirs, ours) = Channel::pair().unwrap();
        send(&theirs, &[1, 1, 7], fds);
        let received = AckChannel::new(ours).try_receive::<Ack>();
        assert_eq!(received.is_ok(), fds == 0, "{fds} descriptors: {received:?}");
    }
    for (bytes, fds) in [
        (vec![], 1),
        (vec![1], 1),
        (vec![1, 200], 1),
        (vec![2, 1], 1),
        (vec![1, 1, 0], 1),
        (vec![1; MAX_BYTES], 1),
        (vec![1; MAX_BYTES + 1], 1),
        (vec![1; MAX_BYTES + 1], 5),
        (vec![1; 100_000], 0),
    ] {
        let (theirs, ours) = Channel::pair().unwrap();
        let channel = Channel::new(ours).unwrap();
        send(&theirs, &bytes, fds);
        let received = channel.receive::<GatewayToConnector>().await;
        assert!(matches!(received, Err(ChannelError::Violation(_))), "{} bytes: {received:?}", bytes.len());
    }
    assert_eq!(marked_fds(), 0, "descriptors are left open");
}
