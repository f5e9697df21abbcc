//! What must hold when all of them are dead.
//!
//! # Invariants
//! 1. (I1) An effect happened once at most, and another start was granted only after one that was released.
//! 2. (I2, I3) What a caller was told is on record, byte by byte, and is what every later caller is told.
//! 3. (I4) Another payload is a conflict in every state, and changes nothing.
//! 4. (I6) Nothing leaves its doubt without an event.
//! 5. Nothing is committed that has not happened, and nothing that has is free to happen again.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::book::{Book, COMMITTED, Digest, IN_DOUBT, OPEN, Row, digest};
use crate::slots::Slots;
use crate::worker::{Caller, Failed, World, action_of, gate, slots_of};

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    pub effects: usize,
    pub told: usize,
    /// Keys whose effect happened more than once: must be 0.
    pub twice: usize,
    /// Receipts that a caller had and that are gone, or are others: must be 0.
    pub lost: usize,
    pub in_doubt: usize,
    pub refusals: HashMap<String, u64>,
    /// Everything that must not be, those two included.
    pub problems: Vec<String>,
}

/// Lines of two words.
fn lines(dir: &Path, name: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(dir.join(name)).unwrap_or_default();
    let pair = |line: &str| line.trim_end().split_once(' ').map(|(key, rest)| (key.to_owned(), rest.to_owned()));
    text.lines().map(|line| pair(line).unwrap_or_else(|| ("!".into(), format!("a torn line: {line}")))).collect()
}

impl Verdict {
    fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    /// Looks at everything, and then asks again for the keys of whoever was killed.
    pub fn of(ledger: &str, dir: &Path, killed: &[String], book: &mut dyn Book) -> Self {
        let mut verdict = Verdict::default();
        verdict.check(dir, book);
        if let Some(why) = book.broken() {
            verdict.problem(why);
        }
        let keys: Vec<&String> = killed.iter().collect::<HashSet<_>>().into_iter().collect();
        let before = book.rows();
        let asked = ask_again(ledger, dir, &keys, &before);
        verdict.problems.extend(asked);
        let mut after = Verdict::default();
        after.check(dir, book);
        after.problems.splice(0..0, verdict.problems);
        after
    }

    fn check(&mut self, dir: &Path, book: &mut dyn Book) {
        let mut effects: HashMap<String, Vec<String>> = HashMap::new();
        for (key, value) in lines(dir, "effects") {
            effects.entry(key).or_default().push(value);
        }
        let rows = book.rows();
        let row_of = |key: &str| rows.get(&digest(action_of(key), key));
        self.effects = effects.len();
        for (key, values) in &effects {
            if values.len() > 1 {
                self.twice += 1;
                self.problem(format!("{key} happened {} times: {values:?}", values.len()));
            }
            match row_of(key) {
                Some(row) if row.state == COMMITTED && row.receipt == Some(json(&values[0])) => {}
                // Whoever was killed: nobody may know, and nobody may run it.
                Some(row) if matches!(row.state, IN_DOUBT | crate::book::PENDING) => {}
                row => self.problem(format!("{key} happened as {values:?} and stands as {row:?}")),
            }
        }
        for (key, value) in lines(dir, "told") {
            match key.as_str() {
                "!" => self.problem(value),
                "-" => *self.refusals.entry(value).or_default() += 1,
                _ => {
                    self.told += 1;
                    let row = row_of(&key);
                    if !row.is_some_and(|row| row.state == COMMITTED && row.receipt == Some(json(&value))) {
                        self.lost += 1;
                        self.problem(format!("{key} was answered with {value} and stands as {row:?}"));
                    }
                }
            }
        }
        for row in rows.values() {
            self.in_doubt += usize::from(row.state == IN_DOUBT);
            self.check_row(row, effects.contains_key(&row.key));
        }
    }

    fn check_row(&mut self, row: &Row, has_happened: bool) {
        let count = |kind: &str| row.events.iter().filter(|event| *event == kind).count();
        if has_happened != (row.state == COMMITTED) && matches!(row.state, COMMITTED | OPEN) {
            self.problem(format!("its effect {}: {row:?}", if has_happened { "has happened" } else { "has not" }));
        }
        if count("released") < usize::try_from(row.epoch - 1).unwrap_or(usize::MAX) {
            self.problem(format!("started again without having been released: {row:?}"));
        }
        if row.state != IN_DOUBT && count("owner_dead") > count("settled_late") {
            self.problem(format!("out of its doubt without an event: {row:?}"));
        }
        if row.state == IN_DOUBT && count("owner_dead") == 0 {
            self.problem(format!("in doubt without an event: {row:?}"));
        }
    }
}

/// As the ledger keeps it.
fn json(value: &str) -> String {
    format!("\"{value}\"")
}

/// Callers of this process, some at a time, ask for every key, first with another payload; what is wrong.
fn ask_again(ledger: &str, dir: &Path, keys: &[&String], before: &HashMap<Digest, Row>) -> Vec<String> {
    const CALLERS: usize = 8;
    let (gate, world, slots) = (gate(ledger), World::open(dir), Slots::open(&slots_of(dir, 0)));
    let mut problems = Vec::new();
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..CALLERS)
            .map(|worker| {
                let (gate, world, slots) = (&gate, &world, &slots);
                scope.spawn(move || {
                    let (rng, bodies) = (RefCell::new(fastrand::Rng::with_seed(0)), Cell::new(0));
                    let name = format!("0.{worker}");
                    let caller = Caller { gate, world, slots, worker, name, rng, dawdles: false, bodies };
                    let mine = keys.iter().skip(worker).step_by(CALLERS);
                    mine.filter_map(|key| ask(&caller, key, before.get(&digest(action_of(key), key))).err())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        for asked in asked {
            problems.extend(asked.join().expect("no caller panics"));
        }
    });
    problems
}

fn ask(caller: &Caller<'_>, key: &str, row: Option<&Row>) -> Result<(), String> {
    if row.is_some() {
        match caller.call(key, 2) {
            Err(Failed::Refused(refused)) if refused.code() == "key_conflict" => {}
            other => return Err(format!("another payload for {key}, which is {row:?}, was answered with {other:?}")),
        }
    }
    // Whoever was killed last may not be known to be dead.
    let until = Instant::now() + Duration::from_secs(10);
    let result = loop {
        match caller.call(key, 1) {
            Err(Failed::Refused(refused)) if refused.code() == "in_flight" && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(50));
            }
            result => break result,
        }
    };
    let receipt = row.filter(|row| row.state == COMMITTED).map(|row| row.receipt.clone());
    match (&result, row.map(|row| row.state)) {
        (Ok(value), Some(COMMITTED)) if receipt.flatten() == Some(json(value)) => Ok(()),
        (Ok(_), None | Some(OPEN)) => Ok(()),
        (Err(Failed::Refused(refused)), Some(crate::book::PENDING | IN_DOUBT)) if refused.code() == "in_doubt" => {
            Ok(())
        }
        _ => Err(format!("{key}, which is {row:?}, was answered with {result:?}")),
    }
}

/// A call that makes the tables.
pub fn one_call(ledger: &str, dir: &Path) -> Result<String, Failed> {
    let (gate, world, slots) = (gate(ledger), World::open(dir), Slots::open(&slots_of(dir, 0)));
    let (rng, bodies) = (RefCell::new(fastrand::Rng::with_seed(0)), Cell::new(0));
    let name = "0.first".to_owned();
    Caller { gate: &gate, world: &world, slots: &slots, worker: 0, name, rng, dawdles: false, bodies }.call("0-0-1", 1)
}
