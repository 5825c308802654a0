//! Who somebody is: the app's own tokens (JWT) for devices, shared keys for handlers and services.
//! The only place that verifies tokens.

mod claims;
mod error;
mod keys;
mod service_keys;
mod verifier;

pub mod http;

pub use claims::Claims;
pub use error::TokenError;
pub use service_keys::ServiceKeys;
pub use verifier::{Verifier, VerifierConfig, VerifierError};
