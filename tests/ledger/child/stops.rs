//! Bodies that stop at a certain point, to be killed there.

use std::task::{Context, Waker};

use portcullis::ledger::{ClaimState, Ledger};

use super::*;

#[once(action = "slow", key = "key", skip(gate), with = gate, max_run = "50ms")]
fn run_overdue(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    say("started");
    listen();
    Ok(format!("receipt of {key}"))
}

#[once(action = "effect", key = "key", skip(gate), with = gate, claim = claim)]
fn run_and_note(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    claim.note(format!("sent {key}")).wait()?;
    say("noted");
    listen();
    Ok(format!("receipt of {key}"))
}

#[once(action = "lazy", key = "key", skip(gate), with = gate, settle = "lazy")]
fn run_lazily(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    effect(key);
    Ok(format!("receipt of {key}"))
}

#[once(action = "effect", key = "key", skip(gate), with = gate)]
async fn run_later(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    effect(key);
    Ok(format!("receipt of {key}"))
}

/// Claims, and never polls the body: says so as soon as the ledger has the claim.
pub(super) fn claim_only(gate: &Portcullis, key: &str) {
    let mut future = std::pin::pin!(run_later(gate, key));
    // Dropped when the test kills this process, and not before: then it would be released.
    let claiming = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(claiming.is_pending(), "the first poll can't know yet");
    let url = format!("sqlite:{}", std::env::args().nth(1).expect("the ledger is named"));
    loop {
        // The file is being made.
        let found = Ledger::open(&url).ok().and_then(|ledger| ledger.show("tests", "effect", key).ok().flatten());
        if found.is_some_and(|record| record.state == ClaimState::Pending) {
            say("claimed");
            listen();
        }
    }
}

pub(super) fn overdue(gate: &Portcullis, key: &str) {
    say(&told(run_overdue(gate, key)));
}

pub(super) fn in_note(gate: &Portcullis, key: &str) {
    say(&told(run_and_note(gate, key)));
}

pub(super) fn after_lazy_settlement(gate: &Portcullis, key: &str) {
    say(&told(run_lazily(gate, key)));
    listen();
}

#[once(action = "effect", key = "key", skip(gate), with = gate)]
fn run_and_tell(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    effect(key);
    say("started");
    listen();
    say("returning");
    Ok(format!("receipt of {key}"))
}

/// Its last word is that the body returns: what comes then is the settlement.
pub(super) fn on_return(gate: &Portcullis, key: &str) {
    let result = told(run_and_tell(gate, key));
    say(&result);
    listen();
}
