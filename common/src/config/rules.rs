//! Rules about several keys. A value that is invalid by itself is rejected by its type.

use crate::addr::TargetAddr;

use super::auth::AuthPlugin;
use super::log::LogFormat;
use super::per_source::{Penalties, PerSource};
use super::per_target::PerTarget;
use super::timeouts::Limits;
use super::tls::Tls;
use super::top::{Config, ProxyProtocol, Target};

/// A violated rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    /// The offending key with its table, such as `web.auth`; `None` if a key is missing.
    pub(super) key: Option<&'static str>,
    /// The error.
    pub(super) text: String,
    /// Advice to the user.
    pub(super) help: &'static str,
}

/// Returns the first rule that `config` violates.
pub(super) fn conflict(config: &Config) -> Option<Conflict> {
    let Config { listen, inetd, target, token, wrap, demo, target_tls, web, auth, tls, limits, .. } = config;
    let Config { per_source, penalties, log, .. } = config;
    let at = |key, text: &str, help| Some(Conflict { key: Some(key), text: text.to_owned(), help });
    if let Some(wrap) = wrap {
        if wrap.command.first().is_none_or(|program| program.is_empty()) || wrap.command.iter().any(has_zero)
        {
            let help = "write the program and its arguments as a list: command = [\"vncserver\", \":1\"]";
            return at("wrap.command", "`command` names no program", help);
        }
        let is_wrong = |(name, value): &(&String, &String)| {
            name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
        };
        if let Some((name, _)) = wrap.environment.iter().find(is_wrong) {
            let text = format!("\"{}\" can't be set as an environment variable", name.escape_debug());
            let help = "a name must not be empty or contain `=`, and neither name nor value \
                        may contain a zero character";
            return at("wrap.environment", &text, help);
        }
    }
    if *inetd && !listen.is_empty() {
        let help = "with inetd the listening socket is standard input; leave one of the two out";
        return at("listen", "`listen` can't be used with `inetd`", help);
    }
    if log.traffic && log.format == LogFormat::Json {
        let help = "leave one of the two out: both write to standard output";
        return at("log.traffic", "`traffic` can't be used with the format \"json\"", help);
    }
    if listen.iter().any(|listener| listener.proxy_protocol) && config.proxy.trusted.is_empty() {
        let help = "add a table [proxy] with the networks of the proxies: trusted = \"10.1.0.0/16\"";
        return at("listen", "`proxy-protocol` can't be used without `proxy.trusted`", help);
    }
    let given = [("wrap", wrap.is_some()), ("target", target.is_some()), ("token", token.is_some())];
    let target_tls_in_use = target_tls.is_some();
    let has_root = web.as_ref().is_some_and(|web| web.root.is_some());
    for (key, is_given) in
        given.into_iter().chain([("target-tls", target_tls_in_use), ("web.root", has_root)])
    {
        if *demo && is_given {
            let help = "the demo brings its own page and target; leave one of the two out";
            return at(key, &format!("`{key}` can't be used with `demo`"), help);
        }
    }
    if *demo && config.target_proxy_protocol != ProxyProtocol::Off {
        let help = "the demo brings its own target; leave one of the two out";
        return at("target-proxy-protocol", "`target-proxy-protocol` can't be used with `demo`", help);
    }
    match given.map(|(_, is_given)| is_given) {
        [false, false, false] if !demo => {
            let text = "`target` is missing".to_owned();
            let help = "add the address to connect to at the top of the file, such as \
                        target = \"localhost:5900\", or a table [token] or [wrap]";
            return Some(Conflict { key: None, text, help });
        }
        [_, true, true] => {
            let help = "tokens lead to targets of their own; leave one of the two out";
            return at("target", "`target` can't be used with a table [token]", help);
        }
        _ => {}
    }
    if let (Some(wrap), false) = (wrap, matches!(config.target(), Target::Wrapped(_))) {
        for (key, name, is_given) in [
            ("wrap.port", "port", wrap.port.is_some()),
            ("wrap.private-network", "private-network", wrap.private_network),
        ] {
            if is_given {
                let help =
                    "beside a target or tokens the program is started unchanged; leave one of the two out";
                return at(key, &format!("`{name}` can't be used beside `target` or [token]"), help);
            }
        }
    }
    let has_name = |tls: &super::tls::TargetTls| tls.server_name.is_some();
    if let (Target::Static(TargetAddr::Unix(_)), Some(false)) =
        (config.target(), target_tls.as_ref().map(has_name))
    {
        let help = "add the name in the target's certificate: server-name = \"…\"";
        return at("target-tls", "`target-tls` needs `server-name` for a unix socket", help);
    }
    if let Some(web) = web.as_ref().filter(|web| web.root.is_none()) {
        let help = "add the directory of the files, such as root = \"/usr/share/novnc\"";
        for (key, name, is_given) in [("web.listing", "listing", web.listing), ("web.auth", "auth", web.auth)]
        {
            if is_given {
                return at(key, &format!("`{name}` has no effect without `root`"), help);
            }
        }
        if web.origins.is_empty() && web.prefix.is_none() && !demo {
            return at("web", "`root` is missing", "add a line `root = …` to this table");
        }
    }
    if config.asks_for_pages() && auth.is_empty() {
        let help = "add a table [auth] that says what clients must prove";
        return at("web.auth", "`auth` has no effect without a table [auth]", help);
    }
    if tls.as_ref().is_some_and(|tls| tls.client_ca.is_some() && !tls.verify_client) {
        let help = "add verify-client = true, or leave it out";
        return at("tls.client-ca", "`client-ca` has no effect without `verify-client`", help);
    }
    if tls.as_ref().is_some_and(Tls::verifies_only_some) {
        let help = "leave `required` out: clients without TLS have no certificate and must be rejected";
        return at("tls.required", "`verify-client` can't be used with `required = false`", help);
    }
    let verifies = tls.as_ref().is_some_and(|tls| tls.verify_client);
    if auth.iter().any(|auth| matches!(auth.plugin, AuthPlugin::CommonName(_))) && !verifies {
        let help = "add verify-client = true to the table [tls], without which no certificate is \
                    requested from clients";
        return at("auth", "ClientCertCNAuth can't be used without `verify-client`", help);
    }
    if auth.iter().filter(|auth| matches!(auth.plugin, AuthPlugin::Users(_))).count() > 1 {
        return at("auth", "`users-file` is given twice", "write all users into one file");
    }
    let bounds = [
        ("limits.request-head-bytes", limits.request_head_bytes, Limits::MAX_REQUEST_HEAD_BYTES),
        ("limits.request-fields", limits.request_fields, Limits::MAX_REQUEST_FIELDS),
    ];
    if let Some((key, _, most)) = bounds.into_iter().find(|(_, number, most)| number.get() > *most) {
        return at(key, &format!("expected a number from 1 to {most}"), "write a smaller number");
    }
    if let Some(per_source) = per_source {
        for (key, length, most) in [
            ("per-source.ipv4-prefix", per_source.ipv4_prefix.get(), PerSource::MAX_IPV4_PREFIX),
            ("per-source.ipv6-prefix", per_source.ipv6_prefix.get(), PerSource::MAX_IPV6_PREFIX),
        ] {
            if length > most {
                return at(key, &format!("expected a number from 1 to {most}"), "write a smaller number");
            }
        }
    }
    let most = PerTarget::MAX_DIALS;
    if config.per_target.dials.is_some_and(|dials| dials.get() > most) {
        let expected = format!("expected a number from 1 to {most}");
        return at("per-target.dials", &expected, "write a smaller number");
    }
    if let Some(Penalties { threshold, maximum, .. }) = penalties {
        if maximum < threshold {
            let help = "write a longer `maximum`, or penalties = false at the top of the file";
            return at("penalties.maximum", "`maximum` must not be less than `threshold`", help);
        }
    }
    if log.legacy_syslog && log.syslog.is_none() {
        let help = "add the server, such as syslog = \"/dev/log\", or leave it out";
        return at("log.legacy-syslog", "`legacy-syslog` has no effect without `syslog`", help);
    }
    None
}

fn has_zero(word: &std::ffi::OsString) -> bool {
    word.as_encoded_bytes().contains(&0)
}
