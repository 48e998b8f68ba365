//! The files of the certificate and its private key.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use common::certificate;
use common::config::{Config, Secret, TlsVersion};
use zeroize::Zeroizing;

use super::stamp::Stamp;
use crate::os::off_loop::{OffLoop, OffLoopError};

/// Why a file of certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// The system's reason.
    #[error("cannot read {what} {path:?}: {source}")]
    Read {
        /// What the file is for.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file without what it is for.
    #[error("no certificate in {0:?}: it should hold PEM blocks \"BEGIN CERTIFICATE\"")]
    Empty(PathBuf),
    /// A block that holds something else.
    #[error("cannot read {what} {path:?}: {source}")]
    Damaged {
        /// What the file is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Which of them.
        source: certificate::Damaged,
    },
}

/// The files, and the state in which they were last read.
#[derive(Debug)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    key: PathBuf,
    /// The password of the key.
    pub(crate) password: Option<Secret>,
    /// The key signs no handshake of TLS 1.2.
    pub(crate) only_1_3: bool,
    off_loop: OffLoop,
    /// As the files were last found.
    found: Cell<Option<Stamps>>,
    /// As they were when they were last tried.
    seen: Cell<Option<Stamps>>,
    problem: RefCell<Option<String>>,
}

/// Of the certificate and its key, as far as they are there.
type Stamps = (Option<Stamp>, Option<Stamp>);

/// How long a client waits for a file system that hangs: the first one only, as others get what was read before.
const PATIENCE: Duration = Duration::from_secs(1);

/// A certificate that was read.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// The certificate and its issuers, DER.
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) expires: Option<SystemTime>,
}

impl Certificate {
    /// The server's own certificate, DER.
    pub(crate) fn leaf(&self) -> &[u8] {
        // A file without a certificate is an error.
        &self.chain[0]
    }
}

impl CertificateFiles {
    /// The files of a configuration, if it has any. Nothing is read yet.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let tls = config.tls.as_ref()?;
        let certificate = tls.certificate.to_path_buf();
        let key = tls.key.as_ref().unwrap_or(&tls.certificate).to_path_buf();
        let paths = vec![certificate.clone(), key.clone()];
        Some(Self {
            certificate,
            key,
            password: tls.key_password().cloned(),
            only_1_3: tls.minimum_version == TlsVersion::V1_3,
            off_loop: OffLoop::of("certificate", PATIENCE, paths),
            found: Cell::default(),
            seen: Cell::default(),
            problem: RefCell::default(),
        })
    }

    /// Whether a certificate is there that was not seen as it is now, which makes it seen.
    pub(crate) async fn have_changed(self: &Rc<Self>) -> bool {
        let (certificate, key, files) = (self.certificate.clone(), self.key.clone(), self.clone());
        let looked =
            self.off_loop.run(move || stamps(&certificate, &key), move |found| files.found.set(Some(found)));
        if let Err(error @ OffLoopError::Thread(_)) = looked.await {
            tracing::error!("cannot look at the certificate: {error}");
        }
        // While they hang nothing is found.
        let Some(stamps) = self.found.take() else { return false };
        if self.seen.replace(Some(stamps)) == Some(stamps) {
            return false;
        }
        self.problem.replace(None);
        stamps.0.is_some()
    }

    /// Whether both are files that the caller may read.
    pub(crate) fn are_readable(&self) -> bool {
        let is_readable = |path: &Path| path.is_file() && fs::File::open(path).is_ok();
        is_readable(&self.certificate) && is_readable(&self.key)
    }

    /// Reads the certificate and the private key.
    pub(crate) async fn load(&self) -> Result<(Certificate, Zeroizing<Vec<u8>>), String> {
        let (certificate, key) = (self.certificate.clone(), self.key.clone());
        let loaded = self.off_loop.get(move || load(&certificate, &key)).await;
        loaded.unwrap_or_else(|error| {
            // They are tried again when they can be read.
            self.seen.take();
            Err(error.to_string())
        })
    }

    /// Why the files can't be used as they are now.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }

    /// The files can't be used as they are now.
    pub(crate) fn set_problem(&self, problem: String) {
        self.problem.replace(Some(problem));
    }
}

fn stamps(certificate: &Path, key: &Path) -> Stamps {
    let of = |path: &Path| fs::metadata(path).ok().as_ref().map(Stamp::of);
    let stamp = of(certificate);
    (stamp, if key == certificate { stamp } else { of(key) })
}

fn load(path: &Path, key: &Path) -> Result<(Certificate, Zeroizing<Vec<u8>>), String> {
    let chain = read(path, "certificate").map_err(|error| error.to_string())?;
    let expires = chain.first().and_then(|leaf| certificate::not_after(leaf));
    let key_pem = fs::read(key).map_err(|error| format!("cannot read the key {key:?}: {error}"))?;
    Ok((Certificate { chain, expires }, Zeroizing::new(key_pem)))
}

/// The certificates of a PEM file, DER, at least one. `what` they are for is told in errors.
pub(crate) fn read(path: &Path, what: &'static str) -> Result<Vec<Vec<u8>>, CertificateError> {
    let pem = fs::read(path).map_err(|source| CertificateError::Read { what, path: path.into(), source })?;
    let found = certificate::read_all(&Zeroizing::new(pem));
    let found = found.map_err(|source| CertificateError::Damaged { what, path: path.into(), source })?;
    if found.is_empty() { Err(CertificateError::Empty(path.into())) } else { Ok(found) }
}
