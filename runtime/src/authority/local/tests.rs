//! The embedded authority against a real file.

use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::boundary::Boundary;

struct Room {
    dir: TempDir,
    local: Local,
    device: Device,
}

fn room() -> Room {
    let dir = tempfile::tempdir().unwrap();
    let local = Local::open(dir.path().join("state/ledger.sqlite"));
    Room { dir, local, device: Device::parse("shop:test:worker:1").unwrap() }
}

impl Room {
    fn register(&self) -> Registration {
        pollster::block_on(Authority::register(&self.local, &self.device))
    }

    fn ask(&self) -> Verdict {
        let question = Question {
            boundary: Boundary::BeforeSideEffect,
            device: self.device.clone(),
            action: "orders.refund".into(),
            resource: "orders.refund".into(),
            width: None,
            deadline: Instant::now() + Duration::from_secs(2),
        };
        pollster::block_on(self.local.decide(&question))
    }

    #[track_caller]
    fn denied(&self, code: &str) {
        match self.ask() {
            Verdict::Deny(denial) => assert!(denial.code() == code && denial.decision().is_some(), "{denial:?}"),
            other => panic!("not denied: {other:?}"),
        }
    }

    #[track_caller]
    fn allowed(&self) {
        match self.ask() {
            Verdict::Allow(grant) => {
                assert_eq!(grant.device(), Some(self.device.as_str()));
                assert!(grant.decision().unwrap().as_str().starts_with("local-"));
            }
            other => panic!("not allowed: {other:?}"),
        }
    }
}

#[test]
fn only_a_device_that_has_registered_is_allowed() {
    let room = room();
    room.denied("DEVICE_UNKNOWN");
    assert!(matches!(room.register(), Registration::Accepted));
    room.allowed();
    assert_eq!(room.local.remove(&room.device, "test").unwrap(), Acted::Done);
    room.denied("DEVICE_UNKNOWN");
    assert_eq!(room.local.remove(&room.device, "test").unwrap(), Acted::UnknownDevice);
}

#[test]
fn a_revoked_device_stays_revoked_until_it_is_restored() {
    let room = room();
    assert!(matches!(room.register(), Registration::Accepted));
    assert_eq!(room.local.revoke(&room.device, "test").unwrap(), Acted::Done);
    assert_eq!(room.local.revoke(&room.device, "test").unwrap(), Acted::Already);
    room.denied("DEVICE_REVOKED");
    assert!(matches!(room.register(), Registration::Refused(denial) if denial.code() == "DEVICE_REVOKED"));
    room.denied("DEVICE_REVOKED");
    assert!(room.local.devices().unwrap()[0].revoked);
    assert_eq!(room.local.restore(&room.device, "test").unwrap(), Acted::Done);
    assert_eq!(room.local.restore(&room.device, "test").unwrap(), Acted::Already);
    room.allowed();
}

#[test]
fn a_device_can_be_revoked_before_it_is_known() {
    let room = room();
    assert_eq!(room.local.restore(&room.device, "test").unwrap(), Acted::UnknownDevice);
    assert_eq!(room.local.revoke(&room.device, "test").unwrap(), Acted::Done);
    assert!(matches!(room.register(), Registration::Refused(_)));
}

#[test]
fn the_switch_stops_everybody_and_lets_them_go_on() {
    let room = room();
    assert!(matches!(room.register(), Registration::Accepted));
    assert!(!room.local.halted().unwrap());
    assert_eq!(room.local.halt(true, "test").unwrap(), Acted::Done);
    assert_eq!(room.local.halt(true, "test").unwrap(), Acted::Already);
    room.denied("HALTED");
    // Registering is no decision.
    assert!(matches!(room.register(), Registration::Accepted));
    assert_eq!(room.local.halt(false, "test").unwrap(), Acted::Done);
    room.allowed();
}

#[test]
fn acts_are_seen_by_whoever_else_has_the_file_open() {
    let room = room();
    assert!(matches!(room.register(), Registration::Accepted));
    room.allowed();
    let other = Local::open(room.dir.path().join("state/ledger.sqlite"));
    assert_eq!(other.revoke(&room.device, "ops").unwrap(), Acted::Done);
    room.denied("DEVICE_REVOKED");
}

#[test]
fn a_database_that_can_not_be_read_is_a_fault() {
    let room = room();
    assert!(matches!(room.register(), Registration::Accepted));
    let path = room.dir.path().join("state/ledger.sqlite");
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("DROP TABLE device").unwrap();
    assert!(matches!(room.ask(), Verdict::Fault(fault) if fault.kind() == FaultKind::Unreachable), "a table is gone");

    let nowhere = Local::open("/proc/nowhere/ledger.sqlite");
    let room = Room { local: nowhere, ..room };
    assert!(matches!(room.ask(), Verdict::Fault(_)));
    assert!(matches!(room.register(), Registration::Fault(_)));
    assert!(room.local.devices().is_err());
}

#[test]
fn a_database_that_was_exchanged_answers_for_itself() {
    let room = room();
    assert!(matches!(room.register(), Registration::Accepted));
    room.allowed();
    let path = room.dir.path().join("state/ledger.sqlite");
    std::fs::rename(&path, path.with_extension("old")).unwrap();
    std::fs::remove_file(path.with_extension("sqlite-wal")).ok();
    std::fs::remove_file(path.with_extension("sqlite-shm")).ok();
    room.denied("DEVICE_UNKNOWN");
}

#[test]
fn acts_are_events_with_their_actor_and_questions_are_not() {
    let room = room();
    assert!(matches!(room.register(), Registration::Accepted));
    room.allowed();
    assert_eq!(room.local.revoke(&room.device, "ops@example.org").unwrap(), Acted::Done);
    assert_eq!(room.local.halt(true, "ops@example.org").unwrap(), Acted::Done);
    let raw = rusqlite::Connection::open(room.dir.path().join("state/ledger.sqlite")).unwrap();
    let mut statement = raw.prepare("SELECT kind || ' ' || actor FROM event ORDER BY id").unwrap();
    let events: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(
        events,
        ["device_registered shop:test:worker:1", "device_revoked ops@example.org", "halt_on ops@example.org"]
    );
    assert_eq!(crate::sqlite::verify(&raw).unwrap(), None);
}

#[test]
fn it_answers_inside_a_runtime() {
    let room = room();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answer = runtime.block_on(Authority::register(&room.local, &room.device));
    assert!(matches!(answer, Registration::Accepted));
}

#[test]
fn a_path_that_is_none_is_a_fault() {
    for path in ["", ":memory:", "a\0b"] {
        let room = Room { local: Local::open(path), ..room() };
        assert!(matches!(room.ask(), Verdict::Fault(_)), "{path:?}");
        assert!(room.local.halt(true, "test").is_err());
    }
    assert!(Local::from_url("postgres://host/db").is_err());
}
