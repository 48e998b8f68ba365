//! Runs work on files outside of the event loop, which must not block while a file system hangs. Checks that precede
//! every connection run on the loop if the files are local, since waking a thread costs more than the check.

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

/// A thread for one set of files. It does one job at a time: while a job hangs, no other is started.
#[derive(Debug)]
pub(crate) struct OffLoop {
    /// Description of the files for the log.
    what: &'static str,
    /// Time limit for waiting for a job.
    patience: Duration,
    /// The queue of the thread, which ends after its current job when this is dropped.
    jobs: OnceCell<mpsc::Sender<Job>>,
    turn: Arc<Mutex<()>>,
    /// The files that [`Self::run`] examines, and their mounts. `None`: it always uses the thread.
    examined: Option<(Arc<[PathBuf]>, Rc<Mounts>)>,
    hangs: Rc<Cell<bool>>,
}

/// The reason why a job has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OffLoopError {
    /// The job, or one before it, has exceeded the time limit.
    #[error("the file system does not answer")]
    Hangs,
    /// The thread can't be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

impl OffLoop {
    /// Creates the handle. The thread is started with the first job.
    pub(crate) fn new(what: &'static str, patience: Duration) -> Self {
        Self {
            what,
            patience,
            jobs: OnceCell::new(),
            turn: Arc::default(),
            examined: None,
            hangs: Rc::default(),
        }
    }

    /// Like [`Self::new`], for work in [`Self::run`] that examines `paths` and nothing else.
    pub(crate) fn of(what: &'static str, patience: Duration, paths: Vec<PathBuf>) -> Self {
        let examined = Some((paths.into(), Rc::new(Mounts::new())));
        Self { examined, ..Self::new(what, patience) }
    }

    /// Whether a job is hanging.
    pub(crate) fn hangs(&self) -> bool {
        self.hangs.get()
    }

    /// Runs `work`, and then `done` with its result on the event loop. `work` runs on the thread, or on the loop
    /// if the files are known to be local; it must not block on a local file such as a FIFO. If `work` exceeds
    /// the time limit, the result is an error, and `done` is called when `work` has ended.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(T) + 'static,
    ) -> Result<(), OffLoopError> {
        let Some((paths, mounts)) = self.examined.clone() else {
            return self.run_on_thread(work, done).await;
        };
        if mounts.are_local() {
            done(work());
            return Ok(());
        }
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
        // The receiver is a task that runs to its end.
        let job: Job = Box::new(move || drop(sender.send(work())));
        // The thread lives as long as the sender.
        let _ = self.jobs()?.send(job);
        let (hangs, what) = (self.hangs.clone(), self.what);
        // A task of its own, which continues if the caller is cancelled.
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
                "the file system of the {what} does not answer; nothing new is read or written there"
            );
        }
        Err(OffLoopError::Hangs)
    }

    /// Runs `work` on the thread and returns its result, unless it exceeds the time limit.
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
    fn a_hanging_job_delays_its_first_caller_and_no_other() {
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
    fn callers_take_turns() {
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
    fn a_job_continues_if_its_caller_is_cancelled() {
        run(async {
            let files = OffLoop::new("tokens", Duration::from_secs(5));
            let slow = files.get(|| thread::sleep(Duration::from_millis(50)));
            assert!(timeout(Duration::from_millis(5), slow).await.is_err());
            assert_eq!(files.get(|| 3).await.unwrap(), 3);
        });
    }
}
