//! The architecture's invariants, read off the sources: each test fails when somebody breaks one, and says where.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on must fail where it stands")]

mod dependencies;
mod files;
mod migrations;
mod rooms;
mod source;
