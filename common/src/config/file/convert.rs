//! From keys as written to a configuration: defaults, paths, and what one key says about another.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::error::Problem;
use super::read_text;
use super::value::{Listeners, TargetTlsValue, Value};
use super::written::{
    AuthKeys, Keys, LimitKeys, LogKeys, TimeoutKeys, TlsKeys, TokenKeys, WebKeys, WrapKeys,
};
use crate::addr::{ListenAddr, TargetAddr};
use crate::config::auth::{Auth, AuthPlugin};
use crate::config::token::{TokenFrom, TokenPlugin, Tokens};
use crate::config::{
    Config, DEFAULT_HEARTBEAT, DEFAULT_LISTEN_MODE, Lifetime, Limits, Log, Metrics, Secret, Syslog,
    SyslogServer, Target, TargetTls, Timeouts, Tls, Web, Workers, Wrap,
};

/// Longest file with a pass phrase, a password or a source that is read.
const MAX_SECRET_BYTES: u64 = 4096;

pub(super) fn to_config(keys: Keys, path: &Path) -> Result<Config, Problem> {
    // A file named without a folder stands in the current one, which then is the empty path.
    let folder = path.parent().unwrap_or(Path::new(""));
    let target = match keys.wrap {
        Some(wrap) => {
            let target = keys.target.as_ref().map(|target| ("target", target.span()));
            let token = keys.token.as_ref().map(|token| ("token", token.span()));
            wrapped(wrap, target.or(token), keys.demo, folder)?
        }
        None => target(keys.target, keys.token, keys.demo, folder)?,
    };
    let auth = keys.auth.map_or(Vec::new(), |tables| tables.0);
    let auth = auth.into_iter().map(|keys| self::auth(keys, folder)).collect::<Result<Vec<_>, _>>()?;
    Ok(Config {
        name: instance_name(path),
        listen: listen(keys.listen, keys.inetd)?,
        inetd: keys.inetd,
        listen_mode: keys.listen_mode.map_or(DEFAULT_LISTEN_MODE, |Value(mode)| mode.0),
        prefer_ipv6: keys.prefer_ipv6,
        target_tls: target_tls(keys.target_tls, &target, folder)?,
        target,
        workers: or(keys.workers, Workers::Auto),
        user: keys.user.map(unwrap),
        sandbox: or(keys.sandbox, Default::default()),
        web_auth: web_auth(keys.web.as_ref(), !auth.is_empty())?,
        auth,
        web: web(keys.web, keys.demo, folder)?,
        tls: keys.tls.map(|keys| tls(keys, folder)).transpose()?,
        text: or(keys.text, Default::default()),
        heartbeat: or(keys.heartbeat, Some(DEFAULT_HEARTBEAT)),
        record: keys.record.map(|Value(path)| folder.join(path)),
        lifetime: Lifetime {
            run_once: keys.run_once,
            timeout: or(keys.timeout, None),
            idle_timeout: or(keys.idle_timeout, None),
        },
        timeouts: timeouts(keys.timeouts),
        limits: limits(keys.limits),
        metrics: keys.metrics.map(|keys| Metrics { listen: keys.listen.0 }),
        log: log(keys.log, folder)?,
        verbose: keys.verbose,
    })
}

fn unwrap<T>(value: Value<T>) -> T {
    value.0
}

fn or<T>(value: Option<Value<T>>, default: T) -> T {
    value.map_or(default, unwrap)
}

/// `vnc` for `/etc/websockify/vnc.toml`.
fn instance_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    name.strip_suffix(".toml").unwrap_or(&name).to_owned()
}

fn listen(listen: Option<Spanned<Listeners>>, inetd: bool) -> Result<Vec<ListenAddr>, Problem> {
    match listen {
        None => Ok(Vec::new()),
        Some(listen) if inetd => Err(Problem::new(
            listen.span(),
            "`listen` can't be used with `inetd`",
            "with inetd the listening socket is standard input; leave one of the two out",
        )),
        Some(listen) => Ok(listen.into_inner().0),
    }
}

fn target(
    target: Option<Spanned<Value<TargetAddr>>>,
    token: Option<Spanned<TokenKeys>>,
    demo: bool,
    folder: &Path,
) -> Result<Target, Problem> {
    match (target, token) {
        (Some(target), _) if demo => Err(beside_demo("target", target.span())),
        (None, Some(token)) if demo => Err(beside_demo("token", token.span())),
        (Some(target), Some(_)) => Err(Problem::new(
            target.span(),
            "`target` can't be used with a table [token]",
            "tokens lead to targets of their own; leave one of the two out",
        )),
        (Some(target), None) => Ok(Target::Static(target.into_inner().0)),
        (None, Some(token)) => tokens(token.into_inner(), folder).map(Target::Tokens),
        (None, None) if demo => Ok(Target::Demo),
        (None, None) => Err(Problem::missing(
            "`target` is missing",
            "add what to connect to at the top of the file, such as target = \"localhost:5900\", or a \
             table [token] or [wrap]",
        )),
    }
}

