//! The options of this version, as given on the command line and not yet understood. Comments on the
//! fields are what `--help` shows; `-h` shows the first paragraph of those that are used most.

use std::ffi::OsString;

use clap::Parser;

/// The forms of a command line, as shown by help and before each usage error.
pub(super) const USAGE: &str = "\
websockify [options] [source_addr:]source_port target_addr:target_port
       websockify [options] --unix-target=FILE [source_addr:]source_port
       websockify [options] --token-plugin=NAME --token-source=ARG [source_addr:]source_port
       websockify [options] [source_addr:]source_port -- WRAP_COMMAND_LINE
       websockify [options] --config=FILE
       websockify [options] --demo [[source_addr:]source_port]";

/// The end of `--help`.
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
pub(crate) struct Options {
    /// Where to listen and what to connect to, or what to start.
    #[arg(hide = true)]
    pub(super) addresses: Vec<OsString>,
    /// There was a `--`: a program is to be started.
    #[arg(skip)]
    pub(super) wraps: bool,

    /// Listen on a unix socket instead of a port.
    #[arg(long, value_name = "FILE", help_heading = "Listening")]
    pub(super) unix_listen: Option<OsString>,
    /// Mode of the unix socket, octal, default 0600.
    #[arg(long, value_name = "MODE", help_heading = "Listening", hide_short_help = true)]
    pub(super) unix_listen_mode: Option<String>,
    /// Take the listening socket from standard input.
    #[arg(long, help_heading = "Listening", hide_short_help = true)]
    pub(super) inetd: bool,
    /// Where a name has IPv4 and IPv6 addresses, prefer IPv6.
    #[arg(short = '6', long, help_heading = "Listening")]
    pub(super) prefer_ipv6: bool,

    /// Connect to a unix socket instead of an address.
    #[arg(long, value_name = "FILE", help_heading = "Target")]
    pub(super) unix_target: Option<OsString>,
    /// Speak TLS to the target, and verify its certificate.
    #[arg(long, help_heading = "Target")]
    pub(super) ssl_target: bool,
    /// Take the target from the client's token: TokenFile, ReadOnlyTokenFile, TokenFileName,
    /// UnixDomainSocketDirectory, BaseTokenAPI, JSONTokenApi, JWTTokenApi, TokenRedis, exec:PROGRAM or a class of Python.
    ///
    /// A client says its token in the path, as in /websockify?token=abc. Who has no good one is refused.
    #[arg(long, value_name = "NAME", help_heading = "Target")]
    pub(super) token_plugin: Option<String>,
    /// Where the plugin looks: a file with lines `token: host:port`, or a folder.
    ///
    /// TokenFile takes such a file, or a folder of them. With TokenFileName a file in the folder has the
    /// token as its name and the target as its content, with UnixDomainSocketDirectory it is the target.
    #[arg(long, value_name = "ARG", help_heading = "Target")]
    pub(super) token_source: Option<OsString>,
    /// Take the token from the Host header instead of the path.
    #[arg(long, help_heading = "Target", hide_short_help = true)]
    pub(super) host_token: bool,
    /// The same as --token-plugin TokenFile --token-source FILE.
    #[arg(long, value_name = "FILE", help_heading = "Target", hide_short_help = true)]
    pub(super) target_config: Option<OsString>,
    /// Serve a built-in demo page with a built-in target.
    ///
    /// Listens on 127.0.0.1:6080 if no address is given.
    #[arg(long, help_heading = "Target")]
    pub(super) demo: bool,

    /// What to do when the program after -- ends: exit (default), ignore or respawn.
    ///
    /// exit ends websockify with the program's exit status. ignore is for programs that go to the
    /// background.
    #[arg(long, value_name = "MODE", help_heading = "Wrapped program", hide_short_help = true)]
    pub(super) wrap_mode: Option<String>,

    /// Certificate chain in PEM, default self.pem in the current folder.
    ///
    /// May hold the key as well. As long as there is no such file, connections with TLS are refused.
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(super) cert: Option<OsString>,
    /// Private key in PEM, default the file of --cert.
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub(super) key: Option<OsString>,
    /// Pass phrase of the private key. Other users of this machine can see it in the list of processes;
    /// `key-password-file` in a configuration file hides it.
    #[arg(long, value_name = "TEXT", help_heading = "TLS", hide_short_help = true)]
    pub(super) key_password: Option<String>,
    /// Refuse connections without TLS.
    #[arg(long, help_heading = "TLS")]
    pub(super) ssl_only: bool,
    /// Lowest version of TLS: default (which is tlsv1_2), tlsv1_2 or tlsv1_3.
    #[arg(long, value_name = "VERSION", help_heading = "TLS", hide_short_help = true)]
    pub(super) ssl_version: Option<String>,
    /// Cipher suites of TLS 1.2, as `openssl ciphers` names them. Those of TLS 1.3 are always offered.
    #[arg(long, value_name = "LIST", help_heading = "TLS", hide_short_help = true)]
    pub(super) ssl_ciphers: Option<String>,
    /// Refuse clients without a valid certificate.
    #[arg(long, help_heading = "TLS", hide_short_help = true)]
    pub(super) verify_client: bool,
    /// Authorities for --verify-client in PEM, default the system's.
    #[arg(long, value_name = "FILE", help_heading = "TLS", hide_short_help = true)]
    pub(super) cafile: Option<OsString>,

