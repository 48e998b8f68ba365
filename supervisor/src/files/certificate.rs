//! The files of the certificate and its private key.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use common::certificate;
use common::config::{Config, Secret, TlsVersion};
use zeroize::Zeroizing;

use super::stamp::Stamp;

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
    seen: Cell<Option<(Option<Stamp>, Option<Stamp>)>>,
    problem: RefCell<Option<String>>,
}

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
        config.tls.as_ref().map(|tls| Self {
            certificate: tls.certificate.to_path_buf(),
            key: tls.key.as_ref().unwrap_or(&tls.certificate).to_path_buf(),
            password: tls.key_password().cloned(),
            only_1_3: tls.minimum_version == TlsVersion::V1_3,
            seen: Cell::default(),
            problem: RefCell::default(),
        })
    }

    /// Whether a certificate is there that was not seen as it is now, which makes it seen.
    pub(crate) fn have_changed(&self) -> bool {
        let of = |path: &PathBuf| fs::metadata(path).ok().as_ref().map(Stamp::of);
        let certificate = of(&self.certificate);
        let key = if self.key == self.certificate { certificate } else { of(&self.key) };
        let stamps = (certificate, key);
        if self.seen.replace(Some(stamps)) == Some(stamps) {
            return false;
        }
        self.problem.replace(None);
        certificate.is_some()
    }

    /// Whether both are files that the caller may read.
    pub(crate) fn are_readable(&self) -> bool {
        let is_readable = |path: &Path| path.is_file() && fs::File::open(path).is_ok();
        is_readable(&self.certificate) && is_readable(&self.key)
    }

    /// Reads the certificate.
    pub(crate) fn load(&self) -> Result<Certificate, String> {
        let chain = read(&self.certificate, "certificate").map_err(|error| error.to_string())?;
        let expires = chain.first().and_then(|leaf| certificate::not_after(leaf));
        Ok(Certificate { chain, expires })
    }

    /// Reads the private key.
    pub(crate) fn load_key(&self) -> Result<Vec<u8>, String> {
        fs::read(&self.key).map_err(|error| format!("cannot read the key {:?}: {error}", self.key))
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

/// The certificates of a PEM file, DER, at least one. `what` they are for is told in errors.
pub(crate) fn read(path: &Path, what: &'static str) -> Result<Vec<Vec<u8>>, CertificateError> {
    let pem = fs::read(path).map_err(|source| CertificateError::Read { what, path: path.into(), source })?;
    let found = certificate::read_all(&Zeroizing::new(pem));
    let found = found.map_err(|source| CertificateError::Damaged { what, path: path.into(), source })?;
    if found.is_empty() { Err(CertificateError::Empty(path.into())) } else { Ok(found) }
}
