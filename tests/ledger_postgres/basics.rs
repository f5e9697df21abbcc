//! What a claim may become, through the attribute.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, mpsc};
use std::time::Instant;

use portcullis::{Claim, Doubt, Reconciled};

use super::*;

#[once(action = "pay", key = "order", skip(gate, pays), with = gate, claim = claim)]
fn pay(
    gate: &Portcullis,
    pays: &dyn Fn(&Claim<'_>) -> Result<String, Error>,
    order: &str,
    cents: u64,
) -> Result<String, Error> {
    pays(&claim)
}

fn must_not_run(_: &Claim<'_>) -> Result<String, Error> {
    panic!("it must not run")
}

/// What was told of a doubt: its epoch and its notes.
type Told = Mutex<Vec<(u64, Vec<Vec<u8>>)>>;

/// On another thread: a call within itself would be refused for that alone.
fn elsewhere(call: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(call).join().unwrap());
}

#[test]
fn a_settled_call_gives_its_receipt_again_in_this_process_and_the_next() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    let paid = |claim: &Claim<'_>| Ok(format!("paid in epoch {} \u{0} ☃", claim.epoch()));
    let first = pay(&gate, &paid, "o-1", 5).unwrap();
    assert_eq!(pay(&gate, &must_not_run, "o-1", 5).unwrap(), first);
    assert_eq!(pay(&room.gate(), &must_not_run, "o-1", 5).unwrap(), first);
    assert_eq!(room.state("o-1"), "1 1");
    assert_eq!(room.sql("SELECT count(*) FROM portcullis.event"), ["0"]);
}

#[test]
fn another_payload_is_a_conflict_in_every_state() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    pay(&gate, &|_| Ok("paid".into()), "settled", 5).unwrap();
    pay(&gate, &|_| Err(Error::Lost), "in doubt", 5).unwrap_err();
    for order in ["settled", "in doubt"] {
        refused(pay(&gate, &must_not_run, order, 6), Kind::KeyConflict);
    }
    let running = |_: &Claim<'_>| {
        elsewhere(|| drop(refused(pay(&room.gate(), &must_not_run, "running", 6), Kind::KeyConflict)));
        Ok("paid".into())
    };
    pay(&gate, &running, "running", 5).unwrap();
}

#[test]
fn what_is_unknown_is_in_doubt_and_never_runs_again() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    pay(&gate, &|_| Err(Error::Lost), "lost", 5).unwrap_err();
    let panicking = catch_unwind(AssertUnwindSafe(|| pay(&gate, &|_| panic!("on purpose"), "panicked", 5)));
    assert!(panicking.is_err());
    for order in ["lost", "panicked"] {
        for gate in [&gate, &room.gate()] {
            refused(pay(gate, &must_not_run, order, 5), Kind::InDoubt);
        }
        assert_eq!((room.state(order).as_str(), room.events(order)), ("3 1", vec!["in_doubt".to_owned()]));
    }
}

#[test]
fn a_duplicate_of_what_runs_is_refused_and_one_that_waits_gets_the_receipt() {
    let Some(room) = Room::new() else { return };
    // Another process's view of it: another store.
    let (gate, others) = (room.gate(), room.gate());
    let (entered, is_in) = mpsc::channel();
    let (let_go, go_on) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let slowly = move |_: &Claim<'_>| {
                entered.send(()).unwrap();
                go_on.recv().unwrap();
                Ok("paid".to_owned())
            };
            let slowly = Mutex::new(slowly);
            pay(&gate, &|claim| (slowly.lock().unwrap())(claim), "o-1", 5)
        });
        is_in.recv().unwrap();
        refused(pay(&others, &must_not_run, "o-1", 5), Kind::InFlight);
        let patient =
            [scope.spawn(|| pay_patiently(&others, "o-1", 5)), scope.spawn(|| pay_patiently(&gate, "o-1", 5))];
        let_go.send(()).unwrap();
        assert_eq!(first.join().unwrap().unwrap(), "paid");
        for waiter in patient {
            assert_eq!(waiter.join().unwrap().unwrap(), "paid");
        }
    });
}

