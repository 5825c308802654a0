//! The passbook-service through its doors: HTTP on a free port, on SQLite and on PostgreSQL, with a push-gateway and
//! phones that this file's modules play.

mod api;
mod diagnose;
mod list;
mod lost_update;
mod package;
mod pass;
mod pushes;
mod registration;
mod start;
mod support;
mod tags;
