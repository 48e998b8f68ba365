//! The streams of a session: client and target, each plain or with TLS.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use common::sys::stream::{Hangup, StreamSocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::certificate::common_name;
use super::kept::Kept;

/// Maximum plaintext that TLS accepts before the socket has accepted the ciphertext, in bytes.
const TLS_BUFFER_BYTES: usize = 256 << 10;

/// Free space in the caller's buffer for plaintext that the TLS session already holds: up to two records (RFC
/// 8446 section 5.2).
pub(in crate::gateway) const TLS_RESERVE_BYTES: usize = 2 * (16 << 10);

/// The stream of a client before its session, from which HTTP is read.
#[derive(Debug)]
pub enum ClientStream {
    /// TCP without TLS, or a unix socket.
    Plain(StreamSocket),
    /// TLS.
    Tls(Box<TlsStream<StreamSocket>>),
}

/// One side of a session as the pump uses it: without a task, a buffer or a lock of its own.
#[derive(Debug)]
pub enum Transport {
    /// TCP without TLS, or a unix socket.
    Plain(StreamSocket),
    /// TLS.
    Tls(Box<TlsTransport>),
}

/// A socket and its TLS session.
///
/// The pump drives the TLS session itself, which reads as much ciphertext as the socket has with one system
/// call. The usual stream adapter reads a few KiB at a time.
#[derive(Debug)]
pub struct TlsTransport {
    socket: StreamSocket,
    session: rustls::Connection,
    notified: bool,
    /// Ciphertext that the socket has not taken.
    kept: Kept,
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
    /// A handle that detects whether the client has hung up.
    #[must_use]
    pub fn hangup(&self) -> Hangup {
        match self {
            Self::Plain(socket) => socket.hangup(),
            Self::Tls(stream) => stream.get_ref().0.hangup(),
        }
    }

    /// Common name of the client's certificate, which the handshake has verified.
    #[must_use]
    pub fn peer_common_name(&self) -> Option<String> {
        let Self::Tls(stream) = self else { return None };
        let (_, session) = stream.get_ref();
        common_name(session.peer_certificates()?.first()?)
    }
}

impl Transport {
    /// Wraps a TLS session whose handshake is complete.
    #[must_use]
    pub fn tls(socket: StreamSocket, mut session: rustls::Connection) -> Self {
        session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        Self::Tls(Box::new(TlsTransport { socket, session, notified: false, kept: Kept::default() }))
    }

    /// Whether the stream uses TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Waits until [`Self::poll_recv`] may succeed.
    pub fn poll_recv_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            // Decrypted data and a received close_notify need no event of the socket.
            Self::Tls(tls) if !tls.session.wants_read() => Poll::Ready(()),
            // The read returns the error.
            _ => self.socket().poll_read_ready(cx).map(drop),
        }
    }

    /// Reads up to `size` bytes into `buf`, and with TLS up to [`TLS_RESERVE_BYTES`] more, and returns the number of
    /// bytes; 0 is the end of the stream. `scratch` receives `size` bytes of ciphertext at most. Both buffers must be
    /// large enough.
    ///
    /// # Errors
    ///
    /// Fails on an error of the socket or of TLS. The connection can't be used afterwards.
    pub fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        size: usize,
        buf: &mut [u8],
        scratch: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // A read of 0 bytes would look like the end of the stream.
        assert!(size > 0, "a read of 0 bytes");
        match self {
            Self::Plain(socket) => socket.poll_recv(cx, &mut buf[..size]),
            Self::Tls(tls) => tls.poll_recv(cx, &mut buf[..size + TLS_RESERVE_BYTES], &mut scratch[..size]),
        }
    }

    /// Writes from `buf` and returns how much was accepted. Data that TLS has accepted reaches the socket
    /// with [`Self::poll_flush`] only.
    ///
    /// # Errors
    ///
    /// Fails on an error of the socket or of TLS. The connection can't be used afterwards.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_send(cx, buf),
            Self::Tls(tls) => tls.poll_send(cx, buf),
        }
    }

    /// Writes all accepted data to the socket.
    ///
    /// # Errors
    ///
    /// Fails on an error of the socket or of TLS. The connection can't be used afterwards.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_flush(cx),
        }
    }

    /// Sends the end of the stream to the peer, after a `close_notify` with TLS.
    ///
    /// # Errors
    ///
    /// Fails on an error of the socket or of TLS. The connection can't be used afterwards.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Self::Tls(tls) = self {
            ready!(tls.poll_close_notify(cx))?;
        }
        Poll::Ready(self.socket().shutdown_write())
    }

    /// Number of bytes that TLS has accepted and the socket has not.
    #[must_use]
    pub fn unsent(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.kept.get(),
        }
    }

    /// The socket below TLS. Reading from it breaks the TLS session.
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
            let len = ready!(self.socket.poll_recv(cx, scratch))?;
            let mut ciphertext = &scratch[..len];
            let mut filled = 0;
            loop {
                // At the end of the stream, TLS must see an empty read as well.
                self.session.read_tls(&mut ciphertext)?;
                if let Err(error) = self.session.process_new_packets() {
                    // Sends the peer an alert, if its socket accepts it.
                    let _ = self.poll_flush(cx);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                let free = &mut buf[filled..];
                match read_plaintext(&mut self.session, free)? {
                    Some(received) if received > 0 => filled += received,
                    // The end of the stream, which is reported again once the data before it has been taken.
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
        self.kept.set(taken);
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = Ciphertext { socket: &self.socket, cx };
        while self.session.wants_write() {
            match self.session.write_tls(&mut socket) {
                Ok(sent) => self.kept.set(self.kept.get().saturating_sub(sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.kept.set(0);
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

/// Reads plaintext that the TLS session holds. Returns `None` if more ciphertext is needed first. A peer that
/// ends without `close_notify` is treated like one that sends it: WebSocket and RFB detect truncation
/// themselves.
fn read_plaintext(session: &mut rustls::Connection, buf: &mut [u8]) -> io::Result<Option<usize>> {
    match session.reader().read(buf) {
        Ok(received) => Ok(Some(received)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
        Err(error) => Err(error),
    }
}

/// Adapts the socket for a TLS session that writes to it.
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
