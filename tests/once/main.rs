//! `#[once]` through the attribute: what a retry gets after every way in which a call can end.

mod nested;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis::testing::Gate;
use portcullis::{Drained, Kind, OnErr, Refused, budgeted, once};
use serde::{Deserialize, Serialize};

/// How often a body ran.
#[derive(Default)]
struct Ran(AtomicU32);

impl Ran {
    fn again(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
    fn times(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the provider said {0}")]
    Provider(u16),
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: Kind) -> Refused {
    match result {
        Err(Error::Refused(refused)) => {
            assert_eq!(refused.kind(), kind, "{refused}");
            refused
        }
        other => panic!("it must be refused as {kind}: {other:?}"),
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    number: u32,
    cents: u64,
}

#[once(action = "pay", key = "order", skip(ran))]
fn pay(ran: &Ran, order: &str, cents: u64) -> Result<Receipt, Error> {
    let number = ran.again();
    if cents == 404 { Err(Error::Provider(404)) } else { Ok(Receipt { number, cents }) }
}

#[test]
fn a_retry_gets_the_first_receipt() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    gate.scope_sync(|| {
        let first = pay(&ran, "o-1", 5).unwrap();
        for _ in 0..3 {
            assert_eq!(pay(&ran, "o-1", 5).unwrap(), first);
        }
        assert_eq!(pay(&ran, "o-2", 5).unwrap().number, 2);
    });
    assert_eq!(ran.times(), 2);
}

#[test]
fn the_same_key_for_something_else_is_a_conflict() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    gate.scope_sync(|| {
        pay(&ran, "o-1", 5).unwrap();
        let refusal = refused(pay(&ran, "o-1", 6), Kind::KeyConflict);
        assert!(!refusal.may_have_happened());
        assert_eq!(pay(&ran, "o-1", 5).unwrap().number, 1);
    });
    assert_eq!(ran.times(), 1);
}

#[test]
fn an_err_leaves_the_call_in_doubt() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    gate.scope_sync(|| {
        assert!(matches!(pay(&ran, "o-1", 404), Err(Error::Provider(404))), "the first caller gets the error itself");
        let refusal = refused(pay(&ran, "o-1", 404), Kind::InDoubt);
        assert!(refusal.may_have_happened());
        // Also in doubt, another payload is another payload.
        refused(pay(&ran, "o-1", 5), Kind::KeyConflict);
    });
    assert_eq!(ran.times(), 1);
}

#[once(action = "pay.release", key = "order", skip(ran), on_err = "release")]
fn pay_or_release(ran: &Ran, order: &str) -> Result<u32, Error> {
    match ran.again() {
        1 => Err(Error::Provider(503)),
        number => Ok(number),
    }
}

#[test]
fn an_err_that_releases_lets_the_next_call_run() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    gate.scope_sync(|| {
        assert!(matches!(pay_or_release(&ran, "o-1"), Err(Error::Provider(503))));
        assert_eq!(pay_or_release(&ran, "o-1").unwrap(), 2);
        assert_eq!(pay_or_release(&ran, "o-1").unwrap(), 2);
    });
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Recorded {
    Refused(String),
    Declined { code: u16 },
}

impl From<Refused> for Recorded {
    fn from(refused: Refused) -> Self {
        Recorded::Refused(refused.code().into())
    }
}

#[once(action = "pay.record", key = "order", skip(ran), on_err = "record")]
fn pay_or_record(ran: &Ran, order: &str) -> Result<u32, Recorded> {
    ran.again();
    Err(Recorded::Declined { code: 402 })
}

#[test]
fn an_err_on_record_is_given_again() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    gate.scope_sync(|| {
        for _ in 0..3 {
            assert_eq!(pay_or_record(&ran, "o-1"), Err(Recorded::Declined { code: 402 }));
        }
    });
    assert_eq!(ran.times(), 1);
}

fn classify(error: &Recorded) -> OnErr {
    match error {
        Recorded::Declined { code: 402 } => OnErr::Record,
        Recorded::Declined { code: 503 } => OnErr::Release,
        Recorded::Declined { .. } | Recorded::Refused(_) => OnErr::Hold,
    }
}

#[once(action = "pay.classify", key = "order", skip(ran, codes), on_err = classify)]
fn pay_and_classify(ran: &Ran, order: &str, codes: &[u16]) -> Result<u32, Recorded> {
    match codes.get(ran.again() as usize - 1) {
        Some(&code) => Err(Recorded::Declined { code }),
        None => Ok(ran.times()),
    }
}

