//! TLS towards the target (`--ssl-target`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::ipc::setup::TargetTlsTerms;
use common::sys::stream::StreamSocket;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::verify::Servers;
use super::{provider, roots};
use crate::gateway::transport::Transport;

/// The TLS client for targets.
pub struct TargetTls {
    connector: TlsConnector,
    /// Name to verify instead of the target's host.
    server_name: Option<ServerName<'static>>,
}

impl TargetTls {
    /// Creates a client that trusts the authorities of `terms`.
    ///
    /// # Errors
    ///
    /// The setting that can't be used.
    pub fn new(terms: &TargetTlsTerms) -> Result<Self, String> {
        let server_name = terms.server_name.as_deref().map(name).transpose()?;
        if roots(&terms.authorities).is_empty() {
            return Err("no authority to verify the target's certificate: install \
                        ca-certificates, or set ca-file in [target-tls]"
                .into());
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Servers::of(&terms.authorities)?)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), server_name })
    }

    /// Performs the handshake over a socket that is connected to `host`. If `host` is not a name that a
    /// certificate can contain, as for a unix socket, the session is plain, as in the original.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks, if `patience` is exceeded, or if the target's certificate can't be
    /// verified.
    pub async fn connect(
        &self,
        socket: StreamSocket,
        host: Option<&str>,
        patience: Duration,
    ) -> io::Result<Transport> {
        let server_name = match (&self.server_name, host) {
            (Some(name), _) => name.clone(),
            (None, Some(host)) => name(host).map_err(io::Error::other)?,
            (None, None) => return Ok(Transport::Plain(socket)),
        };
        let connected = self.connector.connect(server_name, socket);
        let stream = timeout(patience, connected).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let (socket, session) = stream.into_inner();
        Ok(Transport::tls(socket, session.into()))
    }
}

fn name(host: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} can't be the name in a certificate"))
}
