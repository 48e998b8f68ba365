//! The files of the certificate and its private key.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use common::certificate;
use common::config::{Config, Secret, TlsVersion};
use common::ipc::setup::TicketSecret;
use common::shared_keys::SharedKeys;
use zeroize::Zeroizing;

use super::stamp::Stamp;
use crate::os::off_loop::{OffLoop, OffLoopError};

/// The reason why a certificate file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// The file can't be read.
    #[error("cannot read {what} {path:?}: {source}")]
    Read {
        /// Purpose of the file.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file contains no certificate.
    #[error("no certificate in {0:?}: it should hold PEM blocks \"BEGIN CERTIFICATE\"")]
    Empty(PathBuf),
    /// A PEM block is damaged.
    #[error("cannot read {what} {path:?}: {source}")]
    Damaged {
        /// Purpose of the file.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The damaged block.
        source: certificate::Damaged,
    },
}

/// The files of the certificate and its key, and their state when they were last read.
#[derive(Debug)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    key: PathBuf,
    /// Secrets of session tickets, if configured.
    session_ticket_keys: Option<PathBuf>,
    /// Pass phrase of the key.
    pub(crate) password: Option<Secret>,
    /// The configuration excludes TLS 1.2, so that the key need not sign its handshakes.
    pub(crate) only_1_3: bool,
    off_loop: OffLoop,
    /// The files as found by the last look.
    found: Cell<Option<Stamps>>,
    /// The files as of the last attempt to load them.
    seen: Cell<Option<Stamps>>,
    problem: RefCell<Option<String>>,
}

/// Stamps of the certificate, its key, and the keys of session tickets; `None` for a missing file.
type Stamps = [Option<Stamp>; 3];

/// Time for which a client waits while the file system hangs. Only the first client waits; others use what
/// was read before.
const PATIENCE: Duration = Duration::from_secs(1);

/// A certificate that has been read.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// The certificate and its issuers, DER, leaf first.
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) expires: Option<SystemTime>,
    /// The configured secrets of session tickets.
    pub(crate) ticket_secrets: Vec<TicketSecret>,
}

impl Certificate {
    /// The leaf certificate, DER.
    pub(crate) fn leaf(&self) -> &[u8] {
        // Never empty: a file without a certificate is an error.
        &self.chain[0]
    }
}

impl CertificateFiles {
    /// The files of a configuration, if it has TLS. Nothing is read yet.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let tls = config.tls.as_ref()?;
        let certificate = tls.certificate.to_path_buf();
        let key = tls.key.as_ref().unwrap_or(&tls.certificate).to_path_buf();
        let session_ticket_keys = tls.session_ticket_keys.as_ref().map(|path| path.to_path_buf());
        let paths = [&certificate, &key].into_iter().chain(&session_ticket_keys).cloned().collect();
        Some(Self {
            certificate,
            key,
            session_ticket_keys,
            password: tls.key_password().cloned(),
            only_1_3: tls.minimum_version == TlsVersion::V1_3,
            off_loop: OffLoop::of("certificate", PATIENCE, paths),
            found: Cell::default(),
            seen: Cell::default(),
            problem: RefCell::default(),
        })
    }

    /// Whether the files exist and have changed since the last call that returned true.
    pub(crate) async fn have_changed(self: &Rc<Self>) -> bool {
        let (paths, files) = (self.paths(), self.clone());
        let looked = self.off_loop.run(move || paths.stamps(), move |found| files.found.set(Some(found)));
        if let Err(error @ OffLoopError::Thread(_)) = looked.await {
            tracing::error!("cannot check the certificate files: {error}");
        }
        // While the file system hangs, nothing is found.
        let Some(stamps) = self.found.take() else { return false };
        if self.seen.replace(Some(stamps)) == Some(stamps) {
            return false;
        }
        self.problem.replace(None);
        stamps[0].is_some()
    }

    /// Whether both files exist and the calling user may read them.
    pub(crate) fn are_readable(&self) -> bool {
        let is_readable = |path: &Path| path.is_file() && fs::File::open(path).is_ok();
        is_readable(&self.certificate) && is_readable(&self.key)
    }

    /// Reads the certificate and the private key.
    pub(crate) async fn load(&self) -> Result<(Certificate, Zeroizing<Vec<u8>>), String> {
        let paths = self.paths();
        let loaded = self.off_loop.get(move || paths.load()).await;
        loaded.unwrap_or_else(|error| {
            // Causes another attempt when the files can be read again.
            self.seen.take();
            Err(error.to_string())
        })
    }

    fn paths(&self) -> Paths {
        let Self { certificate, key, session_ticket_keys, .. } = self;
        Paths {
            certificate: certificate.clone(),
            key: key.clone(),
            session_ticket_keys: session_ticket_keys.clone(),
        }
    }

    /// The reason why the current files can't be used, if they can't.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }

    /// Records why the current files can't be used.
    pub(crate) fn set_problem(&self, problem: String) {
        self.problem.replace(Some(problem));
    }
}

/// The paths of the files, for the thread that reads them.
#[derive(Debug)]
struct Paths {
    certificate: PathBuf,
    key: PathBuf,
    session_ticket_keys: Option<PathBuf>,
}

impl Paths {
    fn stamps(&self) -> Stamps {
        let of = |path: &Path| fs::metadata(path).ok().as_ref().map(Stamp::of);
        let certificate = of(&self.certificate);
        let key = if self.key == self.certificate { certificate } else { of(&self.key) };
        [certificate, key, self.session_ticket_keys.as_deref().and_then(of)]
    }

    fn load(&self) -> Result<(Certificate, Zeroizing<Vec<u8>>), String> {
        let Self { certificate, key, session_ticket_keys } = self;
        let chain = read(certificate, "certificate").map_err(|error| error.to_string())?;
        let expires = chain.first().and_then(|leaf| certificate::not_after(leaf));
        let ticket_secrets =
            session_ticket_keys.as_deref().map(ticket_secrets).transpose()?.unwrap_or_default();
        let key_pem = fs::read(key).map_err(|error| format!("cannot read the key {key:?}: {error}"))?;
        Ok((Certificate { chain, expires, ticket_secrets }, Zeroizing::new(key_pem)))
    }
}

/// Reads the secrets of session tickets.
fn ticket_secrets(path: &Path) -> Result<Vec<TicketSecret>, String> {
    let keys =
        SharedKeys::read(path).map_err(|reason| format!("the keys of session tickets: {path:?} {reason}"))?;
    Ok(keys.all().map(|key| TicketSecret::new(**key)).collect())
}

/// Reads the certificates of a PEM file, DER, at least one. `what` describes their purpose in errors.
pub(crate) fn read(path: &Path, what: &'static str) -> Result<Vec<Vec<u8>>, CertificateError> {
    let pem = fs::read(path).map_err(|source| CertificateError::Read { what, path: path.into(), source })?;
    let found = certificate::read_all(&Zeroizing::new(pem));
    let found = found.map_err(|source| CertificateError::Damaged { what, path: path.into(), source })?;
    if found.is_empty() { Err(CertificateError::Empty(path.into())) } else { Ok(found) }
}
