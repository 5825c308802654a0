//! Who somebody is: the app's own tokens (JWT) for devices, shared keys for handlers and services.
//! The only place that verifies tokens. And who we are to Google: a service account.

mod bucket;
mod claims;
mod error;
mod introspection;
mod keys;
mod memo;
mod service_account;
mod service_keys;
mod token;
mod verifier;

pub mod http;

pub use claims::Claims;
pub use error::TokenError;
pub use introspection::IntrospectionConfig;
pub use service_account::{AccessFailure, AccessTokens, AccountSigner, ServiceAccount, ServiceAccountError};
pub use service_keys::ServiceKeys;
pub use token::{Inspected, inspect};
pub use verifier::{Verifier, VerifierConfig, VerifierError};