#[once(action = "pay", key = "order", skip(gate), with = gate, wait = "20s")]
fn pay_patiently(gate: &Portcullis, order: &str, cents: u64) -> Result<String, Error> {
    panic!("{order} must not run beside the first")
}

#[once(action = "charge", key = "order", skip(gate, says, told), with = gate, claim = claim, reconcile = |doubt| tell(told, doubt, says))]
fn charge(gate: &Portcullis, says: &Reconciled<String>, told: &Told, order: &str) -> Result<String, Error> {
    claim.note(format!("sent in epoch {}", claim.epoch())).wait()?;
    if claim.epoch() == 1 { Err(Error::Lost) } else { Ok(format!("charged in epoch {}", claim.epoch())) }
}

fn tell(told: &Told, doubt: &Doubt, says: &Reconciled<String>) -> Reconciled<String> {
    let notes = doubt.notes().iter().map(|note| note.bytes.clone()).collect();
    told.lock().unwrap().push((doubt.epoch(), notes));
    says.clone()
}

#[test]
fn a_reconciliation_leads_out_of_a_doubt_with_the_notes_at_hand() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    let said = |order: &str, says: Reconciled<String>| {
        let told = Told::default();
        let result = charge(&gate, &says, &told, order);
        (result, told.into_inner().unwrap())
    };
    for order in ["happened", "did not", "unknown"] {
        said(order, Reconciled::Unknown).0.unwrap_err();
    }
    let note = || vec![(1, vec![b"sent in epoch 1".to_vec()])];
    let (result, told) = said("happened", Reconciled::Happened("found".into()));
    assert_eq!((result.unwrap().as_str(), told), ("found", note()));
    assert_eq!(said("happened", Reconciled::Unknown).0.unwrap(), "found");
    assert_eq!(room.events("happened"), ["in_doubt", "reconciled"]);

    let (result, told) = said("did not", Reconciled::DidNotHappen);
    assert_eq!((result.unwrap().as_str(), told), ("charged in epoch 2", note()));
    assert_eq!(room.state("did not"), "1 2");

    let (result, told) = said("unknown", Reconciled::Unknown);
    refused(result, Kind::InDoubt);
    assert_eq!((told, room.state("unknown").as_str()), (note(), "3 1"));
}

#[once(action = "window", key = "order", skip(gate), with = gate, claim = claim, provider_window = "24h")]
fn within_window(gate: &Portcullis, order: &str) -> Result<String, Error> {
    if claim.epoch() < 3 { Err(Error::Lost) } else { Ok(format!("charged in epoch {}", claim.epoch())) }
}

#[test]
fn a_doubt_runs_again_within_the_providers_window_and_not_after_it() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    for order in ["soon", "late"] {
        within_window(&gate, order).unwrap_err();
    }
    within_window(&gate, "soon").unwrap_err();
    assert_eq!(within_window(&gate, "soon").unwrap(), "charged in epoch 3");
    assert_eq!(room.events("soon"), ["in_doubt", "ran_again", "in_doubt", "ran_again"]);
    room.sql("UPDATE portcullis.claim SET claimed_ms = claimed_ms - 90000000, settled_ms = settled_ms - 90000000");
    refused(within_window(&gate, "late"), Kind::InDoubt);
    // And not while the server's clock is known to have gone backwards.
    within_window(&gate, "clock").unwrap_err();
    room.sql("UPDATE portcullis.owner SET renewed_ms = renewed_ms + 3600000");
    let message = refused(within_window(&gate, "clock"), Kind::InDoubt).to_string();
    assert!(message.contains("clock has gone backwards"), "{message}");
}

