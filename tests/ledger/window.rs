//! `provider_window`: within it the provider deduplicates, so a call in doubt may run again; after it, never.

use std::sync::Mutex;

use portcullis::ledger::ClaimState;
use portcullis::once;

use super::*;

/// A provider that remembers our key, and loses every answer until it is told not to.
#[derive(Default)]
struct Provider {
    keys: Mutex<Vec<String>>,
    answers: std::sync::atomic::AtomicBool,
}

impl Provider {
    fn charge(&self, key: &str) -> Result<String, Error> {
        self.keys.lock().unwrap().push(key.to_owned());
        if self.answers.load(std::sync::atomic::Ordering::SeqCst) { Ok("charged".into()) } else { Err(Error::Lost) }
    }

    fn answer(&self) {
        self.answers.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    /// What it has charged, and how often it was asked to.
    fn charges(&self) -> (usize, usize) {
        let keys = self.keys.lock().unwrap();
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        (distinct.len(), keys.len())
    }
}

#[once(action = "charge", key = "order", skip(gate, provider), with = gate, claim = claim, provider_window = "24h")]
fn charge(gate: &Portcullis, provider: &Provider, order: &str) -> Result<String, Error> {
    provider.charge(claim.idempotency_key())
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn within_the_window_a_call_in_doubt_runs_again_with_the_same_key() {
    let (room, provider) = (Room::new(), Provider::default());
    let gate = room.gate();
    assert!(matches!(charge(&gate, &provider, "o-1"), Err(Error::Lost)));
    room.long_ago(HOUR);
    assert!(matches!(charge(&gate, &provider, "o-1"), Err(Error::Lost)));
    provider.answer();
    room.long_ago(HOUR);
    assert_eq!(charge(&gate, &provider, "o-1").unwrap(), "charged");
    assert_eq!(charge(&gate, &provider, "o-1").unwrap(), "charged");
    assert_eq!(provider.charges(), (1, 3));
    assert_eq!(room.record_of("charge", "o-1").epoch, 3);
    assert_eq!(room.kinds_of("charge", "o-1"), ["in_doubt", "ran_again", "in_doubt", "ran_again"]);
}

#[test]
fn after_the_window_nothing_runs_however_often_it_ran_within() {
    let (room, provider) = (Room::new(), Provider::default());
    let gate = room.gate();
    charge(&gate, &provider, "o-1").unwrap_err();
    room.long_ago(23 * HOUR);
    // Runs again, and is in doubt again: from the first start on, the provider may have forgotten the key soon.
    charge(&gate, &provider, "o-1").unwrap_err();
    room.long_ago(2 * HOUR);
    provider.answer();
    let refusal = refused(charge(&gate, &provider, "o-1"), Kind::InDoubt);
    assert!(refusal.reason().contains("`provider_window`"), "{refusal}");
    assert_eq!(provider.charges(), (1, 2));
    assert_eq!(room.record_of("charge", "o-1").state, ClaimState::InDoubt);
}

#[test]
fn a_clock_that_was_set_back_opens_no_window() {
    let (room, provider) = (Room::new(), Provider::default());
    let gate = room.gate();
    charge(&gate, &provider, "o-1").unwrap_err();
    room.set_clock_back(HOUR);
    let refusal = refused(charge(&gate, &provider, "o-1"), Kind::InDoubt);
    assert!(refusal.reason().contains("clock has gone backwards"), "{refusal}");
    assert_eq!(provider.charges(), (1, 1));
}

#[once(action = "effect", key = "key", skip(gate), with = gate, provider_window = "1h")]
fn effect(gate: &Portcullis, key: &str) -> Result<String, Error> {
    Ok("by who comes next".into())
}

#[test]
fn a_live_owner_is_not_run_beside_and_a_dead_one_is() {
    let room = Room::new();
    let gate = room.gate();
    let mut child = room.start(&["slowly", "k"]);
    child.expect("started");
    refused(effect(&gate, "k"), Kind::InFlight);
    child.kill();
    assert_eq!(effect(&gate, "k").unwrap(), "by who comes next");
    assert_eq!(room.kinds_of("effect", "k"), ["owner_dead", "ran_again"]);
}

/// Its second start is surely refused before anything is sent.
#[once(action = "charge", key = "order", skip(gate), with = gate, claim = claim, provider_window = "24h")]
fn charge_unreachable(gate: &Portcullis, order: &str) -> Result<String, Error> {
    claim.did_not_happen();
    Err(Error::Lost)
}

#[test]
fn a_later_start_that_surely_did_not_happen_says_nothing_of_the_first() {
    let (room, provider) = (Room::new(), Provider::default());
    let gate = room.gate();
    charge(&gate, &provider, "o-1").unwrap_err();
    room.long_ago(HOUR);
    assert!(matches!(charge_unreachable(&gate, "o-1"), Err(Error::Lost)));
    assert_eq!(room.record_of("charge", "o-1").state, ClaimState::InDoubt);
    assert_eq!(room.kinds_of("charge", "o-1"), ["in_doubt", "ran_again", "in_doubt"]);
    // And the window is still that of the first.
    room.long_ago(24 * HOUR);
    refused(charge(&gate, &provider, "o-1"), Kind::InDoubt);
    assert_eq!(provider.charges(), (1, 1));
}
