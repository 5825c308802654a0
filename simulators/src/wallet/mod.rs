//! A Wallet device: it adds passes, registers for their updates, reacts to pushes as Apple's protocol says, and
//! writes into its log exactly what a real device writes when the web service misbehaves.
//!
//! Two things that it does not do: check the package's signature (a verifier that nobody here wrote does that in the
//! tests of the passbook-service), and forgive. Real devices report an unchanged pass also when the change that was
//! listed had already been fetched together with an earlier one; so does this one.

mod complaint;
mod device;
mod package;
mod update;
mod web;

pub use complaint::{Complaint, Place, Task, TaskError};
pub use device::{AddedPass, PassId, WalletDevice};
pub use package::{Package, PackageError};
