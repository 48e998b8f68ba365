//! The configuration of one instance, whether it came from the command line of the original or from a TOML file.
//!
//! Each table of the file is a struct, and each key is declared there once: its name, type, default and help, and its
//! option if it has one. Reading and printing the file (`file`, `print`), the command line and its `--help` (`cli`),
//! and the documents (`tests/generate.rs`) follow from these declarations. `rules` has what one key says about
//! another, `check` what depends on the machine.

pub mod auth;
pub mod check;
mod ciphers;
pub mod cli;
mod duration;
pub mod external_plugin;
pub mod file;
pub mod http_url;
mod log;
mod option;
pub(crate) mod path;
pub mod plugin;
pub mod print;
pub mod redis;
mod rules;
mod secret;
mod similar;
#[cfg(test)]
mod tests;
mod timeouts;
mod tls;
pub mod token;
mod top;
pub(crate) mod value;
mod web;
mod wrap;

pub use ciphers::{Ciphers, SuiteNumber};
pub use log::{Log, SyslogServer};
pub use option::OptionError;
pub use path::FilePath;
pub use secret::{Secret, SecretFile};
pub use timeouts::{Limits, Timeouts};
pub use tls::{TargetTls, Tls, TlsVersion};
pub use top::{Config, Lifetime, MAX_WORKERS, Metrics, Sandbox, Target, TextMessages, Workers};
pub use value::Name;
pub use web::Web;
pub use wrap::{Wrap, WrapMode};
