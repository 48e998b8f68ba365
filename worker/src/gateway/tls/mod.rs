//! TLS for clients, with the private key in the signer.

mod groups;
mod signing;
pub mod target;
mod tickets;
mod turns;
mod verify;

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use common::config::SuiteNumber;
use common::ipc::ClientAddr;
use common::ipc::setup::{ServerIdentity, TlsTerms};
use common::sys::stream::StreamSocket;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;

use signing::RemoteKey;
use tickets::Tickets;
use turns::Turns;

/// A record with the alert `handshake_failure` (RFC 8446 section 6), for clients that connect while there is
/// no certificate.
pub(super) const NO_CERTIFICATE_ALERT: [u8; 7] = [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x28];

/// The protocol versions of a configuration that excludes TLS 1.2.
const ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// TLS state shared by all connections of a gateway.
pub(super) struct Tls {
    versions: &'static [&'static SupportedProtocolVersion],
    provider: Arc<CryptoProvider>,
    client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    staged: RefCell<Option<ServerIdentity>>,
    acceptor: RefCell<Option<TlsAcceptor>>,
    turns: Turns,
}

/// Errors of the TLS handshake with a client.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// The client violates the protocol, or supports none of our parameters.
    #[error("failed: {0}")]
    Failed(io::Error),
    /// `timeouts.tls-handshake` has expired.
    #[error("timed out")]
    TimedOut,
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Builds a provider with all suites of TLS 1.3, the given suites of TLS 1.2 in their order (or all), and the
/// groups that the signer accepts.
fn chosen(suites: Option<&[SuiteNumber]>) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    groups::restrict(&mut provider.kx_groups);
    let Some(suites) = suites else { return Arc::new(provider) };
    let all = std::mem::take(&mut provider.cipher_suites);
    provider.cipher_suites.extend(all.iter().filter(|suite| suite.tls13().is_some()));
    for number in suites {
        provider.cipher_suites.extend(all.iter().filter(|suite| u16::from(suite.suite()) == *number));
    }
    Arc::new(provider)
}

/// Builds the store of trusted authorities. Certificates that can't be parsed are skipped, as system stores
/// contain unusual ones.
fn roots(authorities: &[Vec<u8>]) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().map(|der| CertificateDer::from(der.as_slice())));
    Arc::new(roots)
}

impl Tls {
    /// Creates the state without a certificate.
    pub(super) fn new(terms: Option<&TlsTerms>) -> Result<Self, String> {
        let only_1_3 = terms.is_some_and(|terms| terms.only_1_3);
        let versions = if only_1_3 { ONLY_1_3 } else { rustls::ALL_VERSIONS };
        let authorities = terms.and_then(|terms| terms.client_authorities.as_ref());
        let client_verifier = authorities.map(|authorities| verify::Clients::of(authorities));
        Ok(Self {
            versions,
            provider: chosen(terms.and_then(|terms| terms.suites.as_deref())),
            client_verifier: client_verifier.transpose()?,
            staged: RefCell::default(),
            acceptor: RefCell::default(),
            turns: Turns::default(),
        })
    }

    /// Stores a certificate until the channel to its signer arrives.
    pub(super) fn stage(&self, identity: ServerIdentity) {
        *self.staged.borrow_mut() = Some(identity);
    }

    /// Puts the staged certificate into force with its signer. If it can't be used, the error is logged and
    /// the previous certificate stays in force.
    pub(super) fn activate(&self, signer: OwnedFd) {
        let Some(identity) = self.staged.take() else { return };
        match self.config(identity, signer) {
            Ok(config) => *self.acceptor.borrow_mut() = Some(TlsAcceptor::from(Arc::new(config))),
            Err(error) => {
                tracing::error!("the certificate can't be used: {error}");
            }
        }
    }

    fn config(&self, identity: ServerIdentity, signer: OwnedFd) -> Result<ServerConfig, rustls::Error> {
        let chain = identity.chain.into_iter().map(CertificateDer::from).collect();
        let certified = CertifiedKey::new(chain, Arc::new(RemoteKey::new(&identity.key, signer)));
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(self.versions)?;
        let builder = match &self.client_verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        if self.client_verifier.is_some() {
            // A resumed session takes the client's certificate from the ticket, and every gateway can make
            // tickets: a compromised one could impersonate any client to the others. So every handshake
            // verifies the certificate.
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        } else {
            config.ticketer = Arc::new(Tickets::new(&identity.tickets));
        }
        // HTTP/2 has no Upgrade (RFC 9113 section 8.6).
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Returns an acceptor for the next handshake, or `None` while there is no certificate.
    pub(super) fn acceptor(&self) -> Option<Acceptor> {
        let acceptor = self.acceptor.borrow().clone()?;
        Some(Acceptor { acceptor, turns: self.turns.clone() })
    }
}

/// Accepts a TLS connection with the certificate that is in force when it is created.
pub(super) struct Acceptor {
    acceptor: TlsAcceptor,
    turns: Turns,
}

impl Acceptor {
    /// Performs the handshake in turn with those of other clients. If it fails, the client gets an alert.
    pub(super) async fn accept(
        self,
        client: &ClientAddr,
        socket: StreamSocket,
    ) -> io::Result<tokio_rustls::server::TlsStream<StreamSocket>> {
        self.turns.run(client, self.acceptor.accept(socket)).await
    }
}
