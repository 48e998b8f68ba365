//! Writes a configuration as the TOML that says the same: reading it again gives the same
//! configuration, but for a pass phrase, which is never printed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::auth::{Auth, AuthPlugin};
use super::token::{TokenFrom, TokenRefusal, Tokens};
use super::{
    Config, DEFAULT_HEARTBEAT, DEFAULT_LISTEN_MODE, Lifetime, Limits, Log, Sandbox, Syslog, SyslogServer,
    Target, TargetTls, TextMessages, Timeouts, Tls, TlsVersion, Web, Workers, Wrap, WrapMode, duration,
};
use crate::addr::{ListenAddr, TargetAddr};

/// In place of a plugin's source that others should not see.
const HIDDEN_SOURCE: &str = "# The source is not printed, since there may be a password in it: put it into a file that only\n\
     # root can read, and name that file here.\n\
     #source-file = \"/path/to/file\"\n";

/// TOML is UTF-8, file names need not be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} can't be written in TOML: it is not UTF-8")]
pub struct NotUtf8(PathBuf);

/// Every key that has a value, those with their default value marked (`--dump`).
///
/// # Errors
/// If a path is not UTF-8.
pub fn dump(config: &Config) -> Result<String, NotUtf8> {
    Printer { out: String::new(), all: true }.config(config)
}

/// Only the keys that differ from their defaults in TOML (`--print-config`).
///
/// # Errors
/// If a path is not UTF-8.
pub fn print_config(config: &Config) -> Result<String, NotUtf8> {
    Printer { out: String::new(), all: false }.config(config)
}

struct Printer {
    out: String,
    /// Print what has its default value as well.
    all: bool,
}

impl Printer {
    fn config(mut self, config: &Config) -> Result<String, NotUtf8> {
        self.listen(config)?;
        match &config.target {
            Target::Static(addr) => self.key("target", target_text(addr)?, false),
            Target::Tokens(_) => {}
            Target::Demo => self.key("demo", true, false),
            Target::Wrapped(_) => {}
        }
        let workers = match config.workers {
            Workers::Auto => toml::Value::from("auto"),
            Workers::Fixed(number) => i64::from(number).into(),
        };
        self.key("workers", workers, config.workers == Workers::Auto);
        if let Some(user) = &config.user {
            self.key("user", user.as_str(), false);
        }
        self.key("sandbox", config.sandbox.as_str(), config.sandbox == Sandbox::default());
        self.key("heartbeat", or_off(config.heartbeat), config.heartbeat == Some(DEFAULT_HEARTBEAT));
        if let Some(path) = &config.record {
            self.key("record", path_text(path)?, false);
        }
        let Lifetime { run_once, timeout, idle_timeout } = config.lifetime;
        self.flag("run-once", run_once);
        self.key("timeout", or_off(timeout), timeout.is_none());
        self.key("idle-timeout", or_off(idle_timeout), idle_timeout.is_none());
        let text = match config.text {
            TextMessages::Refuse => "refuse",
            TextMessages::Accept => "accept",
        };
        self.key("text", text, config.text == TextMessages::default());
        self.flag("verbose", config.verbose);
        match &config.target_tls {
            None => self.key("target-tls", false, true),
            Some(tls) if *tls == TargetTls::default() => self.key("target-tls", true, false),
            Some(tls) => self.target_tls(tls)?,
        }
        if let Target::Tokens(tokens) = &config.target {
            self.tokens(tokens)?;
        }
        if let Some(Web::Files { root, listing }) = &config.web {
            self.table("web");
            self.key("root", path_text(root)?, false);
            self.flag("listing", *listing);
            self.flag("auth", config.web_auth);
        }
        for auth in &config.auth {
            self.auth(auth, config.auth.len() > 1)?;
        }
        if let Some(tls) = &config.tls {
            self.tls(tls)?;
        }
        if let Target::Wrapped(wrap) = &config.target {
            self.wrap(wrap)?;
        }
        self.timeouts(&config.timeouts);
        self.limits(&config.limits);
        if let Some(metrics) = &config.metrics {
            self.table("metrics");
            self.key("listen", listen_text(&metrics.listen)?, false);
        }
        self.log(&config.log)?;
        Ok(self.out)
    }

