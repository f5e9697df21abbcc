//! The shell that awaits, for a call that claims nothing.
//!
//! Of a future the compiler makes one copy for each function. So what happens before the body knows neither the body nor its
//! result: [`Course`] is compiled once, and little is left that is not.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::call::{Bare, Call, Handover, Plain};
use super::site::Asked;
use super::steps::{self, Begun};
use crate::authority::desk::Answered;
use crate::ledger::Ticket;
use crate::outcome::Outcome;
use crate::refused::Refused;
use crate::scope::{Frame, Payment, Visit};

/// A guarded call of an async function.
pub fn run<R: Outcome, K: Asked>(
    call: Call<K, Plain>,
    refuse: impl FnOnce(Refused) -> R,
    body: impl Future<Output = R>,
) -> impl Future<Output = R> {
    let (call, Plain, handover) = call.split();
    Gated { course: Course { stage: Stage::New(call), handover }, refuse: Some(refuse), body }
}

pin_project! {
    /// A guarded call that is awaited, and claims nothing. Nothing happens before the first poll.
    #[must_use = "futures do nothing unless polled"]
    pub struct Gated<C, F> {
        course: Course,
        refuse: Option<C>,
        #[pin]
        body: F,
    }
}

impl<C, F> fmt::Debug for Gated<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gated").finish_non_exhaustive()
    }
}

impl<C: FnOnce(Refused) -> F::Output, F: Future> Future for Gated<C, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        match ready!(this.course.enter(cx)) {
            Ok(running) => {
                let polled = this.body.poll(cx);
                running.leave(polled.is_pending());
                polled
            }
            Err(refused) => match this.refuse.take() {
                Some(refuse) => Poll::Ready(refuse(refused)),
                None => polled_again(),
            },
        }
    }
}

/// How far the call is.
struct Course {
    stage: Stage,
    handover: Option<Arc<Handover>>,
}

enum Stage {
    New(Bare),
    Paying(Begun, Payment),
    Asking(Begun, Ticket<Answered>),
    /// The frame is here between polls, and on the stack during them.
    Running(Begun, Option<Frame>),
    Over,
}

impl Course {
    /// Goes on until the body may be polled, or something has to be waited for.
    fn enter(&mut self, cx: &mut Context<'_>) -> Poll<Result<Running<'_>, Refused>> {
        // While a step or the body runs the stage is `Over`, so that a panic in it leaves nothing that could go on.
        let (begun, frame) = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::New(call) => {
                let mut begun = steps::begin(call)?;
                match begun.owed() {
                    Some(payment) => ready!(self.pay(begun, payment, cx))?,
                    None => ready!(self.ask(begun, cx))?,
                }
            }
            Stage::Paying(begun, payment) => ready!(self.pay(begun, payment, cx))?,
            Stage::Asking(begun, ticket) => ready!(self.wait(begun, ticket, cx))?,
            Stage::Running(begun, frame) => (begun, frame),
            Stage::Over => polled_again(),
        };
        Poll::Ready(Ok(Running { stage: &mut self.stage, begun, visit: frame.map(Visit::begin) }))
    }

    fn pay(
        &mut self,
        begun: Begun,
        mut payment: Payment,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Begun, Option<Frame>), Refused>> {
        match Pin::new(&mut payment).poll(cx) {
            Poll::Ready(paid) => {
                begun.paid(paid)?;
                self.ask(begun, cx)
            }
            Poll::Pending => {
                self.stage = Stage::Paying(begun, payment);
                Poll::Pending
            }
        }
    }

    fn ask(&mut self, mut begun: Begun, cx: &mut Context<'_>) -> Poll<Result<(Begun, Option<Frame>), Refused>> {
        match begun.ask() {
            Some(ticket) => self.wait(begun, ticket, cx),
            None => Poll::Ready(self.start(begun)),
        }
    }

    fn wait(
        &mut self,
        begun: Begun,
        mut ticket: Ticket<Answered>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Begun, Option<Frame>), Refused>> {
        match Pin::new(&mut ticket).poll(cx) {
            Poll::Ready(answered) => {
                begun.answered(answered)?;
                Poll::Ready(self.start(begun))
            }
            Poll::Pending => {
                self.stage = Stage::Asking(begun, ticket);
                Poll::Pending
            }
        }
    }

    /// The body may be polled from here on.
    fn start(&mut self, mut begun: Begun) -> Result<(Begun, Option<Frame>), Refused> {
        begun.may_start()?;
        if let Some(purse) = begun.frame.purse() {
            purse.start();
        }
        if let Some(handover) = self.handover.take() {
            handover.pass(steps::nothing_to_claim(), None);
        }
        let frame = Frame::Call(std::mem::take(&mut begun.frame));
        Ok((begun, Some(frame)))
    }
}

/// One poll of the body. Dropped by a panic in it, the call is over.
#[must_use = "the frame is taken back by `leave`"]
struct Running<'a> {
    stage: &'a mut Stage,
    begun: Begun,
    visit: Option<Visit>,
}

impl Running<'_> {
    fn leave(self, pending: bool) {
        let Running { stage, begun, visit } = self;
        let frame = visit.and_then(Visit::end);
        if pending {
            *stage = Stage::Running(begun, frame);
        }
    }
}

#[cold]
fn polled_again() -> ! {
    panic!("a guarded call was polled after it had returned")
}
