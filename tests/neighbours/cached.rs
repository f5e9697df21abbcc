//! `#[cached]` on a guarded function: which of the two is outside decides whether a hit is asked about.

use ::cached::macros::cached;
use pollster::block_on;
use portcullis::testing::Gate;
use portcullis::{Refused, boundary, budgeted, once};

use crate::Log;

/// Ours above: the cache is outside. A hit is asked about by nobody, charged to nobody, and passes no ledger.
#[boundary(before_cost)]
#[once(action = "cache.outside", key = "n", skip(log))]
#[budgeted(max_steps = 2)]
#[cached(key = "u64", convert = "{ n }")]
async fn cache_outside(log: &Log, n: u64) -> Result<u64, Refused> {
    log.add("body");
    Ok(n)
}

/// Ours below: `#[cached]` copies what stands below it to the function with the cache and to the one without, so that a hit is
/// asked about once, and a miss twice.
#[cached(key = "u64", convert = "{ n }")]
#[boundary(before_cost)]
fn asked_twice(log: &Log, n: u64) -> Result<u64, Refused> {
    log.add("body");
    Ok(n)
}

/// And what may happen once can't happen within itself.
#[cached(key = "u64", convert = "{ n }")]
#[once(action = "cache.reentrant", key = "n", skip(log))]
fn claimed_twice(log: &Log, n: u64) -> Result<u64, Refused> {
    log.add("body");
    Ok(n)
}

#[cached(key = "u64", convert = "{ n }")]
fn looked_up(log: &Log, n: u64) -> Result<u64, Refused> {
    log.add("body");
    Ok(n)
}

/// How to have both: every call is asked about, and the cache is inside.
#[boundary(before_cost)]
fn cache_inside(log: &Log, n: u64) -> Result<u64, Refused> {
    looked_up(log, n)
}

fn twice(log: &Log, gate: &Gate, call: impl Fn(&Log) -> Result<u64, Refused>) -> (Vec<String>, Vec<String>) {
    gate.scope_sync(|| {
        call(log).unwrap();
        let miss = log.take();
        call(log).unwrap();
        (miss, log.take())
    })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn below_our_attributes_a_cache_is_outside_and_a_hit_skips_the_gate() {
    let log = Log::default();
    let gate = log.gate();
    let seen = twice(&log, &gate, |log| block_on(cache_outside(log, 1)));
    assert_eq!(seen, (words(&["ask cache.outside", "body"]), words(&[])));
    // Not even a gate that denies everything is asked, and a spent budget stops nothing.
    for _ in 0..5 {
        assert_eq!(Gate::denying("DEVICE_REVOKED").scope_sync(|| block_on(cache_outside(&log, 1))).unwrap(), 1);
    }
    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn above_our_attributes_a_cache_is_inside_and_a_miss_is_asked_about_twice() {
    let log = Log::default();
    let seen = twice(&log, &log.gate(), |log| asked_twice(log, 1));
    assert_eq!(seen, (words(&["ask asked_twice", "ask asked_twice_no_cache", "body"]), words(&["ask asked_twice"])));
}

#[test]
fn a_cache_above_once_is_refused_and_not_run() {
    let log = Log::default();
    let refused = log.gate().scope_sync(|| claimed_twice(&log, 1)).unwrap_err();
    assert_eq!(refused.code(), "reentrant");
    assert_eq!(log.take(), [""; 0]);
}

#[test]
fn a_cache_in_a_function_of_its_own_is_behind_the_gate() {
    let log = Log::default();
    let seen = twice(&log, &log.gate(), |log| cache_inside(log, 1));
    assert_eq!(seen, (words(&["ask cache_inside", "body"]), words(&["ask cache_inside"])));
}
