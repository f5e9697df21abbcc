//! Power cuts. What was flushed is on the disk; of what was written since, any part may be, or none; behind it may lie anything.
//!
//! A shim keeps what was flushed, file by file; see `shim.c`. The load is a process of the kill campaign.

use std::fs;
use std::time::{Duration, Instant};

use portcullis::once;

use super::*;

/// What the process had done and said when the power went.
struct Done {
    effects: Vec<(String, String)>,
    told: Vec<(String, String)>,
}

fn lines(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.trim_end().split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// Lets a process work on a ledger until its `effects`th effect, and kills it.
fn work(dir: &Path, seed: u64, effects: usize) -> Done {
    fs::create_dir(dir.join("image")).unwrap();
    disk::set(dir, "r");
    let mut command = Command::new(env!("CARGO_BIN_EXE_campaign"));
    disk::behind_shim(&mut command, dir);
    command.arg("worker").args(["--number", "1", "--workers", "3", "--seed", &seed.to_string(), "--dir"]).arg(dir);
    let mut process =
        Process::start(command.args(["--ledger", &format!("sqlite:{}", dir.join("ledger.sqlite").display())]));
    let until = Instant::now() + Duration::from_secs(60);
    while lines(&dir.join("effects")).len() < effects {
        assert!(Instant::now() < until, "it gets nowhere");
        std::thread::sleep(Duration::from_millis(2));
    }
    process.kill();
    Done { effects: lines(&dir.join("effects")), told: lines(&dir.join("told")) }
}

/// How much of what was not flushed has reached the disk.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Nothing,
    Everything,
    /// Some sectors, and noise where the log had grown.
    Some(u64),
}

/// The ledger as it is found after a power cut.
fn found(dir: &Path, cut: Cut, to: &Path) {
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-spill"] {
        // What was never flushed may not be there at all.
        let flushed = fs::read(dir.join("image").join(name)).unwrap_or_default();
        let written = fs::read(dir.join(name)).unwrap_or_default();
        let content = match cut {
            Cut::Nothing => flushed,
            Cut::Everything => written,
            Cut::Some(seed) => {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut content = written.clone();
                for (sector, at) in content.chunks_mut(512).zip((0..).step_by(512)) {
                    if rng.bool() {
                        let before = flushed.get(at..).unwrap_or_default();
                        let kept = before.len().min(sector.len());
                        sector[..kept].copy_from_slice(&before[..kept]);
                        if name.ends_with("-wal") {
                            rng.fill(&mut sector[kept..]);
                        }
                    }
                }
                content
            }
        };
        if !content.is_empty() {
            fs::write(to.join(name), content).unwrap();
        }
    }
    // Others of its files are not flushed, and may be the newest.
    fs::copy(dir.join("ledger.sqlite-mark"), to.join("ledger.sqlite-mark")).unwrap();
}

#[once(action = "effect", key = "key", skip(gate), with = gate)]
fn effect(gate: &Portcullis, key: &str, _cents: u32) -> Result<String, Refused> {
    panic!("{key} must not run again")
}

#[once(action = "lazy", key = "key", skip(gate), with = gate, settle = "lazy")]
fn lazy(gate: &Portcullis, key: &str, _cents: u32) -> Result<String, Refused> {
    panic!("{key} must not run again")
}

/// Asks for everything that was done.
fn check(done: &Done, to: &Path, cut: Cut) {
    let raw = rusqlite::Connection::open(to.join("ledger.sqlite")).unwrap();
    let integrity: String = raw.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok", "{cut:?}");
    drop(raw);
    let url = format!("sqlite:{}", to.join("ledger.sqlite").display());
    let gate = Portcullis::builder().ledger(url.clone()).namespace("campaign").build().unwrap();
    for (key, value) in &done.effects {
        let told = done.told.iter().any(|(told, _)| told == key);
        let (is_lazy, result) =
            if key.ends_with('z') { (true, lazy(&gate, key, 1)) } else { (false, effect(&gate, key, 1)) };
        match result {
            Ok(receipt) => assert_eq!(receipt, *value, "{cut:?}: {key}"),
            Err(refused) => {
                assert_eq!(refused.code(), "in_doubt", "{cut:?}: {key}: {refused}");
                assert!(is_lazy || !told, "{cut:?}: {key} was answered, and its receipt is gone");
            }
        }
    }
    assert_eq!(portcullis::ledger::Ledger::open(&url).unwrap().verify_events().unwrap(), None, "{cut:?}");
}

#[test]
fn after_a_power_cut_every_durable_answer_has_its_receipt_and_nothing_runs_again() {
    // The last one goes on until the log has been emptied and begun anew.
    for (seed, effects) in [(1, 60), (2, 150), (3, 700)] {
        let room = Room::new();
        let done = work(room.dir.path(), seed, effects);
        let cuts = [Cut::Nothing, Cut::Everything];
        for cut in cuts.into_iter().chain((0..4).map(|n| Cut::Some(seed * 100 + n))) {
            let to = Room::new();
            found(room.dir.path(), cut, to.dir.path());
            check(&done, to.dir.path(), cut);
        }
    }
}
