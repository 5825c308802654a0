//! The engine's promises, one test each; and the simulation that checks the great ones on every step.

mod access;
mod catch_up;
mod durability;
mod group_health;
mod harness;
mod limits;
mod model;
mod options;
mod presence;
mod qos2;
mod reasons;
mod recovery;
mod refresh;
mod retained;
mod revocations;
mod sessions;
mod shared;
mod simulation;
mod wake;
mod wills;
