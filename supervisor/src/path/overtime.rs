//! Ends sessions that go on after their time, as their gateways do not end them.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::handoff::find;
use super::intake::Intake;
use crate::roles::peer::Fault;

/// Time that a gateway has in addition to that of its own timers.
pub(super) const GRACE: Duration = Duration::from_secs(15);

/// Interval at which sessions are looked at, while any must end by a certain time.
const INTERVAL: Duration = Duration::from_secs(1);

/// Kills gateways that let a session go on after its time, for the life of the service.
pub(crate) async fn keep_watching(intake: Rc<Intake>) {
    let state = &intake.state;
    loop {
        while state.connections.borrow().any_limited() {
            sleep(INTERVAL).await;
            let past = state.connections.borrow_mut().overtime(INTERVAL);
            for (id, gateway) in past {
                if let Some((_, gateway)) = find(&intake, gateway) {
                    let what = format!("session {id} goes on after its time");
                    gateway.peer.kill_for_fault(Fault::Violation(what));
                }
            }
        }
        state.limited.notified().await;
    }
}
