//! A server with another one that follows it, and takes its place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::*;
use proxy::Proxy;
use server::Server;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// What is warned of on this thread.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// One at a time: who makes tracing acquainted with a place in the code while another thread sets a subscriber may keep it silent.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a new gate warns of in its first call, which this thread drives.
fn warned(room: &Room, key: &str) -> Vec<String> {
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || run(&room.gate(), room, key).unwrap());
    warnings.0.lock().unwrap().clone()
}

#[track_caller]
fn until(url: &str, query: &str, expected: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while sql(url, query) != [expected] {
        assert!(Instant::now() < end, "{query} is never {expected}");
    }
}

#[test]
fn a_standby_that_is_waited_for_has_every_claim_and_one_that_is_not_is_warned_of() {
    let _alone = alone();
    let Some(server) = Server::start(&[], |_| {}) else { return };
    let mut room = Room::on(&server.url());
    assert_eq!(warned(&room, "alone").concat(), "");

    let standby = server.standby();
    until(&room.url, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1");
    let said = warned(&room, "lagging");
    assert!(said.len() == 1 && said[0].contains("does not wait for it"), "{said:?}");

    room.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
    room.sql("SELECT pg_reload_conf()");
    until(&room.url, "SHOW synchronous_standby_names", "*");
    assert_eq!(warned(&room, "kept").concat(), "");

    // The server is gone from one moment to the next, and the standby takes its place.
    room.url = room.url.replace(&server.url(), &standby.url());
    drop(server);
    standby.promote();
    assert_eq!(run(&room.gate(), &room, "kept").unwrap(), "receipt of kept");
    assert_eq!(run(&room.gate(), &room, "new").unwrap(), "receipt of new");
    assert_eq!((room.effects()["kept"], room.effects()["new"]), (1, 1));
}

/// A server that is about to be lost, a standby that does not follow it any more, and the way to the one or the other.
struct Failover {
    primary: Mutex<Option<Server>>,
    standby: Server,
    proxy: Proxy,
    room: Room,
    _alone: MutexGuard<'static, ()>,
}

impl Failover {
    /// The standby has what is written before it is [cut off](Self::cut), and nothing after that.
    fn ready() -> Option<Self> {
        let alone = alone();
        let primary = Server::start(&[], |_| {})?;
        let proxy = Proxy::to(primary.port());
        let room = Room::on(&primary.url());
        let standby = primary.standby();
        until(&room.url, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1");
        Some(Failover { primary: Mutex::new(Some(primary)), standby, proxy, room, _alone: alone })
    }

    fn port(&self) -> u16 {
        self.primary.lock().unwrap().as_ref().unwrap().port()
    }

    /// A gate that is led to the server that is written to.
    fn gate(&self) -> Portcullis {
        let url = self.room.url.replace(&format!(":{}/", self.port()), &format!(":{}/", self.proxy.port()));
        Portcullis::builder().ledger(url).namespace("tests").build().unwrap()
    }

    fn cut(&self) {
        let caught_up = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()";
        until(&self.room.url, caught_up, "1");
        let follower = format!("{}/postgres", self.standby.url());
        sql(&follower, "ALTER SYSTEM SET primary_conninfo = ''");
        sql(&follower, "SELECT pg_reload_conf()");
        until(&self.room.url, "SELECT count(*) FROM pg_stat_replication", "0");
    }

    /// The server is gone from one moment to the next, and the standby takes its place.
    fn fail_over(&self) {
        self.primary.lock().unwrap().take();
        self.standby.promote();
        self.proxy.turn_to(self.standby.port());
    }

    /// The room, as the standby has it.
    fn after(self) -> (Room, Server) {
        let url = self.url_after();
        let Failover { standby, room, .. } = self;
        (Room { url, ..room }, standby)
    }

    fn url_after(&self) -> String {
        format!("{}/{}", self.standby.url(), self.room.url.rsplit('/').next().unwrap())
    }
}

/// No chain of events is broken.
#[track_caller]
fn verify(room: &Room) {
    let ledger = portcullis::ledger::Ledger::open(&room.url).unwrap();
    assert_eq!(ledger.verify_events().unwrap(), None);
}

#[test]
fn a_claim_that_a_failover_has_lost_is_on_record_with_its_receipt_once_its_body_is_over() {
    let Some(failover) = Failover::ready() else { return };
    let gate = failover.gate();
    run(&gate, &failover.room, "before").unwrap();
    failover.cut();
    let body = || {
        failover.room.effect("k");
        failover.fail_over();
        Ok("late".to_owned())
    };
    assert_eq!(run_body(&gate, &body, "k").unwrap(), "late");
    let (room, _standby) = failover.after();
    assert_eq!((room.state("k").as_str(), room.events("k")), ("1 1", vec!["reasserted".to_owned()]));
    assert_eq!(run_body(&room.gate(), &never, "k").unwrap(), "late");
    assert_eq!(run_body(&gate, &never, "k").unwrap(), "late");
    assert_eq!(room.effects()["k"], 1);
    verify(&room);
}

#[test]
fn a_claim_that_a_failover_has_lost_is_on_record_again_before_anything_else_is_granted() {
    let Some(failover) = Failover::ready() else { return };
    run(&failover.room.gate(), &failover.room, "before").unwrap();
    failover.cut();
    let gate = failover.gate();
    let body = || {
        failover.room.effect("k");
        // Its own row in `owner` is lost as well, and its number becomes somebody else's.
        let own = failover.room.sql("SELECT max(id) FROM portcullis.owner").concat();
        failover.fail_over();
        let url = failover.url_after();
        sql(&url, &format!("ALTER TABLE portcullis.owner ALTER id RESTART WITH {own}"));
        let mut child = failover.room.start_at(&url, &["run", "other"]);
        child.expect("ready");
        child.go();
        child.expect("receipt of other");
        assert_eq!(sql(&url, &format!("SELECT count(*) FROM portcullis.owner WHERE id = {own}")), ["1"]);

        run(&gate, &failover.room, "next").unwrap();
        let mut child = failover.room.start_at(&url, &["run", "k"]);
        child.expect("ready");
        child.go();
        let said = child.hear();
        assert!(said.starts_with("in_flight ") && said.contains(&std::process::id().to_string()), "{said}");
        Ok("late".to_owned())
    };
    assert_eq!(run_effect(&gate, &body, "k").unwrap(), "late");
    let (room, _standby) = failover.after();
    assert_eq!((room.state("k").as_str(), room.events("k")), ("1 1", vec!["reasserted".to_owned()]));
    assert_eq!((room.effects()["k"], room.effects()["next"]), (1, 1));
    verify(&room);
}

#[test]
fn what_somebody_else_has_run_after_a_failover_stands_and_what_comes_late_is_evidence() {
    let Some(failover) = Failover::ready() else { return };
    let gate = failover.gate();
    run(&gate, &failover.room, "before").unwrap();
    failover.cut();
    let body = || {
        failover.room.effect("k");
        failover.fail_over();
        let mut child = failover.room.start_at(&failover.url_after(), &["run", "k"]);
        child.expect("ready");
        child.go();
        child.expect("receipt of k");
        // A new connection shows it.
        run(&gate, &failover.room, "next").unwrap();
        Ok("late".to_owned())
    };
    let late = run_effect(&gate, &body, "k");
    assert!(late.is_err(), "{late:?}");
    let (room, _standby) = failover.after();
    assert_eq!((room.state("k").as_str(), room.events("k")), ("1 1", vec!["overtaken".into(), "fenced".into()]));
    assert_eq!(run(&room.gate(), &room, "k").unwrap(), "receipt of k");
    // Both are real: one is on record, and the other one's receipt is evidence.
    assert_eq!(room.effects()["k"], 2);
    assert_eq!(room.sql("SELECT count(*) FROM portcullis.event WHERE kind = 'fenced' AND detail LIKE '%late%'"), ["1"]);
    verify(&room);
}

fn never() -> Result<String, Error> {
    panic!("it was granted already")
}

#[once(action = "body", key = "key", skip(gate, body), with = gate)]
fn run_body(gate: &Portcullis, body: &dyn Fn() -> Result<String, Error>, key: &str) -> Result<String, Error> {
    body()
}

/// What the children run.
#[once(action = "effect", key = "key", skip(gate, body), with = gate)]
fn run_effect(gate: &Portcullis, body: &dyn Fn() -> Result<String, Error>, key: &str) -> Result<String, Error> {
    body()
}
