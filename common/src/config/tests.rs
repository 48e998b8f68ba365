//! Properties of the command line, the file and the printed configuration together.

mod generate;
mod round_trip;
pub(super) mod schema;

use std::collections::BTreeSet;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::CommandFactory;

use super::carrier::{Carrier, TokenFrom, TokenPath};
use super::check::Severity;
use super::site::{HostPattern, OriginPattern};
use super::value::Value as _;
use super::*;
use crate::addr::{ListenAddr, TargetAddr};
use crate::networks::Networks;

fn path() -> &'static Path {
    Path::new("/etc/websockify/vnc.toml")
}

/// The keys of a table (`""` for the top), as listed in the help for an unknown key.
fn keys_of(table: &str) -> Option<Vec<String>> {
    let header = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
    let error = file::parse(&format!("{header}zzz = 1\n"), path()).unwrap_err().to_string();
    let (_, keys) = error.split_once("help: possible keys here: ")?;
    Some(keys.split(", ").map(str::to_owned).collect())
}

/// Every key of the file, with its table.
fn all_keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for key in keys_of("").unwrap() {
        match keys_of(&key) {
            Some(below) => keys.extend(below.into_iter().map(|name| format!("{key}.{name}"))),
            None => _ = keys.insert(key),
        }
    }
    // These are both keys and tables.
    keys.extend(["target-tls", "listen", "per-source", "penalties"].map(str::to_owned));
    keys
}

#[test]
fn every_option_names_its_key() {
    let keys = all_keys();
    let definition = cli::Options::command();
    for arg in definition.get_arguments().filter(|arg| arg.get_long().is_some()) {
        let id = arg.get_id().as_str();
        let is_key = keys.contains(&id.replace('_', "-")) || id == "token";
        assert_ne!(is_key, cli::WITHOUT_KEY.contains(&id), "{id}");
    }
}

fn tcp(host: &str, port: u16) -> ListenAddr {
    ListenAddr::Tcp { host: (!host.is_empty()).then(|| host.to_owned()), port }
}

fn target(host: &str, port: u16) -> Option<TargetAddr> {
    Some(TargetAddr::Tcp { host: host.to_owned(), port })
}

fn minimal() -> Config {
    file::parse("target = \"localhost:5900\"", path()).unwrap()
}