#[test]
fn a_function_can_say_what_an_err_means() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        let ran = Ran::default();
        assert_eq!(pay_and_classify(&ran, "released", &[503]), Err(Recorded::Declined { code: 503 }));
        assert_eq!(pay_and_classify(&ran, "released", &[503]), Ok(2));

        let ran = Ran::default();
        assert_eq!(pay_and_classify(&ran, "recorded", &[402]), Err(Recorded::Declined { code: 402 }));
        assert_eq!(pay_and_classify(&ran, "recorded", &[402]), Err(Recorded::Declined { code: 402 }));
        assert_eq!(ran.times(), 1);

        let ran = Ran::default();
        assert_eq!(pay_and_classify(&ran, "held", &[500]), Err(Recorded::Declined { code: 500 }));
        assert_eq!(pay_and_classify(&ran, "held", &[500]), Err(Recorded::Refused("in_doubt".into())));
        assert_eq!(ran.times(), 1);
    });
}

/// This error can't be stored, and need not be.
fn classify_unstorable(error: &Error) -> OnErr {
    match error {
        Error::Provider(503) => OnErr::Release,
        Error::Provider(402) => OnErr::Record,
        Error::Provider(_) | Error::Refused(_) => OnErr::Hold,
    }
}

#[once(action = "pay.unstorable", key = "order", skip(ran), on_err = classify_unstorable)]
fn pay_unstorable(ran: &Ran, order: &str, code: u16) -> Result<u32, Error> {
    match ran.again() {
        1 => Err(Error::Provider(code)),
        number => Ok(number),
    }
}

#[test]
fn an_error_that_cannot_be_stored_can_still_be_classified() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        let ran = Ran::default();
        pay_unstorable(&ran, "released", 503).unwrap_err();
        assert_eq!(pay_unstorable(&ran, "released", 503).unwrap(), 2);

        // To record it is not possible: then it stays in doubt, and is not run again.
        let ran = Ran::default();
        pay_unstorable(&ran, "recorded", 402).unwrap_err();
        refused(pay_unstorable(&ran, "recorded", 402), Kind::InDoubt);
        assert_eq!(ran.times(), 1);
    });
}

#[once(action = "pay.claim", key = "order", skip(ran), claim = claim)]
async fn pay_with_a_claim(ran: &Ran, order: &str, happened: bool) -> Result<(u32, String), Error> {
    let number = ran.again();
    if number == 1 {
        if !happened {
            claim.did_not_happen();
        }
        return Err(Error::Provider(500));
    }
    Ok((number, claim.idempotency_key().to_owned()))
}

#[test]
fn the_body_can_say_that_nothing_happened() {
    let gate = Gate::allowing();
    pollster::block_on(gate.scope(async {
        let ran = Ran::default();
        pay_with_a_claim(&ran, "o-1", false).await.unwrap_err();
        let (number, key) = pay_with_a_claim(&ran, "o-1", false).await.unwrap();
        assert_eq!((number, key.len()), (2, 40));

        let ran = Ran::default();
        pay_with_a_claim(&ran, "o-2", true).await.unwrap_err();
        refused(pay_with_a_claim(&ran, "o-2", true).await, Kind::InDoubt);
    }));
}

#[once(action = "key.of", key = "order", claim = claim)]
fn idempotency_key(order: &str) -> Result<String, Error> {
    Ok(claim.idempotency_key().to_owned())
}

#[test]
fn the_idempotency_key_is_the_calls_and_no_others() {
    let key = |order| Gate::allowing().scope_sync(|| idempotency_key(order).unwrap());
    assert_eq!(key("o-1"), key("o-1"), "on another ledger too");
    assert_ne!(key("o-1"), key("o-2"));
}

#[once(action = "panics", key = "order", skip(ran))]
fn panics(ran: &Ran, order: &str) -> Result<(), Error> {
    ran.again();
    panic!("in the body")
}

#[once(action = "panics.async", key = "order", skip(ran))]
async fn panics_async(ran: &Ran, order: &str) -> Result<(), Error> {
    ran.again();
    panic!("in the body")
}

#[test]
fn a_panic_leaves_the_call_in_doubt_and_the_ledger_usable() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| gate.scope_sync(|| panics(&ran, "o-1"))));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"in the body"), "the panic goes on");
    refused(gate.scope_sync(|| panics(&ran, "o-1")), Kind::InDoubt);

    let mut leaked = Box::pin(gate.scope(panics_async(&ran, "o-1")));
    let poll = || leaked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let mut poll = std::panic::AssertUnwindSafe(poll);
    while let Ok(Poll::Pending) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut *poll)) {}
    std::mem::forget(leaked);
    refused(pollster::block_on(gate.scope(panics_async(&ran, "o-1"))), Kind::InDoubt);

    assert_eq!(ran.times(), 2);
    gate.scope_sync(|| pay(&ran, "o-2", 5)).unwrap();
}

