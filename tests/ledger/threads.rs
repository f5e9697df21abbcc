//! Many callers in one process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use portcullis::{Portcullis, Refused, once};
use tokio::sync::Notify;

use super::*;

static EFFECTS: [AtomicUsize; 400] = [const { AtomicUsize::new(0) }; 400];

#[once(action = "count", key = "key", skip(gate), with = gate, wait = "60s")]
fn count(gate: &Portcullis, key: usize) -> Result<usize, Refused> {
    EFFECTS[key].fetch_add(1, Ordering::Relaxed);
    Ok(key * 2)
}

#[test]
fn sixty_four_threads_on_400_shared_keys_have_400_effects() {
    let room = Room::new();
    let gate = room.gate();
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let gate = &gate;
            scope.spawn(move || {
                for i in 0..EFFECTS.len() {
                    let key = (i + thread * 6) % EFFECTS.len();
                    assert_eq!(count(gate, key).unwrap(), key * 2);
                }
            });
        }
    });
    assert!(EFFECTS.iter().all(|effects| effects.load(Ordering::Relaxed) == 1));
}

#[once(action = "count", key = "key", skip(gate, effects), with = gate, wait = "60s")]
async fn count_async(gate: &Portcullis, key: usize, effects: &AtomicUsize) -> Result<usize, Refused> {
    tokio::task::yield_now().await;
    effects.fetch_add(1, Ordering::Relaxed);
    Ok(key * 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_on_shared_keys_have_one_effect_each() {
    let room = Room::new();
    let gate = room.gate();
    let effects = std::sync::Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let (gate, effects) = (gate.clone(), effects.clone());
            tokio::spawn(async move {
                for i in 0..50 {
                    let key = (i + task) % 50;
                    assert_eq!(count_async(&gate, key, &effects).await.unwrap(), key * 2);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(effects.load(Ordering::Relaxed), 50);
}

#[once(action = "at_once", key = "key", skip(gate, effects), with = gate)]
async fn count_at_once(gate: &Portcullis, key: usize, effects: &AtomicUsize) -> Result<usize, Refused> {
    effects.fetch_add(1, Ordering::Relaxed);
    Ok(key * 2)
}

#[tokio::test(flavor = "current_thread")]
async fn a_caller_that_goes_away_before_its_claim_is_granted_leaves_the_key_free() {
    let room = Room::new();
    let gate = room.gate();
    let effects = AtomicUsize::new(0);
    for key in 0..50 {
        // Polled once: the claim is on its way. (Or has come back already, and then the body has run to its end.)
        let mut call = Box::pin(count_at_once(&gate, key, &effects));
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(call);
        let ran = effects.load(Ordering::Relaxed);
        match count_at_once(&gate, key, &effects).await {
            Ok(counted) => assert_eq!(counted, key * 2),
            // It ran, and its settlement was not waited for.
            Err(refused) => assert!(polled.is_pending() && ran == key + 1, "{refused}"),
        }
    }
    assert_eq!(effects.load(Ordering::Relaxed), 50);
}

#[tokio::test(flavor = "current_thread")]
async fn a_body_that_is_dropped_halfway_is_in_doubt() {
    #[once(action = "never", key = "key", skip(gate, begun), with = gate)]
    async fn never(gate: &Portcullis, key: &str, begun: &Notify) -> Result<(), Refused> {
        begun.notify_one();
        std::future::pending().await
    }
    let room = Room::new();
    let gate = room.gate();
    let begun = Notify::new();
    tokio::select! {
        ended = never(&gate, "k", &begun) => panic!("it ended: {ended:?}"),
        () = begun.notified() => {}
    }
    let refused = never(&gate, "k", &begun).await.unwrap_err();
    assert!(refused.code() == "in_doubt" && refused.reason().contains("cancelled"), "{refused}");
}
