//! Response bodies: bytes in memory, or a range of a file.
//!
//! Files are read with blocking `pread(2)` on the thread of the event loop, as nginx does by default. The
//! sandbox allows no further threads, and a local disk answers faster than a network.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Bytes, Frame, SizeHint};

/// Maximum size of one read of a file, in bytes. A download holds this much memory, and what hyper has not
/// written yet: at most its `max_buf_size` and another chunk.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// A response body of known length.
#[derive(Debug)]
pub struct Body(Content);

#[derive(Debug)]
enum Content {
    Bytes(Bytes),
    File { file: File, unsent: Range<u64> },
}

impl Body {
    /// A body without bytes.
    pub fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    /// A body of bytes in memory.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Content::Bytes(bytes.into()))
    }

    /// The bytes of `range` in a regular file. If the file turns out to be shorter, the body ends in an error
    /// and hyper closes the connection, so that the client notices the truncation.
    pub fn file(file: File, range: Range<u64>) -> Self {
        Self(Content::File { file, unsent: range })
    }

    /// Number of bytes that are not sent yet.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File { unsent, .. } => unsent.end.saturating_sub(unsent.start),
        }
    }

    /// Whether all bytes are sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        let chunk = match &mut self.0 {
            Content::Bytes(bytes) => Ok(std::mem::take(bytes)),
            Content::File { file, unsent } => read_chunk(file, unsent),
        };
        Poll::Ready(Some(chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}

/// Reads the next chunk of a file and advances the start of `unsent` past it.
fn read_chunk(file: &File, unsent: &mut Range<u64>) -> io::Result<Bytes> {
    let wanted = usize::try_from(unsent.end - unsent.start).map_or(CHUNK_BYTES, |n| n.min(CHUNK_BYTES));
    let mut chunk = vec![0; wanted];
    let read = loop {
        match file.read_at(&mut chunk, unsent.start) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    if read == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file shrank while it was sent"));
    }
    chunk.truncate(read);
    unsent.start += read as u64;
    Ok(chunk.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::io::Write;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn file_of(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn a_stretch_of_a_file_arrives_whole() {
        let content: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for range in [0..200_000, 1..199_999, 65_536..131_072, 70_000..70_001, 5..5] {
            let body = Body::file(file_of(&content), range.start as u64..range.end as u64);
            assert_eq!(body.len(), range.len() as u64);
            let sent = block_on(body.collect()).unwrap().to_bytes();
            assert_eq!(sent, content[range]);
        }
    }

    #[test]
    fn a_file_that_shrinks_ends_in_an_error() {
        let file = file_of(&[7; 100_000]);
        let mut body = Body::file(file.try_clone().unwrap(), 0..100_000);
        let first = block_on(body.frame()).unwrap().unwrap();
        assert_eq!(first.into_data().unwrap().len(), CHUNK_BYTES);
        file.set_len(10).unwrap();
        let error = block_on(body.frame()).unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
