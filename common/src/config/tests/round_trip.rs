//! The configuration that is printed for a command line is equivalent to it, for all options.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use clap::CommandFactory;

use super::super::cli::{self, Command};
use super::super::{file, print};

/// Command lines that together contain every option with a key.
const LINES: &[&str] = &[
    "6080 localhost:5900",
    "[::1]:6080 [fe80::1]:5900 --prefer-ipv6 --heartbeat=90 --verbose",
    "--unix-listen=l --unix-listen-mode=660 --unix-target=t --record=recordings/vnc",
    "--inetd localhost:5900 --user=vnc --workers=3 --sandbox=strict",
    "6080 localhost:5900 --web=www --run-once --timeout=10 --idle-timeout=120",
    "6080 localhost:5900 --web=/www --file-only --ssl-target",
    "6080 localhost:5900 --cert=Cargo.toml --key=k --ssl-only --ssl-version=tlsv1_3",
    "6080 localhost:5900 --ssl-ciphers=HIGH:!AES128 --verify-client --ssl-only --cert=Cargo.toml --cafile=ca",
    "6080 localhost:5900 --log-file=l --syslog=/dev/log --traffic",
    "6080 localhost:5900 --syslog=[::1]:514 --legacy-syslog",
    "5901 --wrap-mode=respawn -- vncserver :1",
    "6080 --token-plugin=TokenFile --token-source=tokens",
    "6080 --token-plugin=websockify.token_plugins.ReadOnlyTokenFile --token-source=/tokens --host-token",
    "6080 --target-config=tokens",
    "6080 localhost:5900 --web=www --web-auth --auth-plugin=ExpectOrigin --auth-source=https://a.example",
    "6080 localhost:5900 --auth-plugin=exec:/usr/libexec/who",
    "--demo",
];

/// Options whose values are secrets and never printed.
const NOT_PRINTED: [&str; 1] = ["key-password"];

#[test]
fn every_command_line_equals_the_file_that_is_printed_for_it() {
    let definition = cli::Options::command();
    let options = definition.get_arguments().filter(|arg| !cli::WITHOUT_KEY.contains(&arg.get_id().as_str()));
    let mut left: BTreeSet<_> = options.filter_map(clap::Arg::get_long).collect();
    for option in NOT_PRINTED {
        left.remove(option);
    }
    for line in LINES {
        let options = line.split_whitespace().filter_map(|word| word.strip_prefix("--"));
        for option in options {
            left.remove(option.split('=').next().unwrap_or_default());
        }
        let words = ["websockify"].into_iter().chain(line.split_whitespace()).map(OsString::from);
        let Ok(cli::CommandLine { command: Command::Run(config), .. }) = cli::from_args(words) else {
            panic!("{line}");
        };
        for text in [print::print_config(&config).unwrap(), print::dump(&config).unwrap()] {
            let read = file::parse(&text, Path::new("/etc/websockify/websockify.toml"));
            assert_eq!(read.as_ref(), Ok(&*config), "{line}\n{text}");
        }
    }
    assert!(left.is_empty(), "add a line to LINES with {left:?}");
}
