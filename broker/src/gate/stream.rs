//! Reading and writing without keeping buffers: bytes are read into a buffer of the thread, and what is left of a write
//! buffer goes back to the thread. A connection that is idle owns no buffer at all.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire;

/// A client's byte stream, whatever it came in through.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// How much is read at once.
const READ: usize = 64 * 1024;
/// The largest write buffer that a thread keeps for the next connection.
const KEEP: usize = 256 * 1024;

thread_local! {
    static RECEIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
    static SPARE: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// Reads what has arrived and appends it to `inbound`; 0 at the end of the stream.
pub(super) fn poll_receive(
    stream: &mut impl Stream,
    inbound: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    RECEIVED.with_borrow_mut(|buffer| {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        let received = buffer.filled();
        if !received.is_empty() {
            wire::append(inbound, received);
        }
        Poll::Ready(Ok(received.len()))
    })
}

/// Writes all of `outbound` and flushes it; what was written before it was pending is gone from `outbound`.
pub(super) fn poll_send(
    stream: &mut impl Stream,
    outbound: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while outbound.has_remaining() {
        let written = ready!(Pin::new(&mut *stream).poll_write(cx, outbound))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        outbound.advance(written);
    }
    Pin::new(stream).poll_flush(cx)
}

/// An empty buffer to write into, from the thread if it has one.
pub(super) fn take_buffer() -> BytesMut {
    SPARE.take()
}

/// Gives a written-out buffer back to the thread.
pub(super) fn recycle(mut buffer: BytesMut) {
    buffer.clear();
    // What was advanced over comes back only when the whole buffer is reclaimed.
    if buffer.try_reclaim(1) && buffer.capacity() <= KEEP {
        SPARE.set(buffer);
    }
}

/// Writes the last words to a peer and closes: half first, so that what it still sends does not make the kernel throw
/// our last words away.
pub(super) async fn farewell(mut stream: impl Stream, mut words: BytesMut) {
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::{Duration, timeout};

    /// A peer that does not take its last words in this time goes without.
    const PATIENCE: Duration = Duration::from_secs(2);
    /// What is read and thrown away at most.
    const IGNORED: u64 = 1024 * 1024;

    let polite = async {
        poll_fn(|cx| poll_send(&mut stream, &mut words, cx)).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(IGNORED), &mut tokio::io::sink()).await
    };
    // The connection is over either way.
    drop(timeout(PATIENCE, polite).await);
}
