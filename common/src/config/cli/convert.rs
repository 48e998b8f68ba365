//! Converts options to a configuration. Checks have the order and the messages of the original.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::error::CliError;
use super::options::Options;
use crate::addr::{AddrError, ListenAddr, TargetAddr};
use crate::config::auth::{Auth, AuthPlugin, AuthTable};
use crate::config::listen::Listener;
use crate::config::log::SyslogServer;
use crate::config::path::FilePath;
use crate::config::secret::Secret;
use crate::config::site::OriginPattern;
use crate::config::tls::{DEFAULT_CERTIFICATE, TargetTls, Tls};
use crate::config::token::{self, TokenPlugin, TokenTable, Tokens};
use crate::config::top::{Config, Target};
use crate::config::value::Name;
use crate::config::web::Web;
use crate::config::wrap::Wrap;

/// Default address of the demo, on loopback.
const DEMO_LISTEN: &str = "127.0.0.1:6080";

/// Converts a command line. `certificate` is the value of `--cert` as given.
pub(super) fn to_config(
    options: Options,
    certificate: &OsStr,
    notes: &mut Vec<String>,
) -> Result<Config, CliError> {
    let options = without_empty_values(options);
    dependencies(&options)?;
    let mut addresses = options.addresses.iter();
    let mut config = options.file.clone();
    config.name = "websockify".to_owned();
    if config.log.legacy_syslog && config.log.syslog.is_none() {
        return Err(CliError::usage("You must use --syslog to use --legacy-syslog"));
    }
    // As in the original, 0 seconds means none.
    for interval in [&mut config.heartbeat, &mut config.timeout, &mut config.idle_timeout] {
        interval.take_if(|interval| interval.is_zero());
    }
    listen_mode(&options, &mut config, notes)?;
    config.tls = Some(tls(&options, certificate, notes)?);
    config.listen = listen(&options, &mut addresses, notes)?;
    let (before, command) = split(&options, &addresses.cloned().collect::<Vec<_>>());
    target(&options, &mut config, &before, command.is_some())?;
    config.wrap = program(&options, &config, command, notes)?;
    let web = options.web.clone().unwrap_or_default();
    if options.web.is_some() && !web.listing && web.root.is_none() {
        notes.push("--file-only has no effect without --web".to_owned());
    }
    // As in the original, any page may open a session.
    let origins = vec![OriginPattern::Any];
    config.web = Some(match web.root {
        Some(_) => Web { origins, ..web },
        None => Web { origins, ..Web::default() },
    });
    if config.web_root().is_some() && config.demo {
        return Err(beside_demo("--web", "page"));
    }
    if let Some(table) = &options.auth {
        let auth = Auth::try_from(table.clone()).map_err(CliError::rejected)?;
        if matches!(auth.plugin, AuthPlugin::CommonName(_)) && !options.tls.verify_client {
            notes.push("ClientCertCNAuth rejects all clients without --verify-client".to_owned());
        }
        config.auth = vec![auth];
    }
    if options.ssl_target {
        match config.target() {
            // The original prints "(using SSL)" here, but sends plain text.
            Target::Static(TargetAddr::Unix(_)) => {
                notes.push("--ssl-target has no effect with --unix-target, as in the original".to_owned());
            }
            Target::Demo => notes.push("--ssl-target has no effect with --demo".to_owned()),
            _ => config.target_tls = Some(TargetTls::default()),
        }
    }
    if options.libserver {
        notes.push("--libserver has no effect: there is only one kind of server".to_owned());
    }
    Ok(config)
}

/// Removes options with empty values, which mean none as in the original.
fn without_empty_values(mut options: Options) -> Options {
    let Options { unix_listen, unix_target, target_config, file, tls, token, auth, web, .. } = &mut options;
    for path in
        [unix_listen, unix_target, &mut file.record, &mut file.log.file, &mut tls.key, &mut tls.client_ca]
    {
        path.take_if(|path| path.as_os_str().is_empty());
    }
    if let Some(web) = web {
        web.root.take_if(|root| root.as_os_str().is_empty());
    }
    file.user.take_if(|name| name.is_empty());
    file.log
        .syslog
        .take_if(|server| matches!(server, SyslogServer::Unix(path) if path.as_os_str().is_empty()));
    if let Some(TokenTable { source, .. }) = token {
        source.take_if(|source| source.as_os_str().is_empty());
    }
    if let Some(AuthTable { source, .. }) = auth {
        source.take_if(|source| source.is_empty());
    }
    target_config.take_if(|path| path.is_empty());
    options
}

