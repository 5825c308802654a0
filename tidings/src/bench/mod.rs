//! `tidings bench`: measures this machine, side by side with peers in the same run. Nothing here judges; the figures
//! and the command that made them go into the documents.
//!
//! `push` is the same for the push-gateway, `wallet` for the passbook-service.
//! `broker` runs the scenarios and prints their tables; each scenario is a file. A broker under test (`peer`) is a process
//! of its own; the clients are in this process and speak through `client` and `wire`, which cost less than any broker.

pub(crate) mod broker;
mod client;
mod connects;
mod door;
mod handshake;
mod idle;
mod inboxes;
mod load;
mod peer;
mod process;
mod program;
pub(crate) mod push;
mod rumqttd;
mod storm;
mod subscriptions;
mod table;
mod throughput;
pub(crate) mod wallet;
mod wire;

pub(crate) use peer::Kind;
