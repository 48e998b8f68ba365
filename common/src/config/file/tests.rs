use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::addr::{ListenAddr, TargetAddr};
use crate::config::{
    FilePath, Limits, Log, Name, Secret, SyslogServer, Target, TargetTls, TextMessages, TlsVersion, Web,
    Workers,
};

const TARGET: &str = "target = \"localhost:5900\"\n";

fn read(text: &str) -> Config {
    parse(text, Path::new("/etc/websockify/vnc.toml")).unwrap_or_else(|error| panic!("{error}"))
}

/// The error for `text` after a line with a target: its first line without the file name, and its help.
fn wrong(text: &str) -> (String, String) {
    let error = parse(&format!("{TARGET}{text}"), Path::new("vnc.toml")).expect_err(text).to_string();
    let first = error.lines().next().unwrap().trim_start_matches("error: vnc.toml:");
    let help = error.lines().find_map(|line| line.strip_prefix("help: ")).unwrap_or_default();
    (first.to_owned(), help.to_owned())
}

#[test]
fn every_key_is_accepted() {
    let config = read(
        r#"
        listen = [6080, "[::1]:6081", "unix:/run/x"]
        listen-mode = "0660"
        prefer-ipv6 = true
        target = "unix:/run/vnc"
        target-tls = { ca-file = "ca.pem", server-name = "vnc" }
        workers = 2
        user = "vnc"
        heartbeat = "off"
        record = "recordings/vnc"
        text = "accept"
        verbose = true
        [web]
        root = "../www"
        listing = true
        [tls]
        certificate = "cert.pem"
        key = "/abs/key.pem"
        required = true
        minimum-version = "1.3"
        verify-client = true
        client-ca = "clients.pem"
        [timeouts]
        first-byte = "250ms"
        idle = "2h"
        [limits]
        connections = 5
        [log]
        file = "vnc.log"
        syslog = "/dev/log"
        legacy-syslog = true
        traffic = true
        "#,
    );
    assert_eq!(config.name, "vnc");
    assert_eq!(
        config.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [":6080", "[::1]:6081", "unix:/run/x"]
    );
    assert_eq!(config.listen_mode, 0o660);
    assert!(config.prefer_ipv6 && config.verbose && !config.inetd);
    assert_eq!(config.target(), Target::Static(&TargetAddr::Unix("/run/vnc".into())));
    let ca_file = Some(FilePath::from("/etc/websockify/ca.pem"));
    assert_eq!(config.target_tls, Some(TargetTls { ca_file, server_name: Some(Name::from("vnc")) }));
    assert_eq!(config.workers, Workers::Fixed(2));
    assert_eq!(config.user.as_deref(), Some("vnc"));
    assert_eq!(config.heartbeat, None);
    assert_eq!(config.text, TextMessages::Accept);
    assert_eq!(
        config.web,
        Some(Web { root: Some("/etc/websockify/../www".into()), listing: true, ..Web::default() })
    );
    let tls = config.tls.unwrap();
    assert_eq!(&*tls.certificate, Path::new("/etc/websockify/cert.pem"));
    assert_eq!(tls.key.as_deref(), Some(Path::new("/abs/key.pem")));
    assert!(tls.is_required() && tls.verify_client);
    assert_eq!(tls.minimum_version, TlsVersion::V1_3);
    assert_eq!(tls.client_ca.as_deref(), Some(Path::new("/etc/websockify/clients.pem")));
    assert_eq!(config.timeouts.first_byte, Duration::from_millis(250));
    assert_eq!(config.timeouts.idle, Some(Duration::from_secs(7200)));
    assert_eq!(config.limits, Limits { connections: std::num::NonZeroU32::new(5), ..Limits::default() });
    let syslog = Some(SyslogServer::Unix("/dev/log".into()));
    let file = Some("/etc/websockify/vnc.log".into());
    assert_eq!(config.log, Log { file, syslog, legacy_syslog: true, traffic: true, ..Log::default() });
    assert_eq!(config.record.as_deref(), Some(Path::new("/etc/websockify/recordings/vnc")));
}

