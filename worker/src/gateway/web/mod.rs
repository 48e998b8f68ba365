//! The static files that the gateway serves beside the WebSocket: usually noVNC.
//!
//! A request path (`path`) is looked up beneath the web directory (`open`). It leads to a file (`file`, with
//! `conditional`, `range` and `media_type`), or to a directory (its index, a redirect, or `listing`).
//!
//! Nothing outside the web directory is ever opened, whatever the spelling or the symbolic links. A link that
//! leads inside is followed, however it is written. Files whose names begin with a dot are served like all
//! others, as the original does and `/.well-known/` requires: a web directory is public, and no place for a
//! `.git` or a password file.
//!
//! The code is our own and uses `httpdate`, `mime_guess` and `percent-encoding`. The closest library,
//! `hyper-staticfile`, would accept a file opener of ours, but puts decoded names into redirects and supports
//! neither `If-None-Match` nor listings.
//!
//! System calls: `openat2`, `openat`, `readlinkat`, `fstat`, `pread64` and `close`; for listings also
//! `getdents64`.

mod conditional;
mod error;
mod file;
mod listing;
mod media_type;
mod open;
mod path;
mod range;

#[cfg(test)]
mod tests;

use std::fs::File;

use hyper::http::HeaderValue;
use hyper::{Method, Request, Response, StatusCode, header};
use nix::errno::Errno;
use rustix::fs::Stat;

use self::error::WebError;
use self::open::{Entry, Files};
use self::path::RequestPath;
use super::http::body::Body;
use super::http::error_page::error_page;
use super::http::response::response;
use crate::beneath::Beneath;

/// Names of index files, in the order of precedence.
const INDEXES: [&str; 2] = ["index.html", "index.htm"];

/// noVNC's page, which is served where a directory has no index.
const NOVNC: &str = "vnc.html";

/// A web directory that is served.
#[derive(Debug)]
pub struct WebRoot {
    files: Files,
    listing: bool,
    /// The path beneath which it is served, without a slash at its end; empty for `/`. It is no part of requests.
    prefix: String,
}

/// The reason why a web directory can't be served.
#[derive(Debug, thiserror::Error)]
pub enum WebRootError {
    /// The gateway's user has no permission to enter the directory.
    #[error(
        "the gateway's user may not enter the web directory: give it, or everybody, the right to (chmod o+rx)"
    )]
    Forbidden,
    /// The path leads to something else.
    #[error("the web directory is not a directory")]
    NotADirectory,
    /// Any other error.
    #[error("cannot open the web directory: {0}")]
    Failed(std::io::Error),
}

impl From<Errno> for WebRootError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EACCES => Self::Forbidden,
            Errno::ENOTDIR => Self::NotADirectory,
            errno => Self::Failed(errno.into()),
        }
    }
}

impl WebRoot {
    /// Serves `directory`. With `listing`, a directory without an index is answered with a listing, as in the
    /// original without `--file-only`. `prefix` is the path beneath which the directory is served, for links; it is empty
    /// or has no slash at its end.
    ///
    /// # Errors
    /// Fails if a lookup in the directory fails. Called within the sandbox, this verifies that the sandbox
    /// allows lookups.
    pub fn new(directory: Beneath, listing: bool, prefix: &str) -> Result<Self, WebRootError> {
        Ok(Self { files: Files::new(directory)?, listing, prefix: prefix.to_owned() })
    }

    /// Responds to a request. Waits for nothing but the disk. `shown` is its path as it may be logged.
    pub fn respond<B>(&self, request: &Request<B>, shown: &str) -> Response<Body> {
        let mut response = match *request.method() {
            Method::GET | Method::HEAD => self.find(request).unwrap_or_else(|error| {
                if let WebError::Busy(_) | WebError::Failed(_) | WebError::Forbidden = error {
                    tracing::warn!("{shown:?}: {error}");
                }
                error.to_response()
            }),
            _ => method_not_allowed(),
        };
        if request.method() == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        response
    }

    fn find<B>(&self, request: &Request<B>) -> Result<Response<Body>, WebError> {
        let path = RequestPath::parse(request.uri().path())?;
        if path.names_directory {
            return self.directory(request, &path);
        }
        match self.files.open(&path.relative())? {
            Entry::File(file, stat) => Ok(file::send(request, path.name(), file, &stat)),
            Entry::Directory(_) => self.redirect(request, StatusCode::MOVED_PERMANENTLY, &(path.url() + "/")),
        }
    }

    /// Responds with a directory's index, its listing, or noVNC's page, in this order.
    fn directory<B>(&self, request: &Request<B>, path: &RequestPath) -> Result<Response<Body>, WebError> {
        for index in INDEXES {
            if let Some((file, stat)) = self.file(&path.join(index))? {
                return Ok(file::send(request, index.as_bytes(), file, &stat));
            }
        }
        if self.listing {
            match self.files.open(&path.relative())? {
                Entry::Directory(directory) => return Ok(listing::list(path, directory, &self.prefix)?),
                Entry::File(..) => return Err(WebError::NotFound),
            }
        }
        let novnc = path.join(NOVNC);
        if path.is_root() && self.file(&novnc)?.is_some() {
            return self.redirect(request, StatusCode::FOUND, &novnc.url());
        }
        self.files.find_directory(&path.relative())?;
        Err(WebError::NotListed)
    }

    /// Opens the file at `path`, if there is one.
    fn file(&self, path: &RequestPath) -> Result<Option<(File, Stat)>, WebError> {
        match self.files.open(&path.relative()) {
            Ok(Entry::File(file, stat)) => Ok(Some((file, stat))),
            Ok(Entry::Directory(_)) | Err(WebError::NotFound | WebError::LeadsOut) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Redirects the client to another path in the directory, with the same query.
    fn redirect<B>(
        &self,
        request: &Request<B>,
        status: StatusCode,
        url: &str,
    ) -> Result<Response<Body>, WebError> {
        redirect(request, status, &format!("{}{url}", self.prefix)).ok_or(WebError::Malformed)
    }
}

/// Redirects the client to another path on this server, with the same query; `None` if that can't be written.
pub(super) fn redirect<B>(request: &Request<B>, status: StatusCode, url: &str) -> Option<Response<Body>> {
    let location = match request.uri().query() {
        Some(query) => format!("{url}?{query}"),
        None => url.to_owned(),
    };
    let mut response = response(status, Body::empty());
    response.headers_mut().insert(header::LOCATION, HeaderValue::try_from(location).ok()?);
    Some(response)
}

fn method_not_allowed() -> Response<Body> {
    let mut response = error_page(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}
