//! Connections that break, acknowledgements that are lost, servers that restart.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis::Reconciled;
use tokio_postgres::NoTls;

use super::*;
use proxy::Proxy;
use server::Server;

/// A room whose gate reaches its server through a proxy; this far, everything is in order.
fn room_behind_proxy(server: &Server) -> (Room, Proxy, Portcullis) {
    let proxy = Proxy::to(server.port());
    let room = Room::on(&server.url());
    let url = room.url.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    let gate = Portcullis::builder().ledger(url).namespace("tests").build().unwrap();
    run(&gate, &room, "warm").unwrap();
    charge(&gate, &room, &Reconciled::Unknown, "warm").unwrap_err();
    (room, proxy, gate)
}

#[once(action = "charge", key = "key", skip(gate, room, says), with = gate, claim = claim, reconcile = |_| says.clone())]
fn charge(gate: &Portcullis, room: &Room, says: &Reconciled<String>, key: &str) -> Result<String, Error> {
    let epoch = claim.epoch();
    room.effect(&format!("{key} in epoch {epoch}"));
    if epoch == 1 { Err(Error::Lost) } else { Ok(format!("charged in epoch {epoch}")) }
}

#[test]
fn acknowledgements_that_are_lost_are_looked_up_and_nothing_runs_twice() {
    let Some(server) = Server::start(&[], |_| {}) else { return };
    let (room, proxy, gate) = room_behind_proxy(&server);
    // Of a claim.
    proxy.swallow("INSERT 0 1");
    assert_eq!(run(&gate, &room, "claimed").unwrap(), "receipt of claimed");
    assert_eq!((proxy.swallowed(), room.state("claimed").as_str()), (1, "1 1"));
    // Of a settlement.
    let settled = || {
        proxy.swallow("UPDATE 1");
        Ok("settled".to_owned())
    };
    assert_eq!(run_body(&gate, &settled, "settled").unwrap(), "settled");
    assert_eq!((proxy.swallowed(), room.state("settled").as_str()), (2, "1 1"));
    assert!(room.events("settled").is_empty());
    // Of a transaction with an event.
    proxy.swallow("COMMIT");
    assert!(matches!(charge(&gate, &room, &Reconciled::Unknown, "charged"), Err(Error::Lost)));
    assert_eq!((proxy.swallowed(), room.state("charged").as_str()), (3, "3 1"));
    assert_eq!(room.events("charged"), ["in_doubt"]);
    // Of the grant of another epoch.
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while room.state("charged") != "1 2" {
        assert!(std::time::Instant::now() < until, "{}", room.state("charged"));
        // Asking and granting are two transactions.
        proxy.swallow("COMMIT");
        assert_eq!(charge(&gate, &room, &Reconciled::DidNotHappen, "charged").unwrap(), "charged in epoch 2");
    }
    assert!(proxy.swallowed() > 3);
    let effects = room.effects();
    assert!(effects["claimed"] == 1 && effects["charged in epoch 1"] == 1 && effects["charged in epoch 2"] == 1);
    assert!(effects.values().all(|count| *count == 1), "{effects:?}");
}

#[once(action = "body", key = "key", skip(gate, body), with = gate)]
fn run_body(gate: &Portcullis, body: &dyn Fn() -> Result<String, Error>, key: &str) -> Result<String, Error> {
    body()
}

#[test]
fn a_server_that_restarts_in_a_body_has_its_settlement_and_serves_on() {
    let Some(server) = Server::start(&[], |_| {}) else { return };
    let room = Room::on(&server.url());
    let gate = room.gate();
    let body = || {
        server.restart();
        Ok("settled".to_owned())
    };
    assert_eq!(run_body(&gate, &body, "k").unwrap(), "settled");
    assert_eq!(room.state("k"), "1 1");
    assert_eq!(run(&gate, &room, "next").unwrap(), "receipt of next");
}

