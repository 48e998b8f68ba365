//! The expected results are those of the original 0.13.0 with the same words.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::addr::{ListenAddr, TargetAddr};
use crate::config::site::OriginPattern;
use crate::config::{
    FilePath, Log, Secret, SyslogServer, Target, TargetTls, TlsVersion, Web, Workers, WrapMode,
};
use crate::config::{file, print};
use crate::exit_code;

fn from_words(words: &str) -> Result<CommandLine, CliError> {
    from_args(["websockify"].into_iter().chain(words.split_whitespace()).map(OsString::from))
}

fn run(words: &str) -> (Config, Vec<String>) {
    match from_words(words) {
        Ok(CommandLine { command: Command::Run(config), notes, .. }) => (*config, notes),
        Ok(other) => panic!("{words}: {other:?}"),
        Err(error) => panic!("{words}: {error}"),
    }
}

fn config(words: &str) -> Config {
    run(words).0
}

/// The error and the help text of a rejected command line.
fn refused(words: &str) -> (String, Option<String>) {
    let error = from_words(words).expect_err(words);
    assert_eq!(error.exit_code(), exit_code::USAGE);
    let text = error.to_string();
    let rest = text.strip_prefix(&format!("Usage: {}\n\nwebsockify: error: ", options::USAGE));
    let rest = rest.unwrap_or_else(|| panic!("{text}"));
    match rest.split_once("\nhelp: ") {
        Some((error, help)) => (error.to_owned(), Some(help.to_owned())),
        None => (rest.to_owned(), None),
    }
}

fn web(root: impl Into<FilePath>, listing: bool) -> Option<Web> {
    Some(Web { root: Some(root.into()), listing, ..any_page() })
}

fn any_page() -> Web {
    Web { origins: vec![OriginPattern::Any], ..Web::default() }
}

fn absolute(name: &str) -> PathBuf {
    std::env::current_dir().unwrap().join(name)
}

#[test]
fn addresses_are_those_of_the_original() {
    for (words, listen, target) in [
        ("6080 localhost:5900", ":6080", "localhost:5900"),
        (":6080 localhost:5900", ":6080", "localhost:5900"),
        ("[::1]:6080 [::1]:5900", "[::1]:6080", "[::1]:5900"),
        ("::1:6080 ::1:5900", "[::1]:6080", "[::1]:5900"),
        ("0.0.0.0:6080 :5900", "0.0.0.0:6080", "localhost:5900"),
        ("--unix-listen /l localhost:5900", "unix:/l", "localhost:5900"),
        ("--unix-target /t 6080", ":6080", "unix:/t"),
        ("--unix-listen /l --unix-target /t", "unix:/l", "unix:/t"),
        ("--unix-listen= --unix-target= 1 a:2", ":1", "a:2"),
    ] {
        let config = config(words);
        assert_eq!(config.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), [listen], "{words}");
        let Target::Static(addr) = config.target() else { panic!("{words}") };
        assert_eq!(addr.to_string(), target, "{words}");
    }
}

#[test]
fn defaults_are_those_of_the_original() {
    let (config, notes) = run("6080 localhost:5900");
    let tls = config.tls.unwrap();
    assert_eq!(&*tls.certificate, absolute("self.pem"));
    assert!(!tls.is_required() && !tls.verify_client && tls.key.is_none());
    assert_eq!(tls.minimum_version, TlsVersion::V1_2);
    assert_eq!((config.heartbeat, config.web, config.target_tls), (None, Some(any_page()), None));
    assert_eq!((config.workers, config.user, config.listen_mode), (Workers::Auto, None, 0o600));
    assert!(!config.verbose && !config.prefer_ipv6 && !config.inetd);
    assert_eq!(config.name, "websockify");
    assert_eq!(notes, Vec::<String>::new());
}

