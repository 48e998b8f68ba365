//! Questions and answers as lines of JSON over a stream: several at a time, answered in any order.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::answer::{AnswerError, Written};
use crate::connector::endpoint::Stream;

/// The longest answer, bytes. Whoever sends more has lost its way.
const MAX_LINE: u64 = 64 * 1024;

/// The largest number of a question. Readers of JSON need not know larger integers (RFC 8259 6).
const MAX_ID: u64 = (1 << 53) - 1;

/// Questions that may wait to be sent. A plugin that does not read gets no more.
const MAX_UNSENT: usize = 64;

/// One connection to a plugin. Ends with it: whoever still waits for an answer then gets none.
pub(super) struct Link {
    unsent: mpsc::Sender<Vec<u8>>,
    waiting: Rc<PendingQuestions>,
    speaks_nonsense: Rc<Cell<bool>>,
    /// Reads and writes; aborted with the link.
    _tasks: JoinSet<()>,
}

/// Who waits for which answer. None any more once the connection has ended.
type PendingQuestions = RefCell<Option<HashMap<u64, oneshot::Sender<Result<Written, AnswerError>>>>>;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::connector) enum LinkError {
    /// The plugin is gone, or breaks protocol.
    #[error("the connection to it broke")]
    Broken,
    /// It does not read its questions.
    #[error("it does not read its questions")]
    Full,
    /// It has answered, but not as it should.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl Link {
    /// Asks over `stream` from now on.
    pub(super) fn new(stream: Stream) -> Self {
        let (reader, mut writer) = tokio::io::split(stream);
        let (unsent, mut to_send) = mpsc::channel::<Vec<u8>>(MAX_UNSENT);
        let waiting: Rc<PendingQuestions> = Rc::new(RefCell::new(Some(HashMap::new())));
        let mut tasks = JoinSet::new();
        let speaks_nonsense: Rc<Cell<bool>> = Rc::default();
        let (answered, nonsense) = (waiting.clone(), speaks_nonsense.clone());
        tasks.spawn_local(async move {
            let mut reader = BufReader::new(reader);
            while let Some(line) = next(&mut reader).await {
                let Some(id) = Written::id(&line) else {
                    nonsense.set(true);
                    break;
                };
                let sender = answered.borrow_mut().as_mut().and_then(|waiting| waiting.remove(&id));
                // Who has given up meanwhile needs no answer.
                if let Some(sender) = sender {
                    let _ = sender.send(Written::read(&line));
                }
            }
            answered.borrow_mut().take();
        });
        let broken = waiting.clone();
        tasks.spawn_local(async move {
            while let Some(line) = to_send.recv().await {
                if writer.write_all(&line).await.is_err() {
                    broken.borrow_mut().take();
                    return;
                }
            }
        });
        Self { unsent, waiting, speaks_nonsense, _tasks: tasks }
    }

    /// Whether the connection has ended.
    pub(super) fn is_broken(&self) -> bool {
        self.waiting.borrow().is_none()
    }

    /// Whether it has ended because what came was no answer to anything.
    pub(super) fn speaks_nonsense(&self) -> bool {
        self.speaks_nonsense.get()
    }

    /// Asks one question, which `line` makes with its number, and waits for the answer without a deadline.
    pub(super) async fn ask(&self, line: impl FnOnce(u64) -> Vec<u8>) -> Result<Written, LinkError> {
        let (sender, answer) = oneshot::channel();
        let id = self.wait(sender).ok_or(LinkError::Broken)?;
        let _forget = Forget { waiting: &self.waiting, id };
        self.unsent.try_send(line(id)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LinkError::Full,
            mpsc::error::TrySendError::Closed(_) => LinkError::Broken,
        })?;
        Ok(answer.await.map_err(|_| LinkError::Broken)??)
    }

    /// Takes note of who waits, by a number that nobody can guess: who answers one question has no number of another.
    /// None once the connection has ended.
    fn wait(&self, sender: oneshot::Sender<Result<Written, AnswerError>>) -> Option<u64> {
        let mut waiting = self.waiting.borrow_mut();
        let waiting = waiting.as_mut()?;
        loop {
            let mut random = [0; 8];
            aws_lc_rs::rand::fill(&mut random).ok()?;
            let id = u64::from_le_bytes(random) & MAX_ID;
            if let Entry::Vacant(free) = waiting.entry(id) {
                free.insert(sender);
                return Some(id);
            }
        }
    }
}

/// Takes a question out of those that wait, however its waiting ends.
struct Forget<'a> {
    waiting: &'a PendingQuestions,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.borrow_mut().as_mut() {
            waiting.remove(&self.id);
        }
    }
}

