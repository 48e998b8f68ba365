//! Services that the connector queries before a target is known (Redis, a token API, a plugin): their
//! addresses, and connections to them.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use common::addr::TargetAddr;
use common::ipc::lookup::Service;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::dial::{self, DialError};

/// A connection to a service, with or without TLS.
pub(super) type Stream = Box<dyn ByteStream>;

/// The operations of a [`Stream`].
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// The address of a service.
pub(super) struct Endpoint {
    address: TargetAddr,
    prefer_ipv6: bool,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Time limit for resolving, connecting and the TLS handshake together.
    deadline: Duration,
}

/// The reason why a service can't be reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// Connecting has failed.
    #[error("{0}")]
    Dial(DialError),
    /// The event loop can't register the socket.
    #[error("{0}")]
    Socket(io::Error),
    /// The TLS handshake has failed: the certificate is not valid, or the service does not speak TLS.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The deadline has passed.
    #[error("it did not answer in time")]
    TimedOut,
}

impl Endpoint {
    /// Creates the endpoint of a setup. `deadline` limits the time until a connection is usable.
    ///
    /// # Errors
    ///
    /// The reason why TLS can't be used with this service, for the administrator.
    pub(super) fn new(service: &Service, prefer_ipv6: bool, deadline: Duration) -> Result<Self, String> {
        let tls = match (&service.authorities, &service.address) {
            (Some(authorities), TargetAddr::Tcp { host, .. }) => {
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| format!("{host:?} can't be the name in a certificate"))?;
                Some((TlsConnector::from(Arc::new(client(authorities)?)), name))
            }
            _ => None,
        };
        Ok(Self { address: service.address.clone(), prefer_ipv6, tls, deadline })
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<Stream, ConnectError> {
        timeout(self.deadline, self.connected()).await.map_err(|_| ConnectError::TimedOut)?
    }

    async fn connected(&self) -> Result<Stream, ConnectError> {
        let socket =
            dial::connect_to(&self.address, self.prefer_ipv6, Instant::now() + self.deadline, (), None).await;
        let socket = socket.map_err(ConnectError::Dial)?;
        let stream = match self.address {
            TargetAddr::Tcp { .. } => tcp(socket).map_err(ConnectError::Socket)?,
            TargetAddr::Unix(_) => return unix(socket).map_err(ConnectError::Socket),
        };
        match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(ConnectError::Tls)?;
                Ok(Box::new(stream))
            }
            None => Ok(Box::new(stream)),
        }
    }
}

fn tcp(socket: OwnedFd) -> io::Result<TcpStream> {
    TcpStream::from_std(socket.into())
}

fn unix(socket: OwnedFd) -> io::Result<Stream> {
    Ok(Box::new(UnixStream::from_std(socket.into())?))
}

/// A TLS client that trusts `authorities` only.
fn client(authorities: &[Vec<u8>]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().map(|der| CertificateDer::from(der.as_slice())));
    if roots.is_empty() {
        return Err("no authority to verify certificates: install ca-certificates".to_owned());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
