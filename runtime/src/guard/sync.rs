//! The shell that blocks.

use super::call::{Call, Entered, EnteredOnce, Once, Plain};
use super::claim::Claim;
use super::claiming::Claiming;
use super::on_err::ErrorPolicy;
use super::reconcile::never_asked;
use super::run;
use super::site::{Asked, Passed};
use super::steps::{self, Begun, Finish, Layer, Next};
use crate::ledger::{Doubt, Reconciled};
use crate::outcome::{Outcome, Replay};
use crate::refused::Refused;
use crate::scope::{self, Frame};

/// A guarded call of a sync function.
#[inline]
pub fn run_sync<R: Outcome, K: Asked>(
    call: Call<K, Plain>,
    refuse: impl FnOnce(Refused) -> R,
    body: impl FnOnce(Entered<'_, K>) -> R,
) -> R {
    let (call, Plain, _) = call.split();
    if call.is_only_a_step() {
        return match steps::enter(call) {
            Ok(_frame) => body(Entered { permit: K::grant(&steps::nothing_to_claim()) }),
            Err(refused) => refuse(refused),
        };
    }
    let driven = steps::begin(call)
        .and_then(|begun| drive(begun, Plain, never_asked, |_, passed| body(Entered { permit: K::grant(&passed) })));
    driven.unwrap_or_else(refuse)
}

/// A guarded, claiming call of a sync function.
pub fn once_sync<R: Replay, K: Asked>(
    call: Call<K, Once>,
    refuse: impl FnOnce(Refused) -> R,
    on_err: impl ErrorPolicy<R::Error>,
    body: impl FnOnce(EnteredOnce<'_, K>) -> R,
) -> R {
    reconciled_sync(call, refuse, on_err, never_asked, body)
}

/// The same, with a reconcile function.
pub fn reconciled_sync<R: Replay, K: Asked>(
    call: Call<K, Once>,
    refuse: impl FnOnce(Refused) -> R,
    on_err: impl ErrorPolicy<R::Error>,
    reconcile: impl FnOnce(&Doubt) -> Reconciled<R::Value>,
    body: impl FnOnce(EnteredOnce<'_, K>) -> R,
) -> R {
    let (call, once, _) = call.split();
    let driven = steps::begin(call).and_then(|begun| {
        drive(begun, Claiming::new(once, on_err), reconcile, |layer, passed| {
            let state = Layer::<R>::claim_state(layer).cloned();
            let Some(state) = state else { unreachable!("a body runs under its claim") };
            body(EnteredOnce { permit: K::grant(&passed), claim: Claim::of(&state) })
        })
    });
    driven.unwrap_or_else(refuse)
}

/// Task entry is behind it, and task exit is its end.
fn drive<R: Outcome, L: Layer<R>>(
    mut begun: Begun,
    layer: L,
    reconcile: impl FnOnce(&Doubt) -> Reconciled<L::Value>,
    body: impl FnOnce(&L, Passed) -> R,
) -> Result<R, Refused> {
    if let Some(ticket) = begun.entering() {
        begun.entered(ticket.wait())?;
    }
    let Some(mut run) = begun.take_run() else { return drive_in_task(begun, layer, reconcile, body, || {}) };
    // A panic unwinds through here, and the drop of the run leaves the task blocked.
    let driven = drive_in_task(begun, layer, reconcile, body, || run.start());
    match &driven {
        Ok(result) => {
            if let Some(ticket) = run.leave(result.is_success()) {
                run::left(ticket.wait());
            }
        }
        Err(refused) => run.refused(refused),
    }
    driven
}

fn drive_in_task<R, L: Layer<R>>(
    mut begun: Begun,
    mut layer: L,
    reconcile: impl FnOnce(&Doubt) -> Reconciled<L::Value>,
    body: impl FnOnce(&L, Passed) -> R,
    start: impl FnOnce(),
) -> Result<R, Refused> {
    if let Some(payment) = begun.owed() {
        begun.paid(payment.wait())?;
    }
    if let Some(ticket) = begun.ask() {
        begun.answered(ticket.wait())?;
    }
    let mut reconcile = Some(reconcile);
    let mut claimed = layer.claim(&mut begun)?;
    let passed = loop {
        let Some(ticket) = claimed else { break steps::nothing_to_claim() };
        match layer.claimed(&begun, ticket.wait())? {
            Next::Run(passed) => break passed,
            Next::Return(known) => return Ok(known),
            Next::Reconcile(doubt) => {
                // With the call on the stack: what asks for its own claim in there is refused, and does not ask for ever.
                let answer = scope::within(Frame::Call(begun.frame.clone()), || {
                    reconcile.take().map_or(Reconciled::Unknown, |reconcile| reconcile(&doubt))
                });
                claimed = Some(layer.reconciled(&begun, &doubt, answer)?);
            }
        }
    };
    begun.may_start()?;
    start();
    layer.start(&begun);
    if let Some(purse) = begun.frame.purse() {
        purse.start();
    }
    // A panic unwinds through here: the frame is popped, and the layer's drop leaves the claim in doubt.
    let frame = Frame::Call(std::mem::take(&mut begun.frame));
    let result = scope::within(frame, || body(&layer, passed));
    match layer.finish(&begun, result) {
        Finish::Done(result) => Ok(result),
        Finish::Settling(ticket, result) => layer.settled(&begun, ticket.wait(), result),
    }
}