#[once(action = "record", key = "order", skip(gate), with = gate, on_err = "record")]
fn recorded(gate: &Portcullis, order: &str) -> Result<String, Declined> {
    Err(Declined::No(format!("no money for {order}")))
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
enum Declined {
    No(String),
    Refused(String),
}

impl From<Refused> for Declined {
    fn from(refused: Refused) -> Self {
        Declined::Refused(refused.to_string())
    }
}

#[test]
fn an_error_that_is_the_outcome_is_given_again() {
    let Some(room) = Room::new() else { return };
    for _ in 0..2 {
        match recorded(&room.gate(), "o-1") {
            Err(Declined::No(why)) => assert_eq!(why, "no money for o-1"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(room.state("o-1"), "2 1");
}

#[test]
fn a_zombies_settlement_is_evidence_and_overwrites_nothing() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    let outrun = |_: &Claim<'_>| {
        // Somebody else has been granted the next start.
        room.sql(
            "UPDATE portcullis.claim SET epoch = 2, attempt = gen_random_uuid(), owner = -1, state = 1, receipt = '\"newer\"'",
        );
        Ok("older".to_owned())
    };
    refused(pay(&gate, &outrun, "o-1", 5), Kind::Fenced);
    assert_eq!(pay(&gate, &must_not_run, "o-1", 5).unwrap(), "newer");
    let detail = room.sql("SELECT detail FROM portcullis.event WHERE kind = 'fenced'");
    assert!(detail.len() == 1 && detail[0].contains("older"), "{detail:?}");
}

#[once(action = "slow", key = "key", skip(gate, body), with = gate, max_run = "50ms")]
fn slow(gate: &Portcullis, body: &dyn Fn() -> String, key: &str) -> Result<String, Error> {
    Ok(body())
}

#[test]
fn a_body_that_is_overdue_is_in_doubt_while_it_runs_and_settles_late() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    let body = || {
        let until = Instant::now() + Duration::from_secs(20);
        while room.state("k") != "3 1" {
            assert!(Instant::now() < until, "it is not put in doubt");
        }
        let must_not_run = || panic!("it must not run beside the first");
        elsewhere(|| drop(refused(slow(&room.gate(), &must_not_run, "k"), Kind::InDoubt)));
        "late".to_owned()
    };
    assert_eq!(slow(&gate, &body, "k").unwrap(), "late");
    assert_eq!((room.state("k").as_str(), room.events("k")), ("1 1", vec!["overdue".into(), "settled_late".into()]));
}

#[test]
fn sixty_four_threads_on_one_key_have_one_effect() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    let barrier = Barrier::new(64);
    for round in 0..5 {
        let (key, ok) = (format!("k-{round}"), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    barrier.wait();
                    match run(&gate, &room, &key) {
                        Ok(receipt) => {
                            assert_eq!(receipt, format!("receipt of {key}"));
                            ok.fetch_add(1, Ordering::SeqCst);
                        }
                        other => drop(refused(other, Kind::InFlight)),
                    }
                });
            }
        });
        assert!(ok.into_inner() >= 1);
        assert_eq!(room.effects()[&key], 1);
    }
}

#[test]
fn many_callers_at_once_share_statements_and_none_is_lost() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    std::thread::scope(|scope| {
        for thread in 0..32 {
            let (gate, room) = (&gate, &room);
            scope.spawn(move || {
                for i in 0..20 {
                    let key = format!("k-{thread}-{i}");
                    assert_eq!(run(gate, room, &key).unwrap(), format!("receipt of {key}"));
                }
            });
        }
    });
    let effects = room.effects();
    assert!(effects.len() == 640 && effects.values().all(|count| *count == 1), "{effects:?}");
    assert_eq!(room.sql("SELECT count(*) FROM portcullis.claim WHERE state = 1"), ["640"]);
    // Each row was found by its digest: the index of what is unsettled holds what has been settled, too, until it is swept.
    drop(gate);
    let until = Instant::now() + Duration::from_secs(20);
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    while room.sql(others) != ["0"] {
        assert!(Instant::now() < until, "the sessions end");
    }
    let read = "SELECT idx_tup_read FROM pg_stat_all_indexes WHERE indexrelname = 'claim_unsettled'";
    assert_eq!(room.sql(read), ["0"]);
}

#[once(action = "effect", key = "key", skip(gate, room), with = gate)]
async fn run_async(gate: &Portcullis, room: &Room, key: &str) -> Result<String, Error> {
    room.effect(key);
    Ok(format!("receipt of {key}"))
}

