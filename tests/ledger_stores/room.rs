//! What the tests of both stores see of a ledger.

use std::time::Instant;

use portcullis::ledger::{Event, Ledger, Record};

use super::*;

impl Room {
    pub fn ledger(&self) -> Ledger {
        Ledger::open(&self.url()).unwrap()
    }

    pub fn record(&self, key: &str) -> Record {
        self.record_of("effect", key)
    }

    pub fn record_of(&self, action: &str, key: &str) -> Record {
        self.ledger().show("tests", action, key).unwrap().unwrap()
    }

    pub fn events_of(&self, action: &str, key: &str) -> Vec<Event> {
        self.ledger().events(&self.record_of(action, key)).unwrap()
    }

    pub fn kinds_of(&self, action: &str, key: &str) -> Vec<String> {
        self.events_of(action, key).into_iter().map(|event| event.kind).collect()
    }

    /// The claim as soon as it is so.
    #[track_caller]
    pub fn until(&self, key: &str, is_so: impl Fn(&Record) -> bool) -> Record {
        let ledger = self.ledger();
        let longest = Instant::now() + Duration::from_secs(20);
        loop {
            let record = ledger.show("tests", "effect", key).unwrap().unwrap();
            if is_so(&record) {
                return record;
            }
            assert!(Instant::now() < longest, "it is {record:?}");
        }
    }

    /// As if everything on record about claims had happened that much earlier.
    pub fn long_ago(&self, by: Duration) {
        self.shift(-i64::try_from(by.as_millis()).unwrap());
    }
}
