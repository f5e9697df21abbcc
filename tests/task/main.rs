//! Tasks through the attribute: where they stand, what their accounts count, and what may be opened where.

mod durable;
mod entering;
mod shapes;
mod steps;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use portcullis::tasks::lifecycle::TaskState;
use portcullis::testing::Gate;
use portcullis::{Kind, Portcullis, Refused, budgeted, task};

type Done = Result<u64, Refused>;

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Refused>, kind: Kind) -> Refused {
    let refused = result.expect_err("it must be refused");
    assert_eq!(refused.kind(), kind, "{refused}");
    refused
}

/// A step of whatever is around.
#[budgeted(max_steps = 1_000_000, per = "process")]
fn step() -> Result<(), Refused> {
    Ok(())
}

/// So many steps, and then what the test says.
#[task(id = "id", kind = "work", max_steps = 50)]
fn work(id: &str, steps: u32, end: Result<u64, &'static str>) -> Result<u64, anyhow::Error> {
    for _ in 0..steps {
        step()?;
    }
    end.map_err(anyhow::Error::msg)
}

fn kind(error: &anyhow::Error) -> Option<Kind> {
    error.downcast_ref::<Refused>().map(Refused::kind)
}

/// Gives others a turn, once.
async fn pause() {
    let mut paused = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut paused, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn ended(gate: &Portcullis, id: &str) -> String {
    let last = gate.tasks().history(id).pop().expect("it was opened");
    last.notes.get("ended").and_then(|how| how.as_str()).unwrap_or_default().to_owned()
}

/// Where the task stands, and where it has been.
fn states(gate: &Portcullis, id: &str) -> Vec<TaskState> {
    gate.tasks().history(id).into_iter().map(|change| change.to).collect()
}

fn gate() -> Gate {
    Gate::allowing()
}
