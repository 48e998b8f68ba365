//! Checks whether an instance serves clients, by acting as a client.
//!
//! The check performs an opening handshake with the instance's own listener, sends a ping, and performs the
//! closing handshake. An answered ping proves that the target was reached: otherwise the instance closes with
//! 1011 before. In the log it is a session like others, with a user agent of its own.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::addr::ListenAddr;
use common::config::carrier::{self, Carrier};
use common::config::{Config, Prefix, Target, Tls};
use common::control::{Answer, Request};
use common::log::Escaped;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::HandshakeError;
use tokio_tungstenite::tungstenite::handshake::client::Request as Opening;
use tokio_tungstenite::tungstenite::http::header::{
    AUTHORIZATION, COOKIE, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL, USER_AGENT,
};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, client};

use crate::command_line::ClientCredentials;
use crate::files;
use crate::instances::{CtlError, Instance};
use crate::secret;

/// User agent, which distinguishes these sessions from those of users.
const AGENT: &str = concat!("websockifyctl-health/", env!("CARGO_PKG_VERSION"));

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// A stream of bytes.
trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// What an instance that serves clients has done with the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It has connected the session to the target.
    Reached,
    /// It demands something that the check does not have.
    Refused(StatusCode),
}

/// Opens a session at each instance that has a file. Returns a line for each of them.
///
/// Instances that demand credentials are healthy if they refuse the session.
///
/// # Errors
///
/// The reason why the first session that failed did so.
pub(crate) fn check_all(
    directory: &Path,
    run: &Path,
    credentials: &ClientCredentials,
) -> Result<String, CtlError> {
    let mut lines = String::new();
    for name in files::asked(directory, Vec::new()) {
        let (place, outcome, time) = attempt(directory, run, &name, credentials.clone())?;
        lines += &match outcome {
            Outcome::Reached => reached(&name, &place, time),
            Outcome::Refused(status) => {
                format!("{name}: healthy, {place} refuses this check with {status}\n")
            }
        };
    }
    if lines.is_empty() {
        lines = format!("no configuration file in {}: nothing to check\n", directory.display());
    }
    Ok(lines)
}

/// Opens a session at the instance. Returns a line that reports success.
///
/// # Errors
///
/// The reason why the session failed.
pub(crate) fn check(
    directory: &Path,
    run: &Path,
    name: &str,
    credentials: ClientCredentials,
) -> Result<String, CtlError> {
    match attempt(directory, run, name, credentials)? {
        (place, Outcome::Reached, time) => Ok(reached(name, &place, time)),
        (_, Outcome::Refused(status), _) => {
            Err(CtlError::Ill { name: name.into(), reason: format!("refused with {status}") })
        }
    }
}

fn reached(name: &str, place: &Place, time: Duration) -> String {
    format!("{name}: healthy, {place} reaches its target ({} ms)\n", time.as_millis())
}

