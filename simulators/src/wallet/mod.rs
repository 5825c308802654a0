//! A Wallet device: it adds passes, registers for their updates, reacts to pushes as Apple's protocol says, and
//! writes into its log exactly what a real device writes when the web service misbehaves.
//!
//! It checks the package's signature when it is told which root to trust, and it does not forgive. Real devices report
//! an unchanged pass also when the change that was listed had already been fetched together with an earlier one; so does
//! this one.

mod complaint;
mod device;
mod order;
mod package;
mod personalize;
mod signature;
mod update;
mod web;

pub use complaint::{Complaint, Place, Task, TaskError};
pub use device::{AddedPass, PassId, WalletDevice};
pub use order::{OrderDevice, OrderPackage, TrackedOrder};
pub use package::{Package, PackageError};
pub use personalize::Personal;
pub use signature::TrustedRoot;
