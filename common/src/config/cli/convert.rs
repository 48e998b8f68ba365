//! From options as given to a configuration. Checks come in the order of the original, with its words.

mod log;
mod plugins;
mod wrap;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::CliError;
use super::options::Options;
use crate::addr::{AddrError, ListenAddr, TargetAddr};
use crate::config::{
    Ciphers, Config, DEFAULT_CERTIFICATE, DEFAULT_LISTEN_MODE, Lifetime, Limits, MAX_WORKERS, Sandbox,
    Secret, Target, TargetTls, TextMessages, Timeouts, Tls, TlsVersion, Web, Workers, duration,
};

/// Where the demo listens where no address is given: reachable from this machine alone.
const DEMO_LISTEN: &str = "127.0.0.1:6080";

pub(super) fn to_config(options: &Options, notes: &mut Vec<String>) -> Result<Config, CliError> {
    plugins::dependencies(options)?;
    let log = log::log(options)?;
    let minimum_version = tls_version(options.ssl_version.as_deref())?;
    let heartbeat = seconds("--heartbeat", options.heartbeat.as_deref())?;
    let lifetime = Lifetime {
        run_once: options.run_once,
        timeout: seconds("--timeout", options.timeout.as_deref())?,
        idle_timeout: seconds("--idle-timeout", options.idle_timeout.as_deref())?,
    };
    let workers = workers(options.workers.as_deref())?;
    let sandbox = sandbox(options.sandbox.as_deref())?;
    let listen_mode = listen_mode(options, notes)?;
    let tls = tls(options, minimum_version, notes)?;
    let mut addresses = options.addresses.iter();
    let listen = listen(options, &mut addresses, notes)?;
    let target = match wrap::program(options, &mut addresses, notes)? {
        Some(wrap) => Target::Wrapped(wrap),
        None => target(options, &mut addresses)?,
    };
    if addresses.next().is_some() {
        return Err(CliError::usage("Too many arguments"));
    }
    let web = web(options, notes)?;
    let auth = plugins::auth(options, notes)?;
    let target_tls = target_tls(options, &target, notes);
    if options.libserver {
        notes.push("--libserver has no effect: there is only one kind of server".to_owned());
    }
    Ok(Config {
        name: "websockify".to_owned(),
        listen,
        inetd: options.inetd,
        listen_mode,
        prefer_ipv6: options.prefer_ipv6,
        target,
        target_tls,
        workers,
        user: options.user.clone().filter(|name| !name.is_empty()),
        sandbox,
        web,
        auth,
        web_auth: options.web_auth,
        tls: Some(tls),
        text: TextMessages::default(),
        heartbeat,
        record: absolute_if_given(options.record.as_ref())?,
        lifetime,
        timeouts: Timeouts::default(),
        limits: Limits::default(),
        metrics: None,
        log,
        verbose: options.verbose,
    })
}

/// An empty value is none, as in the original.
pub(super) fn given(value: Option<&OsString>) -> Option<&OsStr> {
    value.map(OsString::as_os_str).filter(|value| !value.is_empty())
}

/// `path` seen from the current folder.
pub(super) fn absolute(path: &OsStr) -> Result<PathBuf, CliError> {
    std::path::absolute(path)
        .map_err(|error| CliError::usage(format!("can't make {} absolute: {error}", path.to_string_lossy())))
}

fn absolute_if_given(value: Option<&OsString>) -> Result<Option<PathBuf>, CliError> {
    given(value).map(absolute).transpose()
}

fn tls_version(text: Option<&str>) -> Result<TlsVersion, CliError> {
    match text.unwrap_or("default") {
        "default" => Ok(TlsVersion::default()),
        "tlsv1_2" => Ok(TlsVersion::V1_2),
        "tlsv1_3" => Ok(TlsVersion::V1_3),
        "tlsv1_1" => Err(CliError::usage("option --ssl-version: TLS 1.1 is not supported")
            .help("it is broken (RFC 8996); choose tlsv1_2 or tlsv1_3")),
        other => Err(CliError::usage(format!(
            "option --ssl-version: invalid choice: '{}' (choose from 'default', 'tlsv1_2', 'tlsv1_3')",
            other.escape_debug()
        ))),
    }
}

