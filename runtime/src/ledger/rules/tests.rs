//! Every state against every question.

use std::time::Duration;

use uuid::Uuid;

use super::super::{Resolution, Verdict};
use super::*;

mod acts;
mod doubt;
mod model;
mod walk;

const FINGERPRINT: Fingerprint = Fingerprint([1; 32]);
const OTHER: Fingerprint = Fingerprint([2; 32]);
const MINE: Attempt = Attempt(Uuid::from_u128(1));
const THEIRS: Attempt = Attempt(Uuid::from_u128(2));
const NOW: i64 = 1_000;
const HOUR: Duration = Duration::from_secs(3600);

fn kept(text: &str) -> Kept {
    Kept { text: text.into(), sealed: false }
}

fn between(least: u64, most: u64) -> Age {
    Age::Between { least: Duration::from_secs(least), most: Duration::from_secs(most) }
}

/// In doubt for ten seconds, after a start an hour ago.
fn doubt() -> Doubt {
    Doubt { body: Body::Over, since: between(10, 10), started: between(3600, 3600) }
}

fn stages() -> Vec<(Stage, OnClaim)> {
    let pending = |owner, all_or_nothing| Stage::Pending { owner, all_or_nothing };
    let committed = |receipt, kept_until| Stage::Committed { receipt, kept_until };
    let failed = |kept_until| Stage::Failed { error: kept("2"), kept_until };
    let refuse = OnClaim::Refuse;
    vec![
        (pending(Life::Alive, false), OnClaim::InFlight),
        (pending(Life::Alive, true), OnClaim::InFlight),
        (pending(Life::Dead, false), OnClaim::Orphaned),
        (pending(Life::Dead, true), OnClaim::RolledBack),
        (committed(Receipt::Kept(kept("1")), None), OnClaim::Replay(kept("1"))),
        (committed(Receipt::Kept(kept("1")), Some(NOW + 1)), OnClaim::Replay(kept("1"))),
        (committed(Receipt::Kept(kept("1")), Some(NOW)), refuse(Why::Expired)),
        (committed(Receipt::Absent, None), refuse(Why::Absent)),
        (committed(Receipt::Unencodable, None), refuse(Why::Unreadable)),
        (committed(Receipt::Unsealed, None), refuse(Why::Unreadable)),
        (committed(Receipt::TooLarge, None), refuse(Why::TooLarge)),
        (failed(None), OnClaim::ReplayError(kept("2"))),
        (failed(Some(NOW)), refuse(Why::Expired)),
        (Stage::InDoubt(doubt()), refuse(Why::InDoubt(Hint::None))),
        (Stage::Open, OnClaim::Start { epoch: 4 }),
        (Stage::Expired, refuse(Why::Expired)),
    ]
}

fn ask_with(stage: Stage, fingerprint: Fingerprint, attempt: Attempt, ways: Ways) -> OnClaim {
    let stored = Stored { fingerprint: FINGERPRINT, epoch: 3, attempt: THEIRS, stage };
    claim(Some(stored), &Asking { fingerprint, attempt, ways }, NOW)
}

fn ask(stage: Stage, fingerprint: Fingerprint, attempt: Attempt) -> OnClaim {
    ask_with(stage, fingerprint, attempt, Ways::default())
}

/// Everything that a caller may bring along.
fn every_way() -> Ways {
    Ways { reconcile: Some(Duration::ZERO), window: Some(2 * HOUR) }
}

#[test]
fn another_payload_is_a_conflict_in_every_state() {
    for (stage, _) in stages() {
        for attempt in [MINE, THEIRS] {
            let answer = ask_with(stage.clone(), OTHER, attempt, every_way());
            assert_eq!(answer, OnClaim::Refuse(Why::Conflict), "{stage:?}");
        }
    }
}

#[test]
fn a_start_is_granted_only_where_nothing_happened() {
    let asking = Asking { fingerprint: FINGERPRINT, attempt: MINE, ways: Ways::default() };
    assert_eq!(claim(None, &asking, NOW), OnClaim::Start { epoch: 1 });
    for (stage, expected) in stages() {
        let answer = ask(stage.clone(), FINGERPRINT, MINE);
        let runs = matches!(answer, OnClaim::Start { .. } | OnClaim::Again { .. } | OnClaim::Granted { .. });
        assert_eq!(runs, stage == Stage::Open, "{stage:?}");
        assert_eq!(answer, expected, "{stage:?}");
    }
}

#[test]
fn the_ways_out_of_a_doubt_lead_out_of_nothing_else() {
    for (stage, expected) in stages() {
        if !matches!(stage, Stage::InDoubt(_)) {
            assert_eq!(ask_with(stage.clone(), FINGERPRINT, MINE, every_way()), expected, "{stage:?}");
        }
    }
}

#[test]
fn an_attempt_that_asks_again_gets_its_own_claim() {
    for owner in [Life::Alive, Life::Dead] {
        for all_or_nothing in [false, true] {
            let stage = Stage::Pending { owner, all_or_nothing };
            assert_eq!(ask(stage, FINGERPRINT, THEIRS), OnClaim::Granted { epoch: 3 });
        }
    }
}

