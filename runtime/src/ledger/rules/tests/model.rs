//! The protocol between callers, their processes, the wire and the ledger as a model, of which every reachable state is visited.
//!
//! The decisions are those of [`rules`](super::super), not copies of them. Around them the model has what a real system has: lost
//! acknowledgements, repeated and late requests, crashes, bodies that overrun, reconciliations and people who look now and
//! speak later. Whoever speaks tells the truth as it was when they looked.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use stateright::{Checker, Model, Property};

use super::super::*;
use super::*;

const STARTS: u64 = 3;

/// What the world may do.
#[derive(Debug)]
struct Rules {
    callers: usize,
    /// A process can be taken for dead while it lives: its lease has run out.
    leases: bool,
    /// Callers bring a reconcile function along, and a person looks after doubts.
    ways_out: bool,
    seen: [AtomicBool; 10],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    row: Option<Row>,
    callers: Vec<Caller>,
    /// Settlements that are under way. Each may be heard late, often or never.
    wire: BTreeSet<(usize, u64, Said)>,
    person: Person,
    /// How often it really happened.
    effects: u8,
    /// A store can still hear a request twice.
    strays: u8,
    /// Somebody was told that the result is on record.
    acknowledged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Row {
    holder: usize,
    epoch: u64,
    state: State,
    running: bool,
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Caller {
    phase: Phase,
    alive: bool,
    /// The ledger takes its process for dead.
    given_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Has not asked, or has lost the answer.
    Asks,
    /// The answer is under way.
    Hears(Told),
    /// Its body runs.
    Runs {
        epoch: u64,
        happened: bool,
    },
    /// Its reconcile function is to be asked about this doubt.
    Wonders {
        epoch: u64,
        holder: usize,
    },
    /// It has answered.
    Knows {
        epoch: u64,
        holder: usize,
        happened: Option<bool>,
    },
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Told {
    Run { epoch: u64 },
    Wonder { epoch: u64, holder: usize },
    Replay,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Said {
    Happened,
    DidNot,
    Unknown,
    Overdue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Person {
    Looks,
    Saw { sight: Sight, happened: bool },
    Gone,
}

/// What must happen somewhere, since a model in which nothing does proves nothing.
#[derive(Clone, Copy, Debug)]
enum Seen {
    GrantedAgain,
    Replayed,
    Orphaned,
    SettledLate,
    Reconciled,
    RanAgain,
    Fenced,
    /// A person's word was taken.
    Decided,
    /// What a person had seen was no longer so.
    TooLate,
    Twice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Ask(usize),
    /// The store hears a request that nobody waits for any more.
    Stray(usize),
    Hear(usize),
    LoseAnswer(usize),
    Effect(usize),
    Return(usize, Said),
    Overrun(usize),
    Settle(usize, u64, Said),
    Reconcile(usize, Option<bool>),
    Resolve(usize),
    Crash(usize),
    GiveUp(usize),
    PersonLooks,
    PersonActs,
}

fn attempt(caller: usize) -> Attempt {
    Attempt(Uuid::from_u128(caller as u128))
}

impl Row {
    fn known(self) -> Known {
        Known {
            state: self.state,
            epoch: self.epoch,
            attempt: attempt(self.holder),
            running: self.running,
            by: self.by,
            transactional: false,
            earlier_doubt: false,
        }
    }

    fn become_(&mut self, state: State, by: By) {
        *self = Row { state, by, running: false, ..*self };
    }
}

impl World {
    fn life(&self, caller: usize) -> Life {
        let Caller { alive, given_up, .. } = self.callers[caller];
        if alive && !given_up { Life::Alive } else { Life::Dead }
    }

    fn sight(&self, row: Row) -> Sight {
        let owner = self.life(row.holder);
        let running = row.running && owner == Life::Alive;
        Sight { epoch: row.epoch, state: shown(row.state, owner, None, NOW), running, settled_ms: None }
    }

    fn stored(&self) -> Option<Stored> {
        let row = self.row?;
        let owner = self.life(row.holder);
        let stage = match row.state {
            State::Pending => Stage::Pending { owner, all_or_nothing: false },
            State::Committed => Stage::Committed { receipt: Receipt::Kept(kept("1")), kept_until: None },
            State::InDoubt => {
                let body = match (row.running, owner) {
                    (false, _) => Body::Over,
                    (true, Life::Alive) => Body::Running,
                    (true, Life::Dead) => Body::Lost { all_or_nothing: false },
                };
                Stage::InDoubt(Doubt { body, since: between(0, 0), started: between(0, 0) })
            }
            State::Open => Stage::Open,
            State::Failed | State::Expired => unreachable!("nothing here leads there"),
        };
        Some(Stored { fingerprint: FINGERPRINT, epoch: row.epoch, attempt: attempt(row.holder), stage })
    }

    /// A request, as the store works it off in one transaction.
    fn ask(&mut self, rules: &Rules, caller: usize, reconcile: bool) -> Told {
        let ways = Ways { reconcile: reconcile.then_some(Duration::ZERO), window: None };
        let asking = Asking { fingerprint: FINGERPRINT, attempt: attempt(caller), ways };
        loop {
            match claim(self.stored(), &asking, NOW) {
                OnClaim::Start { epoch } => {
                    rules.saw(Seen::RanAgain, epoch > 1);
                    self.row =
                        Some(Row { holder: caller, epoch, state: State::Pending, running: false, by: By::Attempt });
                    return Told::Run { epoch };
                }
                OnClaim::Granted { epoch } => {
                    rules.saw(Seen::GrantedAgain, true);
                    return Told::Run { epoch };
                }
                OnClaim::Orphaned => {
                    rules.saw(Seen::Orphaned, true);
                    self.row.as_mut().expect("it has an owner").become_(State::InDoubt, By::Attempt);
                }
                OnClaim::Reconcile => {
                    let row = self.row.expect("it is in doubt");
                    return Told::Wonder { epoch: row.epoch, holder: row.holder };
                }
                OnClaim::Replay(_) => {
                    rules.saw(Seen::Replayed, true);
                    return Told::Replay;
                }
                OnClaim::InFlight | OnClaim::Refuse(Why::InDoubt(_)) => return Told::No,
                decided => panic!("{decided:?} in {self:?}"),
            }
        }
    }

    fn settle(&mut self, rules: &Rules, caller: usize, epoch: u64, said: Said) {
        let settlement = match said {
            Said::Happened => Settlement::Committed(Receipt::Kept(kept("1"))),
            Said::DidNot => Settlement::Released("err"),
            Said::Unknown => Settlement::InDoubt("err"),
            Said::Overdue => Settlement::Overdue,
        };
        let stored = self.row.map(Row::known);
        match settle(stored, epoch, attempt(caller), &settlement) {
            OnSettle::Apply { to, event } => {
                rules.saw(Seen::SettledLate, event == Some("settled_late"));
                self.acknowledged |= said == Said::Happened;
                let row = self.row.as_mut().expect("it was decided about");
                row.become_(to, By::Attempt);
                row.running = said == Said::Overdue;
            }
            OnSettle::Already => {}
            OnSettle::Fenced => rules.saw(Seen::Fenced, true),
            decided @ (OnSettle::OutsideTransaction | OnSettle::Unknown) => panic!("{decided:?} in {self:?}"),
        }
    }

    /// A process was taken for dead that lived: only leases can be wrong about that.
    fn has_a_zombie(&self) -> bool {
        self.callers.iter().any(|caller| caller.given_up)
    }

    fn bodies(&self) -> usize {
        self.callers.iter().filter(|caller| caller.alive && matches!(caller.phase, Phase::Runs { .. })).count()
    }
}

impl Model for Rules {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            row: None,
            callers: vec![Caller { phase: Phase::Asks, alive: true, given_up: false }; self.callers],
            wire: BTreeSet::new(),
            person: if self.ways_out { Person::Looks } else { Person::Gone },
            effects: 0,
            strays: 1,
            acknowledged: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (index, caller) in world.callers.iter().enumerate() {
            if !caller.alive {
                continue;
            }
            actions.push(Action::Crash(index));
            if self.leases && !caller.given_up {
                actions.push(Action::GiveUp(index));
            }
            match caller.phase {
                Phase::Asks => actions.push(Action::Ask(index)),
                Phase::Hears(Told::Run { .. }) => actions.extend([Action::Hear(index), Action::LoseAnswer(index)]),
                Phase::Hears(_) => actions.push(Action::Hear(index)),
                Phase::Runs { happened, .. } => {
                    actions.extend([Action::Return(index, Said::Unknown), Action::Overrun(index)]);
                    actions.push(Action::Return(index, if happened { Said::Happened } else { Said::DidNot }));
                    if !happened {
                        actions.push(Action::Effect(index));
                    }
                }
                Phase::Wonders { .. } => {
                    let truth = Some(world.effects > 0);
                    actions.extend([Action::Reconcile(index, truth), Action::Reconcile(index, None)]);
                }
                Phase::Knows { .. } => actions.push(Action::Resolve(index)),
                Phase::Over => {}
            }
            if world.strays > 0 && !matches!(caller.phase, Phase::Asks) {
                actions.push(Action::Stray(index));
            }
        }
        for &(caller, epoch, said) in &world.wire {
            actions.push(Action::Settle(caller, epoch, said));
        }
        match world.person {
            // At any time, also beside a body that runs.
            Person::Looks if world.row.is_some() => actions.push(Action::PersonLooks),
            Person::Saw { .. } => actions.push(Action::PersonActs),
            Person::Looks | Person::Gone => {}
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Ask(caller) => world.callers[caller].phase = Phase::Hears(world.ask(self, caller, self.ways_out)),
            Action::Stray(caller) => {
                world.strays -= 1;
                let _ = world.ask(self, caller, self.ways_out);
            }
            Action::Hear(caller) => {
                let Phase::Hears(told) = world.callers[caller].phase else { return None };
                world.callers[caller].phase = match told {
                    Told::Run { epoch } => Phase::Runs { epoch, happened: false },
                    Told::Wonder { epoch, holder } => Phase::Wonders { epoch, holder },
                    Told::Replay | Told::No => Phase::Over,
                };
            }
            Action::LoseAnswer(caller) => world.callers[caller].phase = Phase::Asks,
            Action::Effect(caller) => {
                let Phase::Runs { happened, .. } = &mut world.callers[caller].phase else { return None };
                *happened = true;
                world.effects += 1;
                self.saw(Seen::Twice, world.effects > 1);
            }
            Action::Return(caller, said) => {
                let Phase::Runs { epoch, .. } = world.callers[caller].phase else { return None };
                world.wire.insert((caller, epoch, said));
                world.callers[caller].phase = Phase::Over;
            }
            Action::Overrun(caller) => {
                let Phase::Runs { epoch, .. } = world.callers[caller].phase else { return None };
                world.wire.insert((caller, epoch, Said::Overdue));
            }
            Action::Settle(caller, epoch, said) => world.settle(self, caller, epoch, said),
            Action::Reconcile(caller, happened) => {
                let Phase::Wonders { epoch, holder } = world.callers[caller].phase else { return None };
                world.callers[caller].phase = Phase::Knows { epoch, holder, happened };
            }
            Action::Resolve(caller) => {
                let Phase::Knows { epoch, holder, happened } = world.callers[caller].phase else { return None };
                let verdict = match happened {
                    Some(true) => Verdict::Happened(Receipt::Kept(kept("1"))),
                    Some(false) => Verdict::DidNotHappen,
                    None => Verdict::Unknown,
                };
                let resolution = Resolution { epoch, attempt: attempt(holder), verdict };
                if let OnResolve::Apply { to } = resolve(world.row.map(Row::known), &resolution) {
                    self.saw(Seen::Reconciled, true);
                    world.row.as_mut().expect("it was in doubt").become_(to, By::Reconciliation);
                }
                // It claims again in the same transaction, and asks nobody a second time.
                world.callers[caller].phase = Phase::Hears(world.ask(self, caller, false));
            }
            Action::Crash(caller) => {
                world.callers[caller].alive = false;
                world.callers[caller].phase = Phase::Over;
            }
            Action::GiveUp(caller) => world.callers[caller].given_up = true,
            Action::PersonLooks => {
                world.person = Person::Saw { sight: world.sight(world.row?), happened: world.effects > 0 };
            }
            Action::PersonActs => {
                let Person::Saw { sight: seen, happened } = world.person else { return None };
                world.person = Person::Gone;
                let said = if happened { Act::Commit { with_receipt: true } } else { Act::Release };
                let sight = world.sight(world.row.expect("it was looked at"));
                match act(said, Standing { sight, lacks_receipt: false }, &seen, false) {
                    OnAct::Apply { to } => {
                        self.saw(Seen::Decided, true);
                        world.row.as_mut().expect("it is there").become_(to, By::Person);
                    }
                    OnAct::Changed => self.saw(Seen::TooLate, seen.epoch == sight.epoch),
                    OnAct::Running | OnAct::Happened | OnAct::Remembered | OnAct::Already => {}
                }
            }
        }
        Some(world)
    }

    /// Without it, a caller whose lease is over could start for ever anew.
    fn within_boundary(&self, world: &World) -> bool {
        world.row.is_none_or(|row| row.epoch <= STARTS)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let once = Property::<Self>::always("it happens once", |_, world| world.effects <= 1 || world.has_a_zombie());
        let one_body =
            Property::<Self>::always("one body at a time", |_, world| world.bodies() <= 1 || world.has_a_zombie());
        let truth = Property::<Self>::always("what is on record has happened", |_, world| {
            world.effects > 0 || world.row.is_none_or(|row| row.state != State::Committed)
        });
        let free = Property::<Self>::always("what has happened is not free", |_, world| {
            world.effects == 0 || world.has_a_zombie() || world.row.is_none_or(|row| row.state != State::Open)
        });
        let kept = Property::<Self>::always("what was acknowledged stays on record", |_, world| {
            !world.acknowledged || world.row.is_some_and(|row| row.state == State::Committed)
        });
        vec![once, one_body, truth, free, kept]
    }
}

impl Rules {
    fn saw(&self, what: Seen, really: bool) {
        if really {
            self.seen[what as usize].store(true, Ordering::Relaxed);
        }
    }
}

/// Visits every state, and says how many there are.
#[expect(clippy::print_stdout, reason = "how many there are is a result")]
fn visit(model: Rules, expected: &[Seen], never: &[Seen]) -> usize {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checked = model.checker().threads(threads).spawn_bfs().join();
    checked.assert_properties();
    let seen = |what: &Seen| checked.model().seen[*what as usize].load(Ordering::Relaxed);
    for what in expected {
        assert!(seen(what), "{what:?} is nowhere");
    }
    for what in never {
        assert!(!seen(what), "{what:?}");
    }
    println!("{} states", checked.unique_state_count());
    checked.unique_state_count()
}

const ALWAYS: [Seen; 4] = [Seen::GrantedAgain, Seen::Replayed, Seen::Orphaned, Seen::SettledLate];
const WAYS_OUT: [Seen; 5] = [Seen::Reconciled, Seen::RanAgain, Seen::Fenced, Seen::Decided, Seen::TooLate];

#[test]
fn on_one_machine_nothing_happens_twice() {
    let expected = [&ALWAYS[..], &WAYS_OUT].concat();
    let model = Rules { callers: 3, leases: false, ways_out: true, seen: Default::default() };
    let states = visit(model, &expected, &[Seen::Twice]);
    assert!(states > 10_000, "{states}");
}

#[test]
fn a_lease_that_runs_out_makes_nothing_happen_twice() {
    let model = Rules { callers: 3, leases: true, ways_out: false, seen: Default::default() };
    let states = visit(model, &ALWAYS, &[Seen::Twice]);
    assert!(states > 1_000, "{states}");
}

/// What no ledger can prevent, and the reason for `reconcile_after`.
#[test]
fn only_a_word_beside_a_zombie_can_make_it_happen_twice() {
    let expected = [&ALWAYS[..], &WAYS_OUT, &[Seen::Twice]].concat();
    let model = Rules { callers: 2, leases: true, ways_out: true, seen: Default::default() };
    let states = visit(model, &expected, &[]);
    assert!(states > 10_000, "{states}");
}