/// An interval in whole seconds; 0 is none.
fn seconds(option: &str, text: Option<&str>) -> Result<Option<Duration>, CliError> {
    let text = text.unwrap_or("0");
    let seconds = integer(text).ok_or_else(|| {
        CliError::usage(format!("option {option}: invalid integer value: '{}'", text.escape_debug()))
            .help("give whole seconds, or 0 for none")
    })?;
    match u64::try_from(seconds).map(Duration::from_secs) {
        Ok(Duration::ZERO) => Ok(None),
        Ok(interval) if interval <= duration::MAX => Ok(Some(interval)),
        _ => Err(CliError::usage(format!("option {option}: {seconds} seconds can't be an interval"))
            .help("give whole seconds up to a year, or 0 for none")),
    }
}

/// An integer as optparse reads it: decimal, `0x` hexadecimal, `0b` binary, or octal after a zero.
fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = if let Some(digits) = lower.strip_prefix("0x") {
        (digits, 16)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (digits, 2)
    } else {
        (text, if text.starts_with('0') { 8 } else { 10 })
    };
    i64::from_str_radix(digits, radix).ok()
}

fn workers(text: Option<&str>) -> Result<Workers, CliError> {
    match text {
        None | Some("auto") => Ok(Workers::Auto),
        Some(text) => match text.parse() {
            Ok(number) if (1..=MAX_WORKERS).contains(&number) => Ok(Workers::Fixed(number)),
            _ => Err(CliError::usage(format!("option --workers: invalid value: '{}'", text.escape_debug()))
                .help(format!("give a number from 1 to {MAX_WORKERS}, or auto"))),
        },
    }
}

fn sandbox(text: Option<&str>) -> Result<Sandbox, CliError> {
    let Some(text) = text else { return Ok(Sandbox::default()) };
    Sandbox::parse(text).ok_or_else(|| {
        CliError::usage(format!(
            "option --sandbox: invalid choice: '{}' (choose from 'strict', 'best-effort', 'off')",
            text.escape_debug()
        ))
    })
}

fn listen_mode(options: &Options, notes: &mut Vec<String>) -> Result<u32, CliError> {
    let Some(text) = options.unix_listen_mode.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(DEFAULT_LISTEN_MODE);
    };
    if options.inetd || given(options.unix_listen.as_ref()).is_none() {
        notes.push("--unix-listen-mode has no effect without --unix-listen".to_owned());
        return Ok(DEFAULT_LISTEN_MODE);
    }
    let digits = text.trim().trim_start_matches("0o");
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(CliError::usage("Error parsing listen unix socket mode")
            .help("give octal digits up to 777, such as 660")),
    }
}

fn tls(options: &Options, minimum_version: TlsVersion, notes: &mut Vec<String>) -> Result<Tls, CliError> {
    let name = options.cert.as_deref().unwrap_or(OsStr::new(DEFAULT_CERTIFICATE));
    if options.ssl_only && !Path::new(name).exists() {
        return Err(CliError::usage(format!("SSL only and {} not found", name.to_string_lossy()))
            .help("name the certificate's file with --cert"));
    }
    let certificate =
        if name.is_empty() { absolute(OsStr::new(DEFAULT_CERTIFICATE)) } else { absolute(name) }?;
    let mut client_ca = absolute_if_given(options.cafile.as_ref())?;
    if client_ca.is_some() && !options.verify_client {
        notes.push("--cafile has no effect without --verify-client".to_owned());
        client_ca = None;
    }
    Ok(Tls {
        certificate,
        key: absolute_if_given(options.key.as_ref())?,
        key_password: options.key_password.clone().filter(|text| !text.is_empty()).map(Secret::new),
        required: options.ssl_only,
        minimum_version,
        ciphers: ciphers(options.ssl_ciphers.as_deref(), notes)?,
        verify_client: options.verify_client,
        client_ca,
    })
}

fn ciphers(list: Option<&str>, notes: &mut Vec<String>) -> Result<Option<Ciphers>, CliError> {
    let Some(list) = list else { return Ok(None) };
    let ciphers = Ciphers::parse(list).map_err(|error| {
        CliError::usage(format!("option --ssl-ciphers: '{}' names {error}", list.escape_debug()))
            .help(format!("for TLS 1.2 there are {}", Ciphers::all_names()))
    })?;
    notes.extend(ciphers.remark().map(|remark| format!("--ssl-ciphers: {remark}")));
    Ok(Some(ciphers))
}