fn settlements() -> [(Settlement, State); 4] {
    [
        (Settlement::Committed(Receipt::Kept(kept("1"))), State::Committed),
        (Settlement::Failed(kept("2")), State::Failed),
        (Settlement::InDoubt("panic"), State::InDoubt),
        (Settlement::Released("err"), State::Open),
    ]
}

fn known(state: State, by: By) -> Known {
    Known { state, epoch: 3, attempt: MINE, running: false, by, transactional: false, earlier_doubt: false }
}

#[test]
fn a_settlement_applies_once_and_only_to_its_own_attempt() {
    for (settlement, to) in settlements() {
        assert_eq!(settle(None, 3, MINE, &settlement), OnSettle::Unknown);
        for state in State::ALL {
            let known = known(state, By::Attempt);
            let theirs = Known { attempt: THEIRS, ..known };
            let later = Known { epoch: 4, ..known };
            assert_eq!(settle(Some(theirs), 3, MINE, &settlement), OnSettle::Fenced);
            assert_eq!(settle(Some(later), 3, MINE, &settlement), OnSettle::Fenced);
            let happened = matches!(to, State::Committed | State::Failed);
            let expected = match state {
                State::Pending => OnSettle::Apply { to, event: edge(&settlement) },
                State::InDoubt if to != State::InDoubt => OnSettle::Apply { to, event: Some("settled_late") },
                State::Expired if happened => OnSettle::Already,
                same if same == to => OnSettle::Already,
                _ => OnSettle::Fenced,
            };
            assert_eq!(settle(Some(known), 3, MINE, &settlement), expected, "{state:?} {settlement:?}");
        }
    }
}

#[test]
fn what_a_start_within_the_window_knows_of_itself_says_nothing_of_the_one_before_it() {
    for transactional in [false, true] {
        let pending = Known { earlier_doubt: true, transactional, ..known(State::Pending, By::Attempt) };
        for (settlement, to) in settlements() {
            let expected = match to {
                State::Open => OnSettle::Apply { to: State::InDoubt, event: Some("in_doubt") },
                to => OnSettle::Apply { to, event: edge(&settlement) },
            };
            assert_eq!(settle(Some(pending), 3, MINE, &settlement), expected, "{settlement:?}");
        }
    }
}

#[test]
fn what_others_have_decided_is_not_overwritten_but_a_known_effect_is_heard_before_the_next_start() {
    for by in [By::Reconciliation, By::Person] {
        for (settlement, to) in settlements() {
            let happened = matches!(to, State::Committed | State::Failed);
            for state in [State::Committed, State::Failed, State::Expired] {
                assert_eq!(settle(Some(known(state, by)), 3, MINE, &settlement), OnSettle::Fenced, "{state:?}");
            }
            let open = settle(Some(known(State::Open, by)), 3, MINE, &settlement);
            let expected =
                if happened { OnSettle::Apply { to, event: Some("settled_late") } } else { OnSettle::Fenced };
            assert_eq!(open, expected, "{settlement:?}");
        }
    }
}

#[test]
fn an_overdue_body_is_put_in_doubt_once_and_its_end_is_still_heard() {
    let overdue = OnSettle::Apply { to: State::InDoubt, event: Some("overdue") };
    for state in State::ALL {
        let decided = settle(Some(known(state, By::Attempt)), 3, MINE, &Settlement::Overdue);
        assert_eq!(decided, if state == State::Pending { overdue } else { OnSettle::Already }, "{state:?}");
        let later = Known { epoch: 4, ..known(state, By::Attempt) };
        assert_eq!(settle(Some(later), 3, MINE, &Settlement::Overdue), OnSettle::Already);
    }
    let running = Known { running: true, ..known(State::InDoubt, By::Attempt) };
    let ended = settle(Some(running), 3, MINE, &Settlement::InDoubt("err"));
    assert_eq!(ended, OnSettle::Apply { to: State::InDoubt, event: Some("in_doubt") });
}

#[test]
fn what_was_to_settle_in_a_transaction_and_did_not_has_not_happened() {
    let pending = Known { transactional: true, ..known(State::Pending, By::Attempt) };
    let overdue = Known { state: State::InDoubt, running: true, ..pending };
    for claim in [pending, overdue] {
        let ended = settle(Some(claim), 3, MINE, &Settlement::InDoubt("err"));
        assert_eq!(ended, OnSettle::Apply { to: State::Open, event: Some("rolled_back") });
        // What the body says does not count where the transaction says otherwise.
        let said = settle(Some(claim), 3, MINE, &Settlement::Committed(Receipt::Kept(kept("1"))));
        assert_eq!(said, OnSettle::OutsideTransaction);
    }
    // While it runs it may still commit.
    let overdue = settle(Some(pending), 3, MINE, &Settlement::Overdue);
    assert_eq!(overdue, OnSettle::Apply { to: State::InDoubt, event: Some("overdue") });
}