#[test]
fn options_stand_anywhere_and_may_be_abbreviated() {
    for words in [
        "--heartbeat 30 --web /w --file-only -v -6 6080 localhost:5900",
        "6080 localhost:5900 --heartbeat=30 --web=/w --file-only --verbose --prefer-ipv6",
        "--web /x 6080 --heart 30 -v6 localhost:5900 --web /w --file -v",
        "--p --verb --heart=0x1e --web /w --fi 6080 localhost:5900",
        "--heartbeat=036 --heartbeat=0b11110 -6v --web /w --fi 6080 localhost:5900",
    ] {
        let config = config(words);
        assert_eq!(config.heartbeat, Some(Duration::from_secs(30)), "{words}");
        assert_eq!(config.web, web("/w", false), "{words}");
        assert!(config.verbose && config.prefer_ipv6, "{words}");
    }
    // The next word is the value, even if it looks like an option.
    let found = config("--web --verbose 6080 localhost:5900").web;
    assert_eq!(found, web(absolute("--verbose"), true));
    let found = config("--web=a=b 6080 localhost:5900").web;
    assert_eq!(found, web(absolute("a=b"), true));
    assert_eq!(config("--web= --key= --user= 6080 localhost:5900"), config("6080 localhost:5900"));
}

#[test]
fn every_option_reaches_the_configuration() {
    let (config, notes) =
        run("--unix-listen l --unix-listen-mode 660 localhost:5900 --ssl-target --cert c --key /k \
         --key-password geheim --verify-client --cafile ca --ssl-version tlsv1_3 --workers 3 --user vnc");
    assert_eq!(config.listen, [ListenAddr::Unix(absolute("l")).into()]);
    assert_eq!(config.listen_mode, 0o660);
    assert_eq!(config.target_tls, Some(TargetTls::default()));
    let tls = config.tls.unwrap();
    assert_eq!((&*tls.certificate, tls.key.as_deref()), (&*absolute("c"), Some(Path::new("/k"))));
    assert_eq!(tls.key_password(), Some(&Secret::new("geheim".to_owned())));
    assert_eq!((tls.verify_client, tls.client_ca), (true, Some(absolute("ca").into())));
    assert_eq!(tls.minimum_version, TlsVersion::V1_3);
    assert_eq!((config.workers, config.user.as_deref()), (Workers::Fixed(3), Some("vnc")));
    assert!(matches!(&*notes, [note] if note.starts_with("--verify-client ")), "{notes:?}");

    let log = self::config("1 a:1 --log l --syslog localhost:514 --legacy").log;
    let server = SyslogServer::Udp { host: "localhost".to_owned(), port: 514 };
    let file = Some(absolute("l").into());
    assert_eq!(
        log,
        Log { file, syslog: Some(server), legacy_syslog: true, traffic: false, ..Log::default() }
    );
    let traffic = self::config("1 a:1 --traffic --record rec");
    assert!(traffic.log.traffic);
    assert_eq!(traffic.record, Some(absolute("rec").into()));
    let server = SyslogServer::Unix(absolute("dev"));
    assert_eq!(self::config("1 a:1 --syslog dev").log.syslog, Some(server));

    let (ciphers, notes) = run("1 a:1 --ssl-ciphers ECDHE+AES256:AES256-SHA");
    assert_eq!(ciphers.tls.unwrap().ciphers.unwrap().suites(), [0xc02c, 0xc030]);
    assert_eq!(notes, ["--ssl-ciphers: no supported cipher suite is named by AES256-SHA"]);

    let inetd = self::config("--inetd localhost:5900");
    assert!(inetd.inetd && inetd.listen.is_empty());
    let required = self::config("--ssl-only --cert Cargo.toml 6080 localhost:5900").tls.unwrap();
    assert!(required.is_required());
}

#[test]
fn a_note_warns_of_clients_without_tls_if_certificates_are_required() {
    let note = "--verify-client does not apply to clients without TLS, which are served: \
                add --ssl-only to reject them";
    for (words, is_required, noted) in [
        ("1 a:1", false, false),
        ("1 a:1 --verify-client", false, true),
        ("1 a:1 --verify-client --auth-plugin ClientCertCNAuth --auth-source alice", false, true),
        ("1 a:1 --verify-client --ssl-only --cert Cargo.toml", true, false),
    ] {
        let (config, notes) = run(words);
        assert_eq!(config.tls.unwrap().is_required(), is_required, "{words}");
        assert_eq!(notes.contains(&note.to_owned()), noted, "{words}: {notes:?}");
    }
}

