//! Applies configuration files to running instances, through systemd.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::addr::ListenAddr;
use common::config::Config;
use common::control::{Answer, Request, Status};
use common::exit_code;

use crate::files;
use crate::instances::{CtlError, Instance};
use crate::output::print;
use crate::systemctl::{self, first};

/// The action for an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing, for this reason.
    Leave(String),
    /// Reload the service.
    Reload,
    /// Restart the sockets, for this reason.
    RestartSocket(String),
}

/// The state of an instance, as needed for the decision.
#[derive(Debug)]
struct State {
    /// Whether its socket unit is active.
    listens: bool,
    /// Addresses on which systemd listens for it, according to its units.
    listen: Vec<String>,
    /// When its sockets were opened.
    since: Option<SystemTime>,
    /// When its file was last changed.
    changed: Option<SystemTime>,
    /// Status of its service, if it is running.
    status: Option<Status>,
}

/// Applies the files of these instances, or of all, and returns the exit status. With `dry_run`, only prints
/// what it would do.
pub(crate) fn apply(directory: &Path, run: &Path, names: Vec<String>, dry_run: bool) -> Result<u8, CtlError> {
    let names = files::asked(directory, names);
    let mut code = exit_code::SUCCESS;
    let mut plans = Vec::new();
    for name in names {
        match files::config(directory, &name)? {
            Ok(config) => plans.push((name, config)),
            Err(problem) => {
                code = exit_code::CONFIG;
                say(&name, &format!("not changed, its file is invalid:\n{problem}"))?;
            }
        }
    }
    if !plans.is_empty() && !dry_run {
        systemctl::run(&["daemon-reload"])?;
    }
    for (name, config) in plans {
        let step = state(directory, run, &name).map(|state| step(&config, &state));
        let done = step.and_then(|step| perform(&name, &step, dry_run));
        if let Err(error) = done {
            code = code.max(exit_code::FAILURE);
            say(&name, &format!("failed: {error}"))?;
        }
    }
    Ok(code)
}

fn say(name: &str, what: &str) -> Result<(), CtlError> {
    print(&format!("{name}: {what}\n"))
}

fn state(directory: &Path, run: &Path, name: &str) -> Result<State, CtlError> {
    let socket = systemctl::show(&socket_of(name), "ActiveState,Listen,ActiveEnterTimestamp")?;
    let status = match Instance::named(run, name)?.ask(&Request::Status) {
        Ok(Answer::Status(status)) => Some(*status),
        _ => None,
    };
    let listen = socket.get("Listen").into_iter().flatten();
    let since = first(&socket, "ActiveEnterTimestamp").strip_prefix('@').and_then(|text| text.parse().ok());
    Ok(State {
        listens: first(&socket, "ActiveState") == "active",
        listen: listen.map(|one| one.trim_end_matches(" (Stream)").to_owned()).collect(),
        since: since.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        changed: fs::metadata(directory.join(format!("{name}.toml"))).and_then(|file| file.modified()).ok(),
        status,
    })
}

/// Determines what to do for an instance with `config`.
fn step(config: &Config, state: &State) -> Step {
    let Some(status) = &state.status else {
        if !state.listens {
            return Step::Leave(format!(
                "not enabled; systemctl enable --now {} starts it",
                socket_of(&config.name)
            ));
        }
        // No service is running, so that no session can be lost. Its generation can't report its addresses
        // either.
        let is_older = state.changed.zip(state.since).is_some_and(|(changed, since)| changed > since);
        return match is_older || !same_places(config, &state.listen) {
            true => Step::RestartSocket("the file has changed since".into()),
            false => Step::Leave("up to date, waiting for the first client".into()),
        };
    };
    if state.listens && (status.listens_elsewhere.is_some() || !same_places(config, &state.listen)) {
        return Step::RestartSocket(format!("`listen` has changed; {} sessions end", status.sessions));
    }
    let read = SystemTime::UNIX_EPOCH + Duration::from_millis(status.config_read);
    match state.changed.is_none_or(|changed| changed > read) || status.reload_failure.is_some() {
        true => Step::Reload,
        false => Step::Leave("up to date".into()),
    }
}

fn perform(name: &str, step: &Step, dry_run: bool) -> Result<(), CtlError> {
    let (what, why, words) = match step {
        Step::Leave(why) => return say(name, why),
        Step::Reload => ("reload", "the file has changed".to_owned(), ["reload", &service_of(name)]),
        Step::RestartSocket(why) => ("restart the socket", why.clone(), ["restart", &socket_of(name)]),
    };
    if dry_run {
        return say(name, &format!("would {what}: {why}"));
    }
    systemctl::run(&words)?;
    say(name, &format!("{what}: {why}"))
}