/// Configurations that differ from `minimal` in one part each, with names that need quoting.
fn variations() -> Vec<Config> {
    const ODD: &str = "/a b/\"quoted\"\\n'\u{1}\t\nü#[x]";
    let odd = || PathBuf::from(ODD);
    let tls = || Tls { certificate: odd().into(), ..Tls::default() };
    let change: [fn(&mut Config); 30] = [
        |_| {},
        |c| c.inetd = true,
        |c| c.listen_mode = 0,
        |c| c.listen_mode = 0o777,
        |c| c.prefer_ipv6 = true,
        |c| (c.target, c.demo) = (None, true),
        |c| c.target_tls = Some(TargetTls::default()),
        |c| c.workers = Workers::Fixed(1),
        |c| c.user = Some("a \"b\" \\ 'c' #".into()),
        |c| c.sandbox = Sandbox::Strict,
        |c| c.sandbox = Sandbox::Off,
        |c| c.target_proxy_protocol = ProxyProtocol::V1,
        |c| c.target_proxy_protocol = ProxyProtocol::V2,
        |c| c.text = TextMessages::Accept,
        |c| c.verbose = true,
        |c| c.limits = Limits { connections: Some(NonZeroU32::MAX), ..Limits::default() },
        |c| c.limits = Limits { keep_alive_requests: NonZeroU32::MIN, ..Limits::default() },
        |c| c.limits = Limits { generations: NonZeroU32::MIN, ..Limits::default() },
        |c| c.per_source = None,
        |c| c.per_source = Some(PerSource { sessions: NonZeroU32::new(7), ..PerSource::default() }),
        |c| c.per_source = Some(PerSource { exempt: Networks::default(), ..PerSource::default() }),
        |c| c.per_target = PerTarget { dials: NonZeroU32::new(3), sessions: NonZeroU32::new(7) },
        |c| c.penalties = None,
        |c| c.penalties = Some(Penalties { no_request: None, ..Penalties::default() }),
        |c| c.timeouts.idle = Some(Duration::from_millis(1)),
        |c| c.timeouts.stop = duration::MAX,
        |c| {
            c.proxy =
                toml::from_str("trusted = ['unix', '10.1.0.0/16', '::1']\nheader = 'forwarded'").unwrap()
        },
        |c| c.timeouts.drain = Some(Duration::from_secs(3600)),
        |c| c.stop.drain = Some(Duration::from_secs(600)),
        |c| (c.stop.linger, c.stop.spread) = (Some(Duration::from_secs(5)), Some(Duration::from_secs(30))),
    ];
    let mut all: Vec<Config> = change
        .iter()
        .map(|change| {
            let mut config = minimal();
            change(&mut config);
            config
        })
        .collect();
    let mut add = |part: Config| all.push(part);
    for listen in [
        vec![tcp("", 0)],
        vec![tcp("::1", 65535)],
        vec![tcp("unix", 6080)],
        vec![tcp("a\"b", 1)],
        vec![ListenAddr::Unix(odd())],
        vec![tcp("", 6080), tcp("localhost", 80), ListenAddr::Unix("/run/x".into())],
    ] {
        add(Config { listen: listen.into_iter().map(Listener::from).collect(), ..minimal() });
    }
    let proxied = |address| Listener { address, proxy_protocol: true };
    for listen in [
        vec![proxied(tcp("", 6080))],
        vec![proxied(ListenAddr::Unix(odd())), proxied(tcp("::1", 1))],
        vec![tcp("", 6080).into(), proxied(tcp("", 6081)), ListenAddr::Unix(odd()).into()],
    ] {
        let proxy = Proxy {
            trusted: toml::from_str::<Proxy>("trusted = 'unix'").unwrap().trusted,
            ..Proxy::default()
        };
        add(Config { listen, proxy, ..minimal() });
    }
    let command = vec!["vncserver".into(), ODD.replace('\0', "").into()];
    let wrap = || Wrap::new(command.clone());
    for wrap in [
        wrap(),
        Wrap { mode: WrapMode::Respawn, port: NonZeroU16::new(5901), user: Some("a b".into()), ..wrap() },
        Wrap { directory: Some(odd().into()), start_timeout: Duration::from_millis(1), ..wrap() },
        Wrap { private_network: true, ..wrap() },
        Wrap {
            environment: [("A", "1"), ("B c\"", ODD), ("d.e", "")].map(|(k, v)| (k.into(), v.into())).into(),
            ..wrap()
        },
    ] {
        add(Config { target: None, wrap: Some(wrap), ..minimal() });
    }
    for target in [target("::1", 1), target("a\\b", 2), target("unix", 3), Some(TargetAddr::Unix(odd()))] {
        add(Config { target, ..minimal() });
    }
    let udp = SyslogServer::Udp { host: "::1".to_owned(), port: 514 };
    for (file, server, legacy) in [
        (Some(odd()), None, false),
        (None, Some(SyslogServer::Unix(odd())), false),
        (Some("/var/log/x".into()), Some(udp), true),
    ] {
        let file: Option<PathBuf> = file;
        let log = Log {
            file: file.map(Into::into),
            syslog: server,
            legacy_syslog: legacy,
            traffic: false,
            ..Log::default()
        };
        add(Config { log, ..minimal() });
    }
    add(Config { log: Log { traffic: true, ..Log::default() }, ..minimal() });
    add(Config { log: Log { format: LogFormat::Json, ..Log::default() }, ..minimal() });
    for origins in
        [&["*"][..], &["null", "https://[::1]:8443", "https://*.a.example", "chrome-extension://x"]]
    {
        let origins = origins.iter().map(|text| OriginPattern::from_text(text).unwrap()).collect();
        add(Config { web: Some(Web { origins, ..Web::default() }), ..minimal() });
    }
    let prefix = Some(Prefix::from_text("/desktops/a").unwrap());
    add(Config { web: Some(Web { prefix, ..Web::default() }), ..minimal() });
    let hosts = ["vnc.example", "*.vm.example", "[::1]"].map(|text| HostPattern::from_text(text).unwrap());
    add(Config { hosts: hosts.to_vec(), ..minimal() });
    add(Config { record: Some(odd().into()), ..minimal() });
    for listen in [tcp("", 9100), tcp("::1", 9100), ListenAddr::Unix(odd())] {
        let agent_check = Some(listen.clone());
        add(Config { metrics: Some(Metrics { listen, agent_check }), ..minimal() });
    }
    let name = Some(Name::from("vnc.example"));
    add(Config {
        target_tls: Some(TargetTls { ca_file: Some(odd().into()), server_name: name.clone() }),
        ..minimal()
    });
    add(Config { target_tls: Some(TargetTls { ca_file: None, server_name: name }), ..minimal() });
    for listing in [true, false] {
        add(Config { web: Some(Web { root: Some(odd().into()), listing, ..Web::default() }), ..minimal() });
    }
    let destinations = |list: &[&str]| <_ as serde::Deserialize>::deserialize(serde_json::json!(list)).ok();
    let tokens = |plugin| token::Tokens {
        plugin,
        source_file: None,
        user: None,
        from: TokenFrom::only(Carrier::Host),
        refusal: token::TokenRefusal::Close,
        hash_keys: Some(odd().into()),
        recheck: None,
        allow: destinations(&["10.0.0.0/8:5900-5999", "unix:/run/vm/"]),
        deny: destinations(&["[2001:db8::/32]:22"]),
    };
    let plugins = [token::TokenPlugin::File(odd()), token::TokenPlugin::Jwt("/k".into())];
    for plugin in plugins {
        add(Config { target: None, token: Some(tokens(plugin)), ..minimal() });
    }
    for (from, at) in
        [(vec![Carrier::Cookie, Carrier::Query], None), (vec![Carrier::Path], Some("/vnc/{token}/x"))]
    {
        let at = at.map(|text| TokenPath::from_text(text).unwrap());
        let from = TokenFrom::new(from, at, false).unwrap();
        let plugin = token::TokenPlugin::SignedLink(None);
        add(Config { target: None, token: Some(token::Tokens { from, ..tokens(plugin) }), ..minimal() });
    }
    let origin = |origin: &str| auth::Auth {
        plugin: auth::AuthPlugin::Origin(vec![origin.to_owned()]),
        source_file: None,
        user: None,
    };
    add(Config { auth: vec![origin("https://a")], ..minimal() });
    let plugin = auth::AuthPlugin::Users(odd().into());
    add(Config { auth: vec![auth::Auth { plugin, source_file: None, user: None }], ..minimal() });
    add(Config { auth: vec![origin("https://a"), origin("https://b")], ..minimal() });
    add(Config { tls: Some(tls()), ..minimal() });
    add(Config { tls: Some(Tls { key: Some(odd().into()), required: Some(true), ..tls() }), ..minimal() });
    add(Config { tls: Some(Tls { minimum_version: TlsVersion::V1_3, ..tls() }), ..minimal() });
    let ciphers = Ciphers::parse("HIGH:!AES128:\"x\"").ok();
    add(Config { tls: Some(Tls { ciphers, ..tls() }), ..minimal() });
    add(Config { tls: Some(Tls { session_ticket_keys: Some(odd().into()), ..tls() }), ..minimal() });
    add(Config {
        tls: Some(Tls { verify_client: true, client_ca: Some(odd().into()), ..tls() }),
        ..minimal()
    });
    for heartbeat in [None, Some(Duration::from_millis(1001)), Some(Duration::from_secs(7200))] {
        add(Config { heartbeat, ..minimal() });
    }
    for millis in [1, 999, 1000, 90_000, 3_600_000] {
        let one = Duration::from_millis(millis);
        let timeouts = Timeouts {
            first_byte: one,
            tls_handshake: one * 2,
            request_head: one * 3,
            connect: one * 4,
            close_handshake: one * 5,
            idle: Some(one * 6),
            stop: one * 7,
            drain: None,
        };
        add(Config { timeouts, ..minimal() });
    }
    all
}

