//! What two Tidings services must agree on: identities, tokens, topics, cursors, configuration, storage,
//! telemetry, time and the life of a process. Nothing that only one service needs belongs here.

pub mod auth;
pub mod broker_address;
pub mod clock;
pub mod config;
pub mod cursor;
pub mod events;
pub mod health;
pub mod http;
pub mod identity;
pub mod lifecycle;
pub mod message_id;
pub mod network;
pub mod properties;
pub mod push_api;
pub mod recent;
pub mod service;
pub mod storage;
pub mod telemetry;
pub mod tls;
pub mod topic;