fn wrapped(
    keys: Spanned<WrapKeys>,
    other: Option<(&str, Range<usize>)>,
    demo: bool,
    folder: &Path,
) -> Result<Target, Problem> {
    if demo {
        return Err(beside_demo("wrap", keys.span()));
    }
    let keys = keys.into_inner();
    let span = keys.command.span();
    let command = keys.command.into_inner();
    if command.first().is_none_or(String::is_empty) || command.iter().any(|word| word.contains('\0')) {
        return Err(Problem::new(
            span,
            "`command` names no program",
            "write the program and its arguments as a list: command = [\"vncserver\", \":1\"]",
        ));
    }
    if let Some((key, span)) = other {
        return Err(Problem::new(
            span,
            format!("`{key}` can't be used with a table [wrap]"),
            "the program that we start is the target; leave one of the two out",
        ));
    }
    let default = Wrap::new(command.into_iter().map(Into::into).collect());
    Ok(Target::Wrapped(Wrap {
        mode: or(keys.mode, default.mode),
        port: keys.port.map(|Value(port)| port.0),
        user: keys.user.map(unwrap),
        environment: keys.environment.map(environment).transpose()?.unwrap_or_default(),
        directory: keys.directory.map(|Value(path)| folder.join(path)),
        start_timeout: or(keys.start_timeout, default.start_timeout),
        private_network: keys.private_network,
        ..default
    }))
}

