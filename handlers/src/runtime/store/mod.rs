//! What the runtime keeps in the database: which messages are done, and which could not be handled.

pub mod dead_letters;
pub(super) mod processed;

#[cfg(test)]
mod tests;
