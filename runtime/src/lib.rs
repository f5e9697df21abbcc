//! Attribute macros that gate, deduplicate and bound functions, and the runtime under them.

pub mod authority;
mod boundary;
pub mod ledger;
mod outcome;
pub mod permit;
mod refused;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use boundary::{Boundary, OnRefusal};
pub use outcome::{FromRefused, Outcome, Replay};
pub use permit::Permit;
pub use refused::{Kind, Refused};
