//! Accepting connections.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::ipc::ClientAddr;
use common::sys::listener::{Listener, Peer};
use rustix::io::Errno;
use tokio::time::sleep;

use crate::dispatch;
use crate::listen::Listening;
use crate::service::Service;

/// How long a listener rests when descriptors or memory have run out. The kernel keeps clients
/// waiting meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// How often the same complaint is logged at most.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// Accepts connections of one listener and hands them to gateways, until the service stops.
pub(crate) async fn keep_accepting(service: Rc<Service>, listening: Listening) {
    let unix_path = listening.unix_path.as_ref().map(|path| path.display().to_string());
    let listener = match listening.socket.try_clone().and_then(Listener::new) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(target: "websockify::accept", "cannot accept: {error}");
            return;
        }
    };
    let mut complained: Option<Instant> = None;
    loop {
        dispatch::room(&service).await;
        match poll_fn(|cx| listener.poll_accept(cx)).await {
            Ok((socket, peer)) => {
                let client = match peer {
                    Peer::Ip(address) => ClientAddr::Ip(address),
                    Peer::Unix => ClientAddr::Unix(unix_path.clone().unwrap_or_default()),
                };
                if let Some(generation) = service.generations.current() {
                    generation.identity.refresh(&generation).await;
                    generation.tokens.refresh(&generation).await;
                }
                let unserved = service.connections.borrow_mut().accept(client, socket);
                dispatch::hand_over(&service, unserved).await;
            }
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                if complained.is_none_or(|then| then.elapsed() > COMPLAINT_INTERVAL) {
                    complained = Some(Instant::now());
                    tracing::error!(
                        target: "websockify::accept",
                        "cannot accept, new clients have to wait: {error}{}",
                        if Errno::from_io_error(&error) == Some(Errno::MFILE) {
                            " (raise LimitNOFILE= or ulimit -n)"
                        } else {
                            ""
                        },
                    );
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Errors of accept(2) that only the connection which was to be accepted has.
fn concerns_one_client(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
        )
    )
}
