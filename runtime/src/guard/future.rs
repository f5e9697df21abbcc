//! The shell that awaits, for a call that claims or opens a task: a hand-written future, because an `async fn` around the body would hold it twice.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::call::{Bare, Call, Handover, Once, Plain};
use super::claiming::Claiming;
use super::on_err::ErrorPolicy;
use super::reconcile::NeverAsked;
use super::run::{self, Run};
use super::site::{Asked, Passed};
use super::steps::{self, Begun, Finish, Layer, Next};
use crate::authority::desk::Answered;
use crate::ledger::{Claimed, Doubt, Reconciled, Settled, TaskAnswer, Ticket};
use crate::outcome::{Outcome, Replay};
use crate::refused::Refused;
use crate::scope::{self, Frame, Payment};

/// A guarded, claiming call of an async function.
pub fn once<R: Replay, K: Asked>(
    call: Call<K, Once>,
    refuse: impl FnOnce(Refused) -> R,
    on_err: impl ErrorPolicy<R::Error>,
    body: impl Future<Output = R>,
) -> impl Future<Output = R> {
    reconciled(call, refuse, on_err, NeverAsked::new(), body)
}

/// A guarded call of an async function that opens a task and claims nothing.
pub fn run_task<R: Outcome, K: Asked>(
    call: Call<K, Plain>,
    refuse: impl FnOnce(Refused) -> R,
    body: impl Future<Output = R>,
) -> impl Future<Output = R> {
    let (call, Plain, handover) = call.split();
    Guarded::new(call, Plain, handover, refuse, NeverAsked::new(), body)
}

/// The same, with what [`Call::reconcile`] made of a reconcile function.
pub fn reconciled<R: Replay, K: Asked>(
    call: Call<K, Once>,
    refuse: impl FnOnce(Refused) -> R,
    on_err: impl ErrorPolicy<R::Error>,
    reconcile: impl Future<Output = Reconciled<R::Value>>,
    body: impl Future<Output = R>,
) -> impl Future<Output = R> {
    let (call, once, handover) = call.split();
    Guarded::new(call, Claiming::new(once, on_err), handover, refuse, reconcile, body)
}

pin_project! {
    /// A guarded call that is awaited.
    ///
    /// Dropped before the body's first poll, it releases what it has claimed; later, it leaves it in doubt. Nothing happens
    /// before the first poll.
    #[must_use = "futures do nothing unless polled"]
    pub struct Guarded<R, L, C, Q, F> {
        stage: Stage<R>,
        run: Option<Box<Run>>,
        layer: L,
        handover: Option<Arc<Handover>>,
        refuse: Option<C>,
        #[pin]
        reconcile: Q,
        #[pin]
        body: F,
    }
}

enum Stage<R> {
    New(Bare),
    Entering(Begun, Ticket<TaskAnswer>),
    Paying(Begun, Payment),
    Asking(Begun, Ticket<Answered>),
    Claiming(Begun, Ticket<Claimed>),
    Reconciling(Begun, Box<Doubt>, Option<Frame>),
    /// The frame is here between polls, and on the stack during them.
    Running(Begun, Option<Frame>),
    Settling(Begun, Ticket<Settled>, R),
    /// Its task is being left.
    Leaving(Ticket<TaskAnswer>, R),
    Over(PhantomData<fn() -> R>),
}

impl<R, L, C, Q, F> Guarded<R, L, C, Q, F> {
    fn new(call: Bare, layer: L, handover: Option<Arc<Handover>>, refuse: C, reconcile: Q, body: F) -> Self {
        Guarded { stage: Stage::New(call), run: None, layer, handover, refuse: Some(refuse), reconcile, body }
    }
}

impl<R, L, C, Q, F> fmt::Debug for Guarded<R, L, C, Q, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}