#[once(action = "stalls", key = "order", skip(ran))]
async fn stalls(ran: &Ran, order: &str) -> Result<(), Error> {
    ran.again();
    std::future::pending().await
}

/// Polls until `done` says so.
fn poll_until(mut future: std::pin::Pin<&mut impl Future>, done: impl Fn() -> bool) {
    while !done() {
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        std::thread::yield_now();
    }
}

#[test]
fn a_future_that_is_dropped_in_its_body_leaves_the_call_in_doubt() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    {
        let mut future = pin!(gate.scope(stalls(&ran, "o-1")));
        poll_until(future.as_mut(), || ran.times() == 1);
    }
    refused(pollster::block_on(gate.scope(stalls(&ran, "o-1"))), Kind::InDoubt);
    assert_eq!(ran.times(), 1);
}

#[once(action = "pay.async", key = "order", skip(ran))]
async fn pay_async(ran: &Ran, order: &str) -> Result<u32, Error> {
    Ok(ran.again())
}

#[test]
fn a_future_that_is_dropped_before_its_body_leaves_nothing() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    drop(gate.scope(pay_async(&ran, "o-1")));
    {
        // Polled once: the claim is on its way, the body has not begun.
        let mut future = pin!(gate.scope(pay_async(&ran, "o-1")));
        let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
    if ran.times() == 0 {
        assert_eq!(pollster::block_on(gate.scope(pay_async(&ran, "o-1"))).unwrap(), 1);
    }
    assert_eq!(ran.times(), 1);
}

#[once(action = "slow", key = "order", skip(ran, entered, go_on))]
fn slow(ran: &Ran, order: &str, entered: &mpsc::Sender<()>, go_on: &mpsc::Receiver<()>) -> Result<u32, Error> {
    entered.send(()).expect("the test listens");
    go_on.recv().expect("the test says go on");
    Ok(ran.again())
}

#[once(action = "slow", key = "order", skip(ran))]
fn impatient(ran: &Ran, order: &str) -> Result<u32, Error> {
    Ok(ran.again())
}

#[once(action = "slow", key = "order", skip(ran), wait = "20s")]
async fn patient(ran: &Ran, order: &str) -> Result<u32, Error> {
    Ok(ran.again())
}

#[test]
fn a_duplicate_is_refused_or_waits_for_the_receipt() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    let (entered, is_in) = mpsc::channel();
    let (go_on, wait) = mpsc::channel();
    std::thread::scope(|threads| {
        let (gate, ran) = (&gate, &ran);
        let first = threads.spawn(move || gate.scope_sync(|| slow(ran, "o-1", &entered, &wait)));
        is_in.recv().unwrap();
        refused(gate.scope_sync(|| impatient(ran, "o-1")), Kind::InFlight);
        let waiting = threads.spawn(move || pollster::block_on(gate.scope(patient(ran, "o-1"))));
        go_on.send(()).unwrap();
        assert_eq!(first.join().unwrap().unwrap(), 1);
        assert_eq!(waiting.join().unwrap().unwrap(), 1);
    });
    assert_eq!(ran.times(), 1);
}

#[once(action = "recursive", key = "order", skip(ran))]
fn recursive(ran: &Ran, order: &str, depth: u32) -> Result<u32, Error> {
    ran.again();
    if depth == 0 { Ok(0) } else { recursive(ran, order, depth) }
}

#[test]
fn a_call_that_waits_for_itself_is_refused() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    refused(gate.scope_sync(|| recursive(&ran, "o-1", 1)), Kind::Reentrant);
    assert_eq!(ran.times(), 1);
}

#[test]
fn keys_that_are_no_keys_are_refused_before_anything_is_claimed() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    gate.scope_sync(|| {
        refused(pay(&ran, "", 5), Kind::InvalidKey);
        refused(pay(&ran, &"x".repeat(513), 5), Kind::InvalidKey);
        pay(&ran, &"x".repeat(512), 5).unwrap();
    });
    assert_eq!(ran.times(), 1);
}

#[once(key = "id")]
fn unnamed(id: u32) -> Result<String, Error> {
    Ok(format!("here {id}"))
}

mod elsewhere {
    use super::*;

    #[once(key = "id")]
    pub fn unnamed(id: u32) -> Result<String, Error> {
        Ok(format!("elsewhere {id}"))
    }
}

fn another_place(id: u32) -> Result<String, Error> {
    #[once(key = "id")]
    fn unnamed(id: u32) -> Result<String, Error> {
        Ok(format!("within {id}"))
    }
    unnamed(id)
}

