//! Checks of a valid configuration against the machine: missing files, directories and users. Certificates
//! and keys are checked as files only.

mod shared_keys;
mod token_tables;
mod wrap;

use std::borrow::Cow;
use std::env;
use std::fmt;
use std::fs::{self, File};
use std::path::Path;

use super::auth::AuthPlugin;
use super::ciphers::Ciphers;
use super::external_plugin::ExternalPlugin;
use super::listen::Listener;
use super::log::SyslogServer;
use super::path::read_bytes;
use super::site::OriginPattern;
use super::tls::{DEFAULT_CERTIFICATE, Tls};
use super::token::{TokenPlugin, Tokens};
use super::top::{Config, Metrics, Target};
use crate::addr::{ListenAddr, TargetAddr};
use crate::htpasswd::{MAX_FILE_BYTES, Users};
use crate::user::{self, Account};

/// Maximum length of a unix socket's path in bytes: `sun_path` of unix(7) without its terminating zero.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// A finding of [`Config::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the finding is an error or a warning.
    pub severity: Severity,
    /// The key with its table, such as `web.root`.
    pub key: &'static str,
    /// The error.
    pub text: String,
    /// Advice to the user.
    pub help: Cow<'static, str>,
}

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The instance works as intended, but that may not be what clients expect. Only `--check` tells.
    Note,
    /// The instance works, but perhaps not as intended.
    Warning,
    /// The instance can't work.
    Error,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {}: {}\nhelp: {}", self.key, self.text, self.help)
    }
}

