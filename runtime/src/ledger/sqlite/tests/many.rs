//! Many callers at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn sixty_four_threads_on_shared_keys_run_each_key_once() {
    let room = room();
    let runs: Vec<AtomicUsize> = (0..50).map(|_| AtomicUsize::new(0)).collect();
    let start = Barrier::new(64);
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let (room, runs, start) = (&room, &runs, &start);
            scope.spawn(move || {
                start.wait();
                for i in 0..runs.len() {
                    let key = (i + thread) % runs.len();
                    let until = Some(Instant::now() + Duration::from_secs(60));
                    let request = ClaimRequest { wait_until: until, ..request(&format!("k-{key}")) };
                    match room.store.claim(request.clone()).wait().unwrap() {
                        Claimed::Run { epoch } => {
                            assert_eq!(epoch, 1);
                            runs[key].fetch_add(1, Ordering::Relaxed);
                            let receipt = committed(&key.to_string());
                            assert!(matches!(room.settle(&request, epoch, receipt), Settled::Recorded));
                        }
                        replay => assert_eq!(replayed(replay), key.to_string()),
                    }
                }
            });
        }
    });
    assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
}

#[test]
fn two_stores_on_one_file_in_one_process_share_the_keys_and_the_owner() {
    let room = room();
    let other = open(&format!("sqlite:{}", room.path().display())).unwrap();
    let (request, epoch) = room.run("o-1");
    // Alive, although the other store's connection is another one.
    let duplicate =
        ClaimRequest { wait_until: Some(Instant::now() + Duration::from_secs(20)), ..super::request("o-1") };
    let waiting = other.claim(duplicate);
    refused(other.claim(super::request("o-1")).wait().unwrap(), Kind::InFlight);
    assert!(matches!(room.settle(&request, epoch, committed("1")), Settled::Recorded));
    assert_eq!(replayed(waiting.wait().unwrap()), "1");

    // The close trap: one store going away must not free the other's lock.
    let (_running, _) = room.run("o-2");
    drop(other);
    let third = open(&format!("sqlite:{}", room.path().display())).unwrap();
    refused(third.claim(super::request("o-2")).wait().unwrap(), Kind::InFlight);
    let owners: i64 = rusqlite::Connection::open(room.path())
        .unwrap()
        .query_row("SELECT count(*) FROM owner", [], |row| row.get(0))
        .unwrap();
    assert_eq!(owners, 1);
}
