//! TLS without buffers while idle. rustls' usual connection keeps four kilobytes to read into for as long as it lives; its
//! unbuffered one is given the bytes, so a read borrows a buffer of the thread, and a connection keeps only a record that
//! has not arrived in full and bytes that the socket has not taken.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::CertificateDer;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, WriteTraffic};
use rustls::{Error, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is read at once: two of the longest records.
const READ: usize = 40 * 1024;
/// What may wait of a handshake: a chain of client certificates, and no more.
const HANDSHAKE: usize = 64 * 1024;
/// How much is encrypted at once.
const WRITE: usize = 16 * 1024;

thread_local! {
    static RECEIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; HANDSHAKE + READ].into_boxed_slice());
}

/// The server's end of a TLS connection.
pub(super) struct TlsStream<S> {
    socket: S,
    tls: Box<UnbufferedServerConnection>,
    /// Bytes of a record that has not arrived in full.
    inbound: Vec<u8>,
    /// Content that was decrypted and not taken yet.
    plain: Vec<u8>,
    /// Bytes that the socket has not taken yet.
    outbound: Vec<u8>,
    /// How many of them it has.
    written: usize,
    /// The peer has said that nothing follows, or the stream has failed.
    ended: bool,
    /// The peer was told that nothing follows.
    closing: bool,
}

/// What may be sent once the handshake is over.
type Traffic<'a> = WriteTraffic<'a, ServerConnectionData>;

/// What the bytes so far have led to.
enum Step {
    /// More bytes are needed.
    Hungry,
    /// The handshake is done, and everything received is decrypted.
    Open,
    /// The peer sends nothing more.
    Ended,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Makes the handshake.
    ///
    /// # Errors
    /// When the peer goes away or does not agree; it is told why where the protocol allows.
    pub(super) async fn accept(config: Arc<ServerConfig>, socket: S) -> io::Result<Self> {
        let tls = Box::new(UnbufferedServerConnection::new(config).map_err(io::Error::other)?);
        let mut stream = Self {
            socket,
            tls,
            inbound: Vec::new(),
            plain: Vec::new(),
            outbound: Vec::new(),
            written: 0,
            ended: false,
            closing: false,
        };
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    /// The peer's certificates, when it has shown any; leaf first.
    pub(super) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.tls.peer_certificates()
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // The last bytes of the handshake may be ours (TLS 1.2): the peer has none without them.
            if !self.tls.is_handshaking() {
                return self.poll_drain(cx);
            }
            // Reading does not wait for the peer to take what is sent: it may have to send first (a client reads nothing
            // while its own handshake bytes wait), and then both would wait for each other.
            if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
                return Poll::Ready(Err(error));
            }
            if let Step::Ended = ready!(self.poll_step(cx))? {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads more and processes it; what is to be sent is in `outbound` afterwards.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Step>> {
        let kept = self.inbound.len();
        if kept > HANDSHAKE {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        RECEIVED.with_borrow_mut(|buffer| {
            buffer[..kept].copy_from_slice(&self.inbound);
            let mut read = ReadBuf::new(&mut buffer[kept..]);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
            let received = read.filled().len();
            if received == 0 {
                self.ended = true;
                return Poll::Ready(Ok(Step::Ended));
            }
            let bytes = &mut buffer[..kept + received];
            let (step, taken) = self.process(bytes)?;
            self.inbound = bytes[taken..].to_vec();
            Poll::Ready(Ok(step))
        })
    }

    /// Takes every whole record from the front of `bytes`; returns how much it took, too.
    fn process(&mut self, bytes: &mut [u8]) -> io::Result<(Step, usize)> {
        let mut taken = 0;
        loop {
            let status = self.tls.process_tls_records(&mut bytes[taken..]);
            let mut discard = status.discard;
            let step = match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(refused)?;
                        discard += record.discard;
                        self.plain.extend_from_slice(record.payload);
                    }
                    None
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.outbound, |room| data.encode(room).map_err(more))?;
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // It is sent in its order, before anything that is encoded later.
                    data.done();
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Step::Hungry),
                Ok(ConnectionState::WriteTraffic(_)) => Some(Step::Open),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.ended = true;
                    Some(Step::Ended)
                }
                Ok(_) => return Err(io::ErrorKind::Unsupported.into()),
                Err(error) => {
                    self.ended = true;
                    self.alert(&mut bytes[taken + discard..]);
                    return Err(refused(error));
                }
            };
            taken += discard;
            if let Some(step) = step {
                return Ok((step, taken));
            }
        }
    }

    /// Tells the peer what was wrong, as far as its socket takes it at once.
    fn alert(&mut self, bytes: &mut [u8]) {
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = self.tls.process_tls_records(bytes).state {
            // Without room for it the peer goes without.
            let _ = encode(&mut self.outbound, |room| data.encode(room).map_err(more));
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = self.poll_drain(&mut cx);
    }

    /// Writes all of `outbound`.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.outbound.len() {
            let rest = &self.outbound[self.written..];
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.outbound = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Encrypts as `with` says, behind what waits already.
    fn write(&mut self, with: impl Fn(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>) -> io::Result<()> {
        loop {
            // All of these are bytes of a record that is not whole: nothing is taken.
            match self.tls.process_tls_records(&mut self.inbound).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return encode(&mut self.outbound, |room| match with(&mut traffic, room) {
                        Err(EncryptError::InsufficientSize(size)) => Err(Some(size)),
                        Err(EncryptError::EncryptExhausted) => Err(None),
                        Ok(length) => Ok(length),
                    });
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.outbound, |room| data.encode(room).map_err(more))?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                // Half-closed by the peer: what we still have to say may be said.
                Ok(ConnectionState::PeerClosed) => {}
                Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => return Err(refused(error)),
            }
        }
    }
}

/// How much room an encoder needs, if room is what it lacks.
fn more(error: EncodeError) -> Option<InsufficientSizeError> {
    match error {
        EncodeError::InsufficientSize(size) => Some(size),
        EncodeError::AlreadyEncoded => None,
    }
}

/// Gives `fill` room behind `out` until it has enough: it says how much it needs (`Err(Some)`), or that it cannot
/// (`Err(None)`).
fn encode(
    out: &mut Vec<u8>,
    mut fill: impl FnMut(&mut [u8]) -> Result<usize, Option<InsufficientSizeError>>,
) -> io::Result<()> {
    let start = out.len();
    let mut room = 0;
    loop {
        out.resize(start + room, 0);
        match fill(&mut out[start..]) {
            Ok(length) => {
                out.truncate(start + length);
                return Ok(());
            }
            Err(Some(size)) if size.required_size > room => room = size.required_size,
            Err(_) => {
                out.truncate(start);
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }
}

fn refused(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.plain.is_empty() {
                let length = this.plain.len().min(buf.remaining());
                buf.put_slice(&this.plain[..length]);
                this.plain.drain(..length);
                if this.plain.is_empty() {
                    this.plain = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            // What TLS itself has to say (the end of the handshake, a key update) may wait for the socket; reading goes on.
            // When the peer takes nothing any more, what it sent before is still read, and then the end; a write fails.
            let _ = this.poll_drain(cx);
            ready!(this.poll_step(cx))?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_drain(cx))?;
        let chunk = &bytes[..bytes.len().min(WRITE)];
        this.write(|traffic, room| traffic.encrypt(chunk, room))?;
        // What the socket does not take now waits for the next call.
        if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.closing {
            this.closing = true;
            // The stream ends either way; a peer that has gone does not need the notice.
            let _ = this.write(|traffic, room| traffic.queue_close_notify(room));
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
