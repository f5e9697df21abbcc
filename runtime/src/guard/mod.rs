//! The guarded call: what the attributes expand to, step by step.
//!
//! ```text
//! task entry → budget charge → authority → ledger claim → BODY → settle → task exit
//!                                           └ in doubt → reconcile → claim again
//! ```
//! `steps` decides, `sync`, `future` and `gated` carry out: one blocks between the steps, the others await. None knows what
//! the others do not, so a rule that holds for sync code holds for async code. `batch` drives many of them towards one body.
//!
//! # Invariants
//! 1. The body is touched in one place of each shell, after [`steps::Next::Run`].
//! 2. A refusal is carried out (returned, or the end of the process) by the gate and by nobody else.
//! 3. A claim is armed from its grant to its settlement: whatever cuts the call short leaves it in doubt, or free if the
//!    body was never started.
//! 4. A task that was entered is left: whatever cuts the call short leaves it blocked.

mod batch;
mod call;
mod claim;
mod claiming;
mod future;
mod gated;
mod held;
mod on_err;
mod overdue;
mod reconcile;
mod run;
mod site;
mod steps;
mod sync;
mod values;

pub use batch::{Batch, BatchItem};
pub use call::{Call, Entered, EnteredOnce, Once, Plain};
pub use claim::{Claim, Noting};
pub use future::{Guarded, once, reconciled, run_task};
pub use gated::{Gated, run};
pub use on_err::{Classify, Codec, CodecByJson, CodecNone, ErrorPolicy, Hold, OnErr, Record, Recordable, Release};
pub use site::{Asked, NoPermit, Site};
pub use sync::{once_sync, reconciled_sync, run_sync};
pub use values::{IntoAction, IntoGate, IntoText, IntoWidth};

use crate::outcome::FromRefused;
use crate::refused::Refused;

/// For a function on which nothing can *return* a refusal.
///
/// The gate has ended the process before this could be called; if it is called all the same, this does.
pub fn refuse_by_ending<R>(refused: Refused) -> R {
    crate::halt::end(&crate::halt::Notice {
        kind: refused.kind(),
        boundary: "-",
        action: refused.action().into(),
        device: String::new(),
        code: refused.explanation(),
        request_id: String::new(),
    })
}

/// For a function whose return type carries the refusal.
pub fn refuse_by_return<R: FromRefused>(refused: Refused) -> R {
    R::from_refused(refused)
}

/// Calls `f`. For a body that makes a future: the closure is an `FnOnce` argument, so that it may give away what it captured.
pub fn make<T>(f: impl FnOnce() -> T) -> T {
    f()
}
