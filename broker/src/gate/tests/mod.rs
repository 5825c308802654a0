//! The gate through real sockets, with raw bytes for what no client library would send.

mod after_login;
mod backoff;
mod before_login;
mod crowd;
mod harness;
mod proxied;
mod rates;
mod slow;
mod stopping;
mod tls;
mod tls_stream;
mod tokens;
mod websocket;