#[test]
fn inside_its_transaction_a_claim_settles_only_while_nobody_else_has_decided() {
    assert_eq!(settle_inside(None, 3, MINE), OnInside::Unknown);
    for state in State::ALL {
        let own = known(state, By::Attempt);
        for other in [Known { epoch: 4, ..own }, Known { attempt: THEIRS, ..own }] {
            assert_eq!(settle_inside(Some(other), 3, MINE), OnInside::Fenced, "{state:?}");
        }
        let expected = match state {
            State::Pending => OnInside::Apply { event: None },
            State::Committed => OnInside::Already,
            _ => OnInside::Fenced,
        };
        assert_eq!(settle_inside(Some(own), 3, MINE), expected, "{state:?}");
    }
    let overdue = Known { running: true, ..known(State::InDoubt, By::Attempt) };
    assert_eq!(settle_inside(Some(overdue), 3, MINE), OnInside::Apply { event: Some("settled_late") });
    for by in [By::Reconciliation, By::Person] {
        for state in [State::Committed, State::Open] {
            assert_eq!(settle_inside(Some(known(state, by)), 3, MINE), OnInside::Fenced);
        }
    }
}

#[test]
fn a_doubt_is_never_left_without_an_event() {
    for running in [false, true] {
        for earlier_doubt in [false, true] {
            for transactional in [false, true] {
                let doubt = Known { running, earlier_doubt, transactional, ..known(State::InDoubt, By::Attempt) };
                for (settlement, _) in settlements() {
                    match settle(Some(doubt), 3, MINE, &settlement) {
                        OnSettle::Apply { event, .. } => assert!(event.is_some(), "{doubt:?} {settlement:?}"),
                        OnSettle::Already | OnSettle::OutsideTransaction => {}
                        other @ (OnSettle::Fenced | OnSettle::Unknown) => panic!("{doubt:?} {settlement:?}: {other:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn only_the_happy_edges_have_no_event() {
    let silent: Vec<_> =
        settlements().into_iter().filter(|(settlement, _)| edge(settlement).is_none()).map(|(_, to)| to).collect();
    assert_eq!(silent, [State::Committed, State::Failed]);
}

#[test]
fn a_reconciliation_applies_only_to_the_doubt_it_was_asked_about() {
    let verdicts = [
        (Verdict::Happened(Receipt::Kept(kept("1"))), OnResolve::Apply { to: State::Committed }),
        (Verdict::DidNotHappen, OnResolve::Apply { to: State::Open }),
        (Verdict::Unknown, OnResolve::Unknown),
    ];
    for (verdict, expected) in verdicts {
        let resolution = Resolution { epoch: 3, attempt: MINE, verdict };
        assert_eq!(resolve(None, &resolution), OnResolve::Late);
        for state in State::ALL {
            let decided = resolve(Some(known(state, By::Attempt)), &resolution);
            assert_eq!(decided, if state == State::InDoubt { expected } else { OnResolve::Late }, "{state:?}");
        }
        let doubt = known(State::InDoubt, By::Attempt);
        for other in [Known { epoch: 4, ..doubt }, Known { attempt: THEIRS, ..doubt }, Known { running: true, ..doubt }]
        {
            assert_eq!(resolve(Some(other), &resolution), OnResolve::Late);
        }
    }
}

#[test]
fn a_defaulted_action_belongs_to_one_place() {
    assert_eq!(action(Some("a"), Some("a")), OnAction::Accept);
    assert_eq!(action(Some("a"), Some("b")), OnAction::Ambiguous);
    assert_eq!(action(None, Some("a")), OnAction::Ambiguous);
    assert_eq!(action(Some("a"), None), OnAction::Accept);
    assert_eq!(action(None, None), OnAction::Accept);
}

#[test]
fn codes_are_fixed() {
    for state in State::ALL {
        assert_eq!(State::from_code(state.code()), Some(state));
    }
    assert_eq!(State::from_code(6), None);
    for by in By::ALL {
        assert_eq!(By::from_code(by.code()), Some(by));
    }
    assert_eq!(By::from_code(3), None);
}

#[test]
fn only_a_grant_that_is_surely_lost_is_written_again() {
    let (own, other) = (Attempt(Uuid::from_u128(1)), Attempt(Uuid::from_u128(2)));
    assert_eq!(reassert(None, 3, own), OnReassert::Write);
    for state in State::ALL {
        for (epoch, attempt, running) in
            (1..=4).flat_map(|epoch| [(epoch, own, false), (epoch, other, false), (epoch, other, true)])
        {
            let known =
                Known { state, epoch, attempt, running, by: By::Attempt, transactional: false, earlier_doubt: false };
            let expected = match (epoch, state) {
                (4.., _) => OnReassert::Stands,
                (3, _) if attempt == own => OnReassert::Stands,
                (1 | 2, State::Open | State::InDoubt) if !running => OnReassert::Write,
                _ => OnReassert::Overtaken,
            };
            assert_eq!(reassert(Some(known), 3, own), expected, "{known:?}");
        }
    }
}