    fn listen(&mut self, config: &Config) -> Result<(), NotUtf8> {
        let mut texts = config.listen.iter().map(listen_text).collect::<Result<Vec<_>, _>>()?;
        match (texts.pop(), texts.is_empty()) {
            (None, _) => {}
            (Some(only), true) => self.key("listen", only, false),
            (Some(last), false) => {
                texts.push(last);
                self.key("listen", texts, false);
            }
        }
        let mode = format!("{:04o}", config.listen_mode);
        self.key("listen-mode", mode, config.listen_mode == DEFAULT_LISTEN_MODE);
        self.flag("inetd", config.inetd);
        self.flag("prefer-ipv6", config.prefer_ipv6);
        Ok(())
    }

    fn target_tls(&mut self, tls: &TargetTls) -> Result<(), NotUtf8> {
        self.table("target-tls");
        if let Some(path) = &tls.ca_file {
            self.key("ca-file", path_text(path)?, false);
        }
        if let Some(name) = &tls.server_name {
            self.key("server-name", name.as_str(), false);
        }
        Ok(())
    }

    fn tokens(&mut self, tokens: &Tokens) -> Result<(), NotUtf8> {
        self.table("token");
        self.key("plugin", tokens.plugin.name().as_ref(), false);
        if tokens.plugin.has_secret_source() {
            self.out.push_str(HIDDEN_SOURCE);
        } else if let Some(source) = tokens.plugin.source() {
            self.key("source", path_text(Path::new(source))?, false);
        }
        self.flag("host", tokens.from == TokenFrom::Host);
        self.key("refusal", tokens.refusal.as_str(), tokens.refusal == TokenRefusal::default());
        Ok(())
    }

    fn auth(&mut self, auth: &Auth, is_one_of_many: bool) -> Result<(), NotUtf8> {
        self.table(if is_one_of_many { "[auth]" } else { "auth" });
        self.key("plugin", auth.plugin.name().as_ref(), false);
        match (&auth.source_file, auth.plugin.public_source(), &auth.plugin) {
            (Some(path), ..) => self.key("source-file", path_text(path)?, false),
            (None, Some(source), _) => self.key("source", source, false),
            (None, None, AuthPlugin::Own { source: None, .. }) => {}
            (None, None, AuthPlugin::Own { .. }) => self.out.push_str(HIDDEN_SOURCE),
            (None, None, _) => self.out.push_str(
                "# The password is not printed: put user:password into a file that only root can read, and\n\
                 # name that file here.\n\
                 source-file = \"/path/to/file\"\n",
            ),
        }
        Ok(())
    }

    fn tls(&mut self, tls: &Tls) -> Result<(), NotUtf8> {
        self.table("tls");
        self.key("certificate", path_text(&tls.certificate)?, false);
        if let Some(path) = &tls.key {
            self.key("key", path_text(path)?, false);
        }
        if tls.key_password.is_some() {
            self.out.push_str(
                "# The key's pass phrase is not printed: put it into a file that only root can read, and\n\
                 # name that file here.\n\
                 #key-password-file = \"/path/to/file\"\n",
            );
        }
        self.flag("required", tls.required);
        let version = match tls.minimum_version {
            TlsVersion::V1_2 => "1.2",
            TlsVersion::V1_3 => "1.3",
        };
        self.key("minimum-version", version, tls.minimum_version == TlsVersion::default());
        if let Some(ciphers) = &tls.ciphers {
            self.key("ciphers", ciphers.as_str(), false);
        }
        self.flag("verify-client", tls.verify_client);
        if let Some(path) = &tls.client_ca {
            self.key("client-ca", path_text(path)?, false);
        }
        Ok(())
    }

