//! When the ledger's own disk fails: nothing runs without a claim on record, no result is lost, and when the fault is over the ledger
//! serves again at once.

use std::time::{Duration, Instant};

use portcullis::{Reconciled, Refused, once};

use super::disk::{self, Disk};
use super::*;

/// The children's function, here: whoever asks the provider is told a lie, so nobody must have to ask.
#[once(action = "effect", key = "key", skip(gate), with = gate, reconcile = |_| Reconciled::<String>::DidNotHappen)]
fn run(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    panic!("{key} must not run here")
}

impl Room {
    /// With a small disk for everything but the effects; `None`, said aloud, where there can't be one.
    fn on_a_disk_of(size: &str) -> Option<(Disk, Room)> {
        let disk = Disk::of(size)?;
        let room = Room::new();
        std::os::unix::fs::symlink(disk.path(), room.dir.path().join("disk")).unwrap();
        Some((disk, room))
    }

    fn serve_at(&self, ledger: &Path) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ledger-child"));
        let mut child = Process::start(command.arg(ledger).arg(self.effects_path()).arg("serve"));
        child.expect("ready");
        child
    }

    fn serve_behind_shim(&self) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ledger-child"));
        disk::behind_shim(&mut command, self.dir.path());
        let mut child = Process::start(command.arg(self.ledger_path()).arg(self.effects_path()).arg("serve"));
        child.expect("ready");
        child
    }

    /// The spill holds something.
    fn await_spill(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        let spill = self.dir.path().join("ledger.sqlite-spill");
        while !std::fs::read(&spill).is_ok_and(|bytes| bytes.starts_with(b"pcsp")) {
            assert!(Instant::now() < until, "nothing is spilled");
            std::thread::yield_now();
        }
    }
}