fn listen<'a>(
    options: &Options,
    addresses: &mut impl Iterator<Item = &'a OsString>,
    notes: &mut Vec<String>,
) -> Result<Vec<ListenAddr>, CliError> {
    let unix = absolute_if_given(options.unix_listen.as_ref())?;
    if options.inetd {
        if unix.is_some() {
            notes.push("--unix-listen has no effect with --inetd".to_owned());
        }
        return Ok(Vec::new());
    }
    if let Some(path) = unix {
        return Ok(vec![ListenAddr::Unix(path)]);
    }
    let text = match addresses.next() {
        Some(text) => text.to_string_lossy(),
        None if options.demo => DEMO_LISTEN.into(),
        None => return Err(too_few_arguments()),
    };
    match ListenAddr::parse_tcp(&text) {
        Ok(addr) => Ok(vec![addr]),
        Err(error) => Err(CliError::usage("Error parsing listen port").help(in_argument(&text, error))),
    }
}

fn target<'a>(
    options: &Options,
    addresses: &mut impl Iterator<Item = &'a OsString>,
) -> Result<Target, CliError> {
    let unix = absolute_if_given(options.unix_target.as_ref())?;
    if options.demo {
        return match unix {
            Some(_) => Err(beside_demo("--unix-target", "target")),
            None if plugins::tokens(options)?.is_some() => Err(beside_demo("--token-plugin", "target")),
            None => Ok(Target::Demo),
        };
    }
    match (unix, plugins::tokens(options)?) {
        (Some(path), None) => return Ok(Target::Static(TargetAddr::Unix(path))),
        (None, Some(tokens)) => return Ok(Target::Tokens(tokens)),
        (Some(_), Some(_)) => {
            return Err(CliError::usage("--unix-target can't be used with --token-plugin")
                .help("tokens lead to targets of their own; leave one of the two out"));
        }
        (None, None) => {}
    }
    let text = addresses.next().ok_or_else(too_few_arguments)?.to_string_lossy();
    match TargetAddr::parse_tcp(&text) {
        Ok(addr) => Ok(Target::Static(addr)),
        Err(error) => {
            let what = match error {
                AddrError::NoHost => "Error parsing target",
                AddrError::Port { .. } => "Error parsing target port",
            };
            Err(CliError::usage(what).help(in_argument(&text, error)))
        }
    }
}

fn web(options: &Options, notes: &mut Vec<String>) -> Result<Option<Web>, CliError> {
    let root = absolute_if_given(options.web.as_ref())?;
    if options.file_only && root.is_none() {
        notes.push("--file-only has no effect without --web".to_owned());
    }
    match root {
        Some(_) if options.demo => Err(beside_demo("--web", "page")),
        Some(root) => Ok(Some(Web::Files { root, listing: !options.file_only })),
        None => Ok(options.demo.then_some(Web::Demo)),
    }
}

fn target_tls(options: &Options, target: &Target, notes: &mut Vec<String>) -> Option<TargetTls> {
    match target {
        _ if !options.ssl_target => None,
        Target::Static(TargetAddr::Tcp { .. }) | Target::Tokens(_) | Target::Wrapped(_) => {
            Some(TargetTls::default())
        }
        Target::Static(TargetAddr::Unix(_)) => {
            // The original says "(using SSL)" here and yet sends plain text.
            notes.push("--ssl-target has no effect with --unix-target, as in the original".to_owned());
            None
        }
        Target::Demo => {
            notes.push("--ssl-target has no effect with --demo".to_owned());
            None
        }
    }
}

fn too_few_arguments() -> CliError {
    CliError::usage("Too few arguments").help("for example: websockify 6080 localhost:5900")
}

fn in_argument(text: &str, error: AddrError) -> String {
    format!("'{}' has {error}", text.escape_debug())
}

fn beside_demo(option: &str, what: &str) -> CliError {
    CliError::usage(format!("{option} can't be used with --demo"))
        .help(format!("the demo brings its own {what}; leave one of the two out"))
}
