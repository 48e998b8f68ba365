//! The streams of a session: a client or a target, plain or with TLS.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use common::sys::stream::{Hangup, StreamSocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::certificate::common_name;

/// Plaintext that TLS takes in one go before the socket has taken it.
const TLS_BUFFER_BYTES: usize = 256 << 10;

/// More than one TLS record may have waited in the session before: so much of the caller's buffer is
/// kept free for it (RFC 8446 section 5.2, twice).
const TLS_RESERVE_BYTES: usize = 2 * (16 << 10);

/// A client before its session, as HTTP reads it.
#[derive(Debug)]
pub enum ClientStream {
    /// Plain TCP, or a unix socket.
    Plain(StreamSocket),
    /// With TLS.
    Tls(Box<TlsStream<StreamSocket>>),
}

/// One side of a session, as the pump drives it: without a task, a buffer or a lock of its own.
#[derive(Debug)]
pub enum Transport {
    /// Plain TCP, or a unix socket.
    Plain(StreamSocket),
    /// With TLS.
    Tls(Box<TlsTransport>),
}

/// A socket and its TLS session.
///
/// The pump drives the session itself: it reads as much ciphertext as the socket gives with one call,
/// where the adapter for byte streams would ask for a few KiB at a time.
#[derive(Debug)]
pub struct TlsTransport {
    socket: StreamSocket,
    session: rustls::Connection,
    notified: bool,
}

impl From<ClientStream> for Transport {
    fn from(stream: ClientStream) -> Self {
        match stream {
            ClientStream::Plain(socket) => Self::Plain(socket),
            ClientStream::Tls(stream) => {
                let (socket, session) = stream.into_inner();
                Self::tls(socket, session.into())
            }
        }
    }
}

impl ClientStream {
    /// What tells whether the client has gone.
    #[must_use]
    pub fn hangup(&self) -> Hangup {
        match self {
            Self::Plain(socket) => socket.hangup(),
            Self::Tls(stream) => stream.get_ref().0.hangup(),
        }
    }

    /// The common name of the client's certificate, which the handshake has verified.
    #[must_use]
    pub fn peer_common_name(&self) -> Option<String> {
        let Self::Tls(stream) = self else { return None };
        let (_, session) = stream.get_ref();
        common_name(session.peer_certificates()?.first()?)
    }
}

impl Transport {
    /// A TLS session whose handshake is done.
    #[must_use]
    pub fn tls(socket: StreamSocket, mut session: rustls::Connection) -> Self {
        session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        Self::Tls(Box::new(TlsTransport { socket, session, notified: false }))
    }

    /// Whether the client sees a lock in its address bar.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Reads into `buf`; 0 is the end of the stream. `scratch` is for ciphertext.
    ///
    /// # Errors
    ///
    /// An error of the socket, or of TLS: the connection is of no more use.
    pub fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_recv(cx, buf),
            Self::Tls(tls) => tls.poll_recv(cx, buf, scratch),
        }
    }

    /// Writes from `buf`, as much as is taken. What TLS has taken is on its way only after
    /// [`Self::poll_flush`].
    ///
    /// # Errors
    ///
    /// An error of the socket, or of TLS: the connection is of no more use.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_send(cx, buf),
            Self::Tls(tls) => tls.poll_send(cx, buf),
        }
    }

    /// Brings everything that was taken to the socket.
    ///
    /// # Errors
    ///
    /// An error of the socket, or of TLS: the connection is of no more use.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_flush(cx),
        }
    }

    /// Tells the other side that nothing more will be sent.
    ///
    /// # Errors
    ///
    /// An error of the socket, or of TLS: the connection is of no more use.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Self::Tls(tls) = self {
            ready!(tls.poll_close_notify(cx))?;
        }
        Poll::Ready(self.socket().shutdown_write())
    }

    /// The socket, without TLS. Reading from it ends the TLS session.
    #[must_use]
    pub fn socket(&self) -> &StreamSocket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &tls.socket,
        }
    }
}

impl TlsTransport {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(received) = read_plaintext(&mut self.session, buf)? {
                return Poll::Ready(Ok(received));
            }
            let room = buf.len().saturating_sub(TLS_RESERVE_BYTES).min(scratch.len());
            // A read of nothing would look like the end of the stream.
            assert!(room > 0, "no room to read ciphertext: {} bytes of plaintext", buf.len());
            let len = ready!(self.socket.poll_recv(cx, &mut scratch[..room]))?;
            let mut ciphertext = &scratch[..len];
            let mut filled = 0;
            loop {
                // At the end of the stream the session is shown an empty read, too.
                self.session.read_tls(&mut ciphertext)?;
                if let Err(error) = self.session.process_new_packets() {
                    // The peer is told what was wrong, if its socket takes the alert.
                    let _ = self.poll_flush(cx);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                let free = &mut buf[filled..];
                match read_plaintext(&mut self.session, free)? {
                    Some(received) if received > 0 => filled += received,
                    // The end; it comes again when what is before it was taken.
                    _ if len == 0 => return Poll::Ready(Ok(filled)),
                    _ => {}
                }
                if ciphertext.is_empty() {
                    break;
                }
            }
            if filled > 0 {
                return Poll::Ready(Ok(filled));
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.session.wants_write() {
            ready!(self.poll_flush(cx))?;
        }
        let taken = self.session.writer().write(buf)?;
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = Ciphertext { socket: &self.socket, cx };
        while self.session.wants_write() {
            match self.session.write_tls(&mut socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close_notify(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.notified {
            self.session.send_close_notify();
            self.notified = true;
        }
        self.poll_flush(cx)
    }
}

/// Plaintext that the session has; nothing if more ciphertext must come first. A peer that ends
/// without `close_notify` has ended all the same: WebSocket and RFB tell by themselves whether
/// something is missing.
fn read_plaintext(session: &mut rustls::Connection, buf: &mut [u8]) -> io::Result<Option<usize>> {
    match session.reader().read(buf) {
        Ok(received) => Ok(Some(received)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
        Err(error) => Err(error),
    }
}

/// A socket as a TLS session writes to it.
struct Ciphertext<'a, 'b> {
    socket: &'a StreamSocket,
    cx: &'a mut Context<'b>,
}

impl Write for Ciphertext<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.socket.poll_send_vectored(self.cx, bufs) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
