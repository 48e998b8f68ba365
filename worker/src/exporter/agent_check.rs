//! HAProxy's agent check: a line that is written as soon as a connection is accepted.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use common::ipc::exporter::Page;
use common::sys::stream::StreamSocket;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::questions::Questions;

/// Time limit for the whole connection, including the supervisor's answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// Answer if the supervisor does not answer.
const NO_ANSWER: &[u8] = b"down #the service does not answer\n";

/// Serves one connection. What the client sends is not read. An error ends this connection only, and is not logged.
pub(super) async fn serve(socket: OwnedFd, questions: &Questions) {
    let _ = timeout(DEADLINE, answer(socket, questions)).await;
}

async fn answer(socket: OwnedFd, questions: &Questions) -> io::Result<()> {
    let mut stream = StreamSocket::new(socket)?;
    match questions.ask(Page::AgentCheck).await {
        Some(answer) => stream.write_all(&answer.text).await?,
        None => stream.write_all(NO_ANSWER).await?,
    }
    stream.shutdown().await
}