fn socket_of(name: &str) -> String {
    format!("websockify@{name}.socket")
}

fn service_of(name: &str) -> String {
    format!("websockify@{name}.service")
}

/// Whether systemd listens at the addresses of `config`. The unit rejects an address on which systemd can't
/// listen.
fn same_places(config: &Config, shown: &[String]) -> bool {
    let mut wanted: Vec<_> = config.listen.iter().map(|address| place(address, config.prefer_ipv6)).collect();
    if wanted.is_empty() {
        // The default socket of the unit.
        return shown.len() == 1 && shown.iter().all(|one| one.ends_with(&format!("/{}.sock", config.name)));
    }
    let mut shown = shown.to_vec();
    wanted.sort();
    shown.sort();
    wanted == shown
}

/// A listener in the notation of `systemctl show`.
fn place(address: &ListenAddr, prefer_ipv6: bool) -> String {
    match address {
        ListenAddr::Tcp { host: None, port } => format!("[::]:{port}"),
        ListenAddr::Tcp { host: Some(host), port } if host.eq_ignore_ascii_case("localhost") => {
            if prefer_ipv6 { format!("[::1]:{port}") } else { format!("127.0.0.1:{port}") }
        }
        ListenAddr::Tcp { .. } => address.to_string(),
        ListenAddr::Unix(path) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let path = Path::new("/etc/websockify/vnc.toml");
        common::config::file::parse(&format!("target = \"a:1\"\n{text}"), path).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn running(read: u64) -> State {
        State {
            listens: true,
            listen: vec!["[::]:6080".into()],
            since: Some(at(10)),
            changed: Some(at(100)),
            status: Some(Status { config_read: read * 1000, sessions: 3, ..Status::default() }),
        }
    }

    #[test]
    fn a_service_is_reloaded_if_its_file_is_newer() {
        let config = config("listen = 6080");
        assert_eq!(step(&config, &running(99)), Step::Reload);
        assert_eq!(step(&config, &running(101)), Step::Leave("up to date".into()));
        let mut failed = running(101);
        failed.status.as_mut().unwrap().reload_failure = Some("x".into());
        assert_eq!(step(&config, &failed), Step::Reload);
    }

    #[test]
    fn sockets_are_restarted_only_if_their_addresses_change() {
        let changed = |text: &str| step(&config(text), &running(101));
        assert!(matches!(changed("listen = 6081"), Step::RestartSocket(why) if why.contains("3 sessions")));
        let mut elsewhere = running(101);
        elsewhere.status.as_mut().unwrap().listens_elsewhere = Some("[::]:1".into());
        assert!(matches!(step(&config("listen = 6080"), &elsewhere), Step::RestartSocket(_)));
        // The service opens its listeners itself.
        let own = State { listens: false, listen: Vec::new(), ..running(101) };
        assert_eq!(step(&config("listen = 6081"), &own), Step::Leave("up to date".into()));
    }

    #[test]
    fn sockets_that_wait_are_compared_with_the_file() {
        let waiting = |listen: &str, since| State {
            listen: vec![listen.into()],
            since: Some(at(since)),
            status: None,
            ..running(0)
        };
        let step = |text: &str, state: State| step(&config(text), &state);
        assert!(matches!(step("listen = 6080", waiting("[::]:6080", 101)), Step::Leave(_)));
        assert!(matches!(step("listen = 6080", waiting("[::]:6080", 99)), Step::RestartSocket(_)));
        assert!(matches!(step("listen = 6080", waiting("[::]:1", 101)), Step::RestartSocket(_)));
        assert!(matches!(step("", waiting("/run/websockify/vnc.sock", 101)), Step::Leave(_)));
        assert!(matches!(step("", waiting("[::]:6080", 101)), Step::RestartSocket(_)));
        let off = State { listens: false, ..waiting("[::]:6080", 99) };
        assert!(matches!(step("listen = 6080", off), Step::Leave(why) if why.contains("enable --now")));
    }

    #[test]
    fn places_are_written_as_systemd_shows_them() {
        let config = config(r#"listen = ["6080", "localhost:1", "[::1]:2", "1.2.3.4:3", "unix:/run/a b"]"#);
        let places: Vec<_> = config.listen.iter().map(|one| place(one, false)).collect();
        assert_eq!(places, ["[::]:6080", "127.0.0.1:1", "[::1]:2", "1.2.3.4:3", "/run/a b"]);
    }
}
