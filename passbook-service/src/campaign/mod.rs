//! Campaigns: a push to every device of a query, as fast as the service bears the answers.
//!
//! A campaign walks the registrations in one order, a portion at a time. For each portion it chooses who is to be pushed
//! ([`select`]), waits until the rate allows it ([`governor`], fed by [`load`]), hands the pushes to the push-gateway in one
//! request, and stores where it stands. After a crash the portion that was under way is walked again with the same
//! idempotency keys, so that the gateway sends nothing twice. Memory holds one portion, however many devices there are.
//!
//! A device is pushed only when the list has something for it: see `docs/wallet/campaigns.md`.

mod gateway;
pub mod governor;
pub mod load;
pub mod plan;
mod runner;
pub mod select;

pub use gateway::Gateway;
pub use load::{Meter, Question};
pub use plan::{Campaign, Coverage, CreateCampaign, Plan, State};
pub use runner::{Runner, report_load};