impl<R, L, C, Q, F> Future for Guarded<R, L, C, Q, F>
where
    R: Outcome,
    L: Layer<R>,
    C: FnOnce(Refused) -> R,
    Q: Future<Output = Reconciled<L::Value>>,
    F: Future<Output = R>,
{
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let mut this = self.project();
        // Taken along: where the body panics, its task is blocked at once, also where the future is leaked afterwards.
        let mut run = this.run.take();
        let driven =
            drive(this.stage, &mut run, this.layer, this.handover, this.reconcile.as_mut(), this.body.as_mut(), cx);
        let Poll::Ready(driven) = driven else {
            *this.run = run;
            return Poll::Pending;
        };
        *this.stage = Stage::Over(PhantomData);
        let driven = match (run, driven) {
            (Some(run), Ok(result)) => match run.leave(result.is_success()) {
                Some(ticket) => {
                    *this.stage = Stage::Leaving(ticket, result);
                    let unused = &mut None;
                    ready!(drive(this.stage, unused, this.layer, this.handover, this.reconcile, this.body, cx))
                }
                None => Ok(result),
            },
            (Some(run), Err(refused)) => {
                run.refused(&refused);
                Err(refused)
            }
            (None, driven) => driven,
        };
        Poll::Ready(match driven {
            Ok(result) => result,
            Err(refused) => match this.refuse.take() {
                Some(refuse) => refuse(refused),
                None => panic!("a guarded call was polled after it had returned"),
            },
        })
    }
}

