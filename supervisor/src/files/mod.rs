//! Files that roles depend on and only the supervisor can read.

pub(crate) mod certificate;
pub(crate) mod recordings;
pub(crate) mod sockets;
pub(crate) mod stamp;
pub(crate) mod tokens;
pub(crate) mod unreadable;
pub(crate) mod users;
pub(crate) mod web_root;
