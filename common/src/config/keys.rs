//! Which key of TOML says the same as which option of the command line.

/// Each option of the command line with its key. The address arguments are `listen` and `target`.
pub(super) const OPTION_KEYS: &[(&str, &str)] = &[
    ("unix-listen", "listen"),
    ("unix-listen-mode", "listen-mode"),
    ("inetd", "inetd"),
    ("prefer-ipv6", "prefer-ipv6"),
    ("unix-target", "target"),
    ("ssl-target", "target-tls"),
    ("token-plugin", "token.plugin"),
    ("token-source", "token.source"),
    ("target-config", "token.source"),
    ("host-token", "token.host"),
    ("demo", "demo"),
    ("workers", "workers"),
    ("user", "user"),
    ("sandbox", "sandbox"),
    ("wrap-mode", "wrap.mode"),
    ("heartbeat", "heartbeat"),
    ("run-once", "run-once"),
    ("timeout", "timeout"),
    ("idle-timeout", "idle-timeout"),
    ("verbose", "verbose"),
    ("record", "record"),
    ("traffic", "log.traffic"),
    ("log-file", "log.file"),
    ("syslog", "log.syslog"),
    ("legacy-syslog", "log.legacy-syslog"),
    ("web", "web.root"),
    ("file-only", "web.listing"),
    ("web-auth", "web.auth"),
    ("auth-plugin", "auth.plugin"),
    ("auth-source", "auth.source"),
    ("cert", "tls.certificate"),
    ("key", "tls.key"),
    ("key-password", "tls.key-password-file"),
    ("ssl-only", "tls.required"),
    ("ssl-version", "tls.minimum-version"),
    ("ssl-ciphers", "tls.ciphers"),
    ("verify-client", "tls.verify-client"),
    ("cafile", "tls.client-ca"),
];

/// The key that says the same as `option`.
pub(super) fn key_of_option(option: &str) -> Option<&'static str> {
    OPTION_KEYS.iter().find(|(name, _)| *name == option).map(|(_, key)| *key)
}
