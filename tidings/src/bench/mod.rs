//! `tidings bench`: measures this machine, side by side with peers in the same run. Nothing here judges; the figures
//! and the command that made them go into the documents.

pub(crate) mod broker;
mod client;
mod load;
mod peer;
