//! What each worker of a process is at, kept where a SIGKILL leaves it: in a file, of which every worker writes its own few bytes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a worker is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Between two calls, or before the first.
    #[default]
    Idle,
    /// In a call with a key that others have had too, whose body has not begun.
    Again,
    /// In a call with a key that nobody else is given, whose body has not begun.
    Claim,
    /// In the body, before the effect.
    Body,
    /// In the body, after it.
    Effect,
    /// The body has returned, the call has not.
    Settle,
    /// The call has returned, and nobody has been told.
    Reply,
}

impl Phase {
    const ALL: [Phase; 7] =
        [Phase::Idle, Phase::Again, Phase::Claim, Phase::Body, Phase::Effect, Phase::Settle, Phase::Reply];
}

/// Bytes per worker: the phase, the key's length, …, the number of calls, the key.
const SLOT: u64 = 64;
const CALLS: usize = 8;
const KEY: usize = 16;

/// The slots of one process.
#[derive(Debug)]
pub struct Slots(File);

/// What stood in a slot.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub phase: Phase,
    /// How many calls were begun.
    pub calls: u64,
    pub key: String,
}

impl Slots {
    pub fn open(path: &Path) -> Self {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        Slots(file.expect("the file of slots can be opened"))
    }

    /// Begins a call. One write: it is seen whole or not at all.
    pub fn begin(&self, worker: usize, phase: Phase, calls: u64, key: &str) {
        let mut slot = [0; SLOT as usize];
        slot[0] = phase as u8;
        slot[1] = u8::try_from(key.len()).expect("keys are short");
        slot[CALLS..KEY].copy_from_slice(&calls.to_le_bytes());
        slot[KEY..KEY + key.len()].copy_from_slice(key.as_bytes());
        self.write(worker, &slot);
    }

    pub fn set(&self, worker: usize, phase: Phase) {
        self.write(worker, &[phase as u8]);
    }

    fn write(&self, worker: usize, bytes: &[u8]) {
        self.0.write_all_at(bytes, worker as u64 * SLOT).expect("a slot can be written");
    }

    pub fn read(&self, worker: usize) -> Slot {
        let mut slot = [0; SLOT as usize];
        // What was never written is empty.
        let read = self.0.read_at(&mut slot, worker as u64 * SLOT).expect("a slot can be read");
        let number = slot[CALLS..KEY].try_into().map_or(0, u64::from_le_bytes);
        let key = &slot[KEY..KEY + usize::from(slot[1])];
        let phase = if read == 0 { Phase::Idle } else { Phase::ALL[usize::from(slot[0])] };
        Slot { phase, calls: number, key: String::from_utf8_lossy(key).into_owned() }
    }
}

/// Keys that a process was killed with, for the others to try again: the latest few.
#[derive(Debug)]
pub struct Hot(Slots);

const HOT: usize = 64;

impl Hot {
    pub fn open(dir: &Path) -> Self {
        Hot(Slots::open(&dir.join("hot")))
    }

    pub fn add(&self, number: u64, key: &str) {
        self.0.begin(usize::try_from(number).unwrap_or(0) % HOT, Phase::Idle, number, key);
    }

    pub fn any(&self, rng: &mut fastrand::Rng) -> Option<String> {
        Some(self.0.read(rng.usize(..HOT)).key).filter(|key| !key.is_empty())
    }
}
