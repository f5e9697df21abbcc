//! A server with another one that follows it, and takes its place.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::*;
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
