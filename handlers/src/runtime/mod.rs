//! A framework for message handlers that feels like axum: routes from topics to async functions.
//!
//! ```no_run
//! use tidings_handlers::runtime::{HandlerError, Json, Publisher, Reply, Router, Sender};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Ping { text: String }
//!
//! async fn ping(Sender { user, .. }: Sender, Json(ping): Json<Ping>) -> Reply {
//!     Reply::json("pong", &format!("{user} said {}", ping.text))
//! }
//!
//! let router: Router = Router::new().topic("ping", ping);
//! ```
//!
//! # What a message goes through
//!
//! 1. It arrives over a shared subscription (`$share/GROUP/TOPIC`, QoS 1) in a persistent session.
//! 2. The messages of one sender are handled one after the other; those of different senders beside each other.
//! 3. A message that was handled before, under the same message id, is not handled again.
//! 4. The handler runs. What it does in its [`Transaction`], the mark "done" and its publishes are committed together.
//! 5. The publishes leave and are acknowledged by the broker; only then is the message acknowledged.
//!
//! A failing handler is tried again with growing waits ([`HandlerError`] knows whether that helps), and at last the
//! message is kept as a [dead letter](dead_letters) with everything needed to replay it. A crash at any point leads to
//! a redelivery that goes on where the work stopped: at least once for the function, once for its transaction and for
//! its publishes.
//!
//! Handlers are [`tower::Service`]s inside, so layers of tower fit around one route ([`on`]) or all ([`Router::layer`]).

mod backoff;
mod error;
mod extract;
mod handler;
mod housekeeping;
mod lanes;
mod marker;
mod message;
mod metrics;
mod mqtt;
mod pattern;
mod process;
mod publisher;
mod request;
mod respond;
mod router;
mod service;
mod store;
mod transaction;

pub use backoff::Jitter;
pub use bytes::Bytes;
pub use error::{HandlerError, Retry};
pub use extract::{Attempt, Context, FromMessage, FromRef, Json, State, Text, Topic};
pub use handler::Handler;
pub use message::{Captures, Message, Properties, Sender};
pub use metrics::Metrics;
pub use mqtt::BrokerOptions;
pub use pattern::{InvalidPattern, Pattern};
pub use process::RetryPolicy;
pub use publisher::{Outgoing, Publisher};
pub use request::{Request, Response};
pub use respond::{IntoPublishes, Reply};
pub use router::{
    Finished, Function, IntoTopicRoute, InvalidRouter, Route, Router, Routes, TopicRoute, on, on_service,
};
pub use service::{Options, Runtime};
pub use store::dead_letters;
pub use tidings_shared::message_id::MessageId;
pub use transaction::{Claim, Transaction};