#[test]
fn defaults_are_those_of_the_file() {
    let config = read(TARGET);
    assert_eq!(config.listen, []);
    assert_eq!(config.listen_mode, 0o600);
    assert_eq!(config.heartbeat, Some(Duration::from_secs(30)));
    assert_eq!((config.tls, config.web, config.target_tls), (None, None, None));
    assert_eq!(config.workers, Workers::Auto);
    assert_eq!(
        read("target = \"a:1\"\nlisten = \"80\"").listen,
        [ListenAddr::parse_tcp("80").unwrap().into()]
    );
    let config = read("demo = true");
    assert_eq!((config.target(), config.demo, &config.web), (Target::Demo, true, &None));
}

#[test]
fn each_wrong_value_gives_one_message_with_what_to_do() {
    let durations = "write a number above zero and a unit: \"250ms\", \"30s\", \"5m\", \"2h\"";
    for (text, message, help) in [
        ("lsten = 1", "2:1: unknown key `lsten`", "did you mean `listen`?"),
        ("[webs]", "2:2: unknown key `webs`", "did you mean `web`?"),
        (
            "[web]\nfoo = 1",
            "3:1: unknown key `foo`",
            "possible keys here: root, listing, auth, prefix, origins",
        ),
        (
            "[wrap]\ncommand = []",
            "3:11: `command` names no program",
            "write the program and its arguments as a list: command = [\"vncserver\", \":1\"]",
        ),
        (
            "[wrap]\ncommand = [\"a\"]\nport = 5901",
            "4:8: `port` can't be used beside `target` or [token]",
            "beside a target or tokens the program is started unchanged; leave one of the two out",
        ),
        (
            "[log]\nlegacy-syslog = true",
            "3:17: `legacy-syslog` has no effect without `syslog`",
            "add the server, such as syslog = \"/dev/log\", or leave it out",
        ),
        (
            "[log]\nsyslog = \"a:b\"",
            "3:10: \"a:b\" has no port: a port is a number from 1 to 65535",
            "write \"/dev/log\" or \"localhost:514\"",
        ),
        ("[web]", "2:1: `root` is missing", "add a line `root = …` to this table"),
        ("[tls]\nkey = \"a\"", "2:1: `certificate` is missing", "add a line `certificate = …` to this table"),
        ("target = 1", "2:1: duplicate key", ""),
        ("user = ", "2:8: string values must be quoted, expected literal string", ""),
        (
            "heartbeat = 30",
            "2:13: expected a duration such as \"30s\", or \"off\", found integer `30`",
            "write a unit (ms, s, m, h, d) and quotes: \"30s\"",
        ),
        (
            "heartbeat = 0",
            "2:13: expected a duration such as \"30s\", or \"off\", found integer `0`",
            "write \"off\"",
        ),
        (
            "heartbeat = \"30\"",
            "2:13: \"30\" is not a duration: no unit",
            "add a unit (ms, s, m, h, d): \"30s\", or \"off\"",
        ),
        ("[timeouts]\nstop = \"0s\"", "3:8: \"0s\" is not a duration: zero", durations),
        (
            "[timeouts]\nstop = \"off\"",
            "3:8: \"off\" is not a duration: not a whole number and a unit",
            durations,
        ),
        (
            "[timeouts]\nconnect = 1.5",
            "3:11: expected a duration such as \"30s\", found floating point `1.5`",
            "write a unit (ms, s, m, h, d) and quotes: \"1.5s\"",
        ),
        (
            "listen = 65536",
            "2:10: expected an address such as \"6080\", \"[::1]:6080\" or \"unix:/path\", found integer `65536`",
            "a port is a number from 0 to 65535",
        ),
        (
            "listen = [\"80\", \"unix:x\"]",
            "2:17: \"unix:x\" has no port: a port is a number from 0 to 65535",
            "write \"6080\", \"localhost:6080\", \"[::1]:6080\" or \"unix:/absolute/path\"",
        ),
        (
            "listen-mode = 660",
            "2:15: expected octal digits in quotes such as \"0660\", found integer `660`",
            "write octal digits in quotes, such as \"0660\"",
        ),
        (
            "listen-mode = \"888\"",
            "2:15: \"888\" is not the mode of a socket",
            "write octal digits from \"0000\" to \"0777\", such as \"0660\"",
        ),
        (
            "inetd = true\nlisten = 1",
            "3:10: `listen` can't be used with `inetd`",
            "with inetd the listening socket is standard input; leave one of the two out",
        ),
        (
            "demo = true",
            "1:10: `target` can't be used with `demo`",
            "the demo brings its own page and target; leave one of the two out",
        ),
        (
            "workers = 0",
            "2:11: expected \"auto\" or a number of processes, found integer `0`",
            "write \"auto\", or a number from 1 to 1024",
        ),
        (
            "workers = \"2\"",
            "2:11: \"2\" is not a number of processes",
            "write \"auto\", or a number from 1 to 1024 without quotes",
        ),
        ("text = \"on\"", "2:8: unknown value \"on\"", "write \"refuse\" or \"accept\""),
        ("user = \"\"", "2:8: \"\" is not a name", "write the name, or leave the key out"),
        ("verbose = \"yes\"", "2:11: expected true or false without quotes, found string \"yes\"", ""),
        (
            "[tls]\ncertificate = \"a\"\nminimum-version = 1.3",
            "4:19: expected \"1.2\" or \"1.3\", found floating point `1.3`",
            "write it in quotes: \"1.3\"",
        ),
        (
            "[tls]\ncertificate = \"a\"\nminimum-version = \"1.1\"",
            "4:19: TLS 1.1 is not supported",
            "it is insecure (RFC 8996); write \"1.2\" or \"1.3\"",
        ),
        (
            "[tls]\ncertificate = \"a\"\nclient-ca = \"b\"",
            "4:13: `client-ca` has no effect without `verify-client`",
            "add verify-client = true, or leave it out",
        ),
        (
            "[tls]\ncertificate = \"a\"\nverify-client = true\nrequired = false",
            "5:12: `verify-client` can't be used with `required = false`",
            "leave `required` out: clients without TLS have no certificate and must be rejected",
        ),
        (
            "[auth]\nplugin = \"ClientCertCNAuth\"\nsource = \"alice\"\n[tls]\ncertificate = \"a\"",
            "2:1: ClientCertCNAuth can't be used without `verify-client`",
            "add verify-client = true to the table [tls], without which no certificate is requested from clients",
        ),
        (
            "[limits]\nrequest-head-bytes = 1048577",
            "3:22: expected a number from 1 to 1048576",
            "write a smaller number",
        ),
        (
            "[limits]\nrequest-fields = 4097",
            "3:18: expected a number from 1 to 4096",
            "write a smaller number",
        ),
        (
            "[tls]\ncertificate = \"a\"\nkey-password = \"geheim\"",
            "4:1: unknown key `key-password`",
            "did you mean `key-password-file`?",
        ),
        (
            "[limits]\nconnections = 0",
            "3:15: expected a number from 1 to 4294967295, found integer `0`",
            "write a number from 1 on, or leave the key out",
        ),
        (
            "target-tls = 1",
            "2:14: expected true, false or a table with `ca-file` and `server-name`, found integer `1`",
            "",
        ),
        ("web = 1", "2:7: expected a table, found integer `1`", ""),
        (
            "auth = 1",
            "2:8: expected a table [auth], or several [[auth]], with `plugin` and `source`, `source-file` or `users-file`, found \
             integer `1`",
            "",
        ),
        (
            "[[auth]]\nplugin = \"ExpectOrigin\"\nsource = \"a\"\n[[auth]]\nplugin = \"exec:x\"\nsource = \"a\"\n\
             source-file = \"none\"",
            "8:15: `source-file` can't be used with `source`",
            "leave one of the two out",
        ),
        (
            "[auth]\nsource = \"a\"\nplugin = \"Basic\"",
            "4:10: there is no auth plugin 'Basic'",
            "the plugins are BasicHTTPAuth, ExpectOrigin, ClientCertCNAuth",
        ),
        ("[target-tls]\nca-fil = 1", "3:1: unknown key `ca-fil`", "did you mean `ca-file`?"),
    ] {
        assert_eq!(wrong(text), (message.to_owned(), help.to_owned()), "{text}");
    }
}

