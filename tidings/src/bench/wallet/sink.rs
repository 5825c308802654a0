//! A push-gateway that takes every push and sends none: what pushes cost the pass service is measured, what they cost the
//! gateway is not (`tidings bench push` does that).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The gateway. Its task ends with the program.
pub(super) struct Sink {
    pub(super) address: SocketAddr,
    taken: Arc<AtomicU64>,
}

impl Sink {
    /// Starts it.
    ///
    /// # Errors
    /// When no port is free.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let sink = Self { address: listener.local_addr()?, taken: Arc::default() };
        let taken = Arc::clone(&sink.taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let taken = Arc::clone(&taken);
                // A connection that ends is opened again by the other side.
                tokio::spawn(async move { serve(stream, &taken).await.ok() });
            }
        });
        Ok(sink)
    }

    /// How many pushes it was given.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, taken: &AtomicU64) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut inbound = BytesMut::new();
    loop {
        let end = loop {
            if let Some(end) = inbound.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            anyhow::ensure!(stream.read_buf(&mut inbound).await? > 0, "closed");
        };
        let head = String::from_utf8_lossy(&inbound.split_to(end)).to_ascii_lowercase();
        inbound.advance(4);
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
        while inbound.len() < length {
            anyhow::ensure!(stream.read_buf(&mut inbound).await? > 0, "closed");
        }
        let body = inbound.split_to(length);
        let (status, answer) = answer(&head, &body, taken);
        let text = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(text.as_bytes()).await?;
    }
}

fn answer(head: &str, body: &[u8], taken: &AtomicU64) -> (&'static str, String) {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let one = r#"{"id":"00000000-0000-7000-8000-000000000000","targets":[]}"#;
    match path {
        "/v1/notifications" => {
            taken.fetch_add(1, Ordering::Relaxed);
            ("202 Accepted", one.to_owned())
        }
        "/v1/notifications/batch" => {
            let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            let count = body["notifications"].as_array().map_or(0, Vec::len);
            taken.fetch_add(count as u64, Ordering::Relaxed);
            let result = format!(r#"{{"status":202,"notification":{one}}}"#);
            ("200 OK", format!(r#"{{"results":[{}]}}"#, vec![result; count].join(",")))
        }
        _ => ("200 OK", "{}".to_owned()),
    }
}
