//! The configuration of one instance, from a command line like that of the original or from a TOML file.
//!
//! Each table of the file is a struct that declares its keys once: name, type, default, help text, and the
//! option if there is one. Parsing and printing the file (`file`, `print`), the command line and `--help`
//! (`cli`), and the documents (`tests/generate.rs`) follow from the declarations. `rules` checks keys against
//! each other, `check` against the machine.

pub mod auth;
pub mod carrier;
pub mod check;
mod ciphers;
pub mod cli;
pub mod duration;
pub mod external_plugin;
pub mod file;
pub mod http_url;
mod listen;
mod log;
mod option;
pub(crate) mod path;
mod per_source;
mod per_target;
pub mod plugin;
mod prefix;
pub mod print;
mod proxy;
pub mod redis;
mod rules;
mod secret;
pub(crate) mod similar;
pub mod site;
mod stop;
mod switch;
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
pub use listen::Listener;
pub use log::{Log, LogFormat, SyslogServer};
pub use option::OptionError;
pub use path::FilePath;
pub use per_source::{Penalties, PerSource};
pub use per_target::PerTarget;
pub use prefix::Prefix;
pub use proxy::{Proxy, ProxyHeader};
pub use secret::{Secret, SecretFile};
pub use stop::Stop;
pub use timeouts::{Limits, Timeouts};
pub use tls::{TargetTls, Tls, TlsVersion};
pub use top::{
    Config, Lifetime, MAX_WORKERS, Metrics, ProxyProtocol, Sandbox, Target, TextMessages, Workers,
};
pub use value::Name;
pub use web::Web;
pub use wrap::{Wrap, WrapMode};
