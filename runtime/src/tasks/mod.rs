//! Tasks: units of work with a state, a place in the tree of tasks, and a budget.
//!
//! | room | what it answers |
//! | --- | --- |
//! | [`lifecycle`] | where may this task go from here? |
//! | [`loops`] | may this task come into being at all? |
//! | [`admission`] | is this work worth doing, and may this agent start it? |
//! | [`escalation`] | who helps when it does not go on? |
//! | [`memory`] | what is remembered of it? |
//! | [`settings`] | what do environment and files say? |
//! | `paperclip` | how is all this carried into Paperclip, a task service? (feature `paperclip`) |
//!
//! How much a task may use is the business of [`budget`](crate::budget). [`#[task]`](macro@crate::task) brings all of it together around a
//! function, and [`Tasks`] shows what it has opened.
//!
//! The rooms decide from what they are given and keep what they know in memory. But for `paperclip`, nothing in them reads a clock, a
//! file or a socket to come to a decision.

pub mod admission;
pub mod escalation;
pub mod lifecycle;
pub mod loops;
pub mod memory;
mod name;
#[cfg(feature = "paperclip")]
pub mod paperclip;
mod register;
pub mod settings;

pub use name::{InvalidName, check_name};
pub use register::Tasks;
pub(crate) use register::{Opening, Register, another_kind};

/// A moment, as in `2026-11-24T02:30:00.123456789Z`.
pub(crate) fn moment<S: serde::Serializer>(at: &std::time::SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_rfc3339(*at))
}
