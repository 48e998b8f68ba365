//! Steps that all roles have in common.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use common::fault;
use common::ipc::channel::ChannelError;
use common::log::{Outgoing, RoleLog};
use tokio::runtime::LocalOptions;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Maximum number of concurrent name resolutions.
const MAX_RESOLVERS: usize = 16;

/// Sends log events of this process, including faults, to the supervisor.
pub(crate) fn log_to(log: OwnedFd, verbose: bool) -> Arc<Outgoing> {
    let outgoing = Outgoing::new(log);
    tracing_subscriber::registry().with(RoleLog::new(outgoing.clone(), verbose)).init();
    let of_fault = outgoing.clone();
    fault::end_process(move |line| of_fault.last_words(line));
    tokio::task::spawn_local(outgoing.clone().keep_flushing());
    outgoing
}

/// Runs a role on a single-threaded event loop. There are no other threads, except those for the blocking
/// getaddrinfo(3).
pub(crate) fn run<F: Future<Output = io::Result<()>>>(role: F) -> io::Result<()> {
    run_and_rest(role, || ())
}

/// Like [`run`], but calls `rest` each time before the event loop waits.
pub(crate) fn run_and_rest<F: Future<Output = io::Result<()>>>(role: F, rest: fn()) -> io::Result<()> {
    let mut event_loop = tokio::runtime::Builder::new_current_thread();
    event_loop.on_thread_park(rest);
    event_loop.enable_io().enable_time().max_blocking_threads(MAX_RESOLVERS);
    event_loop.build_local(LocalOptions::default())?.block_on(role)
}

/// Lets the cryptographic library open its source of randomness, which the sandbox would forbid later. The
/// library also detects when a virtual machine is cloned, if the system reports that (`/dev/sysgenid`).
pub(crate) fn seed_randomness() {
    // A failure recurs where randomness is needed, and is reported there.
    let _ = rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut [0; 32]);
}

/// Interprets the end of the supervisor's channel: the role is no longer needed, or the supervisor has broken
/// protocol.
pub(crate) fn ended(error: ChannelError) -> io::Result<()> {
    match error {
        ChannelError::Closed => Ok(()),
        error => Err(io::Error::other(error)),
    }
}

/// An error for a violation of protocol by the supervisor.
pub(crate) fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the supervisor sent {what}"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    thread_local! {
        static RESTS: Cell<u32> = const { Cell::new(0) };
    }

    #[test]
    fn events_of_roles_are_logged() {
        assert!(common::log::is_ours(module_path!()));
    }

    #[test]
    fn the_event_loop_rests_before_it_waits() {
        let role = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(())
        };
        run_and_rest(role, || RESTS.set(RESTS.get() + 1)).unwrap();
        assert!(RESTS.get() > 0);
    }
}
