//! The door: sockets, TLS, WebSocket, codec, limits before authentication, authentication, keep-alive.
pub mod outbox;
#[cfg(test)]
mod raw;
pub mod wire;
