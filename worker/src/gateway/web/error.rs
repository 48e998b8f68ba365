//! Errors of requests for files, and their responses.

use std::io;

use hyper::ext::ReasonPhrase;
use hyper::http::HeaderValue;
use hyper::{Response, StatusCode, header};
use nix::errno::Errno;

use crate::gateway::http::body::Body;
use crate::gateway::http::error_page::{error_page, error_page_because};

/// Reason phrase of Python's HTTP server.
const FILE_NOT_FOUND: ReasonPhrase = ReasonPhrase::from_static(b"File not found");

/// The reason why a request for a file is rejected. `LeadsOut`, `Forbidden`, `Busy` and `Failed` are logged,
/// as only an administrator can mend them.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebError {
    /// The request target is not a path.
    #[error("malformed path")]
    Malformed,
    /// The file does not exist, or is of a kind that is not served, such as a device.
    #[error("no such file")]
    NotFound,
    /// A symbolic link leads out of the web directory.
    #[error("not served: a symbolic link leads out of the web directory")]
    LeadsOut,
    /// The directory has no index, and listings are disabled.
    #[error("directories are not listed")]
    NotListed,
    /// The gateway's user has no permission to read the file.
    #[error("not served: the user of this process cannot read it (chmod o+r)")]
    Forbidden,
    /// Out of descriptors or memory. A later attempt may succeed.
    #[error("cannot open a file of the web directory for now: {0}")]
    Busy(io::Error),
    /// An I/O error, or an error in the installation.
    #[error("cannot read the web directory: {0}")]
    Failed(io::Error),
}

impl From<Errno> for WebError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EXDEV => Self::LeadsOut,
            // ENXIO: the name leads to a socket.
            Errno::ENOENT
            | Errno::ENOTDIR
            | Errno::ELOOP
            | Errno::ENAMETOOLONG
            | Errno::ENXIO
            | Errno::ENODEV => Self::NotFound,
            Errno::EACCES | Errno::EPERM => Self::Forbidden,
            Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EAGAIN => Self::Busy(errno.into()),
            _ => Self::Failed(errno.into()),
        }
    }
}

impl WebError {
    /// Builds the response to the client.
    pub(super) fn to_response(&self) -> Response<Body> {
        match self {
            Self::Malformed => error_page(StatusCode::BAD_REQUEST),
            Self::NotFound | Self::LeadsOut => error_page_because(StatusCode::NOT_FOUND, FILE_NOT_FOUND),
            // Without a reason phrase of its own, as the original responds with --file-only.
            Self::NotListed => error_page(StatusCode::NOT_FOUND),
            Self::Forbidden => error_page(StatusCode::FORBIDDEN),
            Self::Busy(_) => {
                let mut response = error_page(StatusCode::SERVICE_UNAVAILABLE);
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                response
            }
            Self::Failed(_) => error_page(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_status() {
        for (errno, status) in [
            (Errno::ENOENT, 404),
            (Errno::EXDEV, 404),
            (Errno::ENAMETOOLONG, 404),
            (Errno::EACCES, 403),
            (Errno::EMFILE, 503),
            (Errno::ENFILE, 503),
            (Errno::ENOMEM, 503),
            (Errno::EIO, 500),
            (Errno::ENOSYS, 500),
        ] {
            assert_eq!(WebError::from(errno).to_response().status(), status, "{errno}");
        }
    }

    #[test]
    fn a_shortage_is_answered_with_retry_after() {
        assert_eq!(WebError::from(Errno::EMFILE).to_response().headers()[header::RETRY_AFTER], "1");
    }
}
