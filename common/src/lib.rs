//! Code that the roles of websockify share: the configuration, the messages between processes, and delicate
//! system calls.

pub mod addr;
pub mod certificate;
pub mod config;
pub mod control;
pub mod destinations;
pub mod errno;
pub mod executable;
pub mod exit_code;
pub mod fault;
pub mod htpasswd;
pub mod ipc;
pub mod json;
pub mod log;
pub mod networks;
pub mod pem;
pub mod role;
pub mod shared_keys;
pub mod sys;
pub mod ticket;
pub mod tokens;
pub mod user;