#[test]
fn printed_configurations_parse_to_the_same_value() {
    for config in variations() {
        for text in [print::dump(&config).unwrap(), print::print_config(&config).unwrap()] {
            assert_eq!(file::parse(&text, path()).as_ref(), Ok(&config), "{text}");
        }
    }
}

#[test]
fn only_what_differs_from_defaults_is_printed() {
    assert_eq!(print::print_config(&minimal()).unwrap(), "target = \"localhost:5900\"\n");
    assert!(print::dump(&minimal()).unwrap().contains("heartbeat = \"30s\"  # default\n"));
}

#[test]
fn pass_phrases_are_never_printed() {
    let mut config = minimal();
    config.tls = Some(Tls {
        certificate: "/a".into(),
        key_password: Some(Secret::new("geheim".to_owned())),
        ..Tls::default()
    });
    for text in [print::dump(&config).unwrap(), print::print_config(&config).unwrap()] {
        assert!(!text.contains("geheim") && text.contains("#key-password-file"), "{text}");
        assert!(file::parse(&text, path()).is_ok());
    }
    assert!(!format!("{config:?}").contains("geheim"));
}

#[test]
fn a_path_that_is_not_utf_8_is_not_printed_wrongly() {
    use std::os::unix::ffi::OsStrExt;
    let root = PathBuf::from(std::ffi::OsStr::from_bytes(b"/\xff")).into();
    let config = Config { web: Some(Web { root: Some(root), ..Web::default() }), ..minimal() };
    assert!(print::dump(&config).is_err());
}