#[test]
fn a_printed_file_serves_no_client_without_tls_if_certificates_are_required() {
    for print in [print::print_config, print::dump] {
        let printed = print(&config("1 a:1 --verify-client")).unwrap();
        let read = file::parse(&printed, Path::new("/etc/websockify/vnc.toml")).unwrap();
        assert!(read.tls.unwrap().is_required(), "{printed}");
    }
}

#[test]
fn only_the_command_line_selects_the_background() {
    for words in ["-D 6080 a:1", "-vD 6080 a:1", "--d 6080 a:1", "-D -D 6080 a:1 --daemon"] {
        assert!(from_words(words).unwrap().daemon, "{words}");
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/vnc.toml");
    assert!(from_words(&format!("--config {file} -D")).unwrap().daemon);
    let printing = from_words("--print-config -D 6080 a:1").unwrap();
    assert_eq!(printing.notes, ["-D can't be part of a configuration file: give it beside --config"]);
}

#[test]
fn the_demo_needs_no_arguments() {
    let demo = config("--demo");
    assert_eq!((demo.target(), demo.demo, &demo.web), (Target::Demo, true, &Some(any_page())));
    assert_eq!(demo.listen[0].to_string(), "127.0.0.1:6080");
    assert_eq!(config("--demo [::1]:7000").listen[0].to_string(), "[::1]:7000");
    assert_eq!(refused("--demo 6080 localhost:5900").0, "Too many arguments");
    assert_eq!(refused("--demo --web /").0, "--web can't be used with --demo");
    assert_eq!(refused("--demo --unix-target /t").0, "--unix-target can't be used with --demo");
}

#[test]
fn errors_are_those_of_the_original() {
    for (words, error) in [
        ("", "Too few arguments"),
        ("6080", "Too few arguments"),
        ("--inetd", "Too few arguments"),
        ("--unix-listen /l", "Too few arguments"),
        ("--unix-target /t", "Too few arguments"),
        ("6080 localhost:5900 extra", "Too many arguments"),
        ("--unix-target /t 6080 localhost:5900", "Too many arguments"),
        ("http localhost:5900", "Error parsing listen port"),
        ("localhost: localhost:5900", "Error parsing listen port"),
        ("- localhost:5900", "Error parsing listen port"),
        ("6080 5900", "Error parsing target"),
        ("--inetd 6080 localhost:5900", "Error parsing target"),
        ("--unix-listen /l 6080 localhost:5900", "Error parsing target"),
        ("6080 localhost:vnc", "Error parsing target port"),
        ("6080 localhost:", "Error parsing target port"),
        ("--unix-listen /l --unix-listen-mode 999 a:1", "Error parsing listen unix socket mode"),
        ("--unix-listen /l --unix-listen-mode rw a:1", "Error parsing listen unix socket mode"),
        ("--ssl-only 6080 localhost:5900", "SSL only and self.pem not found"),
        ("--ssl-only --cert /none 6080 localhost:5900", "SSL only and /none not found"),
        ("--ssl-only --cert= 6080", "SSL only and  not found"),
        ("--legacy-syslog 6080 localhost:5900", "You must use --syslog to use --legacy-syslog"),
        ("--syslog localhost:x 6080", "Error parsing syslog port"),
        ("-x", "no such option: -x"),
        ("-vx", "no such option: -x"),
        ("-6=1", "no such option: -="),
        ("--foo=1", "no such option: --foo"),
        ("--cert", "--cert option requires 1 argument"),
        ("--heart", "--heartbeat option requires 1 argument"),
        ("--verbose=1", "--verbose option does not take a value"),
        ("--heartbeat 1.5", "option --heartbeat: invalid integer value: '1.5'"),
        ("--heartbeat=08", "option --heartbeat: invalid integer value: '08'"),
        ("--heartbeat=", "option --heartbeat: invalid integer value: ''"),
        ("--c x", "ambiguous option: --c (--cafile, --cert?)"),
        ("--ver", "ambiguous option: --ver (--verbose, --verify-client?)"),
        ("--he 1", "ambiguous option: --he (--heartbeat, --help?)"),
        ("--ssl", "ambiguous option: --ssl (--ssl-ciphers, --ssl-only, --ssl-target, --ssl-version?)"),
        ("--unix-l x", "ambiguous option: --unix-l (--unix-listen, --unix-listen-mode?)"),
    ] {
        assert_eq!(refused(words).0, error, "{words}");
    }
}

#[test]
fn our_own_errors_say_what_to_do() {
    for (words, error, help) in [
        (
            "--ssl-version tlsv1_1 6080 localhost:5900",
            "option --ssl-version: TLS 1.1 is not supported",
            "it is insecure (RFC 8996); choose tlsv1_2 or tlsv1_3",
        ),
        (
            "--workers 0 1 a:1",
            "option --workers: invalid value: '0'",
            "give a number from 1 to 1024, or auto",
        ),
        (
            "--heartbeat=-1 1 a:1",
            "option --heartbeat: -1 seconds can't be an interval",
            "give whole seconds up to a year, or 0 for none",
        ),
        (
            "--ssl-ciphers RC4 1 a:1",
            "option --ssl-ciphers: 'RC4' names no supported cipher suite",
            &format!("the supported suites of TLS 1.2 are {}", crate::config::Ciphers::all_names()),
        ),
        ("--sssl-only 1 a:1", "no such option: --sssl-only", "did you mean --ssl-only?"),
        ("99999 a:1", "Error parsing listen port", "'99999' has no port: a port is a number from 0 to 65535"),
        ("1 a:0", "Error parsing target port", "'a:0' has no port: a port is a number from 1 to 65535"),
    ] {
        assert_eq!(refused(words), (error.to_owned(), Some(help.to_owned())), "{words}");
    }
    let choice = refused("--ssl-version x 1 a:1").0;
    assert_eq!(
        choice,
        "option --ssl-version: invalid choice: 'x' (choose from 'default', 'tlsv1_2', 'tlsv1_3')"
    );
    let both = refused("--check --dump 1 a:1").0;
    assert_eq!(both, "only one of --check, --dump and --print-config can be used");
}

/// Every long option of the original.
const ORIGINALS: [&str; 37] = [
    "auth-plugin",
    "auth-source",
    "cafile",
    "cert",
    "daemon",
    "file-only",
    "heartbeat",
    "help",
    "host-token",
    "idle-timeout",
    "inetd",
    "key",
    "key-password",
    "legacy-syslog",
    "libserver",
    "log-file",
    "prefer-ipv6",
    "record",
    "run-once",
    "ssl-ciphers",
    "ssl-only",
    "ssl-target",
    "ssl-version",
    "syslog",
    "target-config",
    "timeout",
    "token-plugin",
    "token-source",
    "traffic",
    "unix-listen",
    "unix-listen-mode",
    "unix-target",
    "verbose",
    "verify-client",
    "web",
    "web-auth",
    "wrap-mode",
];

#[test]
fn each_abbreviation_means_what_it_means_in_the_original() {
    for option in ORIGINALS {
        for length in 1..=option.len() {
            let prefix = &option[..length];
            let meant: Vec<_> = match ORIGINALS.contains(&prefix) {
                true => vec![prefix],
                false => ORIGINALS.into_iter().filter(|name| name.starts_with(prefix)).collect(),
            };
            // The error about a value names the option, whether it takes one or not.
            let word = OsString::from(format!("--{prefix}=x"));
            let answer = match expand::expand([word], &Options::command()) {
                Ok(words) => words[0].to_string_lossy().into_owned(),
                Err(error) => error.to_string().rsplit("error: ").next().unwrap().to_owned(),
            };
            let is_ambiguous = answer.starts_with("ambiguous option");
            assert_eq!(is_ambiguous, meant.len() > 1, "--{prefix}: {answer}");
            let named =
                answer.split(['(', ')', ' ', ',', '=', '?']).filter_map(|word| word.strip_prefix("--"));
            let named: Vec<_> = named.filter(|name| !is_ambiguous || *name != prefix).collect();
            assert_eq!(named.iter().collect::<BTreeSet<_>>(), meant.iter().collect(), "--{prefix}: {answer}");
        }
    }
}

#[test]
fn a_program_stands_behind_two_dashes() {
    let wrapped = |words: &str| match config(words).target() {
        Target::Wrapped(wrap) => (wrap.shown(), wrap.mode),
        other => panic!("{words}: {other:?}"),
    };
    for (words, shown, mode) in [
        ("5901 -- vncserver :1", "vncserver :1", WrapMode::Exit),
        ("5901 --wrap-mode=ignore -- vncserver :1", "vncserver :1", WrapMode::Ignore),
        ("--wrap respawn 2023 -- telnetd -debug 2023", "telnetd -debug 2023", WrapMode::Respawn),
        // Only the first two dashes count. Options after them belong to the program.
        ("1 -- sh -c -- --help", "sh -c -- --help", WrapMode::Exit),
        ("-- 1 a:1", "a:1", WrapMode::Exit),
        ("--inetd -- a", "a", WrapMode::Exit),
    ] {
        assert_eq!(wrapped(words), (shown.to_owned(), mode), "{words}");
    }
    assert_eq!(refused("5901 --").0, "Too few arguments");
    assert_eq!(refused("1 --demo -- a").0, "--demo can't be used with a program after --");
    let port = "--unix-listen does not tell which port the program after -- binds";
    assert_eq!(refused("--unix-listen /l -- a").0, port);
    assert!(refused("1 --wrap-mode no -- a").0.starts_with("option --wrap-mode: invalid choice: 'no'"));
}

#[test]
fn a_program_may_be_started_for_a_target_that_is_named() {
    for (words, target, shown) in [
        ("1 --unix-target /t -- sh -c a", "unix:/t", Some("sh -c a")),
        ("1 a:2 -- sh -c a", "a:2", Some("sh -c a")),
        ("--unix-listen /l --unix-target /t -- a", "unix:/t", Some("a")),
        ("--inetd a:2 -- a", "a:2", Some("a")),
        // A program that begins before the dashes, as in the original.
        ("1 vncserver -- :1", "", Some("vncserver :1")),
        ("1 a:2 b:3 -- c", "", Some("a:2 b:3 c")),
        ("1 a:2 --", "a:2", None),
    ] {
        let config = config(words);
        let found = match config.target() {
            Target::Static(target) => target.to_string(),
            Target::Wrapped(_) => String::new(),
            other => panic!("{words}: {other:?}"),
        };
        assert_eq!(found, target, "{words}");
        assert_eq!(config.program().map(super::super::wrap::Wrap::shown).as_deref(), shown, "{words}");
    }
    let tokens = config("--token-plugin TokenFile --token-source /t 1 -- a b");
    assert!(matches!(tokens.target(), Target::Tokens(_)));
    assert_eq!(tokens.program().unwrap().shown(), "a b");
    assert!(config("--token-plugin TokenFile --token-source /t 1 --").program().is_none());
    assert_eq!(refused("1 a:2 b:3 --").0, "Too many arguments");
}

#[test]
fn options_without_effect_are_noted() {
    for (words, note) in [
        ("--libserver 1 a:1", "--libserver has no effect: there is only one kind of server"),
        ("--file-only 1 a:1", "--file-only has no effect without --web"),
        ("--cafile x 1 a:1", "--cafile has no effect without --verify-client"),
        ("--unix-listen-mode 660 1 a:1", "--unix-listen-mode has no effect without --unix-listen"),
        ("--inetd --unix-listen /l a:1", "--unix-listen has no effect with --inetd"),
        (
            "--unix-target /t --ssl-target 1",
            "--ssl-target has no effect with --unix-target, as in the original",
        ),
        ("--demo --ssl-target", "--ssl-target has no effect with --demo"),
        ("--wrap-mode ignore 1 a:1", "--wrap-mode has no effect without a program after --"),
    ] {
        assert_eq!(run(words).1, [note], "{words}");
    }
}

fn printed(words: &str) -> String {
    match from_words(words).map(|line| line.command) {
        Ok(Command::Print(text)) => text,
        other => panic!("{words}: {other:?}"),
    }
}

#[test]
fn help_and_version_end_the_parsing() {
    assert_eq!(printed("--version --foo"), "websockify 0.1.0\n");
    let short = printed("-vh --foo");
    assert!(short.starts_with("Usage: websockify [options] [source_addr:]source_port target_addr"));
    assert!(!short.contains("--libserver"), "{short}");
    let long = printed("--help");
    assert!(long.contains("\nTLS:\n") && long.contains("\nExamples:\n"));
    let definition = Options::command();
    for name in definition.get_arguments().filter_map(|arg| arg.get_long()) {
        assert!(long.contains(&format!("--{name}")), "{name}");
    }
}

#[test]
fn our_options_exist() {
    let definition = Options::command();
    for ours in expand::OUR_OPTIONS {
        assert!(definition.get_arguments().any(|arg| arg.get_long() == Some(ours)), "{ours}");
    }
}

#[test]
fn a_file_stands_alone() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/vnc.toml");
    let line = from_words(&format!("--config {file} -v")).unwrap();
    assert_eq!(line.file.as_deref(), Some(Path::new(file)));
    let Command::Run(config) = line.command else { panic!("{line:?}") };
    assert!(config.verbose);
    assert_eq!(config.target(), Target::Static(&TargetAddr::parse_tcp("localhost:5901").unwrap()));
    assert!(matches!(from_words(&format!("--check --config {file}")).unwrap().command, Command::Check(_)));
    assert!(printed(&format!("--config {file} --dump")).contains("connections = 500\n"));

    let beside = |words: &str| refused(&format!("--config {file} {words}"));
    assert_eq!(
        beside("--web /"),
        ("--web can't be used with --config".to_owned(), Some("write `web.root` into the file".to_owned()))
    );
    assert_eq!(beside("--file-only").1.as_deref(), Some("write `web.listing` into the file"));
    assert_eq!(beside("--print-config").0, "--print-config can't be used with --config");
    assert_eq!(beside("6080 localhost:5900").0, "Too many arguments");
}

