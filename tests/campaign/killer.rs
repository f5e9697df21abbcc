//! Who kills: keeps a number of processes at work, and ends one after the other by SIGKILL, at random and at chosen moments. Where
//! it has hit is read from what the dead process has left behind, and from the ledger.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::book::{Book, PENDING, digest};
use crate::slots::{Hot, Phase, Slot, Slots};
use crate::worker::{action_of, slots_of};

/// Where a kill has hit the worker that was aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hit {
    BeforeTheFirstCall,
    Again,
    ClaimBeforeItsCommit,
    ClaimAfterItsCommit,
    BodyBeforeItsEffect,
    BodyAfterItsEffect,
    SettleBeforeItsCommit,
    /// On record, and the caller does not know.
    ReplyUnheard,
    /// The caller knows, and has told nobody.
    ReplyHeard,
    BetweenTwoCalls,
}

impl Hit {
    pub const fn shown(self) -> (&'static str, &'static str) {
        match self {
            Hit::BeforeTheFirstCall => ("start", "before its first call"),
            Hit::Again => ("retry", "of a key that others have had, before its body"),
            Hit::ClaimBeforeItsCommit => ("claim", "before its commit"),
            Hit::ClaimAfterItsCommit => ("claim", "after its commit, before the body"),
            Hit::BodyBeforeItsEffect => ("body", "before its effect"),
            Hit::BodyAfterItsEffect => ("body", "after its effect"),
            Hit::SettleBeforeItsCommit => ("settle", "before its commit"),
            Hit::ReplyUnheard => ("reply", "on record, not yet heard"),
            Hit::ReplyHeard => ("reply", "heard, not yet passed on"),
            Hit::BetweenTwoCalls => ("pause", "between two calls"),
        }
    }
}

/// What is to be killed.
pub struct Plan<'a> {
    pub ledger: &'a str,
    pub dir: &'a Path,
    pub kills: u64,
    pub processes: usize,
    pub seed: u64,
}

/// What was.
#[derive(Debug, Default)]
pub struct Killed {
    pub hits: BTreeMap<Hit, u64>,
    /// The keys of the workers that were hit in a call.
    pub keys: Vec<String>,
    /// How many calls were under way in all the processes that were killed.
    pub calls: u64,
    /// The longest time after a kill in which no call of any process came to its end.
    pub silence: Duration,
}

struct Victim {
    process: Child,
    number: u64,
    workers: usize,
    /// The worker that is aimed at.
    aim: usize,
    slots: Slots,
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Plan<'_> {
    fn start(&self, number: u64, rng: &mut fastrand::Rng) -> Victim {
        let workers = 1 + rng.usize(..4);
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command.arg("worker").args(["--ledger", self.ledger]).arg("--dir").arg(self.dir);
        command.args(["--number", &number.to_string(), "--workers", &workers.to_string()]);
        command.args(["--seed", &self.seed.to_string()]);
        // The shortest there is: a doubt is to be known soon.
        command.env("PORTCULLIS_LEASE", "1s").stdin(Stdio::piped());
        let slots = Slots::open(&slots_of(self.dir, number));
        let process = command.spawn().expect("a process can be started");
        Victim { process, number, workers, aim: rng.usize(..workers), slots }
    }

    /// Kills.
    pub fn carry_out(&self, book: &mut dyn Book) -> Killed {
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let hot = Hot::open(self.dir);
        let mut killed = Killed::default();
        let mut number = 0;
        let mut next = |rng: &mut fastrand::Rng| {
            number += 1;
            self.start(number, rng)
        };
        let mut victims: Vec<Victim> = (0..self.processes).map(|_| next(&mut rng)).collect();
        let mut watch = Watch::new();
        for kill in 0..self.kills {
            let chosen = Aim::next(kill, &killed.hits).take(&victims, book, &mut watch, &mut rng);
            let mut victim = std::mem::replace(&mut victims[chosen], next(&mut rng));
            victim.process.kill().expect("it can be killed");
            victim.process.wait().expect("it is our child");
            killed.count(&victim, book, &hot, kill);
            let _ = fs::remove_file(slots_of(self.dir, victim.number));
            watch.look(&victims);
        }
        killed.silence = watch.longest;
        killed
    }
}

