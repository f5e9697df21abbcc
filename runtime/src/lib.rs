#![doc = include_str!("../README.md")]

pub mod adapters;
pub mod authority;
mod boundary;
pub mod budget;
#[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "the store on SQLite needs all of it"))]
mod clock;
mod config;
mod gate;
mod guard;
mod halt;
#[cfg_attr(
    not(feature = "sqlite"),
    allow(dead_code, unused_imports, reason = "the store on SQLite and the acts of a person need all of it")
)]
pub mod ledger;
mod locked;
mod outcome;
pub mod permit;
mod refused;
mod scope;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod tasks;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg_attr(not(feature = "sqlite"), allow(dead_code, unused_imports, reason = "the store on SQLite needs all of it"))]
mod ticket;
#[cfg(any(feature = "http", feature = "paperclip"))]
mod wire;

pub use boundary::{Boundary, OnRefusal};
pub use budget::Cost;
pub use config::{Builder, ConfigError};
pub use gate::{Drain, Drained, Portcullis, drain};
pub use guard::{Claim, Noting, OnErr};
pub use halt::EXIT_CODE;
pub use ledger::{Doubt, Reconciled};
pub use locked::Locked;
#[cfg(feature = "reqwest")]
pub use locked::{HttpClient, HttpRequest};
pub use outcome::{FromRefused, Outcome, Replay};
pub use permit::Permit;
pub use portcullis_macros::{boundary, budgeted, guarded, once, task, unguarded};
pub use refused::{Kind, Next, Refused};
/// The version with which a [`Claim`] can be [settled](Claim::settle_in) in a transaction.
#[cfg(feature = "sqlite")]
pub use rusqlite;
pub use scope::{Carried, InTask, Scoped, charge, scope, scope_sync};
/// The version with which a [`Claim`] can be [settled](Claim::settle_in) in a transaction on PostgreSQL.
#[cfg(feature = "sqlx")]
pub use sqlx;
/// The version with which a [`Claim`] can be [settled](Claim::settle_in) in a transaction on PostgreSQL.
#[cfg(feature = "postgres")]
pub use tokio_postgres;

/// What the attributes expand to. Not part of the public interface: it changes without notice.
///
/// Nothing in here has a privilege that a hand-written call would lack: permits, grants and settlements are made by the
/// rooms, behind an explicit allow and an acknowledged claim.
#[doc(hidden)]
pub mod __private {
    pub use crate::__codec as codec;
    pub use crate::guard::*;
    pub use crate::ledger::fingerprint::{Argument, Payload};
    pub use crate::ledger::key::{Key, KeyPart, Part};
}