/// The next line; none when the stream has ended, or a line does not.
async fn next(reader: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    reader.take(MAX_LINE).read_until(b'\n', &mut line).await.ok()?;
    line.ends_with(b"\n").then_some(line)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::io::{DuplexStream, duplex};
    use tokio::task::spawn_local;
    use tokio::time::{sleep, timeout};

    use super::super::answer::TargetAnswer;
    use super::*;

    async fn local<T>(test: impl Future<Output = T>) -> T {
        tokio::task::LocalSet::new().run_until(test).await
    }

    fn linked() -> (Rc<Link>, BufReader<DuplexStream>) {
        let (ours, theirs) = duplex(1024);
        (Rc::new(Link::new(Box::new(ours))), BufReader::new(theirs))
    }

    fn question(id: u64) -> Vec<u8> {
        format!("{{\"id\":{id}}}\n").into_bytes()
    }

    fn target(written: Result<Written, LinkError>) -> String {
        match written.unwrap().target(SystemTime::now()) {
            Ok(TargetAnswer::Target { address, .. }) => address.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn answers_may_come_in_any_order() {
        local(async {
            let (link, mut plugin) = linked();
            let ask = |link: Rc<Link>| spawn_local(async move { link.ask(question).await });
            let (first, second) = (ask(link.clone()), ask(link.clone()));
            let mut ids = Vec::new();
            for _ in 0..2 {
                let mut line = String::new();
                plugin.read_line(&mut line).await.unwrap();
                let id = line.strip_prefix("{\"id\":").and_then(|rest| rest.strip_suffix("}\n")).unwrap();
                ids.push(id.parse::<u64>().unwrap());
            }
            assert!(ids[0].abs_diff(ids[1]) > 1 << 16, "numbers that can be guessed: {ids:?}");
            let answers = format!(
                "{{\"id\":{},\"target\":\"b:1\"}}\n{{\"id\":9}}\n{{\"id\":{},\"target\":\"a:1\"}}\n",
                ids[1], ids[0]
            );
            plugin.write_all(answers.as_bytes()).await.unwrap();
            assert_eq!(target(first.await.unwrap()), "a:1");
            assert_eq!(target(second.await.unwrap()), "b:1");
            assert!(!link.speaks_nonsense());
        })
        .await;
    }

    #[tokio::test]
    async fn an_end_is_told_to_all_who_wait_and_all_who_ask_later() {
        for last_words in ["", "{\"id\":0", "nonsense\n", "[]\n", "{}\n"] {
            local(async {
                let (link, mut plugin) = linked();
                let asked = link.clone();
                let waiting = spawn_local(async move { asked.ask(question).await });
                plugin.write_all(last_words.as_bytes()).await.unwrap();
                if !last_words.ends_with('\n') {
                    drop(plugin);
                }
                assert_eq!(waiting.await.unwrap().err(), Some(LinkError::Broken), "{last_words:?}");
                assert!(link.is_broken());
                assert_eq!(link.speaks_nonsense(), last_words.ends_with('\n'), "{last_words:?}");
                assert_eq!(link.ask(question).await.err(), Some(LinkError::Broken));
            })
            .await;
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_breaks_the_connection() {
        local(async {
            let (link, mut plugin) = linked();
            let asked = link.clone();
            let waiting = spawn_local(async move { asked.ask(question).await });
            let flood = async {
                // Ends when nobody reads any more.
                while timeout(Duration::from_millis(200), plugin.write_all(&[b'a'; 512]))
                    .await
                    .is_ok_and(|w| w.is_ok())
                {}
            };
            flood.await;
            assert_eq!(waiting.await.unwrap().err(), Some(LinkError::Broken));
        })
        .await;
    }

    #[tokio::test]
    async fn who_does_not_read_gets_no_more_questions_and_who_gives_up_is_forgotten() {
        local(async {
            let (link, _plugin) = linked();
            let long = |_| vec![b' '; 1024];
            let mut asking = JoinSet::new();
            for _ in 0..MAX_UNSENT + 10 {
                let link = link.clone();
                asking.spawn_local(async move { link.ask(long).await.err() });
                sleep(Duration::ZERO).await;
            }
            assert_eq!(asking.join_next().await.unwrap().unwrap(), Some(LinkError::Full));
            drop(asking);
            sleep(Duration::from_millis(1)).await;
            assert!(link.waiting.borrow().as_ref().unwrap().is_empty());
        })
        .await;
    }
}