#[test]
fn a_wrong_file_gives_its_own_exit_code() {
    let error = from_words("--config /nonexistent.toml").unwrap_err();
    assert_eq!(error.exit_code(), exit_code::CONFIG);
    assert!(error.to_string().starts_with("error: /nonexistent.toml: can't be read: "));
}

#[test]
fn words_that_are_not_utf_8_are_refused_or_kept() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let line = |words: [&[u8]; 4]| {
        from_args(
            std::iter::once(&b"websockify"[..]).chain(words).map(|word| OsStr::from_bytes(word).to_owned()),
        )
    };
    let Command::Run(config) = line([b"--web", b"/\xff", b"1", b"a:1"]).unwrap().command else { panic!() };
    assert_eq!(config.web, web(PathBuf::from(OsStr::from_bytes(b"/\xff")), true));
    for words in [
        [&b"-v"[..], b"--user=\xff", b"1", b"a:1"],
        [b"-v", b"--\xff", b"1", b"a:1"],
        [b"-v", b"-\xff", b"1", b"a:1"],
        [b"-v", b"-v", b"\xff", b"a:1"],
    ] {
        assert_eq!(line(words).unwrap_err().exit_code(), exit_code::USAGE);
    }
    let error = line([b"--web=/\xff", b"--dump", b"1", b"a:1"]).unwrap_err().to_string();
    assert!(error.contains("can't be written in TOML"), "{error}");
}
