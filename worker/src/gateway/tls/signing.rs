//! A private key that is elsewhere: each signature is asked of the signer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::ipc::signer::{GatewayToSigner, KeyDescription, SignerToGateway};
use common::ipc::wire::{self, MAX_BYTES, Message};
use common::sys::seqpacket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::SubjectPublicKeyInfoDer;

/// How long the signer may take. It answers within a millisecond, or is dead or overrun; the event
/// loop stands still meanwhile.
const DEADLINE: Duration = Duration::from_millis(1500);

/// The key of a certificate, held by the signer.
#[derive(Debug)]
pub(super) struct RemoteKey {
    public_key: Vec<u8>,
    schemes: Vec<SignatureScheme>,
    line: Arc<Line>,
}

/// The channel to the signer: one question, one answer.
///
/// rustls wants an answer at once, so it is waited for. None is asked any more once one was late:
/// its answer could be taken for that of the next question.
#[derive(Debug)]
struct Line(Mutex<Option<OwnedFd>>);

/// Signs with one scheme.
#[derive(Debug)]
struct RemoteSigner {
    scheme: SignatureScheme,
    line: Arc<Line>,
}

impl RemoteKey {
    /// The key behind `channel`.
    pub(super) fn new(key: &KeyDescription, channel: OwnedFd) -> Self {
        Self {
            public_key: key.public_key.clone(),
            schemes: key.schemes.iter().copied().map(SignatureScheme::from).collect(),
            line: Arc::new(Line(Mutex::new(Some(channel)))),
        }
    }
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = *self.schemes.iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(RemoteSigner { scheme, line: self.line.clone() }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.public_key.as_slice().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.schemes.first() {
            Some(SignatureScheme::ED25519) => SignatureAlgorithm::ED25519,
            Some(SignatureScheme::ECDSA_NISTP256_SHA256 | SignatureScheme::ECDSA_NISTP384_SHA384) => {
                SignatureAlgorithm::ECDSA
            }
            _ => SignatureAlgorithm::RSA,
        }
    }
}

impl Signer for RemoteSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let question = GatewayToSigner::Sign { scheme: self.scheme.into(), message: message.to_vec() };
        self.line.ask(&question).map_err(|error| {
            tracing::error!(target: "websockify::tls", "no signature for a TLS handshake: {error}");
            Error::General("the signer does not answer".into())
        })
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl Line {
    fn ask(&self, question: &GatewayToSigner) -> io::Result<Vec<u8>> {
        let Ok(mut line) = self.0.lock() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let channel = line.take().ok_or(io::ErrorKind::NotConnected)?;
        let encoded = question.encode()?;
        seqpacket::send(channel.as_fd(), encoded.bytes(), None)?;
        let signature = answer(&channel)?;
        *line = Some(channel);
        Ok(signature)
    }
}

fn answer(channel: &OwnedFd) -> io::Result<Vec<u8>> {
    let deadline = Timespec::try_from(DEADLINE).map_err(io::Error::other)?;
    let mut ready = [PollFd::new(channel, PollFlags::IN)];
    if poll(&mut ready, Some(&deadline))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut buffer = [0; MAX_BYTES];
    let datagram = seqpacket::receive(channel.as_fd(), &mut buffer)?;
    let datagram = datagram.ok_or(io::ErrorKind::UnexpectedEof)?;
    match wire::decode(buffer.get(..datagram.len).unwrap_or_default(), datagram.fd)? {
        SignerToGateway::Signature(signature) => Ok(signature),
        SignerToGateway::Refused => Err(io::ErrorKind::PermissionDenied.into()),
    }
}