fn environment(variables: Spanned<BTreeMap<String, String>>) -> Result<BTreeMap<String, String>, Problem> {
    let span = variables.span();
    let variables = variables.into_inner();
    let wrong = variables
        .iter()
        .find(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0'));
    match wrong {
        None => Ok(variables),
        Some((name, _)) => Err(Problem::new(
            span,
            format!("\"{}\" can't be set as a variable of the environment", name.escape_debug()),
            "a name is not empty and has no `=`, and there is no zero character in either",
        )),
    }
}

fn tokens(keys: TokenKeys, folder: &Path) -> Result<Tokens, Problem> {
    let span = keys.plugin.span();
    let source = match (keys.source, keys.source_file) {
        (Some(_), Some(file)) => {
            return Err(Problem::new(
                file.span(),
                "`source-file` can't be used with `source`",
                "leave one of the two out",
            ));
        }
        (source, None) => source.map(unwrap),
        (None, Some(file)) => {
            const WHAT: &str = "name a file with the source of the token plugin and nothing else";
            Some(PathBuf::from(secret(file.span(), &folder.join(file.into_inner().0), WHAT)?))
        }
    };
    let source = source.as_ref().map(|path| path.as_os_str());
    let plugin = TokenPlugin::new(&keys.plugin.into_inner().0, source, |path| folder.join(path))
        .map_err(|error| Problem::new(span, error.to_string(), error.help()))?;
    let from = if keys.host { TokenFrom::Host } else { TokenFrom::Path };
    Ok(Tokens { plugin, from, refusal: or(keys.refusal, Default::default()) })
}

fn target_tls(
    keys: Option<Spanned<TargetTlsValue>>,
    target: &Target,
    folder: &Path,
) -> Result<Option<TargetTls>, Problem> {
    let Some(keys) = keys else { return Ok(None) };
    let span = keys.span();
    let Some(keys) = keys.into_inner().0 else { return Ok(None) };
    match target {
        Target::Demo => Err(beside_demo("target-tls", span)),
        Target::Static(TargetAddr::Unix(_)) if keys.server_name.is_none() => Err(Problem::new(
            span,
            "`target-tls` needs `server-name` for a unix socket",
            "add the name that the target's certificate carries: server-name = \"…\"",
        )),
        Target::Static(_) | Target::Tokens(_) | Target::Wrapped(_) => Ok(Some(TargetTls {
            ca_file: keys.ca_file.map(|Value(path)| folder.join(path)),
            server_name: keys.server_name.map(unwrap),
        })),
    }
}

fn web(keys: Option<Spanned<WebKeys>>, demo: bool, folder: &Path) -> Result<Option<Web>, Problem> {
    match keys {
        Some(keys) if demo => Err(beside_demo("web", keys.span())),
        Some(keys) => {
            let keys = keys.into_inner();
            Ok(Some(Web::Files { root: folder.join(keys.root.0), listing: keys.listing }))
        }
        None => Ok(demo.then_some(Web::Demo)),
    }
}

fn auth(keys: AuthKeys, folder: &Path) -> Result<Auth, Problem> {
    let (source, source_file) = match (keys.source, keys.source_file) {
        (Some(_), Some(file)) => {
            return Err(Problem::new(
                file.span(),
                "`source-file` can't be used with `source`",
                "leave one of the two out",
            ));
        }
        (None, Some(file)) => {
            let path = folder.join(&file.get_ref().0);
            let help = "name a file with the source of the plugin and nothing else";
            (Some(secret(file.span(), &path, help)?), Some(path))
        }
        (source, None) => (source.map(|source| source.into_inner().0), None),
    };
    let span = keys.plugin.span();
    let name = keys.plugin.into_inner().0;
    let plugin = AuthPlugin::new(&name, source.as_deref(), |path| folder.join(path))
        .map_err(|error| Problem::new(span, error.to_string(), error.help()))?;
    Ok(Auth { plugin, source_file })
}

fn web_auth(keys: Option<&Spanned<WebKeys>>, has_auth: bool) -> Result<bool, Problem> {
    match keys.and_then(|keys| keys.get_ref().auth.as_ref()) {
        Some(auth) if *auth.get_ref() && !has_auth => Err(Problem::new(
            auth.span(),
            "`auth` has no effect without a table [auth]",
            "add a table [auth] that says what clients must prove",
        )),
        auth => Ok(auth.is_some_and(|auth| *auth.get_ref())),
    }
}

fn tls(keys: TlsKeys, folder: &Path) -> Result<Tls, Problem> {
    if let Some(client_ca) = keys.client_ca.as_ref().filter(|_| !keys.verify_client) {
        return Err(Problem::new(
            client_ca.span(),
            "`client-ca` has no effect without `verify-client`",
            "add verify-client = true, or leave it out",
        ));
    }
    let in_folder = |Value(path): Value<PathBuf>| folder.join(path);
    Ok(Tls {
        certificate: in_folder(keys.certificate),
        key: keys.key.map(in_folder),
        key_password: keys.key_password_file.map(|file| key_password(file, folder)).transpose()?,
        required: keys.required,
        ciphers: keys.ciphers.map(unwrap),
        minimum_version: or(keys.minimum_version, Default::default()),
        verify_client: keys.verify_client,
        client_ca: keys.client_ca.map(|path| in_folder(path.into_inner())),
    })
}

fn key_password(file: Spanned<Value<PathBuf>>, folder: &Path) -> Result<Secret, Problem> {
    let span = file.span();
    let path = folder.join(file.into_inner().0);
    let help = "name a file with the pass phrase of the key and nothing else";
    secret(span, &path, help).map(Secret::new)
}

/// The file's text without the newline at its end.
fn secret(span: Range<usize>, path: &Path, help: &str) -> Result<String, Problem> {
    let mut text = read_text(path, MAX_SECRET_BYTES)
        .map_err(|problem| Problem::new(span, format!("{} {problem}", path.display()), help))?;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}

fn timeouts(keys: TimeoutKeys) -> Timeouts {
    let default = Timeouts::default();
    Timeouts {
        first_byte: or(keys.first_byte, default.first_byte),
        tls_handshake: or(keys.tls_handshake, default.tls_handshake),
        request_head: or(keys.request_head, default.request_head),
        connect: or(keys.connect, default.connect),
        close_handshake: or(keys.close_handshake, default.close_handshake),
        idle: or(keys.idle, default.idle),
        stop: or(keys.stop, default.stop),
        drain: or(keys.drain, default.drain),
    }
}

fn limits(keys: LimitKeys) -> Limits {
    let default = Limits::default();
    Limits {
        connections: keys.connections.map(unwrap).or(default.connections),
        keep_alive_requests: or(keys.keep_alive_requests, default.keep_alive_requests),
        generations: or(keys.generations, default.generations),
    }
}

fn log(keys: LogKeys, folder: &Path) -> Result<Log, Problem> {
    let legacy = keys.legacy_syslog.filter(|legacy| *legacy.get_ref());
    if let (None, Some(legacy)) = (&keys.syslog, &legacy) {
        return Err(Problem::new(
            legacy.span(),
            "`legacy-syslog` has no effect without `syslog`",
            "add the server, such as syslog = \"/dev/log\", or leave it out",
        ));
    }
    Ok(Log {
        traffic: keys.traffic,
        file: keys.file.map(|Value(path)| folder.join(path)),
        syslog: keys.syslog.map(|Value(server)| Syslog {
            server: match server {
                SyslogServer::Unix(path) => SyslogServer::Unix(folder.join(path)),
                udp @ SyslogServer::Udp { .. } => udp,
            },
            legacy: legacy.is_some(),
        }),
    })
}

fn beside_demo(key: &str, span: Range<usize>) -> Problem {
    Problem::new(
        span,
        format!("`{key}` can't be used with `demo`"),
        "the demo brings its own page and target; leave one of the two out",
    )
}
