//! Where a task may go from where it is.
//!
//! ```text
//! backlog     → todo
//! todo        → in_progress, cancelled, blocked
//! in_progress → done, blocked, cancelled, in_review
//! in_review   → done, in_progress, blocked, cancelled
//! blocked     → in_progress, cancelled, todo
//! done, cancelled: the end
//! ```
//!
//! The table has two faces. Where the state is known when the code is written, [`Task<S>`](Task) has a method for each way out of
//! `S`, and a wrong one does not compile. Where the state is data, [`TaskState::transition`] answers from the table, and a
//! [`Lifecycle`] holds one task's state for many threads, with its history and [`Hook`]s.

mod record;
mod state;
mod typed;

pub use record::{By, Change, Committed, Hook, Lifecycle, Missed, Veto};
pub use state::{InvalidTransition, TaskState, Transition, UnknownState};
pub use typed::{Backlog, Blocked, Cancelled, Done, InProgress, InReview, State, Task, Todo};