/// Checks options that require another option.
fn dependencies(options: &Options) -> Result<(), CliError> {
    const TOKENS: &str = "for example: --token-plugin TokenFile --token-source FILE";
    const AUTH: &str = "for example: --auth-plugin BasicHTTPAuth --auth-source USER:PASSWORD";
    let token = options.token.as_ref();
    let token_plugin = token.is_some_and(|token| !token.plugin.is_empty());
    let auth = options.auth.as_ref();
    let auth_plugin = auth.is_some_and(|auth| !auth.plugin.is_empty());
    let web_auth = options.web.as_ref().is_some_and(|web| web.auth);
    let web = options.web.as_ref().is_some_and(|web| web.root.is_some());
    let token_source = token.is_some_and(|token| token.source.is_some());
    for (option, is_given, other, is_other_given, help) in [
        ("--token-source", token_source, "--token-plugin", token_plugin, TOKENS),
        ("--host-token", token.is_some_and(|token| token.host), "--token-plugin", token_plugin, TOKENS),
        ("--auth-source", auth.is_some_and(|auth| auth.source.is_some()), "--auth-plugin", auth_plugin, AUTH),
        ("--web-auth", web_auth, "--auth-plugin", auth_plugin, AUTH),
        ("--web-auth", web_auth, "--web", web, "for example: --web DIR"),
    ] {
        if is_given && !is_other_given {
            return Err(CliError::usage(format!("You must use {other} to use {option}")).help(help));
        }
    }
    Ok(())
}

fn listen_mode(options: &Options, config: &mut Config, notes: &mut Vec<String>) -> Result<(), CliError> {
    let Some(text) = options.unix_listen_mode.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(());
    };
    if config.inetd || options.unix_listen.is_none() {
        notes.push("--unix-listen-mode has no effect without --unix-listen".to_owned());
        return Ok(());
    }
    match u32::from_str_radix(text.trim().trim_start_matches("0o"), 8) {
        Ok(mode) if mode <= 0o777 => config.listen_mode = mode,
        _ => {
            return Err(CliError::usage("Error parsing listen unix socket mode")
                .help("give octal digits up to 777, such as 660"));
        }
    }
    Ok(())
}

fn tls(options: &Options, certificate: &OsStr, notes: &mut Vec<String>) -> Result<Tls, CliError> {
    let mut tls = options.tls.clone();
    // Unless `--ssl-only` is given, `required` stays undecided, except that with `--verify-client` it is
    // explicitly false.
    tls.required.take_if(|required| !*required && !tls.verify_client);
    if tls.verifies_only_some() {
        let note = "--verify-client does not apply to clients without TLS, which are served: \
                    add --ssl-only to reject them";
        notes.push(note.to_owned());
    }
    if tls.is_required() && !Path::new(certificate).exists() {
        return Err(CliError::usage(format!("SSL only and {} not found", certificate.to_string_lossy()))
            .help("name the certificate's file with --cert"));
    }
    if certificate.is_empty() {
        tls.certificate = FilePath::from(DEFAULT_CERTIFICATE);
    }
    tls.key_password = options.key_password.clone().filter(|text| !text.is_empty()).map(Secret::new);
    if tls.client_ca.is_some() && !tls.verify_client {
        notes.push("--cafile has no effect without --verify-client".to_owned());
        tls.client_ca = None;
    }
    let remark = tls.ciphers.as_ref().and_then(|ciphers| ciphers.remark());
    notes.extend(remark.map(|remark| format!("--ssl-ciphers: {remark}")));
    Ok(tls)
}

fn listen<'a>(
    options: &Options,
    addresses: &mut impl Iterator<Item = &'a OsString>,
    notes: &mut Vec<String>,
) -> Result<Vec<Listener>, CliError> {
    if options.file.inetd {
        if options.unix_listen.is_some() {
            notes.push("--unix-listen has no effect with --inetd".to_owned());
        }
        return Ok(Vec::new());
    }
    if let Some(path) = &options.unix_listen {
        return Ok(vec![ListenAddr::Unix(path.to_path_buf()).into()]);
    }
    let text = match addresses.next() {
        Some(text) => text.to_string_lossy(),
        None if options.file.demo => DEMO_LISTEN.into(),
        None => return Err(too_few_arguments()),
    };
    match ListenAddr::parse_tcp(&text) {
        Ok(addr) => Ok(vec![addr.into()]),
        Err(error) => Err(CliError::usage("Error parsing listen port").help(in_argument(&text, error))),
    }
}