#[test]
fn an_error_shows_the_line_with_a_caret() {
    let text = "target = \"localhost:5900\"\n\n  [tls]\n\tcertificate = 7 # ü\n";
    let error = parse(text, Path::new("/etc/websockify/vnc.toml")).unwrap_err();
    let expected = "\
error: /etc/websockify/vnc.toml:4:16: expected a path in quotes, found integer `7`
  |
4 |  certificate = 7 # ü
  |                ^
help: write it in quotes: \"7\"";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn errors_show_no_pass_phrase_and_no_overlong_line() {
    let text = "[tls]\nkey-password=\"geheim\"";
    let error = parse(text, Path::new("x")).unwrap_err().to_string();
    assert!(error.contains("key-password-file") && !error.contains("geheim"), "{error}");
    let text = format!("user = \"{}\"\nuser = \"\"{}", "x".repeat(10_000), "#".repeat(10_000));
    assert!(parse(&text, Path::new("x")).unwrap_err().to_string().len() < 500);
    let text = format!("listen = \"{}\x1b\"", "x".repeat(300));
    assert!(!parse(&text, Path::new("x")).unwrap_err().to_string().contains('\x1b'));
}

#[test]
fn no_text_makes_us_panic() {
    let example = include_str!("../../../../docs/examples/vnc.toml");
    for (at, _) in example.char_indices() {
        let _ = parse(&example[..at], Path::new("x")).map_err(|error| error.to_string());
        let mutilated = format!("{}ü\"[{}", &example[..at], &example[at..]);
        let _ = parse(&mutilated, Path::new("x")).map_err(|error| error.to_string());
    }
    for deep in ["[", "{a=", "a."] {
        let text = format!("a={}", deep.repeat(300_000));
        assert!(parse(&text, Path::new("x")).is_err_and(|error| error.to_string().len() < 1000));
    }
}

#[test]
fn a_target_is_needed() {
    let error = parse("listen = 1", Path::new("x.toml")).unwrap_err().to_string();
    assert!(error.starts_with("error: x.toml: `target` is missing\nhelp: "), "{error}");
}

#[test]
fn tls_to_a_unix_socket_needs_a_name() {
    let error = parse("target = \"unix:/x\"\ntarget-tls = true", Path::new("x")).unwrap_err().to_string();
    assert!(error.contains("2:14: `target-tls` needs `server-name`"), "{error}");
}

/// A temporary directory, which is removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("websockify-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_pass_phrase_comes_from_its_file() {
    let directory = Directory::new("password");
    directory.write("password", " geheim \n");
    let text = format!("{TARGET}[tls]\ncertificate = \"a\"\nkey-password-file = \"password\"");
    let path = directory.write("vnc.toml", &text);
    let tls = load(&path).unwrap().tls.unwrap();
    assert_eq!(tls.key_password(), Some(&Secret::new(" geheim ".to_owned())));
    directory.write("password", "x".repeat(5000));
    let error = load(&path).unwrap_err().to_string();
    assert!(error.contains(":4:21: ") && error.contains("is longer than 4096 bytes"), "{error}");
}

#[test]
fn files_that_are_too_long_or_no_text_are_rejected() {
    let directory = Directory::new("files");
    let message = |path: &Path| load(path).unwrap_err().to_string();
    let big = directory.write("big.toml", "#".repeat(1024 * 1024 + 1));
    assert!(message(&big).ends_with("big.toml: is longer than 1048576 bytes"));
    let full = directory.write("full.toml", format!("{TARGET}{}", "#".repeat(1024 * 1024 - TARGET.len())));
    assert!(load(&full).is_ok());
    let binary = directory.write("binary.toml", b"\n\n\xff");
    assert!(message(&binary).ends_with("binary.toml: is not UTF-8 text (line 3)"));
    assert!(message(&directory.0).contains("can't be read: Is a directory"));
    assert!(message(&directory.0.join("none")).contains("none: can't be read: No such file"));
}
