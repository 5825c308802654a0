//! What the `h2` crate keeps to itself and a simulator of APNs must be able to do: change the stream limit of a
//! live connection and say GOAWAY with a reason. [`Frames`] sits between TLS and `h2`, follows the frame
//! boundaries in both directions (RFC 9113, section 4.1), adds such frames and hides the answers to them.

mod control;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) use control::FrameControl;
use control::{Sent, put_header};

const HEADER: usize = 9;
const PREFACE: usize = 24;
const READ_CHUNK: usize = 16 * 1024;
/// `h2` is made to wait while more than this many bytes are unsent.
const OUT_LIMIT: usize = 64 * 1024;

const TYPE_HEADERS: u8 = 0x1;
const TYPE_SETTINGS: u8 = 0x4;
const TYPE_GOAWAY: u8 = 0x7;
const FLAG_ACK: u8 = 0x1;
const SETTING_MAX_CONCURRENT_STREAMS: u16 = 0x3;

/// A byte stream whose HTTP/2 frames are followed, see the module.
pub(crate) struct Frames<T> {
    io: T,
    control: FrameControl,
    reading: Reading,
    writing: Writing,
    /// Bytes that `h2` may read.
    ready: BytesMut,
    /// Bytes for the client.
    out: BytesMut,
    chunk: Box<[u8]>,
}

#[derive(Debug)]
enum Reading {
    Preface { left: usize },
    Header { bytes: [u8; HEADER], have: usize },
    Payload { left: usize, keep: bool },
}

#[derive(Debug)]
enum Writing {
    Header { bytes: [u8; HEADER], have: usize },
    Payload { left: usize, keep: bool },
    Settings { payload: BytesMut, left: usize },
}

const READ_BOUNDARY: Reading = Reading::Header { bytes: [0; HEADER], have: 0 };
const WRITE_BOUNDARY: Writing = Writing::Header { bytes: [0; HEADER], have: 0 };

impl<T> Frames<T> {
    pub(crate) fn new(io: T, control: FrameControl) -> Self {
        Self {
            io,
            control,
            reading: Reading::Preface { left: PREFACE },
            writing: WRITE_BOUNDARY,
            ready: BytesMut::new(),
            out: BytesMut::new(),
            chunk: vec![0; READ_CHUNK].into_boxed_slice(),
        }
    }

    /// Takes the first `count` bytes of the chunk that was read.
    fn received(&mut self, count: usize) {
        let mut chunk = &self.chunk[..count];
        while !chunk.is_empty() {
            match &mut self.reading {
                Reading::Preface { left } => {
                    let take = chunk.len().min(*left);
                    self.ready.put_slice(&chunk[..take]);
                    chunk.advance(take);
                    *left -= take;
                    if *left == 0 {
                        self.reading = READ_BOUNDARY;
                    }
                }
                Reading::Header { bytes, have } => {
                    let take = chunk.len().min(HEADER - *have);
                    bytes[*have..*have + take].copy_from_slice(&chunk[..take]);
                    chunk.advance(take);
                    *have += take;
                    if *have == HEADER {
                        let header = *bytes;
                        let keep = self.control.state().client_frame(&header);
                        if keep {
                            self.ready.put_slice(&header);
                        }
                        self.reading = match payload_length(&header) {
                            0 => READ_BOUNDARY,
                            left => Reading::Payload { left, keep },
                        };
                    }
                }
                Reading::Payload { left, keep } => {
                    let take = chunk.len().min(*left);
                    if *keep {
                        self.ready.put_slice(&chunk[..take]);
                    }
                    chunk.advance(take);
                    *left -= take;
                    if *left == 0 {
                        self.reading = READ_BOUNDARY;
                    }
                }
            }
        }
    }

    /// Takes bytes that `h2` writes.
    fn written(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            match &mut self.writing {
                Writing::Header { bytes, have } => {
                    if *have == 0 {
                        self.control.state().take_injected(&mut self.out);
                    }
                    let take = chunk.len().min(HEADER - *have);
                    bytes[*have..*have + take].copy_from_slice(&chunk[..take]);
                    chunk.advance(take);
                    *have += take;
                    if *have == HEADER {
                        let header = *bytes;
                        self.server_frame(header);
                    }
                }
                Writing::Payload { left, keep } => {
                    let take = chunk.len().min(*left);
                    if *keep {
                        self.out.put_slice(&chunk[..take]);
                    }
                    chunk.advance(take);
                    *left -= take;
                    if *left == 0 {
                        self.writing = WRITE_BOUNDARY;
                    }
                }
                Writing::Settings { payload, left } => {
                    let take = chunk.len().min(*left);
                    payload.put_slice(&chunk[..take]);
                    chunk.advance(take);
                    *left -= take;
                    if *left == 0 {
                        let payload = std::mem::take(payload);
                        self.settings(&payload);
                    }
                }
            }
        }
    }

    fn server_frame(&mut self, header: [u8; HEADER]) {
        let length = payload_length(&header);
        let (kind, flags) = (header[3], header[4]);
        if kind == TYPE_SETTINGS && flags & FLAG_ACK == 0 {
            if length == 0 {
                self.settings(&[]);
            } else {
                self.writing = Writing::Settings { payload: BytesMut::new(), left: length };
            }
            return;
        }
        // One GOAWAY is enough: h2's own, at the end of the connection, would carry no reason.
        let keep = kind != TYPE_GOAWAY || !self.control.state().going_away;
        if keep {
            self.out.put_slice(&header);
        }
        self.writing = match length {
            0 => WRITE_BOUNDARY,
            left => Writing::Payload { left, keep },
        };
    }

    /// Passes h2's SETTINGS on; the first one gets our stream limit, so that no client ever sees another.
    fn settings(&mut self, payload: &[u8]) {
        let mut state = self.control.state();
        let limit = (!state.first_settings_sent).then_some(state.first_limit);
        state.first_settings_sent = true;
        state.unacknowledged.push_back(Sent { ours: false, limit });
        let extra = if limit.is_some() { 6 } else { 0 };
        put_header(&mut self.out, payload.len() + extra, TYPE_SETTINGS, 0);
        self.out.put_slice(payload);
        if let Some(limit) = limit {
            self.out.put_u16(SETTING_MAX_CONCURRENT_STREAMS);
            self.out.put_u32(limit);
        }
        drop(state);
        self.writing = WRITE_BOUNDARY;
    }
}

fn payload_length(header: &[u8; HEADER]) -> usize {
    usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2])
}

impl<T: AsyncWrite + Unpin> Frames<T> {
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Frames<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.ready.is_empty() {
            let mut chunk = ReadBuf::new(&mut this.chunk);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut chunk))?;
            let count = chunk.filled().len();
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
            this.received(count);
        }
        let take = this.ready.len().min(buf.remaining());
        buf.put_slice(&this.ready[..take]);
        this.ready.advance(take);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Frames<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.out.len() > OUT_LIMIT {
            ready!(this.drain(cx))?;
        }
        this.written(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.writing, Writing::Header { have: 0, .. }) {
            this.control.state().take_injected(&mut this.out);
        }
        ready!(this.drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.drain(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
