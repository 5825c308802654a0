//! The simulators' control door (plain HTTP, for development and tests only) and the development token issuer.

mod api;
mod issuer;

pub use api::router;
pub use issuer::{Issuer, TokenRequest, parse_ttl};
