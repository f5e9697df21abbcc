//! The ways out of a doubt, and what the clocks say.

use super::super::*;
use super::*;

#[test]
fn a_doubt_ends_by_knowledge_or_by_a_provider_that_deduplicates_and_never_by_its_age() {
    let out = |doubt, reconcile, window| ask_with(Stage::InDoubt(doubt), FINGERPRINT, MINE, Ways { reconcile, window });
    let refuse = |hint| OnClaim::Refuse(Why::InDoubt(hint));
    let seconds = Duration::from_secs;
    let old =
        Doubt { since: between(u64::MAX / 2, u64::MAX / 2), started: between(u64::MAX / 2, u64::MAX / 2), ..doubt() };
    assert_eq!(out(old, None, None), refuse(Hint::None));

    assert_eq!(out(doubt(), Some(seconds(10)), None), OnClaim::Reconcile);
    assert_eq!(out(doubt(), Some(seconds(11)), None), refuse(Hint::ReconcileLater));
    assert_eq!(out(doubt(), None, Some(2 * HOUR)), OnClaim::Again { epoch: 4 });
    assert_eq!(out(doubt(), None, Some(HOUR)), refuse(Hint::WindowOver), "an hour is over after an hour");
    // Who can be asked is asked first.
    assert_eq!(out(doubt(), Some(seconds(10)), Some(2 * HOUR)), OnClaim::Reconcile);
    assert_eq!(out(doubt(), Some(seconds(11)), Some(2 * HOUR)), OnClaim::Again { epoch: 4 });
}

#[test]
fn while_the_body_may_run_nobody_is_asked_and_nothing_runs() {
    let doubt = |body| Stage::InDoubt(Doubt { body, ..doubt() });
    let answer = ask_with(doubt(Body::Running), FINGERPRINT, MINE, every_way());
    assert_eq!(answer, OnClaim::Refuse(Why::InDoubt(Hint::Running)));
    // That its process is dead is written down first, so that its end is no earlier than that.
    for (all_or_nothing, expected) in [(false, OnClaim::Orphaned), (true, OnClaim::RolledBack)] {
        let lost = doubt(Body::Lost { all_or_nothing });
        assert_eq!(ask_with(lost, FINGERPRINT, MINE, every_way()), expected);
    }
}

#[test]
fn a_clock_that_went_backwards_is_not_believed() {
    let suspect = Doubt { since: Age::Suspect, started: Age::Suspect, ..doubt() };
    let out = |reconcile, window| ask_with(Stage::InDoubt(suspect), FINGERPRINT, MINE, Ways { reconcile, window });
    let refused = OnClaim::Refuse(Why::InDoubt(Hint::ClockSuspect));
    assert_eq!(out(None, Some(HOUR * 1_000_000)), refused);
    assert_eq!(out(Some(Duration::from_secs(1)), None), refused);
    assert_eq!(out(Some(Duration::ZERO), None), OnClaim::Reconcile, "this needs no clock");
}

#[test]
fn ages_are_the_longest_and_the_shortest_that_they_may_be() {
    let at = |at_ms, origin_ms| Moment { at_ms, origin_ms };
    let (hour, day) = (3_600_000, 86_400_000);
    let plain = |ms: i64| between(ms.unsigned_abs() / 1000, ms.unsigned_abs() / 1000);
    assert_eq!(age(at(day, Some(0)), at(day + hour, Some(0)), day), plain(hour));
    // Without clocks to compare.
    assert_eq!(age(at(day, None), at(day + hour, Some(77)), 0), plain(hour));
    // The clock was set forward by half an hour in between: perhaps only half an hour has passed.
    assert_eq!(age(at(day, Some(0)), at(day + hour, Some(hour / 2)), day), between(1800, 3600));
    // Set back by half an hour, which the clocks' difference shows, although the time looks fine.
    assert_eq!(age(at(day, Some(0)), at(day + hour, Some(-hour / 2)), day), Age::Suspect);
    // Before what is on record.
    assert_eq!(age(at(day, None), at(day - hour, None), 0), Age::Suspect);
    assert_eq!(age(at(day, None), at(day + hour, None), day + 2 * hour), Age::Suspect);
    // A little is what every correction does; it counts as no time at all.
    assert_eq!(age(at(day, Some(0)), at(day - 1_000, Some(-1_000)), day), between(0, 0));
}
