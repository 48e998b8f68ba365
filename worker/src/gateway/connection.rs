//! A connection from its arrival to its end: first byte, TLS, HTTP, and what follows from the request.

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

/// First bytes of a TLS record (RFC 8446 section 5.1) and of SSL 2, as the original tells them apart.
const TLS_FIRST_BYTES: [u8; 2] = [0x16, 0x80];

/// How much of a refused request or ClientHello is read before the connection is closed, in bytes.
const MAX_DISCARDED: usize = 4096;

/// Serves one connection. What goes wrong is the client's fault and ends with it.
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
    // A client that says nothing, or goes without a word, is closed without a word.
    let Ok(Some(first)) = timeout(gateway.setup.timeouts.first_byte, first).await.unwrap_or(Ok(None)) else {
        return Ok(());
    };
    gateway.outbox.begun(connection.id()).await.map_err(io::Error::other)?;
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

/// Reads what has arrived. A socket that is closed with unread bytes sends a reset, which clients take for a failure of
/// the network, and which can overtake an alert.
async fn discard_received(socket: &mut StreamSocket) -> io::Result<()> {
    // The first byte was seen, so this does not wait.
    socket.read(&mut [0; MAX_DISCARDED]).await.map(drop)
}

/// The TLS handshake; nothing if there is no certificate to show.
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