/// A caller that blocks drives the connections itself where it can: not inside a runtime, and not while another one does.
#[test]
fn callers_that_block_and_callers_that_do_not_serve_each_other() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    std::thread::scope(|scope| {
        let (gate, room) = (&gate, &room);
        for thread in 0..2 {
            scope.spawn(move || (0..60).for_each(|i| drop(run(gate, room, &format!("sync-{thread}-{i}")).unwrap())));
        }
        scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                for i in 0..60 {
                    run_async(gate, room, &format!("async-{i}")).await.unwrap();
                    run(gate, room, &format!("inside-{i}")).unwrap();
                }
            });
        });
        scope.spawn(move || {
            pollster::block_on(async {
                for i in 0..60 {
                    run_async(gate, room, &format!("no-runtime-{i}")).await.unwrap();
                }
            });
        });
    });
    let effects = room.effects();
    assert!(effects.len() == 300 && effects.values().all(|count| *count == 1), "{effects:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_future_that_is_dropped_in_its_body_leaves_a_doubt() {
    let Some(room) = tokio::task::spawn_blocking(Room::new).await.unwrap() else { return };
    let gate = room.gate();
    let (entered, is_in) = tokio::sync::oneshot::channel();
    let call = tokio::spawn(async move { hang(&gate, Mutex::new(Some(entered)), "k").await });
    is_in.await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    tokio::task::spawn_blocking(move || {
        let until = Instant::now() + Duration::from_secs(20);
        while room.state("k") != "3 1" {
            assert!(Instant::now() < until, "it is {}", room.state("k"));
        }
    })
    .await
    .unwrap();
}

#[once(action = "hang", key = "key", skip(gate, entered), with = gate)]
async fn hang(
    gate: &Portcullis,
    entered: Mutex<Option<tokio::sync::oneshot::Sender<()>>>,
    key: &str,
) -> Result<String, Error> {
    if let Some(entered) = entered.lock().unwrap().take() {
        entered.send(()).unwrap();
    }
    std::future::pending().await
}

#[test]
fn a_url_that_is_no_database_is_refused_and_no_password_is_shown() {
    let Some(room) = Room::new() else { return };
    for (url, kind) in [
        ("postgres://pay:s3cret@127.0.0.1:1/shop", Kind::LedgerUnavailable),
        ("postgres://pay:s3cret@127.0.0.1:port/shop", Kind::NotConfigured),
        ("postgres://pay:s3cret@db.example/shop?sslmode=prefer", Kind::NotConfigured),
    ] {
        let gate = match Portcullis::builder().ledger(url).namespace("tests").build() {
            Ok(gate) => gate,
            Err(error) => panic!("{error}"),
        };
        let message = refused(run(&gate, &room, "k"), kind).to_string();
        assert!(!message.contains("s3cret"), "{message}");
    }
    assert!(room.effects().is_empty());
}

#[test]
fn a_batch_of_a_thousand_takes_a_few_transactions() {
    static PINGS: portcullis::ledger::Batch = portcullis::ledger::batch!("pings");
    // Transactions are numbered over a whole server: this one is alone on it.
    let Some(server) = server::Server::start(&[], |_| {}) else { return };
    let room = Room::on(&server.url());
    let gate = room.gate();
    run(&gate, &room, "warm").unwrap();
    let written = || room.sql("SELECT txid_current()")[0].parse::<u32>().unwrap();
    let before = written();
    let body = |granted: Vec<portcullis::ledger::BatchItem<u32>>| {
        granted.iter().map(|one| Ok::<_, Error>(one.item)).collect::<Vec<_>>()
    };
    let outcomes = gate.scope_sync(|| PINGS.run_sync(0..1000, |key| *key, body));
    assert!(outcomes.into_iter().zip(0..).all(|(outcome, key)| outcome.unwrap() == key));
    // 2,000 if each claim and each settlement were one.
    let taken = written() - before;
    assert!(taken < 40, "{taken}");
}
