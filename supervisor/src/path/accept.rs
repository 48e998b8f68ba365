//! Accepts connections.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::ipc::{ClientAddr, ConnectionId};
use common::sys::listener::{Listener, Peer};
use rustix::io::Errno;
use rustix::net::sockopt;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::os::log::message_id;
use crate::path::handoff;
use crate::path::intake::Intake;
use crate::path::listen::Listening;
use crate::path::listeners::Order;

/// Pause of a listener after descriptors or memory have run out. Clients wait in the kernel's queue.
const PAUSE: Duration = Duration::from_millis(100);

/// Minimum interval between equal log lines.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// Starts to accept clients on `listening`.
pub(crate) fn begin(intake: &Rc<Intake>, listening: Listening) {
    let (listening, orders) = intake.listeners.add(listening);
    spawn_local(keep_accepting(intake.clone(), listening, orders));
}

/// Accepts connections of one listener and hands them over, until an order closes the listener.
async fn keep_accepting(intake: Rc<Intake>, listening: Rc<Listening>, mut orders: watch::Receiver<Order>) {
    let listener = match listening.socket.try_clone().and_then(Listener::new) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("cannot accept: {error}");
            return;
        }
    };
    let mut complained: Option<Instant> = None;
    loop {
        let order = *orders.borrow_and_update();
        match order {
            Order::Accept => {}
            Order::Rest => match orders.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            },
            Order::Finish => break,
            Order::Close => return,
        }
        if handoff::is_full(&intake) && complained.is_none_or(|then| then.elapsed() > COMPLAINT_INTERVAL) {
            complained = Some(Instant::now());
            tracing::warn!(
                message_id = message_id::LIMIT_HIT,
                "`limits.connections` is reached, new clients have to wait",
            );
        }
        let next = async {
            handoff::room(&intake).await;
            poll_fn(|cx| listener.poll_accept(cx)).await
        };
        let accepted = tokio::select! {
            biased;
            changed = orders.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            accepted = next => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let (client, proxy_header) = caller(&intake, peer, &listening);
                serve(&intake, client, proxy_header, socket).await;
            }
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                if complained.is_none_or(|then| then.elapsed() > COMPLAINT_INTERVAL) {
                    complained = Some(Instant::now());
                    tracing::error!(
                        message_id = message_id::LIMIT_HIT,
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
    // Clients that have connected already are served. Then the listener closes, so that no client waits there
    // in vain.
    let waiting: Vec<_> = std::iter::from_fn(|| listener.try_accept().ok())
        .map(|(socket, peer)| (caller(&intake, peer, &listening), socket))
        .collect();
    drop(listener);
    drop(listening);
    for ((client, proxy_header), socket) in waiting {
        serve(&intake, client, proxy_header, socket).await;
    }
}

/// Who has connected, and whether the listener expects a header of the PROXY protocol from trusted peers.
fn caller(intake: &Intake, peer: Peer, listening: &Listening) -> (ClientAddr, bool) {
    let generation = intake.generations.current();
    let expects = generation.is_some_and(|generation| listening.expects_proxy_header(&generation.config));
    let client = match peer {
        Peer::Ip(address) => ClientAddr::Ip(address),
        Peer::Unix => {
            let path = listening.unix_path.as_ref().map(|path| path.display().to_string());
            ClientAddr::Unix(path.unwrap_or_default())
        }
    };
    (client, expects)
}

/// Registers a connection, unless its source is turned away.
fn register(
    intake: &Intake,
    client: ClientAddr,
    proxy_header: bool,
    socket: OwnedFd,
) -> Option<ConnectionId> {
    let mut connections = intake.state.connections.borrow_mut();
    let source = connections.arrives(&client, || user(&socket)).ok()?;
    Some(connections.accept(client, source, proxy_header, socket))
}

/// The user of the client of a unix socket.
fn user(socket: &OwnedFd) -> Option<u32> {
    sockopt::socket_peercred(socket).ok().map(|peer| peer.uid.as_raw())
}

async fn serve(intake: &Intake, client: ClientAddr, proxy_header: bool, socket: OwnedFd) {
    let Some(id) = register(intake, client, proxy_header, socket) else { return };
    if let Some(generation) = intake.generations.current() {
        generation.refresh_files().await;
    }
    handoff::hand_over(intake, id).await;
}

/// Whether an error of accept(2) concerns only the connection that was to be accepted.
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
