//! The life of a client connection: first byte, TLS, HTTP, and the response or session that follows.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use common::ipc::log::RoleEvent;
use common::sys::stream::StreamSocket;
use common::ticket::Ticket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::connections::Connection;
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
pub(super) async fn serve(gateway: Rc<Gateway>, ticket: Ticket, socket: OwnedFd) {
    gateway.log.add_connection();
    let connection = gateway.connections.enter(ticket, gateway.outbox.clone());
    if let Err(error) = serve_socket(&gateway, &connection, socket).await {
        tracing::info!(connection = connection.id().0, "{error}");
    }
}

async fn serve_socket(gateway: &Rc<Gateway>, connection: &Rc<Connection>, socket: OwnedFd) -> io::Result<()> {
    let mut socket = StreamSocket::new(socket)?;
    let first = poll_fn(|cx| {
        if connection.poll_ending(cx).is_some() {
            return std::task::Poll::Ready(Ok(None));
        }
        socket.poll_peek(cx)
    });
    // A client that sends nothing until the deadline, or closes before its first byte, gets no response.
    let Ok(Some(first)) = timeout(gateway.setup.timeouts.first_byte, first).await.unwrap_or(Ok(None)) else {
        return Ok(());
    };
    gateway.outbox.acknowledge(connection.id()).await.map_err(io::Error::other)?;
    let stream = if TLS_FIRST_BYTES.contains(&first) {
        secure(gateway, connection, socket).await?
    } else if gateway.setup.tls.as_ref().is_some_and(|tls| tls.required) {
        tracing::info!(connection = connection.id().0, event = RoleEvent::NotSecure.as_str(), "");
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
                event = RoleEvent::NoCertificate.as_str(),
                "{}",
                terms.certificate_name,
            );
        }
        discard_received(&mut socket).await?;
        socket.write_all(&tls::NO_CERTIFICATE_ALERT).await?;
        return Ok(None);
    };
    let began = Instant::now();
    let failed = match timeout(
        gateway.setup.timeouts.tls_handshake,
        acceptor.accept(&connection.ticket.claims.client, socket),
    )
    .await
    {
        Ok(Ok(stream)) => {
            gateway.stats.borrow_mut().tls.count(began.elapsed());
            return Ok(Some(ClientStream::Tls(Box::new(stream))));
        }
        Ok(Err(error)) => HandshakeError::Failed(error),
        Err(_) => HandshakeError::TimedOut,
    };
    gateway.stats.borrow_mut().tls_failures += 1;
    tracing::info!(connection = connection.id().0, event = RoleEvent::TlsFailed.as_str(), "{failed}");
    Ok(None)
}
