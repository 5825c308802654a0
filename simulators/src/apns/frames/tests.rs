//! Frames are followed whatever the pieces that they are read and written in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::{FrameControl, Frames};

/// Reads and writes so many bytes at once.
struct Narrow(DuplexStream, usize);

impl AsyncRead for Narrow {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut piece = vec![0; self.1.min(buf.remaining())];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut piece))?;
        buf.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Narrow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let piece = &buf[..buf.len().min(self.1)];
        Pin::new(&mut self.0).poll_write(cx, piece)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Five requests with their answers, in pieces of so many bytes.
async fn exchange_in(pieces: usize) {
    let (client, server) = tokio::io::duplex(1_024);
    let control = FrameControl::new(1);
    let frames = Frames::new(Narrow(server, pieces), control.clone());
    let serving = tokio::spawn(async move {
        let mut h2 = h2::server::handshake(frames).await.unwrap();
        let mut count = 0;
        while let Some(stream) = h2.accept().await {
            let (_, mut respond) = stream.unwrap();
            count += 1;
            // Each answer comes behind a new limit; the last one behind GOAWAY.
            control.set_stream_limit(10 + count);
            if count == 5 {
                control.go_away(br#"{"reason":"Shutdown"}"#, None);
            }
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from(vec![b'x'; 3_000]), true).unwrap();
            if count == 5 {
                h2.graceful_shutdown();
            }
        }
        (count, control.enforced_limit())
    });

    let (mut send, connection) = h2::client::handshake(client).await.unwrap();
    let ended = tokio::spawn(connection);
    for count in 1..=5_u32 {
        send = send.ready().await.unwrap();
        let (response, _) = send.send_request(Request::get("https://x/").body(()).unwrap(), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut length = 0;
        while let Some(chunk) = body.data().await {
            let chunk = chunk.unwrap();
            length += chunk.len();
            body.flow_control().release_capacity(chunk.len()).unwrap();
        }
        assert_eq!(length, 3_000);
        assert_eq!(send.current_max_send_streams(), 10 + count as usize);
    }
    drop(send);
    ended.await.unwrap().unwrap();
    assert_eq!(serving.await.unwrap(), (5, Some(15)));
}

#[tokio::test]
async fn limits_and_goaway_come_through_in_pieces_of_any_size() {
    for pieces in [1, 2, 5, 8, 9, 10, 64, 4_096] {
        let bounded = tokio::time::timeout(std::time::Duration::from_secs(30), exchange_in(pieces)).await;
        assert!(bounded.is_ok(), "it hangs in pieces of {pieces} bytes");
    }
}
