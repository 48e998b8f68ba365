//! The keys of the file, as written. What each means and its default stands at [`crate::config::Config`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::value::{AuthTables, Listeners, Mode, Port, TargetTlsValue, Value};
use crate::addr::{ListenAddr, TargetAddr};
use crate::config::token::TokenRefusal;
use crate::config::{Ciphers, Sandbox, SyslogServer, TextMessages, TlsVersion, Workers, WrapMode};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Keys {
    pub(super) listen: Option<Spanned<Listeners>>,
    pub(super) listen_mode: Option<Value<Mode>>,
    pub(super) inetd: bool,
    pub(super) prefer_ipv6: bool,
    pub(super) demo: bool,
    pub(super) target: Option<Spanned<Value<TargetAddr>>>,
    pub(super) target_tls: Option<Spanned<TargetTlsValue>>,
    pub(super) token: Option<Spanned<TokenKeys>>,
    pub(super) workers: Option<Value<Workers>>,
    pub(super) user: Option<Value<String>>,
    pub(super) sandbox: Option<Value<Sandbox>>,
    pub(super) heartbeat: Option<Value<Option<Duration>>>,
    pub(super) record: Option<Value<PathBuf>>,
    pub(super) run_once: bool,
    pub(super) timeout: Option<Value<Option<Duration>>>,
    pub(super) idle_timeout: Option<Value<Option<Duration>>>,
    pub(super) text: Option<Value<TextMessages>>,
    pub(super) verbose: bool,
    pub(super) web: Option<Spanned<WebKeys>>,
    pub(super) auth: Option<AuthTables>,
    pub(super) tls: Option<TlsKeys>,
    pub(super) wrap: Option<Spanned<WrapKeys>>,
    pub(super) timeouts: TimeoutKeys,
    pub(super) limits: LimitKeys,
    pub(super) metrics: Option<MetricsKeys>,
    pub(super) log: LogKeys,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct TargetTlsKeys {
    pub(super) ca_file: Option<Value<PathBuf>>,
    pub(super) server_name: Option<Value<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TokenKeys {
    pub(super) plugin: Spanned<Value<String>>,
    pub(super) source: Option<Value<PathBuf>>,
    pub(super) source_file: Option<Spanned<Value<PathBuf>>>,
    #[serde(default)]
    pub(super) host: bool,
    pub(super) refusal: Option<Value<TokenRefusal>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct WebKeys {
    pub(super) root: Value<PathBuf>,
    #[serde(default)]
    pub(super) listing: bool,
    pub(super) auth: Option<Spanned<bool>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AuthKeys {
    pub(super) plugin: Spanned<Value<String>>,
    pub(super) source: Option<Spanned<Value<String>>>,
    pub(super) source_file: Option<Spanned<Value<PathBuf>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TlsKeys {
    pub(super) certificate: Value<PathBuf>,
    pub(super) key: Option<Value<PathBuf>>,
    pub(super) key_password_file: Option<Spanned<Value<PathBuf>>>,
    #[serde(default)]
    pub(super) required: bool,
    pub(super) minimum_version: Option<Value<TlsVersion>>,
    pub(super) ciphers: Option<Value<Ciphers>>,
    #[serde(default)]
    pub(super) verify_client: bool,
    pub(super) client_ca: Option<Spanned<Value<PathBuf>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct WrapKeys {
    pub(super) command: Spanned<Vec<String>>,
    pub(super) mode: Option<Value<WrapMode>>,
    pub(super) port: Option<Value<Port>>,
    pub(super) user: Option<Value<String>>,
    pub(super) environment: Option<Spanned<BTreeMap<String, String>>>,
    pub(super) directory: Option<Value<PathBuf>>,
    pub(super) start_timeout: Option<Value<Duration>>,
    #[serde(default)]
    pub(super) private_network: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct TimeoutKeys {
    pub(super) first_byte: Option<Value<Duration>>,
    pub(super) tls_handshake: Option<Value<Duration>>,
    pub(super) request_head: Option<Value<Duration>>,
    pub(super) connect: Option<Value<Duration>>,
    pub(super) close_handshake: Option<Value<Duration>>,
    pub(super) idle: Option<Value<Option<Duration>>>,
    pub(super) stop: Option<Value<Duration>>,
    pub(super) drain: Option<Value<Option<Duration>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct LimitKeys {
    pub(super) connections: Option<Value<u32>>,
    pub(super) keep_alive_requests: Option<Value<u32>>,
    pub(super) generations: Option<Value<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct MetricsKeys {
    pub(super) listen: Value<ListenAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct LogKeys {
    pub(super) file: Option<Value<PathBuf>>,
    pub(super) syslog: Option<Value<SyslogServer>>,
    pub(super) legacy_syslog: Option<Spanned<bool>>,
    pub(super) traffic: bool,
}
