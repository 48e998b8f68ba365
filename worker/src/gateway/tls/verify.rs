//! Verification of the certificates of clients and targets. The verification is webpki's, with two additions: a client
//! certificate that is itself listed among the authorities is accepted, and errors say what to do about a
//! certificate.

use std::sync::Arc;
use std::time::Duration;

use common::certificate;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{provider, roots};

/// Defines the methods about signatures, which the traits of client and server verifiers have in common.
macro_rules! signatures_by_webpki {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.webpki.verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.webpki.verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.webpki.supported_verify_schemes()
        }
    };
}

/// Accepts clients whose certificate was issued by a configured authority or is itself in the configured
/// file.
#[derive(Debug)]
pub(super) struct Clients {
    webpki: Arc<dyn ClientCertVerifier>,
    /// The configured certificates, DER.
    listed: Vec<Vec<u8>>,
}

impl Clients {
    /// Trusts the given authorities.
    ///
    /// # Errors
    ///
    /// Fails if none of them can be used.
    pub(super) fn of(authorities: &[Vec<u8>]) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let webpki = WebPkiClientVerifier::builder_with_provider(roots(authorities), provider());
        let webpki =
            webpki.build().map_err(|error| format!("the authorities for clients can't be used: {error}"))?;
        Ok(Arc::new(Self { webpki, listed: authorities.to_vec() }))
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // The comparison is of whole certificates, as names can be reused. webpki rejects a client
        // certificate that may sign others, such as those made by `openssl req -x509`.
        let is_listed = self.listed.iter().any(|one| one.as_slice() == &**end_entity);
        let verified = if is_listed && !certificate::is_version_1(end_entity) {
            is_in_its_time(end_entity, now).map(|()| ClientCertVerified::assertion())
        } else {
            self.webpki.verify_client_cert(end_entity, intermediates, now)
        };
        verified.map_err(|error| explained(error, end_entity, "the client's certificate"))
    }

    signatures_by_webpki!();
}

fn is_in_its_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (begin, end) = certificate::validity(certificate).ok_or(CertificateError::BadEncoding)?;
    let now = std::time::UNIX_EPOCH + Duration::from_secs(now.as_secs());
    match now {
        now if now < begin => Err(CertificateError::NotValidYet.into()),
        now if now > end => Err(CertificateError::Expired.into()),
        _ => Ok(()),
    }
}

/// Verifies servers and their names as webpki does.
#[derive(Debug)]
pub(super) struct Servers {
    webpki: Arc<WebPkiServerVerifier>,
}

impl Servers {
    /// Trusts the given authorities.
    ///
    /// # Errors
    ///
    /// Fails if none of them can be used.
    pub(super) fn of(authorities: &[Vec<u8>]) -> Result<Arc<dyn ServerCertVerifier>, String> {
        let webpki = WebPkiServerVerifier::builder_with_provider(roots(authorities), provider());
        Ok(Arc::new(Self { webpki: webpki.build().map_err(|error| error.to_string())? }))
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| explained(error, end_entity, "the server's certificate"))
    }

    signatures_by_webpki!();
}

/// Replaces errors about what old recipes for certificates omit with instructions. Other errors are returned
/// unchanged.
fn explained(error: Error, certificate: &[u8], which: &str) -> Error {
    let text = match &error {
        _ if certificate::is_version_1(certificate) => format!(
            "{which} is of version 1, which is not accepted: have it issued with an extension, such as \
             basicConstraints=CA:FALSE (openssl x509 -req -extfile)"
        ),
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented })
            if presented.is_empty() =>
        {
            let name = expected.to_str();
            let kind = if matches!(expected, ServerName::IpAddress(_)) { "IP" } else { "DNS" };
            format!(
                "{which} has no subjectAltName, and its common name is ignored: have it issued with \
                 subjectAltName={kind}:{name}"
            )
        }
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner)))
            if inner.to_string().contains("CaUsedAsEndEntity") =>
        {
            format!(
                "{which} belongs to an authority, which is not accepted: have it issued with \
                 basicConstraints=CA:FALSE"
            )
        }
        _ => return error,
    };
    let text: Box<dyn std::error::Error + Send + Sync> = text.into();
    CertificateError::Other(OtherError(text.into())).into()
}