/// It serves again, within a second.
#[track_caller]
fn serves(child: &mut Process, key: &str) {
    let begun = Instant::now();
    assert_eq!(child.ask(&format!("run {key}")), format!("receipt of {key}"));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[track_caller]
fn refuses(child: &mut Process, key: &str, code: &str) {
    let told = child.ask(&format!("run {key}"));
    assert!(told.starts_with(&format!("{code} ")), "{told}");
}

#[test]
fn a_full_disk_runs_nothing_and_loses_no_result_and_serves_when_there_is_room() {
    let Some((disk, room)) = Room::on_a_disk_of("3m") else { return };
    let mut child = room.serve_at(&disk.path().join("ledger.sqlite"));
    serves(&mut child, "before");
    let told = child.ask("fill full");
    assert!(told.starts_with("unsettled ") && told.contains("kept beside it"), "{told}");
    refuses(&mut child, "while-full", "ledger_unavailable");
    std::fs::remove_file(disk.path().join("filling")).unwrap();
    serves(&mut child, "while-full");
    serves(&mut child, "full");
    serves(&mut child, "before");
    let effects = room.effects();
    assert!(effects.len() == 3 && effects.values().all(|count| *count == 1), "{effects:?}");
}

#[test]
fn a_process_that_dies_while_the_disk_is_full_leaves_its_result_to_the_next() {
    let Some((disk, room)) = Room::on_a_disk_of("3m") else { return };
    let ledger = disk.path().join("ledger.sqlite");
    let mut child = room.serve_at(&ledger);
    let told = child.ask("fill full");
    assert!(told.starts_with("unsettled "), "{told}");
    child.kill();
    let mut next = room.serve_at(&ledger);
    refuses(&mut next, "other", "ledger_unavailable");
    std::fs::remove_file(disk.path().join("filling")).unwrap();
    serves(&mut next, "full");
    assert_eq!(room.effects()["full"], 1);
}

#[test]
fn a_disk_that_is_read_only_runs_nothing_and_serves_when_it_can_be_written() {
    let Some((disk, room)) = Room::on_a_disk_of("8m") else { return };
    let ledger = disk.path().join("ledger.sqlite");
    let mut first = room.serve_at(&ledger);
    serves(&mut first, "before");
    first.end();
    disk.set("ro");
    let mut child = room.serve_at(&ledger);
    refuses(&mut child, "k", "ledger_unavailable");
    disk.set("rw");
    serves(&mut child, "k");
    serves(&mut child, "before");
    assert_eq!(room.effects()["k"], 1);
}

/// At the claim, and at the settlement.
fn fails(mode: &str) {
    let room = Room::new();
    let mut child = room.serve_behind_shim();
    serves(&mut child, "before");
    disk::set(room.dir.path(), mode);
    refuses(&mut child, "k", "ledger_unavailable");
    assert_eq!(room.effects().get("k"), None);
    disk::set(room.dir.path(), "");
    serves(&mut child, "k");

    let told = child.ask(&format!("break {mode} settles"));
    assert!(told.starts_with("unsettled ") && told.contains("kept beside it"), "{told}");
    disk::set(room.dir.path(), "");
    serves(&mut child, "settles");

    // And if the process dies over it.
    child.tell(&format!("break {mode} dies"));
    room.await_spill();
    child.kill();
    disk::set(room.dir.path(), "");
    assert_eq!(run(&room.gate(), "dies").unwrap(), "receipt of dies");
    assert!(room.effects().values().all(|count| *count == 1), "{:?}", room.effects());
    assert_eq!(room.ledger().verify_events().unwrap(), None);
}

#[test]
fn a_disk_that_fails_to_flush_runs_nothing_and_loses_no_result() {
    fails("f");
}

#[test]
fn a_disk_that_fails_to_write_runs_nothing_and_loses_no_result() {
    fails("w");
}

#[test]
fn what_two_processes_leave_behind_is_recorded_by_a_third() {
    let room = Room::new();
    let mut children = [room.serve_behind_shim(), room.serve_behind_shim()];
    for (i, child) in children.iter_mut().enumerate() {
        serves(child, &format!("before-{i}"));
    }
    for (i, child) in children.iter_mut().enumerate() {
        assert_eq!(child.ask(&format!("hold k-{i}")), "started");
    }
    disk::set(room.dir.path(), "f");
    children.iter_mut().for_each(Process::go);
    for child in &mut children {
        let told = child.hear();
        assert!(told.starts_with("unsettled ") && told.contains("kept beside it"), "{told}");
    }
    children.iter_mut().for_each(Process::kill);
    disk::set(room.dir.path(), "");
    let gate = room.gate();
    for key in ["k-0", "k-1"] {
        assert_eq!(run(&gate, key).unwrap(), format!("receipt of {key}"));
    }
}

#[test]
fn a_corrupt_ledger_runs_nothing_and_serves_when_it_is_restored() {
    let room = Room::new();
    let mut first = room.serve_at(&room.ledger_path());
    serves(&mut first, "before");
    first.end();
    let sound = std::fs::read(room.ledger_path()).unwrap();
    let mut broken = sound.clone();
    // All but the page that says what it is.
    broken[4096..].iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 7 + 1) as u8);
    std::fs::write(room.ledger_path(), &broken).unwrap();
    let mut child = room.serve_at(&room.ledger_path());
    for key in ["k", "before"] {
        let told = child.ask(&format!("run {key}"));
        assert!(told.starts_with("ledger_unavailable ") && told.contains("corrupt"), "{told}");
    }
    child.end();
    std::fs::write(room.ledger_path(), &sound).unwrap();
    let mut child = room.serve_at(&room.ledger_path());
    serves(&mut child, "k");
    serves(&mut child, "before");
    assert_eq!(room.effects()["k"], 1);
}

#[test]
fn a_ledger_whose_log_was_deleted_is_refused_as_rolled_back() {
    let room = Room::new();
    let mut child = room.serve_at(&room.ledger_path());
    serves(&mut child, "k");
    child.kill();
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(room.dir.path().join(format!("ledger.sqlite{suffix}"))).unwrap();
    }
    let mut child = room.serve_at(&room.ledger_path());
    refuses(&mut child, "k", "ledger_rolled_back");
    refuses(&mut child, "other", "ledger_rolled_back");
    assert_eq!(room.effects(), HashMap::from([("k".to_owned(), 1)]));
}

#[test]
fn a_ledger_that_is_deleted_or_exchanged_while_it_is_open_runs_nothing_and_serves_when_it_is_back() {
    let room = Room::new();
    let mut child = room.serve_at(&room.ledger_path());
    serves(&mut child, "before");
    let kept = room.dir.path().join("kept");
    std::fs::rename(room.ledger_path(), &kept).unwrap();
    for key in ["k", "before"] {
        refuses(&mut child, key, "ledger_unavailable");
    }
    // A process that starts now does not begin anew either.
    let mut other = room.serve_at(&room.ledger_path());
    refuses(&mut other, "before", "ledger_rolled_back");
    other.end();
    std::fs::copy(&kept, room.ledger_path()).unwrap();
    refuses(&mut child, "k", "ledger_unavailable");
    std::fs::rename(&kept, room.ledger_path()).unwrap();
    serves(&mut child, "k");
    serves(&mut child, "before");
    assert!(room.effects().values().all(|count| *count == 1));
}
