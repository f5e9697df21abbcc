//! What a person and retention may.

use super::super::*;
use super::NOW;

#[test]
fn a_person_decides_about_what_is_not_known_and_only_by_force_about_what_may_run() {
    let commit = Act::Commit { with_receipt: true };
    let standing = |state, may_run| Standing { state, epoch: 3, may_run, lacks_receipt: false };
    for seen in [2, 4] {
        for decided in [commit, Act::Release] {
            assert_eq!(act(decided, standing(State::InDoubt, false), seen, true), OnAct::Changed);
        }
    }
    let decide = |what, state, may_run, forced| act(what, standing(state, may_run), 3, forced);
    for (what, to) in [(commit, State::Committed), (Act::Release, State::Open)] {
        for state in [State::Pending, State::InDoubt] {
            assert_eq!(decide(what, state, false, false), OnAct::Apply { to });
            assert_eq!(decide(what, state, true, false), OnAct::Running);
            assert_eq!(decide(what, state, true, true), OnAct::Apply { to });
        }
    }
    for forced in [false, true] {
        for state in [State::Committed, State::Failed] {
            assert_eq!(decide(Act::Release, state, false, forced), OnAct::Happened);
            assert_eq!(decide(commit, state, false, forced), OnAct::Already);
        }
        assert_eq!(decide(commit, State::Open, false, forced), OnAct::Apply { to: State::Committed });
        assert_eq!(decide(Act::Release, State::Open, false, forced), OnAct::Already);
        assert_eq!(decide(commit, State::Expired, false, forced), OnAct::Already);
    }
    assert_eq!(decide(Act::Release, State::Expired, false, false), OnAct::Remembered);
    assert_eq!(decide(Act::Release, State::Expired, false, true), OnAct::Apply { to: State::Open });
}

#[test]
fn a_receipt_can_be_given_later_and_changed_never() {
    for with_receipt in [false, true] {
        for lacks_receipt in [false, true] {
            let claim = Standing { state: State::Committed, epoch: 3, may_run: false, lacks_receipt };
            let expected =
                if with_receipt && lacks_receipt { OnAct::Apply { to: State::Committed } } else { OnAct::Already };
            assert_eq!(act(Act::Commit { with_receipt }, claim, 3, true), expected);
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
