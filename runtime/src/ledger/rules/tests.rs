//! Every state against every question.

use uuid::Uuid;

use super::*;

const FINGERPRINT: Fingerprint = Fingerprint([1; 32]);
const OTHER: Fingerprint = Fingerprint([2; 32]);
const MINE: Attempt = Attempt(Uuid::from_u128(1));
const THEIRS: Attempt = Attempt(Uuid::from_u128(2));
const NOW: i64 = 1_000;

fn stages() -> Vec<Stage> {
    let committed = |receipt, kept_until| Stage::Committed { receipt, kept_until };
    vec![
        Stage::Pending { owner: Life::Alive },
        Stage::Pending { owner: Life::Dead },
        committed(Receipt::Kept(b"1".to_vec()), None),
        committed(Receipt::Kept(b"1".to_vec()), Some(NOW)),
        committed(Receipt::Absent, None),
        committed(Receipt::Unencodable, None),
        committed(Receipt::TooLarge, None),
        Stage::Failed { error: b"2".to_vec() },
        Stage::InDoubt,
        Stage::Open,
        Stage::Expired,
    ]
}

fn ask(stage: Stage, fingerprint: Fingerprint, attempt: Attempt) -> OnClaim {
    claim(Some(Stored { fingerprint: FINGERPRINT, epoch: 3, attempt: THEIRS, stage }), fingerprint, attempt, NOW)
}

#[test]
fn another_payload_is_a_conflict_in_every_state() {
    for stage in stages() {
        assert_eq!(ask(stage.clone(), OTHER, MINE), OnClaim::Refuse(Why::Conflict), "{stage:?}");
        assert_eq!(ask(stage.clone(), OTHER, THEIRS), OnClaim::Refuse(Why::Conflict), "{stage:?}");
    }
}

#[test]
fn a_start_is_granted_only_where_nothing_happened() {
    assert_eq!(claim(None, FINGERPRINT, MINE, NOW), OnClaim::Start { epoch: 1 });
    for stage in stages() {
        let answer = ask(stage.clone(), FINGERPRINT, MINE);
        let runs = matches!(answer, OnClaim::Start { .. } | OnClaim::Granted { .. });
        assert_eq!(runs, stage == Stage::Open, "{stage:?}");
    }
    assert_eq!(ask(Stage::Open, FINGERPRINT, MINE), OnClaim::Start { epoch: 4 });
}

#[test]
fn an_attempt_that_asks_again_gets_its_own_claim() {
    for owner in [Life::Alive, Life::Dead] {
        assert_eq!(ask(Stage::Pending { owner }, FINGERPRINT, THEIRS), OnClaim::Granted { epoch: 3 });
    }
}

#[test]
fn each_state_has_its_answer() {
    let answers: Vec<_> = stages().into_iter().map(|stage| ask(stage, FINGERPRINT, MINE)).collect();
    assert_eq!(
        answers,
        [
            OnClaim::InFlight,
            OnClaim::Orphaned,
            OnClaim::Replay(Some(b"1".to_vec())),
            OnClaim::Refuse(Why::Expired),
            OnClaim::Replay(None),
            OnClaim::Refuse(Why::Unreadable),
            OnClaim::Refuse(Why::TooLarge),
            OnClaim::ReplayError(b"2".to_vec()),
            OnClaim::Refuse(Why::InDoubt),
            OnClaim::Start { epoch: 4 },
            OnClaim::Refuse(Why::Expired),
        ]
    );
}

fn settlements() -> [(Settlement, State); 4] {
    [
        (Settlement::Committed(Some(b"1".to_vec()), ReceiptLoss::None), State::Committed),
        (Settlement::Failed(b"2".to_vec()), State::Failed),
        (Settlement::InDoubt("panic"), State::InDoubt),
        (Settlement::Released("err"), State::Open),
    ]
}

#[test]
fn a_settlement_applies_once_and_only_to_its_own_attempt() {
    for (settlement, to) in settlements() {
        assert_eq!(settle(None, 3, MINE, &settlement), OnSettle::Unknown);
        for state in State::ALL {
            assert_eq!(settle(Some((state, 3, THEIRS)), 3, MINE, &settlement), OnSettle::Fenced);
            assert_eq!(settle(Some((state, 4, MINE)), 3, MINE, &settlement), OnSettle::Fenced);
            let own = settle(Some((state, 3, MINE)), 3, MINE, &settlement);
            let expected = match state {
                State::Pending => OnSettle::Apply { to, event: edge(to) },
                State::InDoubt if to != State::InDoubt => OnSettle::Apply { to, event: Some("settled_late") },
                State::Expired if to == State::Committed => OnSettle::Already,
                same if same == to => OnSettle::Already,
                _ => OnSettle::Fenced,
            };
            assert_eq!(own, expected, "{state:?} {settlement:?}");
        }
    }
}

#[test]
fn only_the_happy_edges_have_no_event() {
    let silent: Vec<_> = settlements().into_iter().filter(|(_, to)| edge(*to).is_none()).map(|(_, to)| to).collect();
    assert_eq!(silent, [State::Committed, State::Failed]);
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
fn codes_of_states_are_fixed() {
    for state in State::ALL {
        assert_eq!(State::from_code(state.code()), Some(state));
    }
    assert_eq!(State::from_code(6), None);
}
