//! Devices, segments, templates, receipts, webhooks, the stream and the routes of gorush, through the service's HTTP door.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: what fails here fails the test")]

mod devices;
mod faults;
mod gorush;
mod interface;
mod python;
mod receipts;
mod segments;
mod service;
#[path = "../common/simulation.rs"]
mod simulation;
mod stream;
mod templates;
mod webhooks;
