//! Signatures by a remote key: rustls gets every signature from the signer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::ipc::signer::{GatewayToSigner, KeyDescription, SignerToGateway};
use common::ipc::table::{Conversation, Message};
use common::ipc::wire::{MAX_BYTES, WireError};
use common::sys::seqpacket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::SubjectPublicKeyInfoDer;

/// Time limit for a signature. The signer answers within a millisecond unless it is dead or overloaded; the
/// event loop is blocked meanwhile.
const DEADLINE: Duration = Duration::from_millis(1500);

/// A certificate's private key, which only the signer holds.
#[derive(Debug)]
pub(super) struct RemoteKey {
    public_key: Vec<u8>,
    schemes: Vec<SignatureScheme>,
    line: Arc<Line>,
}

/// The channel to the signer. It carries one request at a time, as rustls needs each signature synchronously.
#[derive(Debug)]
struct Line {
    channel: OwnedFd,
    /// Number of the last request.
    last: Mutex<u64>,
}

/// Signs with one signature scheme.
#[derive(Debug)]
struct RemoteSigner {
    scheme: SignatureScheme,
    line: Arc<Line>,
}

impl RemoteKey {
    /// Creates the key that the signer at the other end of `channel` holds.
    pub(super) fn new(key: &KeyDescription, channel: OwnedFd) -> Self {
        Self {
            public_key: key.public_key.clone(),
            schemes: key.schemes.iter().copied().map(SignatureScheme::from).collect(),
            line: Arc::new(Line { channel, last: Mutex::new(0) }),
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
            Some(
                SignatureScheme::ECDSA_NISTP256_SHA256
                | SignatureScheme::ECDSA_NISTP384_SHA384
                | SignatureScheme::ECDSA_NISTP521_SHA512,
            ) => SignatureAlgorithm::ECDSA,
            // An RSA key for RSA-PSS only. rustls uses it in no TLS 1.2 suite.
            Some(SignatureScheme::Unknown(_)) => SignatureAlgorithm::Unknown(0),
            _ => SignatureAlgorithm::RSA,
        }
    }
}

impl Signer for RemoteSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.line.ask(self.scheme, message).map_err(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied {
                return Error::General(
                    "the signer refused to sign, since the message might not belong to a handshake".into(),
                );
            }
            tracing::error!("no signature for a TLS handshake: {error}");
            Error::General("the signer does not answer".into())
        })
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl Line {
    fn ask(&self, scheme: SignatureScheme, message: &[u8]) -> io::Result<Vec<u8>> {
        let Ok(mut last) = self.last.lock() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        *last += 1;
        let question = GatewayToSigner::Sign { id: *last, scheme: scheme.into(), message: message.to_vec() };
        seqpacket::send(self.channel.as_fd(), question.encode()?.bytes(), None)?;
        self.answer(*last)
    }

    /// Receives the answer to request `wanted`. Late answers to earlier requests, which have timed out, are
    /// skipped.
    fn answer(&self, wanted: u64) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()));
            let left = left.map_err(io::Error::other)?;
            let mut ready = [PollFd::new(&self.channel, PollFlags::IN)];
            if poll(&mut ready, Some(&left))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut buffer = [0; MAX_BYTES];
            let datagram = seqpacket::receive(self.channel.as_fd(), &mut buffer)?;
            let datagram = datagram.ok_or(io::ErrorKind::UnexpectedEof)?;
            let bytes = buffer.get(..datagram.len).ok_or(WireError::Truncated)?;
            match Conversation::default().decode(bytes, datagram.fd)? {
                SignerToGateway::Signature { id, signature } if id == wanted => return Ok(signature),
                SignerToGateway::Refused { id } if id == wanted => {
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                _ => {}
            }
        }
    }
}
