//! File work off the event loop, so that a file system that hangs does not stop the service. Checks that precede every
//! connection run on the loop where the files are local, since waking a thread costs more than the check.

use std::cell::{Cell, OnceCell};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::local_files::{self, Mounts};

type Job = Box<dyn FnOnce() + Send>;

/// A thread that touches one set of files. There is one attempt at a time: while it hangs, no other is begun.
#[derive(Debug)]
pub(crate) struct OffLoop {
    /// What the files are, for the log.
    what: &'static str,
    /// How long is waited for an attempt.
    patience: Duration,
    /// The thread ends when this is dropped, once it can.
    jobs: OnceCell<mpsc::Sender<Job>>,
    turn: Arc<Mutex<()>>,
    /// The files that [`Self::run`] examines. Empty: it always uses the thread.
    paths: Arc<[PathBuf]>,
    mounts: Rc<Mounts>,
    hangs: Rc<Cell<bool>>,
}

/// Why nothing has come of an attempt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OffLoopError {
    /// It takes longer than is waited for, or one before it does.
    #[error("the file system does not answer")]
    Hangs,
    /// There is no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

impl OffLoop {
    /// The thread is started when it is needed.
    pub(crate) fn new(what: &'static str, patience: Duration) -> Self {
        Self::of(what, patience, Vec::new())
    }

    /// As [`Self::new`], for work in [`Self::run`] that examines `paths` and nothing else.
    pub(crate) fn of(what: &'static str, patience: Duration, paths: Vec<PathBuf>) -> Self {
        let (jobs, mounts) = (OnceCell::new(), Rc::new(Mounts::new()));
        Self { what, patience, jobs, turn: Arc::default(), paths: paths.into(), mounts, hangs: Rc::default() }
    }

    /// Whether an attempt hangs.
    pub(crate) fn hangs(&self) -> bool {
        self.hangs.get()
    }

    /// Runs `work`, then `done` with its outcome. `work` runs on the thread, or on the loop where the files are known to
    /// be local; it must not block on a local file (a FIFO, say). If `work` takes longer than the patience, the call
    /// fails, and `done` runs when `work` ends.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(T) + 'static,
    ) -> Result<(), OffLoopError> {
        if self.paths.is_empty() {
            return self.run_on_thread(work, done).await;
        }
        if self.mounts.are_local() {
            done(work());
            return Ok(());
        }
        let (paths, mounts) = (self.paths.clone(), self.mounts.clone());
        mounts.ask();
        let work = move || (work(), paths.iter().all(|path| local_files::are_local(path)));
        let done = move |(outcome, are_local)| {
            mounts.answer(are_local);
            done(outcome);
        };
        self.run_on_thread(work, done).await
    }

    async fn run_on_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(T) + 'static,
    ) -> Result<(), OffLoopError> {
        if self.hangs.get() {
            return Err(OffLoopError::Hangs);
        }
        let turn = timeout(self.patience, self.turn.clone().lock_owned()).await;
        let turn = turn.map_err(|_| OffLoopError::Hangs)?;
        let (sender, outcome) = oneshot::channel();
        // Whoever waits has waited in a task that goes on.
        let job: Job = Box::new(move || drop(sender.send(work())));
        // The thread ends behind the sender only.
        let _ = self.jobs()?.send(job);
        let (hangs, what) = (self.hangs.clone(), self.what);
        // A task of its own, so that it goes on if our caller is given up.
        let finished = spawn_local(async move {
            if let Ok(outcome) = outcome.await {
                done(outcome);
            }
            if hangs.replace(false) {
                tracing::info!("the file system of the {what} answers again");
            }
            drop(turn);
        });
        if timeout(self.patience, finished).await.is_ok() {
            return Ok(());
        }
        if !self.hangs.replace(true) {
            let what = self.what;
            tracing::error!(
                "the file system of the {what} does not answer; what was read before stays in force"
            );
        }
        Err(OffLoopError::Hangs)
    }

    /// Gives what `work` on the thread has come to, unless that takes too long.
    pub(crate) async fn get<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, OffLoopError> {
        let found = Rc::new(Cell::new(None));
        let place = found.clone();
        self.run_on_thread(work, move |outcome| place.set(Some(outcome))).await?;
        found.take().ok_or(OffLoopError::Hangs)
    }

    fn jobs(&self) -> io::Result<&mpsc::Sender<Job>> {
        if let Some(jobs) = self.jobs.get() {
            return Ok(jobs);
        }
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::Builder::new().name("files".into()).spawn(move || jobs.into_iter().for_each(|job| job()))?;
        Ok(self.jobs.get_or_init(|| sender))
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(200);

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn an_attempt_that_hangs_keeps_its_first_caller_for_a_while_and_others_not_at_all() {
        run(async {
            let files = OffLoop::new("tokens", PATIENCE);
            let (resume, hang) = mpsc::channel::<()>();
            let late = Rc::new(Cell::new(0));
            let noted = late.clone();
            let began = tokio::time::Instant::now();
            let hangs = files.run(move || hang.recv().map_or(0, |()| 7), move |found| noted.set(found)).await;
            assert!(hangs.is_err() && files.hangs());
            assert!(began.elapsed() >= PATIENCE);
            let began = tokio::time::Instant::now();
            assert!(files.get(|| 1).await.is_err());
            assert!(began.elapsed() < PATIENCE);
            resume.send(()).unwrap();
            while files.hangs() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(late.get(), 7, "what it has found is not lost");
            assert_eq!(files.get(|| 2).await.unwrap(), 2);
        });
    }

    #[test]
    fn callers_come_one_after_the_other() {
        run(async {
            let files = OffLoop::new("tokens", Duration::from_secs(5));
            let slow = |n| {
                move || {
                    thread::sleep(Duration::from_millis(20));
                    n
                }
            };
            let (one, two) = tokio::join!(files.get(slow(1)), files.get(slow(2)));
            assert_eq!((one.unwrap(), two.unwrap()), (1, 2));
        });
    }

    #[test]
    fn an_attempt_goes_on_if_its_caller_is_given_up() {
        run(async {
            let files = OffLoop::new("tokens", Duration::from_secs(5));
            let slow = files.get(|| thread::sleep(Duration::from_millis(50)));
            assert!(timeout(Duration::from_millis(5), slow).await.is_err());
            assert_eq!(files.get(|| 3).await.unwrap(), 3);
        });
    }
}
