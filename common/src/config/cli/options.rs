//! The options of the command line. Options that correspond to a key of the file are declared with that key.
//! Declared here are those with another form than their key, and those without a key. The id of an option is
//! the name of its key.
//!
//! The doc comments of fields are the text of `--help`. `-h` shows the first paragraph of the most common
//! options.

use std::ffi::OsString;

use clap::Parser;

use crate::config::auth::AuthTable;
use crate::config::path::FilePath;
use crate::config::tls::Tls;
use crate::config::token::TokenTable;
use crate::config::top::Config;
use crate::config::web::Web;
use crate::config::wrap::WrapMode;

/// Forms of the command line, shown by the help and before each usage error.
pub(super) const USAGE: &str = "\
websockify [options] [source_addr:]source_port target_addr:target_port
       websockify [options] --unix-target=FILE [source_addr:]source_port
       websockify [options] --token-plugin=NAME --token-source=ARG [source_addr:]source_port
       websockify [options] [source_addr:]source_port -- WRAP_COMMAND_LINE
       websockify [options] --config=FILE
       websockify [options] --demo [[source_addr:]source_port]";

/// The end of the text of `--help`.
pub(super) const EXAMPLES: &str = "\
Examples:
  websockify --web /usr/share/novnc 6080 localhost:5900
          noVNC on port 6080, for a VNC server on this machine
  websockify --cert fullchain.pem --key privkey.pem --ssl-only 443 localhost:5900
          only encrypted connections (wss://, https://)
  websockify --unix-target /run/vnc.sock '[::1]:6080'
          from port 6080 of ::1 to a unix socket
  websockify --token-plugin TokenFile --token-source tokens.cfg 6080
          to the target that tokens.cfg has for the token in the path
  websockify 5901 --wrap-mode=ignore -- vncserver :1
          starts a VNC server, and takes its port for WebSocket clients
  websockify --demo
          a page to try it out, on http://127.0.0.1:6080/
  websockify --print-config --web /usr/share/novnc 6080 localhost:5900
          the configuration file that says the same

Addresses are split at their last colon; IPv6 addresses may stand in brackets.
Long options may be abbreviated as long as they are unique.
Exit status: 0 after a stop by SIGTERM or SIGINT, 1 on failure, 2 for wrong usage,
78 for a wrong configuration file; that of a wrapped program that has ended.";

/// Options that correspond to no key: they control what is done with a configuration, or have no effect.
pub(in crate::config) const WITHOUT_KEY: [&str; 8] =
    ["config", "check", "dump", "print_config", "help", "version", "daemon", "libserver"];

/// Forwards WebSocket connections to TCP and unix sockets: lets browsers reach VNC and other servers.
#[derive(Debug, Parser)]
#[command(
    name = "websockify",
    override_usage = USAGE,
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true
)]
#[group(skip)]
pub(in crate::config) struct Options {
    /// Source and target addresses, or the program to wrap.
    #[arg(hide = true)]
    pub(super) addresses: Vec<OsString>,
    /// Number of words after `--`, if it was given: a program to wrap.
    #[arg(skip)]
    pub(super) behind_dashes: Option<usize>,

    /// Listen on a unix socket instead of a port.
    ///
    /// A stale socket at that path, on which nobody listens any more, is replaced. Any other file there is an
    /// error.
    #[arg(id = "listen", long = "unix-listen", value_name = "FILE", help_heading = "Listening")]
    pub(super) unix_listen: Option<FilePath>,
    /// Permissions of the unix socket in octal digits. Default: 0600.
    #[arg(
        id = "listen-mode",
        long = "unix-listen-mode",
        value_name = "MODE",
        help_heading = "Listening",
        hide_short_help = true
    )]
    pub(super) unix_listen_mode: Option<String>,

    /// Connect to a unix socket instead of an address.
    #[arg(id = "target", long = "unix-target", value_name = "FILE", help_heading = "Target")]
    pub(super) unix_target: Option<FilePath>,
    /// Use TLS to the target, and verify its certificate.
    ///
    /// The certificate must be valid for the host name on the command line and issued by an authority that
    /// the system trusts.
    #[arg(id = "target-tls", long = "ssl-target", help_heading = "Target")]
    pub(super) ssl_target: bool,
    #[command(flatten)]
    pub(super) token: Option<TokenTable>,
    /// The same as --token-plugin TokenFile --token-source FILE.
    #[arg(
        id = "token",
        long = "target-config",
        value_name = "FILE",
        help_heading = "Target",
        hide_short_help = true
    )]
    pub(super) target_config: Option<OsString>,

    /// What to do when the program after -- ends: `exit` (default), `ignore` or `respawn`.
    ///
    /// `exit` ends websockify with the program's exit status. `ignore` is for programs that go to the background.
    /// `respawn` starts it again.
    #[arg(
        id = "wrap.mode",
        long = "wrap-mode",
        value_name = "MODE",
        help_heading = "Wrapped program",
        hide_short_help = true
    )]
    pub(super) wrap_mode: Option<WrapMode>,

    #[command(flatten)]
    pub(super) tls: Tls,
    /// Pass phrase of the private key. Other users of this machine can see it in the list of processes;
    /// `key-password-file` in a configuration file avoids that.
    #[arg(
        id = "tls.key-password-file",
        long = "key-password",
        value_name = "TEXT",
        help_heading = "TLS",
        hide_short_help = true
    )]
    pub(super) key_password: Option<String>,

    #[command(flatten)]
    pub(super) web: Option<Web>,
    #[command(flatten)]
    pub(super) auth: Option<AuthTable>,
    #[command(flatten)]
    pub(super) file: Config,

    /// Go to the background once clients can be served.
    ///
    /// Errors before that are printed, and the exit status reports them. Units of systemd should not use this
    /// option.
    #[arg(short = 'D', long, help_heading = "Service")]
    pub(super) daemon: bool,
    /// Accepted for compatibility, without effect.
    #[arg(long, help_heading = "Service", hide_short_help = true)]
    pub(super) libserver: bool,

    /// Take the whole configuration from a TOML file; see websockify.toml(5).
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub(super) config: Option<FilePath>,
    /// Check the configuration and exit with status 0, or print what is wrong.
    ///
    /// The exit status is 78 if the configuration can't work.
    #[arg(long, help_heading = "Configuration")]
    pub(super) check: bool,
    /// Print the effective configuration with all defaults as TOML and exit.
    #[arg(long, help_heading = "Configuration")]
    pub(super) dump: bool,
    /// Print the shortest equivalent TOML file and exit.
    #[arg(long, help_heading = "Configuration")]
    pub(super) print_config: bool,

    /// Print help: one screen with -h, everything with --help.
    #[arg(short, long, help_heading = "Help")]
    pub(super) help: bool,
    /// Print the version.
    #[arg(long, help_heading = "Help")]
    pub(super) version: bool,
}
