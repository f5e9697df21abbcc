//! Tasks: units of work with a state, a place in the tree of tasks, and a budget.
//!
//! | room | what it answers |
//! | --- | --- |
//! | [`lifecycle`] | where may this task go from here? |
//! | [`loops`] | may this task come into being at all? |
//! | [`settings`] | what do environment and files say? |
//!
//! How much a task may use is the business of [`budget`](crate::budget).
//!
//! Everything in here decides from what it is given and keeps what it knows in memory. Nothing in here reads a clock, a file or
//! a socket to come to a decision.

pub mod lifecycle;
pub mod loops;
mod name;
pub mod settings;

pub use name::{InvalidName, check_name};