    fn wrap(&mut self, wrap: &Wrap) -> Result<(), NotUtf8> {
        let default = Wrap::new(Vec::new());
        self.table("wrap");
        let words = wrap.command.iter().map(|word| path_text(Path::new(word)));
        self.key("command", words.collect::<Result<Vec<_>, _>>()?, false);
        self.key("mode", wrap.mode.as_str(), wrap.mode == WrapMode::default());
        if let Some(port) = wrap.port {
            self.key("port", i64::from(port), false);
        }
        if let Some(user) = &wrap.user {
            self.key("user", user.as_str(), false);
        }
        if let Some(path) = &wrap.directory {
            self.key("directory", path_text(path)?, false);
        }
        let start_timeout = wrap.start_timeout;
        self.key("start-timeout", duration::format(start_timeout), start_timeout == default.start_timeout);
        self.key("private-network", wrap.private_network, !wrap.private_network);
        if !wrap.environment.is_empty() {
            self.table("wrap.environment");
            for (name, value) in &wrap.environment {
                let line = toml::Table::from_iter([(name.clone(), value.as_str().into())]);
                self.out.push_str(&line.to_string());
            }
        }
        Ok(())
    }

    fn timeouts(&mut self, timeouts: &Timeouts) {
        let default = Timeouts::default();
        if !self.all && *timeouts == default {
            return;
        }
        self.table("timeouts");
        let deadlines = [
            ("first-byte", timeouts.first_byte, default.first_byte),
            ("tls-handshake", timeouts.tls_handshake, default.tls_handshake),
            ("request-head", timeouts.request_head, default.request_head),
            ("connect", timeouts.connect, default.connect),
            ("close-handshake", timeouts.close_handshake, default.close_handshake),
            ("stop", timeouts.stop, default.stop),
        ];
        for (name, value, default) in deadlines {
            self.key(name, duration::format(value), value == default);
        }
        self.key("idle", or_off(timeouts.idle), timeouts.idle == default.idle);
        self.key("drain", or_off(timeouts.drain), timeouts.drain == default.drain);
    }

    fn limits(&mut self, limits: &Limits) {
        let default = Limits::default();
        if !self.all && *limits == default {
            return;
        }
        self.table("limits");
        if let Some(connections) = limits.connections {
            self.key("connections", i64::from(connections), false);
        }
        let requests = limits.keep_alive_requests;
        self.key("keep-alive-requests", i64::from(requests), requests == default.keep_alive_requests);
        let generations = limits.generations;
        self.key("generations", i64::from(generations), generations == default.generations);
    }

    fn log(&mut self, log: &Log) -> Result<(), NotUtf8> {
        if *log == Log::default() {
            return Ok(());
        }
        self.table("log");
        if let Some(path) = &log.file {
            self.key("file", path_text(path)?, false);
        }
        if let Some(Syslog { server, legacy }) = &log.syslog {
            let server = match server {
                SyslogServer::Unix(path) => path_text(path)?,
                udp @ SyslogServer::Udp { .. } => udp.to_string(),
            };
            self.key("syslog", server, false);
            self.flag("legacy-syslog", *legacy);
        }
        self.flag("traffic", log.traffic);
        Ok(())
    }

    fn table(&mut self, name: &str) {
        self.out.push_str(&format!("\n[{name}]\n"));
    }

    /// A key that is `false` by default.
    fn flag(&mut self, name: &str, value: bool) {
        self.key(name, value, !value);
    }

    fn key(&mut self, name: &str, value: impl Into<toml::Value>, is_default: bool) {
        let value = value.into();
        match (is_default, self.all) {
            (false, _) => self.out.push_str(&format!("{name} = {value}\n")),
            (true, true) => self.out.push_str(&format!("{name} = {value}  # default\n")),
            (true, false) => {}
        }
    }
}

fn or_off(duration: Option<Duration>) -> String {
    duration.map_or("off".to_owned(), duration::format)
}

fn path_text(path: &Path) -> Result<String, NotUtf8> {
    path.to_str().map(str::to_owned).ok_or_else(|| NotUtf8(path.to_owned()))
}

fn listen_text(addr: &ListenAddr) -> Result<String, NotUtf8> {
    match addr {
        ListenAddr::Tcp { host: None, port } => Ok(port.to_string()),
        ListenAddr::Tcp { .. } => Ok(addr.to_string()),
        ListenAddr::Unix(path) => Ok(format!("unix:{}", path_text(path)?)),
    }
}

fn target_text(addr: &TargetAddr) -> Result<String, NotUtf8> {
    match addr {
        TargetAddr::Tcp { .. } => Ok(addr.to_string()),
        TargetAddr::Unix(path) => Ok(format!("unix:{}", path_text(path)?)),
    }
}