#[test]
fn a_server_that_restarts_under_load_loses_no_receipt_and_runs_nothing_twice() {
    let Some(server) = Server::start(&[], |_| {}) else { return };
    let room = Room::on(&server.url());
    let (gate, restarts) = (room.gate(), AtomicUsize::new(0));
    let receipts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (gate, room, receipts, restarts) = (&gate, &room, &receipts, &restarts);
            scope.spawn(move || {
                for i in 0.. {
                    let key = format!("k-{thread}-{i}");
                    match run(gate, room, &key) {
                        Ok(receipt) => receipts.lock().unwrap().push((key, receipt)),
                        Err(Error::Refused(refused)) => {
                            assert_eq!(refused.kind(), Kind::LedgerUnavailable, "{refused}");
                        }
                        Err(error) => panic!("{error}"),
                    }
                    if restarts.load(Ordering::SeqCst) == 3 {
                        break;
                    }
                }
            });
        }
        for _ in 0..3 {
            let before = receipts.lock().unwrap().len();
            while receipts.lock().unwrap().len() < before + 50 {
                std::thread::yield_now();
            }
            server.restart();
            restarts.fetch_add(1, Ordering::SeqCst);
        }
    });
    let effects = room.effects();
    assert!(effects.values().all(|count| *count == 1));
    for (key, receipt) in receipts.into_inner().unwrap() {
        assert_eq!((run(&gate, &room, &key).unwrap(), effects[&key]), (receipt, 1));
    }
}

#[test]
fn connections_that_are_ended_by_the_server_are_made_again() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = 'portcullis' AND datname = current_database()";
    for round in 0..5 {
        let body = || {
            room.sql(end);
            Ok(format!("round {round}"))
        };
        assert_eq!(run_body(&gate, &body, &format!("k-{round}")).unwrap(), format!("round {round}"));
        room.sql(end);
    }
}

#[test]
fn where_the_server_has_no_connection_left_nothing_runs_and_a_result_waits_for_one() {
    let Some(server) = Server::start(&["max_connections=12"], |_| {}) else { return };
    let room = Room::on(&server.url());
    let (gate, late) = (room.gate(), room.gate());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // All that are left.
    let exhaust = || {
        let mut clients = Vec::new();
        while let Ok((client, connection)) = runtime.block_on(tokio_postgres::connect(&room.url, NoTls)) {
            runtime.spawn(connection);
            clients.push(client);
        }
        clients
    };
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'portcullis'";
    let freed = Mutex::new(None);
    let body = || {
        let mut clients = exhaust();
        assert!(!clients.is_empty());
        // A process that comes now finds no room, and does not run.
        let begun = std::time::Instant::now();
        refused(run(&late, &room, "late"), Kind::LedgerUnavailable);
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        // Those of the gate are ended, and it is a race for what that frees.
        runtime.block_on(clients[0].simple_query(end)).unwrap();
        clients.extend(exhaust());
        freed.lock().unwrap().replace(std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(1));
            drop(clients);
        }));
        Ok("settled".to_owned())
    };
    assert_eq!(run_body(&gate, &body, "k").unwrap(), "settled");
    freed.into_inner().unwrap().unwrap().join().unwrap();
    assert_eq!((room.state("k").as_str(), room.state("late").as_str()), ("1 1", "absent"));
    assert_eq!(run(&late, &room, "late").unwrap(), "receipt of late");
    assert_eq!(room.effects()["late"], 1);
}

#[test]
fn a_deadlock_and_a_serialization_failure_are_tried_again_and_nobody_hears_of_them() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    run(&gate, &room, "warm").unwrap();
    for (code, key) in [("40P01", "deadlock"), ("40001", "serialization")] {
        for when in ["INSERT", "UPDATE"] {
            // The first two that come fail; a sequence does not roll back.
            room.sql(&format!(
                "CREATE SEQUENCE public.failures;
                 CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   IF nextval('public.failures') <= 2 THEN RAISE EXCEPTION USING ERRCODE = '{code}'; END IF;
                   RETURN NEW; END $$;
                 CREATE TRIGGER fail BEFORE {when} ON portcullis.claim FOR EACH ROW EXECUTE FUNCTION public.fail()"
            ));
            let key = format!("{key}-{when}");
            assert_eq!(run(&gate, &room, &key).unwrap(), format!("receipt of {key}"));
            let failed = room.sql("SELECT last_value FROM public.failures");
            assert!(failed[0].parse::<u32>().unwrap() > 2, "{failed:?}");
            room.sql("DROP FUNCTION public.fail() CASCADE; DROP SEQUENCE public.failures");
            assert_eq!((room.effects()[&key], room.state(&key).as_str()), (1, "1 1"));
        }
    }
}

