//! What knows the target of a token: one file for each kind.
//!
//! A plugin is asked once for each client that asks for a WebSocket. What it says counts; what it can't say
//! costs that client alone. Tokens are never logged.

mod address;
mod socket_directory;
mod table;

use common::ipc::setup::{TokenFiles, TokenLookup};

use super::target::Target;
use socket_directory::SocketDirectory;
use table::Table;

/// What knows the target of a token.
#[derive(Debug)]
pub(super) enum Plugin {
    /// `TokenFile`, `ReadOnlyTokenFile` and `TokenFileName`.
    Table(Table),
    /// `UnixDomainSocketDirectory`.
    SocketDirectory(SocketDirectory),
}

/// Why a token leads to no target.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// Nothing is known of it: the client's fault. In the words of the original, but for the token.
    #[error("Token '…' not found")]
    NotFound,
    /// The plugin can't say, or what it says makes no sense: ours, or the administrator's.
    #[error("cannot look up the target of a token: {0}")]
    Failed(String),
}

impl Plugin {
    /// The plugin of a setup.
    pub(super) fn new(lookup: &TokenLookup) -> Self {
        match lookup {
            TokenLookup::Lines => Self::Table(Table::of_lines()),
            TokenLookup::FileNames => Self::Table(Table::of_file_names()),
            TokenLookup::SocketDirectory(path) => Self::SocketDirectory(SocketDirectory::new(path)),
        }
    }

    /// Takes what the files of tokens hold now.
    pub(super) fn take_files(&self, files: TokenFiles) {
        if let Self::Table(table) = self {
            table.fill(files);
        }
    }

    /// The target of a token.
    ///
    /// # Errors
    ///
    /// Why there is none.
    #[allow(clippy::unused_async, reason = "files need no waiting, others will")]
    pub(super) async fn lookup(&self, token: &str) -> Result<Target, LookupError> {
        match self {
            Self::Table(table) => table.lookup(token),
            Self::SocketDirectory(folder) => folder.lookup(token),
        }
    }
}
