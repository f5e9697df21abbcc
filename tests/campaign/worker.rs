//! What the processes do that are killed: call functions that do something once, as fast as they can, with keys of their own and
//! with those of others, dead or alive.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use portcullis::{OnErr, Portcullis, Refused, once};

use crate::slots::{Hot, Phase, Slots};

/// `campaign worker …`
#[derive(Clone, Debug, clap::Parser)]
pub struct Arguments {
    #[arg(long)]
    pub ledger: String,
    #[arg(long)]
    pub dir: PathBuf,
    /// Which process this is.
    #[arg(long)]
    pub number: u64,
    #[arg(long)]
    pub workers: usize,
    #[arg(long)]
    pub seed: u64,
}

/// The outside world, in files that are appended to line by line.
#[derive(Debug)]
pub struct World {
    /// `KEY VALUE`: the effect happened, and this is what it is to be answered with.
    effects: File,
    /// `KEY VALUE`: a caller was told so. `! …`: something is wrong. `- CODE`: refused.
    told: File,
}

impl World {
    pub fn open(dir: &Path) -> Self {
        let open = |name: &str| File::options().create(true).append(true).open(dir.join(name));
        World { effects: open("effects").expect("effects"), told: open("told").expect("told") }
    }

    fn happen(&self, key: &str, value: &str) {
        append(&self.effects, &format!("{key} {value}"));
        self.effects.sync_data().expect("the effect is flushed");
    }

    fn tell(&self, line: &str) {
        append(&self.told, line);
    }
}

/// A kill cuts a write short where a page ends; lines of this length never lie across two.
const LINE: usize = 64;

/// One line, whole or not at all.
fn append(mut file: &File, line: &str) {
    let length = (line.len() + 1).next_multiple_of(LINE) - 1;
    file.write_all(format!("{line:length$}\n").as_bytes()).expect("a line can be written");
}

#[derive(Debug)]
pub enum Failed {
    Refused(Refused),
    /// The provider was never reached.
    NotSent,
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Failed::Refused(refused)
    }
}

fn classify(failed: &Failed) -> OnErr {
    match failed {
        Failed::NotSent => OnErr::Release,
        Failed::Refused(_) => OnErr::Hold,
    }
}

/// One caller.
pub struct Caller<'a> {
    pub gate: &'a Portcullis,
    pub world: &'a World,
    pub slots: &'a Slots,
    pub worker: usize,
    /// What it does in a body is told from what anybody else does by this.
    pub name: String,
    pub rng: RefCell<fastrand::Rng>,
    /// Takes its time.
    pub dawdles: bool,
    pub bodies: Cell<u64>,
}

#[once(action = "effect", key = "key", skip(caller), with = caller.gate, on_err = classify)]
fn effect(caller: &Caller<'_>, key: &str, _cents: u32) -> Result<String, Failed> {
    caller.body(key)
}

#[once(action = "effect", key = "key", skip(caller), with = caller.gate, on_err = classify)]
async fn effect_async(caller: &Caller<'_>, key: &str, _cents: u32) -> Result<String, Failed> {
    caller.body(key)
}

#[once(action = "lazy", key = "key", skip(caller), with = caller.gate, on_err = classify, settle = "lazy")]
fn lazy(caller: &Caller<'_>, key: &str, _cents: u32) -> Result<String, Failed> {
    caller.body(key)
}

#[once(action = "lazy", key = "key", skip(caller), with = caller.gate, on_err = classify, settle = "lazy")]
async fn lazy_async(caller: &Caller<'_>, key: &str, _cents: u32) -> Result<String, Failed> {
    caller.body(key)
}

/// What a key is done by, everywhere.
pub fn action_of(key: &str) -> &'static str {
    if key.ends_with('z') { "lazy" } else { "effect" }
}

/// The `n`th key of a worker.
fn key(process: u64, worker: usize, n: u64) -> String {
    format!("{process}-{worker}-{n}{}", if n % 4 == 3 { "z" } else { "" })
}

fn key_of_the_moment() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("now-{}{}", now / 8, if now / 8 % 4 == 3 { "z" } else { "" })
}

