//! An HTTP/1.1 connection that costs less than what it measures: one request at a time, kept open.

use std::net::SocketAddr;

use anyhow::Context;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection to one service.
pub(super) struct Door {
    stream: TcpStream,
    inbound: BytesMut,
    authorization: String,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    head: String,
}

impl Answer {
    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// `Retry-After`, in seconds.
    pub(super) fn retry_after_s(&self) -> Option<u64> {
        self.header("retry-after")?.parse().ok()
    }
}

impl Door {
    /// Connects; `key` is sent with each [`Door::call`].
    ///
    /// # Errors
    /// When nobody listens.
    pub(super) async fn open(address: SocketAddr, key: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let authorization = format!("authorization: Bearer {key}\r\n");
        Ok(Self { stream, inbound: BytesMut::new(), authorization })
    }

    /// Sends a request with the key and reads the answer.
    ///
    /// # Errors
    /// When the connection ends, or the answer has no length.
    pub(super) async fn call(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let authorization = self.authorization.clone();
        self.send(method, path, &authorization, body).await
    }

    /// Sends a request with these headers (each ends in CR LF) and reads the answer.
    ///
    /// # Errors
    /// When the connection ends, or the answer has no length.
    pub(super) async fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) -> anyhow::Result<Answer> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
        let end = loop {
            if let Some(end) = self.inbound.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.receive().await?;
        };
        let head = String::from_utf8_lossy(&self.inbound.split_to(end)).into_owned();
        self.inbound.advance(4);
        let status =
            head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer without a status")?;
        let mut answer = Answer { status, body: Vec::new(), head };
        let length: usize = match answer.header("content-length") {
            _ if matches!(status, 204 | 304) => 0,
            Some(length) => length.parse()?,
            None => anyhow::bail!("an answer without a length"),
        };
        while self.inbound.len() < length {
            self.receive().await?;
        }
        answer.body = self.inbound.split_to(length).to_vec();
        Ok(answer)
    }

    /// A request whose answer is JSON.
    ///
    /// # Errors
    /// When it is refused or is none.
    pub(super) async fn json(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<serde_json::Value> {
        let answer = self.call(method, path, body).await?;
        let text = || String::from_utf8_lossy(&answer.body).into_owned();
        anyhow::ensure!((200..300).contains(&answer.status), "{method} {path}: {}: {}", answer.status, text());
        if answer.body.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_slice(&answer.body).with_context(|| format!("{method} {path}: {}", text()))
    }

    async fn receive(&mut self) -> anyhow::Result<()> {
        let received = self.stream.read_buf(&mut self.inbound).await?;
        anyhow::ensure!(received > 0, "the service closed the connection");
        Ok(())
    }
}
