//! The passbook-service through its doors: HTTP on a free port, on SQLite and on PostgreSQL, with a push-gateway and
//! phones that this file's modules play.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails; clippy's exception for tests leaves their helpers out"
)]

mod api;
mod campaign;
mod certificates;
mod diagnose;
mod google;
mod import;
mod limits;
mod list;
mod lost_update;
mod openapi;
mod orders;
mod package;
mod pass;
mod personalize;
mod product;
mod pruning;
mod pushes;
mod registration;
mod scale;
mod sequencer;
mod simulation;
mod start;
mod support;
mod tags;
mod types;
