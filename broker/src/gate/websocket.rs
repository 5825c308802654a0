//! MQTT over WebSocket (MQTT 5 §6): a route for the HTTP listener, and the byte stream inside binary frames.
//!
//! Frames have no meaning for MQTT: a packet may be split over several and several may share one.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use http::{StatusCode, header};
use tidings_shared::http::ApiError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::greeting::greet;
use super::guest::Guest;
use super::metrics::{By, Transport};
use super::{Gate, Inner};

/// The subprotocol of MQTT (§6.0), and the name that 3.1 clients use.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];
/// The library keeps a read buffer for each connection; it need not be large.
const READ_BUFFER: usize = 4 * 1024;
/// How much larger than a packet a frame may be: clients put several packets into one.
const FRAME_SLACK: usize = 64 * 1024;

impl Gate {
    /// The route `/mqtt`, for the broker's HTTP listener, which must be served with the peer's address
    /// (`into_make_service_with_connect_info::<SocketAddr>`).
    pub fn websocket_routes(&self) -> Router {
        Router::new().route("/mqtt", any(upgrade)).with_state(self.0.clone())
    }
}

async fn upgrade(State(gate): State<Arc<Inner>>, request: Request) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let peer = peer.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
    let (mut parts, _body) = request.into_parts();
    let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await else {
        let why = "this address speaks MQTT over WebSocket; open a WebSocket with the subprotocol mqtt";
        let mut refusal = ApiError::new(StatusCode::UPGRADE_REQUIRED, "websocket_required", why).into_response();
        refusal.headers_mut().insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
        return refusal;
    };
    let upgrade = upgrade.protocols(SUBPROTOCOLS);
    if upgrade.selected_protocol().is_none() {
        let why = "the WebSocket must offer the subprotocol mqtt (or mqttv3.1)";
        return ApiError::new(StatusCode::BAD_REQUEST, "websocket_subprotocol", why).into_response();
    }
    gate.metrics.accepted.get_or_create(&By { transport: Transport::WebSocket }).inc();
    let pass = match gate.lobby.enter(peer.ip()) {
        Ok(pass) => pass,
        Err(full) => {
            gate.metrics.refuse(full.code());
            let why = "too many connections that have not logged in; try again shortly";
            return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, full.code(), why).retry_after(1).into_response();
        }
    };
    let largest = gate.limits.packet.max(gate.limits.first_packet) + FRAME_SLACK;
    let deadline = Instant::now() + gate.limits.connect_deadline;
    // Its address was counted when the HTTP connection came.
    let in_time = true;
    let guest = Guest {
        peer,
        transport: Transport::WebSocket,
        deadline,
        pass,
        in_time,
        secured: false,
        certified_until_ms: None,
    };
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_frame_size(largest)
        .max_message_size(largest)
        .on_upgrade(move |socket| greet(gate, Frames { socket, received: Bytes::new() }, guest))
}

/// The byte stream inside a WebSocket's binary frames.
struct Frames {
    socket: WebSocket,
    /// What is left of the last frame.
    received: Bytes,
}

impl AsyncRead for Frames {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.received.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.received = bytes,
                // Answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    self.refuse_text(cx);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a text frame")));
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let count = self.received.len().min(buffer.remaining());
        buffer.put_slice(self.received.get(..count).unwrap_or_default());
        self.received.advance(count);
        if self.received.is_empty() {
            // Lets go of the frame's memory.
            self.received = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl Frames {
    /// MQTT-6.0.0-1: a text frame ends the connection. Says why where it can without waiting.
    fn refuse_text(&mut self, cx: &mut Context<'_>) {
        let mut socket = Pin::new(&mut self.socket);
        let frame = CloseFrame { code: close_code::UNSUPPORTED, reason: "MQTT uses binary frames".into() };
        if matches!(socket.as_mut().poll_ready(cx), Poll::Ready(Ok(())))
            && socket.as_mut().start_send(Message::Close(Some(frame))).is_ok()
        {
            let _ = socket.poll_flush(cx);
        }
    }
}

impl AsyncWrite for Frames {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut socket = Pin::new(&mut self.socket);
        ready!(socket.as_mut().poll_ready(cx)).map_err(io::Error::other)?;
        socket.start_send(Message::Binary(Bytes::copy_from_slice(bytes))).map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(io::Error::other)
    }
}
