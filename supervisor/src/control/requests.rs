//! Answers to the requests of the control protocol.

use std::time::{Duration, UNIX_EPOCH};

use common::config::{Config, Target};
use common::control::{Answer, Generation, Penalty, Request, Status};
use common::ipc::ConnectionId;
use common::ipc::gateway::EndCause;

use super::{metrics, progress};
use crate::os::clock::now;
use crate::path::intake::Intake;
use crate::path::revocation;
use crate::state::reload_requests::Kind;
use crate::state::sources::Source;

/// Maximum number of sources in an answer: the worst, as a flood may leave tens of thousands.
const MAX_PENALTIES: usize = 1000;

/// Kind of answer to a request.
pub(super) enum Reply {
    /// An answer that is known already.
    Now(Answer),
    /// The outcome of the reload with this number.
    AfterReload(u64),
}

/// Carries out a request.
pub(super) async fn handle(intake: &Intake, request: Request) -> Reply {
    let reloads = &intake.state.reload_requests;
    Reply::Now(match request {
        Request::Status => Answer::Status(Box::new(status(intake))),
        Request::Sessions => Answer::Sessions(progress::sessions(intake).await),
        Request::Disconnect { session, run } => {
            let is_ours = run.is_none_or(|run| run == intake.state.connections.borrow().run().number());
            match is_ours {
                true => disconnect(intake, ConnectionId(session)).await,
                false => Answer::Failed("that session belongs to an earlier run".into()),
            }
        }
        Request::Revoke { which } => match revocation::revoke(intake, &which).await {
            Ok(revoked) => Answer::Revoked(revoked),
            Err(why) => Answer::Failed(why),
        },
        Request::Drain { timeout, spread } => {
            let seconds = |number: Option<u32>| number.map(|number| Duration::from_secs(number.into()));
            intake.drain(seconds(timeout), seconds(spread));
            Answer::Done("the instance drains, and ends with its last session".into())
        }
        Request::Penalties => Answer::Penalties(penalties(intake)),
        Request::Forgive { source } => forgive(intake, &source),
        Request::Metrics => Answer::Metrics(metrics::text(intake).await),
        Request::Reload { wait: true } => return Reply::AfterReload(reloads.ask(Kind::Reload)),
        Request::Reload { wait: false } => {
            reloads.ask(Kind::Reload);
            Answer::Done("a reload was requested; see the log for its outcome".into())
        }
        Request::Upgrade => return Reply::AfterReload(reloads.ask(Kind::Upgrade)),
    })
}

fn status(intake: &Intake) -> Status {
    let current = intake.generations.current();
    let totals = intake.state.connections.borrow().totals();
    let generations = intake.generations.all();
    Status {
        name: current.as_ref().map(|one| one.config.name.clone()).unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_seconds: intake.state.began().elapsed().as_secs(),
        listen: intake.listeners.all().iter().map(|one| one.reached_at()).collect(),
        target: current.as_ref().map(|one| target(&one.config)).unwrap_or_default(),
        sessions: totals.sessions,
        sessions_total: totals.opened,
        bytes_relayed: totals.bytes,
        sandbox: current.as_ref().and_then(|one| one.scope.confinement.describe()).unwrap_or_default(),
        violations: intake.state.counters.violations.get(),
        draining: intake.state.draining.get().is_some(),
        reload_failure: intake.state.reload_requests.last_failure(),
        listens_elsewhere: intake.listens_elsewhere.borrow().clone(),
        config_read: current.as_ref().and_then(|one| one.read).map_or(0, |read| {
            let since = read.duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        }),
        certificate_expires: current
            .as_ref()
            .and_then(|one| one.expires())
            .and_then(|expires| Some(expires.duration_since(UNIX_EPOCH).ok()?.as_secs())),
        generations: generations
            .iter()
            .map(|one| Generation {
                number: one.number,
                gateways: one.pool.all().iter().map(|gateway| gateway.peer.pid).collect(),
                connections: one.pool.load(&intake.state.connections.borrow()),
            })
            .collect(),
    }
}

fn penalties(intake: &Intake) -> Vec<Penalty> {
    let punished = intake.state.connections.borrow().sources().punished(now());
    let shown = punished.into_iter().take(MAX_PENALTIES).map(|one| Penalty {
        source: one.source.to_string(),
        seconds: one.penalty.as_secs() + u64::from(one.penalty.subsec_nanos() > 0),
        banned: one.is_banned,
        turned_away: one.turned_away,
    });
    shown.collect()
}

fn forgive(intake: &Intake, text: &str) -> Answer {
    let mut connections = intake.state.connections.borrow_mut();
    let address = text.parse().ok();
    let is_meant =
        |source: Source| source.to_string() == text || address.is_some_and(|one| source.contains(one));
    match connections.sources_mut().forgive(is_meant, now()) {
        0 => Answer::Failed(format!("no source {text} has penalties")),
        _ => Answer::Done(format!("the penalties of {text} are forgiven")),
    }
}

fn target(config: &Config) -> String {
    match config.target() {
        Target::Static(target) => target.to_string(),
        Target::Demo => "the built-in echo".into(),
        _ => "chosen for each client".into(),
    }
}

async fn disconnect(intake: &Intake, id: ConnectionId) -> Answer {
    if intake.state.connections.borrow().gateway_of_session(id).is_none() {
        return Answer::Failed(format!("there is no session {id}"));
    }
    for generation in intake.generations.all() {
        generation.end_sessions_among(&[id], EndCause::Disconnected).await;
    }
    Answer::Done(format!("session {id} is being closed"))
}
