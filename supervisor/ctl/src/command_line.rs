//! The command line of `websockifyctl`, shared with the example `completions`.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use common::config::duration;
use common::ipc::{ConnectionId, SessionId};

/// Shows and controls running instances of websockify.
#[derive(Debug, Parser)]
#[command(name = "websockifyctl", version, disable_help_subcommand = true)]
pub(crate) struct Options {
    /// Directory of the configuration files, default /etc/websockify, or ~/.config/websockify without root.
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Directory of the control sockets, default /run/websockify, or $XDG_RUNTIME_DIR/websockify without root.
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) run: Option<PathBuf>,
    /// Ask these machines over ssh, as HOST or USER@HOST: for list, sessions, revoke and drain.
    #[arg(short = 'H', long, value_name = "HOST,...", value_delimiter = ',', global = true)]
    #[arg(conflicts_with_all = ["config", "run"])]
    pub(crate) host: Vec<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the instances that have a configuration file or are running.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the state of an instance, or of all.
    Status {
        name: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the sessions of an instance.
    Sessions {
        name: String,
        /// Repeat every two seconds.
        #[arg(long)]
        watch: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a session, by its number as listed by `sessions` or by its id as in the log.
    Disconnect {
        name: String,
        #[arg(value_parser = session, value_name = "SESSION")]
        session: Session,
    },
    /// End sessions, and refuse their tokens from now on.
    Revoke {
        name: String,
        #[command(flatten)]
        which: Which,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Stop accepting clients, and end the instance with its last session.
    Drain {
        name: String,
        /// Wait until the instance has ended.
        #[arg(long)]
        wait: bool,
        /// End the sessions that remain after this time, such as 1h.
        #[arg(long, value_name = "DURATION", value_parser = seconds)]
        timeout: Option<u32>,
        /// Spread their end over this time, default that of the configuration.
        #[arg(long, value_name = "DURATION", value_parser = seconds, requires = "timeout")]
        spread: Option<u32>,
    },
    /// Read the configuration again. Open sessions continue.
    Reload {
        name: String,
        /// Wait for the outcome, and fail if the reload fails.
        #[arg(long)]
        wait: bool,
    },
    /// Upgrade to the installed version. Open sessions continue.
    Upgrade { name: String },
    /// Apply changed configuration files to running instances through systemd, default all.
    Apply {
        names: Vec<String>,
        /// Only show what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// Open a session like a client, and check that it reaches the target.
    ///
    /// Without a name, every instance that has a configuration file is checked; one that refuses the check for want of
    /// credentials counts as healthy.
    Health {
        name: Option<String>,
        #[command(flatten)]
        credentials: ClientCredentials,
    },
    /// Check configuration files, default all.
    Check { names: Vec<String> },
    /// Print the configuration of an instance with all defaults.
    Show { name: String },
    /// Write a configuration file that is equivalent to a command line of websockify.
    New {
        name: String,
        #[arg(last = true, required = true, value_name = "COMMAND LINE")]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Print the metrics of an instance, in the OpenMetrics text format.
    Metrics { name: String },
    /// Make a link: a token that leads to a target by itself, for an instance whose token plugin is `SignedLink`.
    Ticket {
        name: String,
        #[command(flatten)]
        policy: Box<LinkPolicy>,
        /// Print a link to this page of noVNC instead of the token, such as `https://vnc.example.com/vnc.html`.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// List the sources of connections that have penalties, the worst first.
    Penalties {
        name: String,
        /// Remove the penalties of a source, given by one of its addresses or as it is listed.
        #[arg(long, value_name = "ADDRESS")]
        forgive: Option<String>,
        /// Print JSON.
        #[arg(long, conflicts_with = "forgive")]
        json: bool,
    },
}

/// Which sessions are ended, and which tokens are refused.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// A session, by its number or id, and all sessions with its token.
    #[arg(long, value_parser = session, value_name = "SESSION")]
    pub(crate) session: Option<Session>,
    /// The sessions of a user.
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The sessions with the token, or the hash of a token (sha256:...), in a file; - for standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// All sessions.
    #[arg(long)]
    pub(crate) all: bool,
}

/// What a link allows. An absent option means what the instance is configured to do, or no limit.
#[derive(Clone, Debug, Args)]
pub(crate) struct LinkPolicy {
    /// Where it leads. If it is given several times, the targets are tried in this order.
    #[arg(long, required = true, value_name = "HOST:PORT")]
    pub(crate) target: Vec<String>,
    /// How long sessions may begin, such as 10m or 1d.
    #[arg(
        long = "for",
        required_unless_present = "expires",
        conflicts_with = "expires",
        value_name = "DURATION"
    )]
    pub(crate) valid_for: Option<String>,
    /// In place of --for: until when sessions may begin, such as 2026-12-24T18:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    /// No session begins before this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) not_before: Option<String>,
    /// Longest duration of a session.
    #[arg(long, value_name = "DURATION")]
    pub(crate) lifetime: Option<String>,
    /// When sessions end.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Time without data after which a session ends.
    #[arg(long, value_name = "DURATION")]
    pub(crate) idle: Option<String>,
    /// Number of sessions over all time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) uses: Option<u32>,
    /// Time for which a lost session may be continued without a further use.
    #[arg(long, value_name = "DURATION")]
    pub(crate) reconnect: Option<String>,
    /// Number of sessions at a time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sessions: Option<u32>,
    /// Network that clients must belong to. May be given several times.
    #[arg(long = "source", value_name = "NETWORK")]
    pub(crate) sources: Vec<String>,
    /// Origin that the client's page must have. May be given several times.
    #[arg(long = "origin", value_name = "ORIGIN")]
    pub(crate) origins: Vec<String>,
    /// User of the session.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Whether the session must be recorded, or must not be.
    #[arg(long, value_name = "BOOLEAN")]
    pub(crate) record: Option<bool>,
    /// How the target is told the client's address: off, v1 or v2.
    #[arg(long, value_name = "VERSION")]
    pub(crate) proxy_protocol: Option<String>,
}

/// Credentials that an instance may require of its clients.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientCredentials {
    /// File with a token, if clients need one; - for standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// File with user:password, if clients need it; - for standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Origin, if clients need one.
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) origin: Option<String>,
    /// File with a client certificate, if clients need one.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_certificate: Option<PathBuf>,
    /// File with the key of the client certificate.
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub(crate) client_key: Option<PathBuf>,
    /// Deadline for the whole check, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) timeout: u32,
}