#[test]
fn one_function_never_gets_the_receipt_of_another_of_the_same_name() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        assert_eq!(unnamed(1).unwrap(), "here 1");
        refused(elsewhere::unnamed(1), Kind::ActionAmbiguous);
        refused(elsewhere::unnamed(2), Kind::ActionAmbiguous);
        refused(another_place(1), Kind::ActionAmbiguous);
        assert_eq!(unnamed(1).unwrap(), "here 1");
    });
}

#[once(action = "odd", key = "key", refused = Odd::refused)]
fn odd(key: &str, value: f64) -> Odd {
    Odd::Value(value)
}

/// A return type of the user's own, without a `Result`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Odd {
    Value(f64),
    Refused(String),
}

impl Odd {
    fn refused(refused: Refused) -> Self {
        Odd::Refused(refused.code().into())
    }
}

impl portcullis::Outcome for Odd {
    fn is_success(&self) -> bool {
        matches!(self, Odd::Value(_))
    }
}

impl portcullis::Replay for Odd {
    type Value = Odd;
    type Error = std::convert::Infallible;
    fn as_result(&self) -> Result<&Odd, &std::convert::Infallible> {
        Ok(self)
    }
    fn from_value(value: Odd) -> Self {
        value
    }
    fn from_error(error: std::convert::Infallible) -> Self {
        match error {}
    }
}

#[test]
fn a_return_type_of_ones_own_can_be_replayed_and_refused() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        assert_eq!(odd("k", 0.1), Odd::Value(0.1));
        assert_eq!(odd("k", 0.1), Odd::Value(0.1));
        assert_eq!(odd("k", 0.2), Odd::Refused("key_conflict".into()));
        assert_eq!(odd("k", f64::NAN), Odd::Refused("invalid_argument".into()));
    });
}

#[once(action = "unencodable", key = "key", skip(ran))]
fn unencodable(ran: &Ran, key: &str) -> Result<f64, Error> {
    ran.again();
    Ok(f64::NAN)
}

#[test]
fn a_result_that_cannot_be_kept_is_given_once_and_never_run_again() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    gate.scope_sync(|| {
        assert!(unencodable(&ran, "k").unwrap().is_nan(), "the first caller gets its value");
        refused(unencodable(&ran, "k"), Kind::ReceiptUnreadable);
    });
    assert_eq!(ran.times(), 1);
}

#[once(action = "large", key = "key", skip(ran))]
fn large(ran: &Ran, key: &str) -> Result<String, Error> {
    ran.again();
    Ok("x".repeat(10 << 20))
}

#[test]
fn a_result_that_is_too_large_is_given_once_and_never_run_again() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    gate.scope_sync(|| {
        assert_eq!(large(&ran, "k").unwrap().len(), 10 << 20);
        refused(large(&ran, "k"), Kind::ReceiptTooLarge);
    });
    assert_eq!(ran.times(), 1);
}

#[once(action = "wide", key = "key")]
fn wide(key: &str) -> Result<(u128, i128, Option<u64>, char), Error> {
    Ok((u128::MAX, i128::MIN, None, '\u{0}'))
}

#[test]
fn the_replay_equals_the_first_value() {
    let gate = Gate::allowing();
    gate.scope_sync(|| assert_eq!(wide("k").unwrap(), wide("k").unwrap()));
}

#[budgeted(max_steps = 2)]
#[once(action = "bounded", key = "key")]
fn bounded(key: &str) -> Result<(), Error> {
    Ok(())
}

#[test]
fn a_replay_is_charged_too() {
    let gate = Gate::allowing();
    gate.scope_sync(|| {
        bounded("k").unwrap();
        bounded("k").unwrap();
        refused(bounded("k"), Kind::BudgetSteps);
    });
}

#[test]
fn a_draining_gate_lets_what_runs_settle_and_claims_nothing_more() {
    let (gate, ran) = (Gate::allowing(), Ran::default());
    let (entered, is_in) = mpsc::channel();
    let (go_on, wait) = mpsc::channel();
    std::thread::scope(|threads| {
        let (gate, ran) = (&gate, &ran);
        let running = threads.spawn(move || gate.scope_sync(|| slow(ran, "o-1", &entered, &wait)));
        is_in.recv().unwrap();
        assert_eq!(gate.drain(Duration::from_millis(20)).wait(), Drained::TimedOut);
        refused(gate.scope_sync(|| pay(ran, "o-2", 5)), Kind::Halted);
        let draining = gate.drain(Duration::from_secs(20));
        go_on.send(()).unwrap();
        assert_eq!(pollster::block_on(draining), Drained::All);
        assert_eq!(running.join().unwrap().unwrap(), 1);
    });
}