/// Goes from stage to stage until something has to be waited for.
fn drive<R, L: Layer<R>, F: Future<Output = R>>(
    stage: &mut Stage<R>,
    run: &mut Option<Box<Run>>,
    layer: &mut L,
    handover: &mut Option<Arc<Handover>>,
    mut reconcile: Pin<&mut impl Future<Output = Reconciled<L::Value>>>,
    mut body: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<Result<R, Refused>> {
    loop {
        // While a step runs the stage is `Over`, so that a panic in it leaves nothing that could go on.
        let next = match std::mem::replace(stage, Stage::Over(PhantomData)) {
            Stage::New(call) => {
                let mut begun = steps::begin(call)?;
                match begun.entering() {
                    Some(ticket) => Stage::Entering(begun, ticket),
                    None => pay(begun, run, layer, handover)?,
                }
            }
            Stage::Entering(mut begun, mut ticket) => match Pin::new(&mut ticket).poll(cx) {
                Poll::Ready(answer) => {
                    begun.entered(answer)?;
                    pay(begun, run, layer, handover)?
                }
                Poll::Pending => {
                    *stage = Stage::Entering(begun, ticket);
                    return Poll::Pending;
                }
            },
            Stage::Paying(begun, mut payment) => match Pin::new(&mut payment).poll(cx) {
                Poll::Ready(paid) => {
                    begun.paid(paid)?;
                    ask(begun, run, layer, handover)?
                }
                Poll::Pending => {
                    *stage = Stage::Paying(begun, payment);
                    return Poll::Pending;
                }
            },
            Stage::Asking(begun, mut ticket) => match Pin::new(&mut ticket).poll(cx) {
                Poll::Ready(answered) => {
                    begun.answered(answered)?;
                    claim(begun, run, layer, handover)?
                }
                Poll::Pending => {
                    *stage = Stage::Asking(begun, ticket);
                    return Poll::Pending;
                }
            },
            Stage::Claiming(begun, mut ticket) => match Pin::new(&mut ticket).poll(cx) {
                Poll::Ready(claimed) => match layer.claimed(&begun, claimed)? {
                    Next::Run(passed) => start(begun, run, layer, handover, passed)?,
                    Next::Return(known) => return Poll::Ready(Ok(known)),
                    Next::Reconcile(doubt) => {
                        if let Some(handover) = handover {
                            handover.ask_about((*doubt).clone());
                        }
                        // With the call on the stack: what asks for its own claim in there is refused.
                        let frame = Frame::Call(begun.frame.clone());
                        Stage::Reconciling(begun, doubt, Some(frame))
                    }
                },
                Poll::Pending => {
                    *stage = Stage::Claiming(begun, ticket);
                    return Poll::Pending;
                }
            },
            Stage::Reconciling(begun, doubt, mut frame) => {
                match scope::poll_within(&mut frame, || reconcile.as_mut().poll(cx)) {
                    Poll::Ready(answer) => {
                        let ticket = layer.reconciled(&begun, &doubt, answer)?;
                        Stage::Claiming(begun, ticket)
                    }
                    Poll::Pending => {
                        *stage = Stage::Reconciling(begun, doubt, frame);
                        return Poll::Pending;
                    }
                }
            }
            Stage::Running(begun, mut frame) => {
                let polled = {
                    let mut cut_short = AbandonOnUnwind { layer: &mut *layer, armed: true, result: PhantomData };
                    let polled = scope::poll_within(&mut frame, || body.as_mut().poll(cx));
                    cut_short.armed = false;
                    polled
                };
                match polled {
                    Poll::Ready(result) => match layer.finish(&begun, result) {
                        Finish::Done(result) => return Poll::Ready(Ok(result)),
                        Finish::Settling(ticket, result) => Stage::Settling(begun, ticket, result),
                    },
                    Poll::Pending => {
                        *stage = Stage::Running(begun, frame);
                        return Poll::Pending;
                    }
                }
            }
            Stage::Settling(begun, mut ticket, result) => match Pin::new(&mut ticket).poll(cx) {
                Poll::Ready(settled) => return Poll::Ready(layer.settled(&begun, settled, result)),
                Poll::Pending => {
                    *stage = Stage::Settling(begun, ticket, result);
                    return Poll::Pending;
                }
            },
            Stage::Leaving(mut ticket, result) => match Pin::new(&mut ticket).poll(cx) {
                Poll::Ready(answer) => {
                    run::left(answer);
                    return Poll::Ready(Ok(result));
                }
                Poll::Pending => {
                    *stage = Stage::Leaving(ticket, result);
                    return Poll::Pending;
                }
            },
            Stage::Over(_) => panic!("a guarded call was polled after it had returned"),
        };
        *stage = next;
    }
}

fn pay<R, L: Layer<R>>(
    mut begun: Begun,
    run: &mut Option<Box<Run>>,
    layer: &mut L,
    handover: &mut Option<Arc<Handover>>,
) -> Result<Stage<R>, Refused> {
    *run = begun.take_run();
    Ok(match begun.owed() {
        Some(payment) => Stage::Paying(begun, payment),
        None => ask(begun, run, layer, handover)?,
    })
}

fn ask<R, L: Layer<R>>(
    mut begun: Begun,
    run: &mut Option<Box<Run>>,
    layer: &mut L,
    handover: &mut Option<Arc<Handover>>,
) -> Result<Stage<R>, Refused> {
    Ok(match begun.ask() {
        Some(ticket) => Stage::Asking(begun, ticket),
        None => claim(begun, run, layer, handover)?,
    })
}

fn claim<R, L: Layer<R>>(
    mut begun: Begun,
    run: &mut Option<Box<Run>>,
    layer: &mut L,
    handover: &mut Option<Arc<Handover>>,
) -> Result<Stage<R>, Refused> {
    Ok(match layer.claim(&mut begun)? {
        Some(ticket) => Stage::Claiming(begun, ticket),
        None => start(begun, run, layer, handover, steps::nothing_to_claim())?,
    })
}

/// The body may be polled from here on.
fn start<R, L: Layer<R>>(
    mut begun: Begun,
    run: &mut Option<Box<Run>>,
    layer: &mut L,
    handover: &mut Option<Arc<Handover>>,
    passed: Passed,
) -> Result<Stage<R>, Refused> {
    begun.may_start()?;
    if let Some(run) = run {
        run.start();
    }
    layer.start(&begun);
    if let Some(purse) = begun.frame.purse() {
        purse.start();
    }
    if let Some(handover) = handover.take() {
        handover.pass(passed, layer.claim_state().cloned());
    }
    let frame = Frame::Call(std::mem::take(&mut begun.frame));
    Ok(Stage::Running(begun, Some(frame)))
}

/// A panic in the body is known at once, also where the future is leaked afterwards.
struct AbandonOnUnwind<'a, R, L: Layer<R>> {
    layer: &'a mut L,
    armed: bool,
    result: PhantomData<fn() -> R>,
}

impl<R, L: Layer<R>> Drop for AbandonOnUnwind<'_, R, L> {
    fn drop(&mut self) {
        if self.armed {
            self.layer.abandon();
        }
    }
}