/// Splits the words after the listening address into other arguments and the command to wrap. As in the
/// original, the command begins before `--` unless a target is there. A trailing `--` has no effect.
fn split(options: &Options, words: &[OsString]) -> (Vec<OsString>, Option<Vec<OsString>>) {
    let behind = options.behind_dashes.unwrap_or_default().min(words.len());
    if behind == 0 {
        return (words.to_vec(), None);
    }
    let (before, command) = words.split_at(words.len() - behind);
    let is_target = |word: &OsString| TargetAddr::parse_tcp(&word.to_string_lossy()).is_ok();
    match before {
        [] => (Vec::new(), Some(command.to_vec())),
        [target] if is_target(target) => (vec![target.clone()], Some(command.to_vec())),
        _ => (Vec::new(), Some(words.to_vec())),
    }
}

/// The wrapped program. As in the original, it runs as the user who starts the service, even root.
fn program(
    options: &Options,
    config: &Config,
    command: Option<Vec<OsString>>,
    notes: &mut Vec<String>,
) -> Result<Option<Wrap>, CliError> {
    let Some(command) = command else {
        if options.wrap_mode.is_some() {
            notes.push("--wrap-mode has no effect without a program after --".to_owned());
        }
        return Ok(None);
    };
    let moves = config.target.is_none() && config.token.is_none();
    if moves && !options.file.inetd && options.unix_listen.is_some() {
        return Err(CliError::usage("--unix-listen does not tell which port the program after -- binds")
            .help("use a configuration file, and name the port as `wrap.port`"));
    }
    let user = rustix::process::geteuid().is_root().then(|| Name::from("root"));
    Ok(Some(Wrap { mode: options.wrap_mode.unwrap_or_default(), user, ..Wrap::new(command) }))
}

/// Determines the target, unless that is the program after the dashes.
fn target(
    options: &Options,
    config: &mut Config,
    words: &[OsString],
    is_program_given: bool,
) -> Result<(), CliError> {
    config.target = options.unix_target.as_ref().map(|path| TargetAddr::Unix(path.to_path_buf()));
    config.token = tokens(options)?;
    match (&config.target, &config.token) {
        (Some(_), _) if config.demo => return Err(beside_demo("--unix-target", "target")),
        (None, Some(_)) if config.demo => return Err(beside_demo("--token-plugin", "target")),
        (None, None) if config.demo && is_program_given => {
            return Err(CliError::usage("--demo can't be used with a program after --")
                .help("the program is the target; leave one of the two out"));
        }
        (Some(_), Some(_)) => {
            return Err(CliError::usage("--unix-target can't be used with --token-plugin")
                .help("tokens lead to targets of their own; leave one of the two out"));
        }
        _ => {}
    }
    let is_given = config.demo || config.target.is_some() || config.token.is_some();
    match words {
        [] if is_given || is_program_given => Ok(()),
        [] => Err(too_few_arguments()),
        [text] if !is_given => {
            let text = text.to_string_lossy();
            let address = TargetAddr::parse_tcp(&text).map_err(|error| {
                let what = match error {
                    AddrError::NoHost => "Error parsing target",
                    AddrError::Port { .. } => "Error parsing target port",
                };
                CliError::usage(what).help(in_argument(&text, error))
            })?;
            config.target = Some(address);
            Ok(())
        }
        [_, rest @ ..] => {
            // As in the original, an error in the first argument takes precedence.
            if !is_given {
                target(options, config, &words[..words.len() - rest.len()], is_program_given)?;
            }
            Err(CliError::usage("Too many arguments"))
        }
    }
}

/// The token plugin, if one is requested.
fn tokens(options: &Options) -> Result<Option<Tokens>, CliError> {
    let table = match (&options.target_config, &options.token) {
        (Some(path), table) => TokenTable {
            plugin: Name::from("TokenFile"),
            source: Some(path.into()),
            source_file: None,
            user: None,
            host: table.as_ref().is_some_and(|table| table.host),
            from: token::query(),
            path: None,
            refusal: Default::default(),
            hash_keys: None,
            recheck: None,
            allow: None,
            deny: None,
        },
        (None, Some(table)) if !table.plugin.is_empty() => table.clone(),
        (None, _) => return Ok(None),
    };
    let tokens = Tokens::try_from(table).map_err(CliError::rejected)?;
    if tokens.plugin == TokenPlugin::SignedLink(None) {
        let help = "give the file with the keys of links; only an instance with a configuration file has a key of its own";
        return Err(CliError::usage("--token-plugin SignedLink needs --token-source").help(help));
    }
    Ok(Some(tokens))
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
