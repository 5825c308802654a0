//! The gate through real sockets, with raw bytes for what no client library would send.

mod after_login;
mod before_login;
mod harness;
mod tls;
mod tls_stream;
mod tokens;
mod websocket;
