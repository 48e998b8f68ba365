//! Clients that wait for a target that is not there yet. Of those that wait for the same target one dials for all of
//! them, again and again with growing pauses. Once it is connected, the others dial too.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;

/// Pause before the second attempt to dial a target.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause between two attempts. A target is noticed this long after it is there at the latest.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The waiting rooms of all targets that clients wait for.
#[derive(Default)]
pub(super) struct WaitingRooms(RefCell<HashMap<String, Weak<Room>>>);

/// Those who wait for one target.
pub(super) struct Room {
    /// Held by the client that dials; the pause before its next attempt.
    pause: Mutex<Duration>,
    /// Notified when the target has been connected.
    opened: Notify,
}

impl WaitingRooms {
    /// Enters the room of a target.
    pub(super) fn enter(&self, target: String) -> Rc<Room> {
        let mut rooms = self.0.borrow_mut();
        if let Some(room) = rooms.get(&target).and_then(Weak::upgrade) {
            return room;
        }
        rooms.retain(|_, room| room.strong_count() > 0);
        let room = Rc::new(Room { pause: Mutex::new(FIRST_PAUSE), opened: Notify::new() });
        rooms.insert(target, Rc::downgrade(&room));
        room
    }
}

impl Room {
    /// Dials until `dial` gives something, which is returned. Dropping the future leaves the room.
    pub(super) async fn wait_for<T>(&self, mut dial: impl AsyncFnMut() -> Option<T>) -> T {
        loop {
            tokio::select! {
                mut pause = self.pause.lock() => loop {
                    sleep(*pause).await;
                    *pause = (*pause * 3 / 2).min(LONGEST_PAUSE);
                    if let Some(connected) = dial().await {
                        *pause = FIRST_PAUSE;
                        self.opened.notify_waiters();
                        return connected;
                    }
                },
                () = self.opened.notified() => {
                    if let Some(connected) = dial().await {
                        return connected;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::task::{JoinSet, LocalSet};
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_dials_for_all_with_growing_pauses_until_the_target_is_there() {
        let tasks = LocalSet::new();
        let (attempts, is_there, rooms) =
            (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)), WaitingRooms::default());
        let mut waiting = JoinSet::new();
        for _ in 0..100 {
            let (room, attempts, is_there) = (rooms.enter("a".into()), attempts.clone(), is_there.clone());
            let dial = async move || {
                attempts.set(attempts.get() + 1);
                is_there.get().then_some(())
            };
            waiting.spawn_local_on(async move { room.wait_for(dial).await }, &tasks);
        }
        let began = Instant::now();
        tasks.run_until(sleep(Duration::from_secs(40))).await;
        assert!((20..30).contains(&attempts.get()), "{}", attempts.get());
        is_there.set(true);
        let all = async { while waiting.join_next().await.is_some() {} };
        tasks.run_until(timeout(LONGEST_PAUSE, all)).await.unwrap();
        assert!(began.elapsed() <= Duration::from_secs(42));
        assert_eq!(rooms.0.borrow().values().filter(|room| room.strong_count() > 0).count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_one_that_dials_leaves_another_dials() {
        let rooms = WaitingRooms::default();
        let (first, second) = (rooms.enter("a".into()), rooms.enter("a".into()));
        let mut never = Box::pin(first.wait_for(async || None::<()>));
        assert!(timeout(Duration::from_secs(5), &mut never).await.is_err());
        let mut next = Box::pin(second.wait_for(async || Some(())));
        assert!(timeout(Duration::from_secs(5), &mut next).await.is_err(), "two dial");
        drop(never);
        assert!(timeout(LONGEST_PAUSE, next).await.is_ok());
    }
}