#[test]
fn the_check_finds_missing_files_and_users() {
    let note = minimal().check();
    assert!(matches!(&note[..], [note] if note.severity == Severity::Note && note.key == "web.origins"));
    let long = PathBuf::from(format!("/{}", "x".repeat(107)));
    let missing = PathBuf::from("/nonexistent/file");
    let mut config = minimal();
    let listen = [tcp("", 1), tcp("", 1), tcp("", 0), tcp("", 0), ListenAddr::Unix(missing.clone())];
    config.listen = listen.into_iter().map(Listener::from).collect();
    config.target = Some(TargetAddr::Unix(long));
    config.target_tls = Some(TargetTls { ca_file: Some(missing.clone().into()), server_name: None });
    config.user = Some("no such user".into());
    config.web = Some(Web { root: Some("/etc/passwd".into()), ..Web::default() });
    config.tls = Some(Tls {
        certificate: missing.clone().into(),
        key: Some("/".into()),
        required: Some(true),
        verify_client: true,
        client_ca: Some(missing.clone().into()),
        ..Tls::default()
    });
    config.record = Some(missing.clone().into());
    config.log =
        Log { file: Some(missing.into()), syslog: Some(SyslogServer::Unix("/".into())), ..Log::default() };
    let found = config.check();
    let keys: Vec<_> = found.iter().map(|problem| problem.key).collect();
    assert_eq!(
        keys,
        [
            "listen",
            "listen",
            "target",
            "target-tls.ca-file",
            "user",
            "web.root",
            "tls.certificate",
            "tls.key",
            "tls.client-ca",
            "record",
            "log.file"
        ]
    );
    assert!(found.iter().all(|problem| problem.severity == Severity::Error), "{found:#?}");
    config.tls.as_mut().unwrap().required = Some(false);
    let certificate = config.check().into_iter().find(|problem| problem.key == "tls.certificate").unwrap();
    assert_eq!(certificate.severity, Severity::Warning);
    assert!(certificate.to_string().starts_with("warning: tls.certificate: /nonexistent/file can't be"));
    let tls = config.tls.as_mut().unwrap();
    tls.required = Some(true);
    tls.certificate = "/run/credentials/websockify@vnc.service/cert.pem".into();
    assert!(!config.check().iter().any(|problem| problem.key == "tls.certificate"));
}

#[test]
fn the_example_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/vnc.toml");
    let config = file::load(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.name, "vnc");
    assert_eq!(config.listen, [tcp("", 6080).into()]);
    assert_eq!(config.target, target("localhost", 5901));
    assert_eq!(config.timeouts.idle, Some(Duration::from_secs(7200)));
}

#[test]
fn the_short_help_fits_a_screen() {
    let line = cli::from_args(["websockify", "-h"].map(Into::into)).unwrap();
    let cli::Command::Print(help) = line.command else { panic!("{line:?}") };
    assert!(help.lines().count() <= 40, "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
}
