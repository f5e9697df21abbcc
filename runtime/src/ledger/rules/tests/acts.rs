//! What a person and retention may.

use super::super::*;
use super::NOW;

fn seen(state: State, running: bool) -> Sight {
    Sight { epoch: 3, state, running, settled_ms: (state != State::Pending).then_some(NOW) }
}

fn standing(sight: Sight) -> Standing {
    Standing { sight, lacks_receipt: false }
}

const COMMIT: Act = Act::Commit { with_receipt: true };

#[test]
fn a_person_decides_about_what_is_not_known_and_only_by_force_about_what_may_run() {
    let decide = |what, state, running, forced| {
        let sight = seen(state, running);
        act(what, standing(sight), &sight, forced)
    };
    for (what, to) in [(COMMIT, State::Committed), (Act::Release, State::Open)] {
        assert_eq!(decide(what, State::InDoubt, false, false), OnAct::Apply { to });
        for (state, running) in [(State::Pending, false), (State::InDoubt, true)] {
            assert_eq!(decide(what, state, running, false), OnAct::Running);
            assert_eq!(decide(what, state, running, true), OnAct::Apply { to });
        }
    }
    for forced in [false, true] {
        for state in [State::Committed, State::Failed] {
            assert_eq!(decide(Act::Release, state, false, forced), OnAct::Happened);
            assert_eq!(decide(COMMIT, state, false, forced), OnAct::Already);
        }
        assert_eq!(decide(COMMIT, State::Open, false, forced), OnAct::Apply { to: State::Committed });
        assert_eq!(decide(Act::Release, State::Open, false, forced), OnAct::Already);
        assert_eq!(decide(COMMIT, State::Expired, false, forced), OnAct::Already);
    }
    assert_eq!(decide(Act::Release, State::Expired, false, false), OnAct::Remembered);
    assert_eq!(decide(Act::Release, State::Expired, false, true), OnAct::Apply { to: State::Open });
}

#[test]
fn what_is_no_longer_as_it_was_seen_is_not_acted_on_by_force_either() {
    let mut sights: Vec<Sight> = State::ALL.map(|state| seen(state, false)).to_vec();
    sights.push(seen(State::InDoubt, true));
    sights.extend([2, 4].map(|epoch| Sight { epoch, ..seen(State::InDoubt, false) }));
    // Decided, and decided once more.
    sights.push(Sight { settled_ms: Some(NOW + 1), ..seen(State::Committed, false) });
    for before in &sights {
        for now in sights.iter().filter(|now| *now != before) {
            for (what, forced) in [(COMMIT, false), (COMMIT, true), (Act::Release, false), (Act::Release, true)] {
                assert_eq!(act(what, standing(*now), before, forced), OnAct::Changed, "{before:?}, now {now:?}");
            }
        }
    }
}

#[test]
fn a_death_that_is_put_on_record_leaves_a_doubt_as_it_was_seen() {
    let before = Sight { settled_ms: None, ..seen(State::InDoubt, false) };
    let now = seen(State::InDoubt, false);
    assert_eq!(act(Act::Release, standing(now), &before, false), OnAct::Apply { to: State::Open });
}

#[test]
fn what_is_shown_is_what_is_known_of_the_process_and_of_the_time() {
    for state in State::ALL {
        let dead = if state == State::Pending { State::InDoubt } else { state };
        assert_eq!(shown(state, Life::Alive, None, NOW), state);
        assert_eq!(shown(state, Life::Dead, Some(NOW + 1), NOW), dead);
        let over = if matches!(state, State::Committed | State::Failed) { State::Expired } else { state };
        assert_eq!(shown(state, Life::Alive, Some(NOW), NOW), over);
    }
}

#[test]
fn a_receipt_can_be_given_later_and_changed_never() {
    for with_receipt in [false, true] {
        for lacks_receipt in [false, true] {
            let sight = seen(State::Committed, false);
            let expected =
                if with_receipt && lacks_receipt { OnAct::Apply { to: State::Committed } } else { OnAct::Already };
            assert_eq!(act(Act::Commit { with_receipt }, Standing { sight, lacks_receipt }, &sight, true), expected);
        }
    }
}

#[test]
fn retention_takes_receipts_and_never_a_question_that_is_open() {
    for state in State::ALL {
        let over = expires(state, Some(NOW), NOW);
        assert_eq!(over, matches!(state, State::Committed | State::Failed), "{state:?}");
        assert!(!expires(state, Some(NOW + 1), NOW) && !expires(state, None, i64::MAX));
    }
}
