//! The line protocol of plugins: questions and answers as lines of JSON over a stream. Several questions can
//! be pending, and answers may arrive in any order.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::answer::{AnswerError, Written};
use crate::connector::endpoint::Stream;

/// Maximum length of an answer in bytes. A longer line breaks the connection.
const MAX_LINE: u64 = 64 * 1024;

/// Largest number of a question: JSON parsers need not support larger integers (RFC 8259 section 6).
const MAX_ID: u64 = (1 << 53) - 1;

/// Maximum number of unsent questions. A plugin that does not read receives no more.
const MAX_UNSENT: usize = 64;

/// One connection to a plugin. When it ends, all pending questions fail.
pub(super) struct Link {
    unsent: mpsc::Sender<Vec<u8>>,
    waiting: Rc<PendingQuestions>,
    speaks_nonsense: Rc<Cell<bool>>,
    /// The tasks that read and write. They are aborted when the link is dropped.
    _tasks: JoinSet<()>,
}

/// Pending questions by their number; `None` once the connection has ended.
type PendingQuestions = RefCell<Option<HashMap<u64, oneshot::Sender<Result<Written, AnswerError>>>>>;

/// The reason why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::connector) enum LinkError {
    /// The plugin is gone, or has broken protocol.
    #[error("the connection to it broke")]
    Broken,
    /// The plugin does not read its questions.
    #[error("it does not read its questions")]
    Full,
    /// The answer is invalid.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl Link {
    /// Starts the tasks that exchange questions and answers over `stream`.
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
                // Fails if the question has been given up.
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

    /// Whether the connection has ended because the plugin sent a line that answers no question.
    pub(super) fn speaks_nonsense(&self) -> bool {
        self.speaks_nonsense.get()
    }

    /// Sends a question, which `line` builds from its number, and waits for the answer without a deadline.
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

    /// Registers a question under a random number, so that the recipient of one question can't answer
    /// another. Returns `None` once the connection has ended.
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

/// Removes a question when it is no longer waited for, for whatever reason.
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

/// Reads the next line. Returns `None` at the end of the stream, or if the line is too long.
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
            Ok(TargetAnswer::Target { address: Some(address), .. }) => address.to_string(),
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
    async fn the_end_of_a_connection_fails_pending_and_later_questions() {
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
    async fn an_endless_answer_breaks_the_connection() {
        local(async {
            let (link, mut plugin) = linked();
            let asked = link.clone();
            let waiting = spawn_local(async move { asked.ask(question).await });
            let flood = async {
                // Ends once the other side has stopped reading.
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
    async fn a_plugin_that_does_not_read_gets_no_more_questions() {
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