/// What a kill is to hit.
#[derive(Clone, Copy, Debug)]
enum Aim {
    AnyTime,
    /// Somebody who is at one of these, and a little later.
    At(&'static [Phase]),
    /// Somebody who is at this while the ledger has it on record already.
    OnRecord(Phase),
}

impl Aim {
    /// Every fourth kill comes at any time, the others where so far the fewest have hit.
    fn next(kill: u64, hits: &BTreeMap<Hit, u64>) -> Self {
        const AIMS: [(Hit, Aim); 7] = [
            (Hit::ClaimBeforeItsCommit, Aim::At(&[Phase::Claim])),
            (Hit::ClaimAfterItsCommit, Aim::OnRecord(Phase::Claim)),
            (Hit::BodyBeforeItsEffect, Aim::At(&[Phase::Body])),
            (Hit::BodyAfterItsEffect, Aim::At(&[Phase::Effect])),
            (Hit::SettleBeforeItsCommit, Aim::At(&[Phase::Settle])),
            (Hit::ReplyUnheard, Aim::OnRecord(Phase::Settle)),
            (Hit::ReplyHeard, Aim::At(&[Phase::Reply])),
        ];
        if kill.is_multiple_of(4) {
            return Aim::AnyTime;
        }
        let fewest = AIMS.iter().min_by_key(|(hit, _)| hits.get(hit).copied().unwrap_or_default());
        fewest.map_or(Aim::AnyTime, |(_, aim)| *aim)
    }

    /// Is now the time?
    fn is_at(self, slot: &Slot, book: &mut dyn Book) -> bool {
        match self {
            Aim::AnyTime => true,
            Aim::At(phases) => phases.contains(&slot.phase),
            Aim::OnRecord(phase) => slot.phase == phase && is_on_record(slot, book),
        }
    }

    /// Chooses whom to kill, and returns when it is time to.
    fn take(self, victims: &[Victim], book: &mut dyn Book, watch: &mut Watch, rng: &mut fastrand::Rng) -> usize {
        let first = rng.usize(..victims.len());
        let pause = |rng: &mut fastrand::Rng, longest| std::thread::sleep(Duration::from_micros(rng.u64(..longest)));
        if matches!(self, Aim::AnyTime) {
            pause(rng, 10_000);
            watch.look(victims);
            return first;
        }
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            for i in 0..victims.len() {
                let chosen = (first + i) % victims.len();
                let victim = &victims[chosen];
                if self.is_at(&victim.slots.read(victim.aim), book) {
                    if matches!(self, Aim::At(_)) {
                        pause(rng, 300);
                    }
                    return chosen;
                }
            }
            watch.look(victims);
            std::thread::sleep(Duration::from_micros(30));
        }
        first
    }
}

/// Has the ledger its claim, or if its body is over, its settlement?
fn is_on_record(slot: &Slot, book: &mut dyn Book) -> bool {
    let state = book.state(&digest(action_of(&slot.key), &slot.key));
    state.is_some_and(|state| slot.phase == Phase::Claim || state != PENDING)
}

impl Killed {
    fn count(&mut self, victim: &Victim, book: &mut dyn Book, hot: &Hot, kill: u64) {
        let slots: Vec<_> = (0..victim.workers).map(|worker| victim.slots.read(worker)).collect();
        self.calls += slots.iter().filter(|slot| slot.phase != Phase::Idle).count() as u64;
        let slot = &slots[victim.aim];
        let hit = match slot.phase {
            Phase::Idle if slot.calls == 0 => Hit::BeforeTheFirstCall,
            Phase::Idle => Hit::BetweenTwoCalls,
            Phase::Again => Hit::Again,
            Phase::Claim if is_on_record(slot, book) => Hit::ClaimAfterItsCommit,
            Phase::Claim => Hit::ClaimBeforeItsCommit,
            Phase::Body => Hit::BodyBeforeItsEffect,
            Phase::Effect => Hit::BodyAfterItsEffect,
            Phase::Settle if is_on_record(slot, book) => Hit::ReplyUnheard,
            Phase::Settle => Hit::SettleBeforeItsCommit,
            Phase::Reply => Hit::ReplyHeard,
        };
        *self.hits.entry(hit).or_default() += 1;
        if !slot.key.is_empty() && slot.phase != Phase::Idle {
            // Now the others may have it; where it stood is known.
            hot.add(kill, &slot.key);
            self.keys.push(slot.key.clone());
        }
    }
}

/// Whether anybody gets on.
struct Watch {
    seen: Vec<(u64, u64)>,
    since: Instant,
    longest: Duration,
}

impl Watch {
    fn new() -> Self {
        Watch { seen: Vec::new(), since: Instant::now(), longest: Duration::ZERO }
    }

    fn look(&mut self, victims: &[Victim]) {
        let calls = |victim: &Victim| {
            let calls = (0..victim.workers).map(|worker| victim.slots.read(worker).calls).sum();
            (victim.number, calls)
        };
        let now: Vec<(u64, u64)> = victims.iter().map(calls).collect();
        let moved = now.iter().any(|(number, calls)| {
            let before = self.seen.iter().find(|(known, _)| known == number);
            *calls > before.map_or(0, |(_, before)| *before)
        });
        // The first calls wait for the programs to start.
        if moved || self.seen.is_empty() {
            self.since = Instant::now();
        }
        self.longest = self.longest.max(self.since.elapsed());
        self.seen = now;
    }
}