impl Config {
    /// Checks the files, directories and users that the configuration names. Nothing is changed, and no host
    /// name is resolved. The result is valid for the calling user and the moment of the call.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let mut found = Problems(Vec::new());
        found.listeners(&self.listen);
        for (key, _, address) in self.metrics.iter().flat_map(Metrics::listeners) {
            found.of_exporter(key, address, &self.listen);
        }
        match self.target() {
            Target::Static(TargetAddr::Unix(path)) => found.socket_path("target", path),
            Target::Tokens(tokens) => found.tokens(tokens, self.record.is_some()),
            Target::Static(TargetAddr::Tcp { .. }) | Target::Demo | Target::Wrapped(_) => {}
        }
        if let Some((path, is_own)) = self.link_keys() {
            found.link_keys(&path, is_own);
        }
        if let Some(path) = self.token_hash_keys() {
            found.keys("token.hash-keys", path, Severity::Error, "find short tokens by their hashes");
        }
        if let Some(wrap) = self.program() {
            found.wrap(wrap, matches!(self.target(), Target::Wrapped(_)));
        }
        if let Some(path) = self.target_tls.as_ref().and_then(|tls| tls.ca_file.as_deref()) {
            found.file("target-tls.ca-file", path, Severity::Error);
        }
        if let Some(path) = self.users_file() {
            found.users(path);
        }
        if let Some(user) = &self.user {
            found.user("user", user);
        }
        for auth in &self.auth {
            if let AuthPlugin::External { plugin: ExternalPlugin::Program(path), .. } = &auth.plugin {
                found.file("auth.plugin", path, Severity::Warning);
            }
        }
        match self.web_root() {
            Some((root, _)) => found.directory("web.root", root, Severity::Error),
            None if !self.demo => found.pages_from_elsewhere(self.origins()),
            None => {}
        }
        if let Some(tls) = &self.tls {
            found.tls(tls);
        }
        if let Some(path) = &self.record {
            found.parent("record", path, "the recordings");
        }
        if let Some(path) = &self.log.file {
            found.parent("log.file", path, "the log file");
        }
        if let Some(SyslogServer::Unix(path)) = &self.log.syslog {
            found.socket_path("log.syslog", path);
            if !path.exists() {
                let text = format!("{} does not exist yet", path.display());
                found.add(Severity::Warning, "log.syslog", text, "start the syslog server, or name another");
            }
        }
        found.0
    }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(
        &mut self,
        severity: Severity,
        key: &'static str,
        text: String,
        help: impl Into<Cow<'static, str>>,
    ) {
        self.0.push(Problem { severity, key, text, help: help.into() });
    }

    fn listeners(&mut self, listeners: &[Listener]) {
        for (index, listener) in listeners.iter().enumerate() {
            if listeners[..index].iter().any(|other| other.address == listener.address)
                && !is_any_port(listener)
            {
                self.add(
                    Severity::Error,
                    "listen",
                    format!("{listener} is listed twice"),
                    "list each address once",
                );
            }
            if let ListenAddr::Unix(path) = &listener.address {
                self.socket_path("listen", path);
                self.parent("listen", path, "the socket");
            }
        }
    }

    /// Checks a listener of the exporter.
    fn of_exporter(&mut self, key: &'static str, address: &ListenAddr, listeners: &[Listener]) {
        if listeners.iter().any(|listener| listener.address == *address) && !is_any_port(address) {
            self.add(
                Severity::Error,
                key,
                format!("{address} is a listener of clients"),
                "give it a port of its own, such as \"127.0.0.1:9100\"",
            );
        }
        if let ListenAddr::Unix(path) = address {
            self.socket_path(key, path);
            self.parent(key, path, "the socket");
        }
    }

    /// Checks the parent directory of a file that the service creates.
    fn parent(&mut self, key: &'static str, path: &Path, what: &str) {
        let parent = path.parent().unwrap_or(Path::new("/"));
        if !parent.is_dir() {
            self.add(
                Severity::Error,
                key,
                format!("there is no directory {} for {what}", parent.display()),
                "create the directory, or name another path",
            );
        }
    }

    /// Pages that are not served here must have the origin of the host they ask for, or be listed.
    fn pages_from_elsewhere(&mut self, listed: Option<&[OriginPattern]>) {
        if listed.is_some_and(<[_]>::is_empty) {
            let text = "without `root` pages come from elsewhere, and only those of the host that a session asks for \
                        may open it";
            let help = "list the other ones, such as origins = [\"https://portal.example.com\"] in [web]";
            self.add(Severity::Note, "web.origins", text.to_owned(), help);
        }
    }

    fn socket_path(&mut self, key: &'static str, path: &Path) {
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_PATH_BYTES {
            self.add(
                Severity::Error,
                key,
                format!("the socket's path is {length} bytes long, more than {MAX_SOCKET_PATH_BYTES}"),
                "name a shorter path",
            );
        }
    }

    /// A missing token file or directory of sockets is a warning: it may be created later, as in the
    /// original. Until then clients are refused.
    fn tokens(&mut self, tokens: &Tokens, are_recorded: bool) {
        const KEY: &str = "token.source";
        match &tokens.plugin {
            TokenPlugin::File(path) | TokenPlugin::ReadOnlyFile(path) if path.is_dir() => {
                self.directory(KEY, path, Severity::Warning);
            }
            TokenPlugin::File(path) | TokenPlugin::ReadOnlyFile(path) => {
                self.file(KEY, path, Severity::Warning);
            }
            TokenPlugin::Table(path) => self.token_tables(KEY, path, tokens, are_recorded),
            TokenPlugin::FileName(path) => self.directory(KEY, path, Severity::Error),
            TokenPlugin::SocketDirectory(path) => self.directory(KEY, path, Severity::Warning),
            TokenPlugin::Jwt(path) => self.file(KEY, path, Severity::Warning),
            TokenPlugin::SignedLink(_) => {}
            TokenPlugin::External { plugin: ExternalPlugin::Program(path), .. } => {
                self.file("token.plugin", path, Severity::Warning);
            }
            TokenPlugin::TextApi(_)
            | TokenPlugin::JsonApi(_)
            | TokenPlugin::Redis(_)
            | TokenPlugin::External { .. } => {}
        }
    }

    fn file(&mut self, key: &'static str, path: &Path, severity: Severity) {
        if is_credential_of_another(path) {
            return;
        }
        let readable = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err("is a directory".to_owned()),
            // Opening a FIFO would block.
            Ok(metadata) if metadata.is_file() => {
                File::open(path).map(drop).map_err(|error| format!("can't be opened: {error}"))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(format!("can't be opened: {error}")),
        };
        if let Err(problem) = readable {
            let text = format!("{} {problem}", path.display());
            self.add(severity, key, text, "name a file that can be read");
        }
    }

    /// A missing file of users is a warning like a missing token file, and so is a line of it that can't be used.
    fn users(&mut self, path: &Path) {
        const KEY: &str = "auth.users-file";
        // Opening a FIFO would block.
        if !path.is_file() {
            return self.file(KEY, path, Severity::Warning);
        }
        let content = match read_bytes(path, MAX_FILE_BYTES) {
            Ok(content) => content,
            Err(problem) => {
                let text = format!("{} {problem}", path.display());
                return self.add(Severity::Warning, KEY, text, "name a file that can be read");
            }
        };
        let (_, bad) = Users::parse(&content);
        for line in bad {
            let text = format!("{} {line}", path.display());
            self.add(Severity::Warning, KEY, text, "the users of other lines can log in");
        }
    }

    fn directory(&mut self, key: &'static str, path: &Path, severity: Severity) {
        if let Err(error) = fs::read_dir(path) {
            let text = format!("{} can't be opened as a directory: {error}", path.display());
            self.add(severity, key, text, "name a directory that can be read");
        }
    }

    fn user(&mut self, key: &'static str, name: &str) -> Option<Account> {
        let name_shown = name.escape_debug();
        let text = match user::find(name) {
            Ok(Some(user)) => return Some(user),
            Ok(None) => format!("there is no user '{name_shown}'"),
            Err(error) => format!("can't look up user '{name_shown}': {error}"),
        };
        self.add(Severity::Error, key, text, "create the user, or name another one");
        None
    }

    /// A missing certificate is a warning unless TLS is required: it may be created later, as in the
    /// original. Until then TLS connections are rejected.
    fn tls(&mut self, tls: &Tls) {
        let required = tls.is_required();
        let severity = if required { Severity::Error } else { Severity::Warning };
        // The default of the command line, which need not exist.
        let unnamed = tls.certificate.ends_with(DEFAULT_CERTIFICATE) && !tls.certificate.exists();
        if required || !unnamed {
            self.file("tls.certificate", &tls.certificate, severity);
        }
        if let Some(key) = &tls.key {
            self.file("tls.key", key, severity);
        }
        if let Some(path) = &tls.session_ticket_keys {
            self.keys("tls.session-ticket-keys", path, Severity::Error, "open session tickets with it");
        }
        if let Some(remark) = tls.ciphers.as_ref().and_then(Ciphers::remark) {
            self.add(Severity::Warning, "tls.ciphers", remark, "leave these names out");
        }
        if let Some(path) = &tls.client_ca {
            self.file("tls.client-ca", path, Severity::Error);
        }
    }
}

/// Whether the path is a credential of another service. systemd shows credentials only to the service that
/// they belong to (systemd.exec(5)), so that a check before the start can't see them.
fn is_credential_of_another(path: &Path) -> bool {
    let own = env::var_os("CREDENTIALS_DIRECTORY");
    path.starts_with("/run/credentials") && own.is_none_or(|own| !path.starts_with(own))
}

fn is_any_port(listener: &ListenAddr) -> bool {
    matches!(listener, ListenAddr::Tcp { port: 0, .. })
}