#[test]
fn any_default_of_the_database_will_do() {
    let Some(server) = Server::start(&[], |_| {}) else { return };
    for isolation in ["serializable", "repeatable read", "read uncommitted"] {
        let room = Room::on(&server.url());
        let name = room.url.rsplit_once('/').unwrap().1.to_owned();
        room.sql(&format!(
            "ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}';
             ALTER DATABASE {name} SET synchronous_commit = 'off';
             ALTER DATABASE {name} SET search_path = 'nowhere';
             ALTER DATABASE {name} SET bytea_output = 'escape'"
        ));
        let mut children: Vec<_> = (0..3).map(|_| room.start(&["many", "8", "60"])).collect();
        children.iter_mut().for_each(|child| child.expect("ready"));
        children.iter_mut().for_each(Process::go);
        for child in &mut children {
            child.expect("{\"ok\": 480}");
        }
        let gate = room.gate();
        charge(&gate, &room, &Reconciled::Unknown, "doubt").unwrap_err();
        assert_eq!(charge(&gate, &room, &Reconciled::DidNotHappen, "doubt").unwrap(), "charged in epoch 2");
        let effects = room.effects();
        assert!(effects.len() == 62 && effects.values().all(|count| *count == 1), "{isolation}: {effects:?}");
    }
}

#[test]
fn a_lock_that_somebody_holds_does_not_stop_other_keys() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    let body = || {
        // A person's transaction that stays open, on this claim.
        let url = room.url.clone();
        let (locked, is_locked) = std::sync::mpsc::channel();
        let (let_go, go_on) = tokio::sync::oneshot::channel::<()>();
        let person = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
                tokio::spawn(connection);
                client.batch_execute("BEGIN; SELECT * FROM portcullis.claim FOR UPDATE").await.unwrap();
                locked.send(()).unwrap();
                let _ = go_on.await;
                client.batch_execute("COMMIT").await.unwrap();
            });
        });
        is_locked.recv().unwrap();
        assert_eq!(run(&gate, &room, "other").unwrap(), "receipt of other");
        let_go.send(()).unwrap();
        person.join().unwrap();
        Ok("settled".to_owned())
    };
    assert_eq!(run_body(&gate, &body, "k").unwrap(), "settled");
}

/// As after a failover to a standby that lags: what it knows of this process is of another time.
#[test]
fn a_server_that_does_not_know_this_process_grants_it_nothing_before_it_does() {
    let Some(server) = Server::start(&[], |_| {}) else { return };
    let room = Room::on(&server.url());
    let gate = room.gate();
    run(&gate, &room, "before").unwrap();
    let losses = [
        ("gone", "DELETE FROM portcullis.owner"),
        // The id is another process's: one that this server has enrolled after it was promoted.
        (
            "another",
            "UPDATE portcullis.owner SET since_ms = since_ms - 1, host = 'another', lease_until = now() + interval '1 hour'",
        ),
    ];
    for (key, loss) in losses {
        room.sql(loss);
        server.restart();
        assert_eq!(run(&gate, &room, key).unwrap(), format!("receipt of {key}"));
        let owners = room.sql(&format!(
            "SELECT owner.host <> 'another' AND owner.lease_until > clock_timestamp() FROM portcullis.claim
             JOIN portcullis.owner ON owner.id = claim.owner WHERE key = '{key}'"
        ));
        assert_eq!(owners, ["t"], "{key}");
    }
    // The server knows it, and its lease has run out there: it is taken up again, and not believed before.
    room.sql("UPDATE portcullis.owner SET lease_until = now() - interval '1 minute'");
    server.restart();
    run(&gate, &room, "lapsed").unwrap();
    let lives = "SELECT bool_or(lease_until > clock_timestamp()) FROM portcullis.owner WHERE host <> 'another'";
    assert_eq!(room.sql(lives), ["t"]);
}