/// Opens a session at the instance. Returns where, with what outcome, and how long it took.
fn attempt(
    directory: &Path,
    run: &Path,
    name: &str,
    credentials: ClientCredentials,
) -> Result<(Place, Outcome, Duration), CtlError> {
    let config = files::config(directory, name)?.map_err(CtlError::Config)?;
    let ill = |reason: String| CtlError::Ill { name: name.into(), reason };
    let place = place(&config, run, name)?;
    let opening = opening(&config, &place, &credentials).map_err(ill)?;
    let told = place.clone();
    let deadline = Duration::from_secs(credentials.timeout.into());
    let began = Instant::now();
    let (sender, outcome) = mpsc::channel();
    // A thread that hangs is ended together with this program.
    thread::spawn(move || sender.send(session(&config, &place, opening, &credentials, deadline)));
    let outcome = outcome.recv_timeout(deadline);
    let outcome = outcome.unwrap_or_else(|_| Err(format!("no answer within {} s", deadline.as_secs())));
    Ok((told, outcome.map_err(ill)?, began.elapsed()))
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The first listener in the instance's file, if possible one without the PROXY protocol, or else the first that the
/// instance reports.
fn place(config: &Config, run: &Path, name: &str) -> Result<Place, CtlError> {
    let written = config.listen.iter().filter(|one| !matches!(one.address, ListenAddr::Tcp { port: 0, .. }));
    if let Some(written) = written.min_by_key(|one| one.proxy_protocol) {
        return Ok(reachable(written));
    }
    let status = match Instance::named(run, name)?.ask(&Request::Status)? {
        Answer::Status(status) => status,
        other => return Err(CtlError::unexpected(other)),
    };
    let told = status.listen.first().map_or("", String::as_str);
    let address = match told.starts_with('/') {
        true => Some(ListenAddr::Unix(told.into())),
        false => ListenAddr::parse_tcp(told).ok(),
    };
    let nowhere =
        || CtlError::Ill { name: name.into(), reason: "it does not report where it listens".into() };
    address.as_ref().map(reachable).ok_or_else(nowhere)
}

/// An address on this machine that reaches a listener.
fn reachable(address: &ListenAddr) -> Place {
    match address {
        ListenAddr::Unix(path) => Place::Unix(path.clone()),
        ListenAddr::Tcp { host, port } => {
            let host = match host.as_deref().map(|host| (host, host.parse::<IpAddr>())) {
                None => Ipv4Addr::LOCALHOST.to_string(),
                Some((_, Ok(IpAddr::V4(ip)))) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
                Some((_, Ok(IpAddr::V6(ip)))) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
                Some((host, _)) => host.to_owned(),
            };
            Place::Tcp { host, port: *port }
        }
    }
}

/// Builds the request, with all credentials that the instance requires of its clients.
fn opening(config: &Config, place: &Place, credentials: &ClientCredentials) -> Result<Opening, String> {
    let token = credentials.token_file.as_deref().map(secret::read).transpose()?;
    let token = token.as_deref().and_then(|token| match config.target() {
        Target::Tokens(tokens) => Some((token, &tokens.from)),
        _ => None,
    });
    let host = match place {
        Place::Tcp { .. } => place.to_string(),
        Place::Unix(_) => "localhost".into(),
    };
    let carrier = token.and_then(|(_, from)| from.carriers().first().copied());
    // Encoded for a URL or a cookie.
    let encoded = utf8_percent_encode(token.map_or("", |(token, _)| token), NON_ALPHANUMERIC).to_string();
    let path = match (carrier, token.and_then(|(_, from)| from.path())) {
        (Some(Carrier::Query), _) => format!("/?token={encoded}"),
        (Some(Carrier::Path), Some(path)) => path.with(&encoded),
        _ => "/".to_owned(),
    };
    let prefix = config.prefix().map_or("", Prefix::as_str);
    let mut opening =
        format!("ws://{host}{prefix}{path}").into_client_request().map_err(|e| e.to_string())?;
    let value = |text: &str, what: &str| {
        HeaderValue::from_str(text).map_err(|_| format!("{what} can't be sent in a request"))
    };
    let fields = opening.headers_mut();
    fields.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let field = match (carrier, token) {
        (Some(Carrier::Host), Some((token, _))) => Some((HOST, token.to_owned())),
        (Some(Carrier::Cookie), _) => Some((COOKIE, format!("{}={encoded}", carrier::COOKIE))),
        (Some(Carrier::Bearer), Some((token, _))) if credentials.password_file.is_none() => {
            Some((AUTHORIZATION, format!("Bearer {token}")))
        }
        (Some(Carrier::Bearer), _) => return Err("a request has either a password or a bearer token".into()),
        (Some(Carrier::Subprotocol), Some((token, _))) => {
            Some((SEC_WEBSOCKET_PROTOCOL, format!("binary, {}{token}", carrier::SUBPROTOCOL)))
        }
        _ => None,
    };
    if let Some((name, text)) = field {
        fields.insert(name, value(&text, "the token")?);
    }
    if let Some(origin) = &credentials.origin {
        fields.insert(ORIGIN, value(origin, "the origin")?);
    }
    if let Some(path) = &credentials.password_file {
        let credentials = data_encoding::BASE64.encode(secret::read(path)?.as_bytes());
        fields.insert(AUTHORIZATION, value(&format!("Basic {credentials}"), "the password")?);
    }
    Ok(opening)
}

/// Whether a listener expects a header of the PROXY protocol from us.
fn is_trusted_proxy(config: &Config, place: &Place) -> bool {
    let expects = config.listen.iter().any(|one| one.proxy_protocol && reachable(one) == *place);
    let trusted = &config.proxy.trusted;
    expects
        && match place {
            // From this machine the own address is that of the listener.
            Place::Tcp { host, .. } => host.parse().is_ok_and(|address| trusted.contains(address)),
            Place::Unix(_) => trusted.contains_unix(),
        }
}

/// Runs the whole session.
fn session(
    config: &Config,
    place: &Place,
    opening: Opening,
    credentials: &ClientCredentials,
    patience: Duration,
) -> Result<Outcome, String> {
    let mut stream =
        connect(place, patience).map_err(|error| format!("cannot connect to {place}: {error}"))?;
    if is_trusted_proxy(config, place) {
        // We connect for ourselves.
        stream.write_all(b"PROXY UNKNOWN\r\n").map_err(|error| error.to_string())?;
    }
    let stream: Box<dyn Stream> = match &config.tls {
        Some(tls) if tls.certificate.exists() || tls.is_required() => {
            Box::new(secured(tls, stream, credentials)?)
        }
        _ => stream,
    };
    let mut websocket = match client(opening, stream) {
        Ok((websocket, _)) => websocket,
        Err(HandshakeError::Failure(Error::Http(response))) => {
            let status = response.status();
            return match status.is_client_error() {
                true => Ok(Outcome::Refused(status)),
                false => Err(format!("refused with {status}")),
            };
        }
        Err(HandshakeError::Failure(error)) => return Err(format!("no WebSocket: {error}")),
        Err(HandshakeError::Interrupted(_)) => return Err("no answer".into()),
    };
    let broken = |error: Error| format!("the session broke off: {error}");
    websocket.send(Message::Ping("health".into())).map_err(broken)?;
    loop {
        match websocket.read().map_err(broken)? {
            Message::Pong(_) => break,
            Message::Close(Some(CloseFrame { code, reason })) => {
                return Err(format!("closed with {}: {}", u16::from(code), Escaped(&reason)));
            }
            Message::Close(None) => return Err("closed without a reason".into()),
            // Data that the target sends unprompted.
            _ => {}
        }
    }
    let bye = CloseFrame { code: CloseCode::Normal, reason: "health check".into() };
    // The check has succeeded, however the session ends.
    if websocket.close(Some(bye)).is_ok() {
        while websocket.read().is_ok() {}
    }
    Ok(Outcome::Reached)
}

fn connect(place: &Place, patience: Duration) -> io::Result<Box<dyn Stream>> {
    let (host, port) = match place {
        Place::Unix(path) => return Ok(Box::new(UnixStream::connect(path)?)),
        Place::Tcp { host, port } => (host.as_str(), *port),
    };
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()?.collect::<Vec<SocketAddr>>() {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(Box::new(stream)),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Performs a TLS handshake and accepts only the configured certificate. Its name is not checked, because the
/// address of this machine need not be in it.
fn secured(
    tls: &Tls,
    stream: Box<dyn Stream>,
    credentials: &ClientCredentials,
) -> Result<impl Stream + use<>, String> {
    let leaf = CertificateDer::from_pem_file(&tls.certificate)
        .map_err(|error| format!("{}: {error}", tls.certificate.display()))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pinned = Arc::new(Pinned { leaf, provider: provider.clone() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(pinned);
    let config = match (&credentials.client_certificate, &credentials.client_key) {
        (Some(certificate), Some(key)) => {
            let failed = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
            let chain = chain.map_err(|error| failed(certificate, &error))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
            config.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
        }
        _ => config.with_no_client_auth(),
    };
    let name = ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    Ok(StreamOwned::new(connection, stream))
}

/// A verifier that accepts one certificate only.
#[derive(Debug)]
struct Pinned {
    leaf: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match *leaf == self.leaf {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General("its certificate differs from the one in its file".into())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_reached_from_this_machine() {
        let place = |text: &str| reachable(&ListenAddr::parse_tcp(text).unwrap()).to_string();
        assert_eq!(place("6080"), "127.0.0.1:6080");
        assert_eq!(place("0.0.0.0:6080"), "127.0.0.1:6080");
        assert_eq!(place("[::]:6080"), "[::1]:6080");
        assert_eq!(place("10.0.0.1:6080"), "10.0.0.1:6080");
        assert_eq!(reachable(&ListenAddr::Unix("/run/x".into())), Place::Unix("/run/x".into()));
    }
}
