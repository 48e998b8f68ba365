//! A client: plain TCP or WebSocket, with or without TLS.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::frames::{self, Payload};

/// Time limit of each operation, which nothing exceeds unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Size of reads and writes in bytes.
const CHUNK: usize = 1 << 20;

/// How clients connect.
pub(crate) struct Terms {
    address: SocketAddr,
    is_websocket: bool,
    tls: Option<Arc<ClientConfig>>,
}

impl Terms {
    /// Parses the words of the command line.
    pub(crate) fn new(address: &str, protocol: &str, authority: Option<&str>) -> io::Result<Self> {
        let address = address.parse().map_err(io::Error::other)?;
        let tls = authority.map(trusting).transpose()?;
        Ok(Self { address, is_websocket: protocol == "ws", tls })
    }
}

/// A TLS configuration that trusts the authority in a file.
fn trusting(path: &str) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(path).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
    // Each connection performs a full handshake.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A connected client.
pub(crate) struct Client {
    stream: Stream,
    is_websocket: bool,
    payload: Payload,
}

impl Client {
    /// Connects, and performs all handshakes.
    pub(crate) fn open(terms: &Terms) -> io::Result<Self> {
        let socket = TcpStream::connect_timeout(&terms.address, PATIENCE)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let stream = match &terms.tls {
            None => Stream::Plain(socket),
            Some(config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
                Stream::Tls(Box::new(StreamOwned::new(tls, socket)))
            }
        };
        let mut client = Self { stream, is_websocket: terms.is_websocket, payload: Payload::default() };
        if client.is_websocket {
            client.shake_hands()?;
        }
        Ok(client)
    }

    /// The opening handshake (RFC 6455 section 4.1). The accept key is not checked.
    fn shake_hands(&mut self) -> io::Result<()> {
        self.write(frames::OPENING)?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if self.read(&mut byte)? == 0 || head.len() > CHUNK {
                return Err(io::Error::other("no answer to the opening handshake"));
            }
            head.extend(byte);
        }
        let status = head.get(..12).unwrap_or_default();
        if status == b"HTTP/1.1 101" {
            Ok(())
        } else {
            Err(io::Error::other("the opening handshake is refused"))
        }
    }

    /// Encodes a message of `size` bytes.
    pub(crate) fn message(&self, size: usize) -> Vec<u8> {
        if self.is_websocket { frames::message(size) } else { vec![0; size] }
    }

    /// Sends `count` messages of `size` bytes, in batches.
    pub(crate) fn send_many(&mut self, count: usize, size: usize) -> io::Result<()> {
        let message = self.message(size);
        let at_once = (CHUNK / message.len()).max(1);
        let many = message.repeat(at_once);
        let mut left = count;
        while left > 0 {
            let now = left.min(at_once);
            self.write(&many[..now * message.len()])?;
            left -= now;
        }
        Ok(())
    }

    /// Receives this many bytes of payload.
    pub(crate) fn receive(&mut self, bytes: usize) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK.min(bytes.max(64))];
        let mut received = 0;
        while received < bytes {
            let read = self.read(&mut buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            received += if self.is_websocket { self.payload.count(&buffer[..read]) } else { read };
        }
        Ok(())
    }

    /// Sends a message and receives as many bytes of payload.
    pub(crate) fn echo(&mut self, message: &[u8], size: usize) -> io::Result<()> {
        self.write(message)?;
        self.receive(size)
    }

    /// Sends the end of the stream, and waits for that of the other end.
    pub(crate) fn close(mut self) -> io::Result<()> {
        if self.is_websocket {
            self.write(frames::CLOSE)?;
        } else {
            match &mut self.stream {
                Stream::Plain(socket) => socket.shutdown(Shutdown::Write)?,
                Stream::Tls(stream) => {
                    stream.conn.send_close_notify();
                    stream.flush()?;
                }
            }
        }
        let mut rest = [0; 4096];
        loop {
            match self.read(&mut rest) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // A gateway may omit the end of TLS.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                    ) =>
                {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}
