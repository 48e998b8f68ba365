//! The life of a client connection: first byte, TLS, HTTP, and the response or session that follows.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use common::ipc::log::RoleEvent;
use common::ipc::offence::Offence;
use common::sys::stream::StreamSocket;
use common::ticket::Ticket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{timeout, timeout_at};

use super::connections::Connection;
use super::proxy_header;
use super::requests;
use super::state::Gateway;
use super::tls::{self, HandshakeError};
use super::transport::ClientStream;

/// First byte of a TLS record (RFC 8446 section 5.1) and of an SSL 2 hello. The original detects TLS by the
/// same two.
const TLS_FIRST_BYTES: [u8; 2] = [0x16, 0x80];

/// Maximum number of unread bytes that are discarded before a rejected connection is closed.
const MAX_DISCARDED: usize = 4096;

/// Serves one connection to its end. Errors are caused by the client and are logged, not returned.
///
/// With `proxy_header` it begins with a header of the PROXY protocol.
pub(super) async fn serve(gateway: Rc<Gateway>, ticket: Ticket, proxy_header: bool, socket: OwnedFd) {
    gateway.log.add_connection();
    let connection = gateway.connections.enter(ticket, gateway.outbox.clone());
    if let Err(error) = serve_socket(&gateway, &connection, proxy_header, socket).await {
        let vouched = connection.vouched_text();
        tracing::info!(connection = connection.id().0, vouched = vouched.as_deref(), "{error}");
    }
}

async fn serve_socket(
    gateway: &Rc<Gateway>,
    connection: &Rc<Connection>,
    with_header: bool,
    socket: OwnedFd,
) -> io::Result<()> {
    let mut socket = StreamSocket::new(socket)?;
    let deadline = tokio::time::Instant::now() + gateway.setup.timeouts.first_byte;
    // A client that sends nothing until the deadline, or closes before its first byte, gets no response.
    let Some(mut first) = first_byte(connection, &mut socket, deadline).await else { return Ok(()) };
    // Before a header of a proxy there is no TLS, and who sends one is not limited.
    let is_tls = TLS_FIRST_BYTES.contains(&first);
    gateway.outbox.acknowledge(connection.id(), is_tls).await.map_err(io::Error::other)?;
    if with_header {
        match timeout_at(deadline, proxy_header::read(&mut socket)).await {
            Ok(Ok(client)) => connection.vouch_for(client),
            Ok(Err(error)) => {
                tracing::info!(connection = connection.id().0, "a connection is refused: {error}");
                return Ok(());
            }
            Err(_) => {
                tracing::info!(
                    connection = connection.id().0,
                    "a connection is refused: no PROXY header in time"
                );
                return Ok(());
            }
        }
        let Some(byte) = first_byte(connection, &mut socket, deadline).await else { return Ok(()) };
        first = byte;
    }
    let stream = if TLS_FIRST_BYTES.contains(&first) {
        secure(gateway, connection, socket).await?
    } else if gateway.setup.tls.as_ref().is_some_and(|tls| tls.required) {
        let vouched = connection.vouched_text();
        let vouched = vouched.as_deref();
        tracing::info!(connection = connection.id().0, vouched, event = RoleEvent::NotSecure.as_str(), "");
        discard_received(&mut socket).await?;
        None
    } else {
        Some(ClientStream::Plain(socket))
    };
    match stream {
        Some(stream) => requests::serve(gateway.clone(), connection.clone(), stream).await,
        None => Ok(()),
    }
}

/// Waits for the first byte without taking it. Returns `None` if there is none until the deadline.
async fn first_byte(
    connection: &Connection,
    socket: &mut StreamSocket,
    deadline: tokio::time::Instant,
) -> Option<u8> {
    let first = poll_fn(|cx| match connection.poll_ending(cx) {
        Some(_) => std::task::Poll::Ready(Ok(None)),
        None => socket.poll_peek(cx),
    });
    let Ok(first) = timeout_at(deadline, first).await else {
        connection.offended(Offence::NoRequest);
        return None;
    };
    first.ok()?
}

/// Discards what has already been received. Closing a socket with unread data sends RST, which clients report
/// as a network failure and which can overtake an alert.
async fn discard_received(socket: &mut StreamSocket) -> io::Result<()> {
    // Does not block: the first byte has been seen.
    socket.read(&mut [0; MAX_DISCARDED]).await.map(drop)
}

/// Performs the TLS handshake. Returns `None` if the gateway has no certificate.
async fn secure(
    gateway: &Gateway,
    connection: &Connection,
    mut socket: StreamSocket,
) -> io::Result<Option<ClientStream>> {
    let Some(acceptor) = gateway.tls.acceptor() else {
        if let Some(terms) = &gateway.setup.tls {
            tracing::info!(
                connection = connection.id().0,
                vouched = connection.vouched_text().as_deref(),
                event = RoleEvent::NoCertificate.as_str(),
                "{}",
                terms.certificate_name,
            );
        }
        discard_received(&mut socket).await?;
        socket.write_all(&tls::NO_CERTIFICATE_ALERT).await?;
        return Ok(None);
    };
    let client = connection.client();
    let began = Instant::now();
    let failed = match timeout(gateway.setup.timeouts.tls_handshake, acceptor.accept(&client, socket)).await {
        Ok(Ok(stream)) => {
            gateway.stats.borrow_mut().tls.count(began.elapsed());
            return Ok(Some(ClientStream::Tls(Box::new(stream))));
        }
        Ok(Err(error)) => HandshakeError::Failed(error),
        Err(_) => {
            connection.offended(Offence::NoRequest);
            HandshakeError::TimedOut
        }
    };
    gateway.stats.borrow_mut().tls_failures += 1;
    let vouched = connection.vouched_text();
    let vouched = vouched.as_deref();
    tracing::info!(
        connection = connection.id().0,
        vouched,
        event = RoleEvent::TlsFailed.as_str(),
        "{failed}"
    );
    Ok(None)
}