impl Caller<'_> {
    /// A moment, or none: kills are to hit between any two steps.
    fn pause(&self) {
        let mut rng = self.rng.borrow_mut();
        if self.dawdles && rng.bool() {
            let pause = Duration::from_micros(rng.u64(..1000));
            drop(rng);
            std::thread::sleep(pause);
        }
    }

    fn body(&self, key: &str) -> Result<String, Failed> {
        self.slots.set(self.worker, Phase::Body);
        self.bodies.set(self.bodies.get() + 1);
        self.pause();
        let result = if self.rng.borrow_mut().u8(..16) == 0 && self.dawdles {
            Err(Failed::NotSent)
        } else {
            let value = format!("{}.{}", self.name, self.bodies.get());
            self.world.happen(key, &value);
            self.slots.set(self.worker, Phase::Effect);
            self.pause();
            Ok(value)
        };
        self.slots.set(self.worker, Phase::Settle);
        result
    }

    /// Polls now and then, as a busy executor does: what the ledger has answered meanwhile is not heard yet.
    fn drive<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return value;
            }
            std::thread::sleep(Duration::from_micros(self.rng.borrow_mut().u64(20..1000)));
        }
    }

    pub fn call(&self, key: &str, cents: u32) -> Result<String, Failed> {
        let asynchronous = self.dawdles && self.rng.borrow_mut().bool();
        match (action_of(key), asynchronous) {
            ("lazy", false) => lazy(self, key, cents),
            ("lazy", true) => self.drive(lazy_async(self, key, cents)),
            (_, false) => effect(self, key, cents),
            (_, true) => self.drive(effect_async(self, key, cents)),
        }
    }

    /// One call, and what becomes of it.
    fn once(&self, phase: Phase, calls: u64, key: &str) {
        self.slots.begin(self.worker, phase, calls, key);
        let result = self.call(key, 1);
        self.slots.set(self.worker, Phase::Reply);
        self.pause();
        match result {
            Ok(value) => {
                self.world.tell(&format!("{key} {value}"));
                if self.rng.borrow_mut().u8(..16) == 0 {
                    match self.call(key, 2) {
                        Err(Failed::Refused(refused)) if refused.code() == "key_conflict" => {}
                        other => self.world.tell(&format!("! another payload for {key} was answered with {other:?}")),
                    }
                }
            }
            Err(Failed::NotSent) => {}
            Err(Failed::Refused(refused)) => match refused.code() {
                // Others may be at it, or were killed at it; or this machine was too slow for everybody.
                code @ ("in_flight" | "in_doubt" | "ledger_unavailable" | "unsettled") => {
                    self.world.tell(&format!("- {code}"));
                }
                _ => self.world.tell(&format!("! {key}: {refused}")),
            },
        }
        self.slots.set(self.worker, Phase::Idle);
    }

    fn for_ever(&self, process: u64, hot: &Hot) {
        let mut fresh = 0;
        for calls in 1.. {
            let mut rng = self.rng.borrow_mut();
            let others = match rng.u8(..8) {
                0..5 => None,
                5 | 6 => hot.any(&mut rng),
                // Everybody else who is here right now may be at it too.
                _ => Some(key_of_the_moment()),
            };
            drop(rng);
            match others {
                Some(key) => self.once(Phase::Again, calls, &key),
                None => {
                    fresh += 1;
                    self.once(Phase::Claim, calls, &key(process, self.worker, fresh));
                }
            }
        }
    }
}

pub fn gate(ledger: &str) -> Portcullis {
    Portcullis::builder().ledger(ledger).namespace("campaign").build().expect("the gate is configured")
}

pub fn slots_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("slots-{number}"))
}

/// Works until it is killed.
pub fn main(arguments: &Arguments) {
    let Arguments { ledger, dir, number, workers, seed } = arguments;
    // Nobody is left to kill it: then it ends by itself.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let (gate, world, hot) = (gate(ledger), World::open(dir), Hot::open(dir));
    let slots = Slots::open(&slots_of(dir, *number));
    std::thread::scope(|scope| {
        for worker in 0..*workers {
            let rng = fastrand::Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ worker as u64);
            let name = format!("{number}.{worker}");
            let (gate, world, slots, hot) = (&gate, &world, &slots, &hot);
            scope.spawn(move || {
                let (rng, bodies) = (RefCell::new(rng), Cell::new(0));
                Caller { gate, world, slots, worker, name, rng, dawdles: true, bodies }.for_ever(*number, hot);
            });
        }
    });
}