    /// Serve the files beneath a folder on the same port.
    #[arg(long, value_name = "DIR", help_heading = "Web server")]
    pub(super) web: Option<OsString>,
    /// Don't list folders that have no index page.
    #[arg(long, help_heading = "Web server")]
    pub(super) file_only: bool,

    /// Ask for authentication before files are served, too.
    #[arg(long, help_heading = "Web server", hide_short_help = true)]
    pub(super) web_auth: bool,

    /// Serve only clients that prove who they are: BasicHTTPAuth, ExpectOrigin, ClientCertCNAuth, or a plugin of
    /// your own.
    ///
    /// Those are exec:PROGRAM, unix:SOCKET, an http or https URL, or a class of Python, module.Class.
    #[arg(long, value_name = "NAME", help_heading = "Authentication")]
    pub(super) auth_plugin: Option<String>,
    /// What they must prove: a user:password, origins such as https://a.example, or common names of
    /// certificates.
    ///
    /// Other users of this machine can see it in the list of processes; `source-file` in a configuration
    /// file hides it.
    #[arg(long, value_name = "ARG", help_heading = "Authentication")]
    pub(super) auth_source: Option<String>,

    /// Send a ping every N seconds, default 0: never.
    ///
    /// A client from which nothing comes for two intervals is dropped.
    #[arg(long, value_name = "N", help_heading = "Sessions")]
    pub(super) heartbeat: Option<String>,

    /// Record each session to FILE.N, with its number for N, in the format that noVNC plays back.
    ///
    /// Recordings hold all that is shown and typed, passwords too. Only their owner can read them.
    #[arg(long, value_name = "FILE", help_heading = "Sessions", hide_short_help = true)]
    pub(super) record: Option<OsString>,

    /// Go to the background once clients can be served.
    #[arg(short = 'D', long, help_heading = "Service")]
    pub(super) daemon: bool,
    /// End after the first session.
    #[arg(long, help_heading = "Service", hide_short_help = true)]
    pub(super) run_once: bool,
    /// Let no more clients in N seconds after the start, and end with the last session.
    #[arg(long, value_name = "N", help_heading = "Service", hide_short_help = true)]
    pub(super) timeout: Option<String>,
    /// End after N seconds without a connection.
    #[arg(long, value_name = "N", help_heading = "Service", hide_short_help = true)]
    pub(super) idle_timeout: Option<String>,
    /// Processes that serve clients: a number, or auto (default), which begins with one and grows with
    /// load up to the number of processors.
    #[arg(long, value_name = "N", help_heading = "Service", hide_short_help = true)]
    pub(super) workers: Option<String>,
    /// User to serve clients as when started as root. Default: websockify if there is such a user, else
    /// nobody.
    #[arg(long, value_name = "NAME", help_heading = "Service", hide_short_help = true)]
    pub(super) user: Option<String>,
    /// Confinement of the processes that clients reach: best-effort (default) uses what the kernel has,
    /// strict does not start without all of it, off uses none.
    #[arg(long, value_name = "MODE", help_heading = "Service", hide_short_help = true)]
    pub(super) sandbox: Option<String>,
    /// Accepted for compatibility, without effect.
    #[arg(long, help_heading = "Service", hide_short_help = true)]
    pub(super) libserver: bool,

    /// Log more.
    #[arg(short, long, help_heading = "Log")]
    pub(super) verbose: bool,
    /// Show a mark on standard output for each piece of data that passes.
    #[arg(long, help_heading = "Log", hide_short_help = true)]
    pub(super) traffic: bool,
    /// Add the log's lines to a file as well, which is opened again at SIGUSR1.
    #[arg(long, value_name = "FILE", help_heading = "Log")]
    pub(super) log_file: Option<OsString>,
    /// Send the log's lines to a syslog server as well: a socket such as /dev/log, or a UDP HOST:PORT.
    #[arg(long, value_name = "SERVER", help_heading = "Log", hide_short_help = true)]
    pub(super) syslog: Option<OsString>,
    /// Send to --syslog in the format that was common before RFC 5424.
    #[arg(long, help_heading = "Log", hide_short_help = true)]
    pub(super) legacy_syslog: bool,

    /// Take the whole configuration from a TOML file.
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub(super) config: Option<OsString>,
    /// Check the configuration and exit: quietly with 0, or with a message.
    #[arg(long, help_heading = "Configuration")]
    pub(super) check: bool,
    /// Print the effective configuration with all defaults as TOML and exit.
    #[arg(long, help_heading = "Configuration")]
    pub(super) dump: bool,
    /// Print the shortest TOML file that equals this command line and exit.
    #[arg(long, help_heading = "Configuration")]
    pub(super) print_config: bool,

    /// Print help: a screen for -h, everything for --help.
    #[arg(short, long, help_heading = "Help")]
    pub(super) help: bool,
    /// Print the version.
    #[arg(long, help_heading = "Help")]
    pub(super) version: bool,
}