/// A session, given by its number or by its id, which includes the run of the service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) number: u64,
    pub(crate) run: Option<u64>,
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.run {
            Some(run) => SessionId { run, connection: ConnectionId(self.number) }.fmt(f),
            None => self.number.fmt(f),
        }
    }
}

/// Parses a duration with a unit, in seconds. Parts of a second are rounded up.
fn seconds(text: &str) -> Result<u32, String> {
    let parsed = duration::parse(text).map_err(|error| format!("{error}; write 30s, 10m or 1h"))?;
    let whole = parsed.as_secs() + u64::from(parsed.subsec_nanos() > 0);
    u32::try_from(whole).map_err(|error| error.to_string())
}

fn session(text: &str) -> Result<Session, String> {
    if let Some(SessionId { run, connection }) = SessionId::parse(text) {
        return Ok(Session { number: connection.0, run: Some(run) });
    }
    let number = text.parse().map_err(|_| "a number, or an id of 32 hexadecimal digits".to_owned())?;
    Ok(Session { number, run: None })
}

/// Parses the options of a link.
#[cfg(test)]
pub(crate) fn link_policy(options: &[&str]) -> LinkPolicy {
    let command = LinkPolicy::augment_args(clap::Command::new("ticket").no_binary_name(true));
    let matches = command.get_matches_from(options);
    clap::FromArgMatches::from_arg_matches(&matches).expect("options of a link")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    /// The entries below a heading of the manual page. Each begins with its tag.
    fn paragraphs(heading: &str) -> Vec<String> {
        let page = include_str!("../../../docs/man/websockifyctl.1").replace("\\-", "-");
        let (_, below) = page.split_once(&format!("\n.SH {heading}\n")).unwrap();
        let section = below.split("\n.SH ").next().unwrap();
        section.split(".TP\n").skip(1).map(str::to_owned).collect()
    }

    fn words(text: &str) -> Vec<&str> {
        text.split(|c: char| !c.is_alphanumeric() && c != '-').filter(|word| !word.is_empty()).collect()
    }

    fn options(command: &clap::Command) -> BTreeSet<String> {
        let longs = command.get_arguments().filter_map(clap::Arg::get_long);
        longs.filter(|long| !["help", "version"].contains(long)).map(|long| format!("--{long}")).collect()
    }

    #[test]
    fn the_manual_page_has_every_command() {
        let paragraphs = paragraphs("COMMANDS");
        let written: Vec<_> = paragraphs.iter().map(|paragraph| words(paragraph)[1]).collect();
        let definition = Options::command();
        let commands: Vec<_> = definition.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(written, commands);
    }

    #[test]
    fn the_manual_page_has_every_option_of_each_command_and_no_other() {
        let (of_commands, of_several) = (paragraphs("COMMANDS"), paragraphs("OPTIONS"));
        let definition = Options::command();
        let mut known = options(&definition);
        for (command, paragraph) in definition.get_subcommands().zip(&of_commands) {
            for option in options(command) {
                let stands_in = |text: &str| words(text).contains(&option.as_str());
                let is_for = |text: &str| stands_in(text) && words(text).contains(&command.get_name());
                let name = command.get_name();
                assert!(
                    stands_in(paragraph) || of_several.iter().any(|text| is_for(text)),
                    "{name} {option}"
                );
                known.insert(option);
            }
        }
        let written = of_commands.iter().chain(&of_several).flat_map(|text| words(text));
        let written = written.filter(|word| word.len() > 2 && word.starts_with("--"));
        assert_eq!(written.map(str::to_owned).collect::<BTreeSet<_>>(), known);
    }
}
