//! Every order of a few events: claims, effects, ends, deaths, reconciliations, and the end of the provider's window. Whoever speaks
//! tells the truth, and may know nothing. Then no effect happens twice.

use std::collections::HashSet;

use super::super::*;
use super::*;

/// What is stored, as a store holds it, and what really is.
#[derive(Clone, Debug, Default)]
struct World {
    row: Option<Row>,
    bodies: Vec<Started>,
    /// The provider has forgotten our key.
    forgotten: bool,
}

#[derive(Clone, Debug)]
struct Row {
    known: Known,
    /// The process of the latest start lives.
    alive: bool,
}

/// A start of the body.
#[derive(Clone, Copy, Debug)]
struct Started {
    transactional: bool,
    runs: bool,
    happened: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Claim { transactional: bool, ways: Ways },
    Effect,
    Commit,
    End(End),
    Overdue,
    Die,
    Forget,
}

/// How a body ends, by what it says.
#[derive(Clone, Copy, Debug)]
enum End {
    Happened,
    Nothing,
    Unknown,
}

/// So many starts are enough for every story.
const MOST: usize = 3;

fn attempt_of(epoch: usize) -> Attempt {
    Attempt(Uuid::from_u128(epoch as u128))
}

fn steps() -> Vec<Step> {
    let mut steps = vec![Step::Effect, Step::Commit, Step::Overdue, Step::Die, Step::Forget];
    steps.extend([End::Happened, End::Nothing, End::Unknown].map(Step::End));
    for transactional in [false, true] {
        for reconcile in [None, Some(Duration::ZERO)] {
            for window in [None, Some(HOUR)] {
                steps.push(Step::Claim { transactional, ways: Ways { reconcile, window } });
            }
        }
    }
    steps
}

impl World {
    /// The world after a step; `None` where it can't be taken.
    fn after(&self, step: Step) -> Option<World> {
        let mut world = self.clone();
        match step {
            Step::Claim { transactional, ways } => world.claim(transactional, ways)?,
            Step::Effect => {
                let body = world.running().filter(|body| !body.transactional && !body.happened)?;
                body.happened = true;
            }
            // The effect and the settlement at once.
            Step::Commit => {
                let (epoch, attempt) = world.latest();
                world.running().filter(|body| body.transactional && !body.happened)?;
                let row = world.row.as_mut()?;
                match settle_inside(Some(row.known), epoch, attempt) {
                    OnInside::Apply { .. } => {
                        row.known = Known { state: State::Committed, running: false, by: By::Attempt, ..row.known };
                        world.running()?.happened = true;
                    }
                    OnInside::Already | OnInside::Fenced | OnInside::Unknown => return None,
                }
            }
            Step::End(end) => {
                let body = world.running()?;
                let settlement = match end {
                    End::Happened if body.happened => Settlement::Committed(Receipt::Absent),
                    End::Nothing if !body.happened => Settlement::Released("err"),
                    End::Unknown => Settlement::InDoubt("err"),
                    End::Happened | End::Nothing => return None,
                };
                body.runs = false;
                world.settle(&settlement);
            }
            Step::Overdue => {
                world.running()?;
                world.settle(&Settlement::Overdue);
            }
            Step::Die => {
                world.row.as_mut().filter(|row| row.alive)?.alive = false;
                world.bodies.iter_mut().for_each(|body| body.runs = false);
            }
            Step::Forget => {
                if std::mem::replace(&mut world.forgotten, true) {
                    return None;
                }
            }
        }
        Some(world)
    }

    fn running(&mut self) -> Option<&mut Started> {
        self.bodies.last_mut().filter(|body| body.runs)
    }

    fn latest(&self) -> (u64, Attempt) {
        (self.bodies.len() as u64, attempt_of(self.bodies.len()))
    }

    fn settle(&mut self, settlement: &Settlement) {
        let (epoch, attempt) = self.latest();
        let row = self.row.as_mut().expect("a body has a claim");
        let to = match settle(Some(row.known), epoch, attempt, settlement) {
            OnSettle::Apply { to, .. } => to,
            OnSettle::OutsideTransaction => State::InDoubt,
            OnSettle::Already | OnSettle::Fenced => return,
            OnSettle::Unknown => panic!("the claim is known"),
        };
        let running = *settlement == Settlement::Overdue;
        row.known = Known { state: to, running, by: By::Attempt, ..row.known };
    }

    fn stored(row: &Row, forgotten: bool) -> Stored {
        let owner = if row.alive { Life::Alive } else { Life::Dead };
        let all_or_nothing = row.known.is_all_or_nothing();
        let stage = match row.known.state {
            State::Pending => Stage::Pending { owner, all_or_nothing },
            State::Committed => Stage::Committed { receipt: Receipt::Absent, kept_until: None },
            State::InDoubt => {
                let body = match (row.known.running, owner) {
                    (false, _) => Body::Over,
                    (true, Life::Alive) => Body::Running,
                    (true, Life::Dead) => Body::Lost { all_or_nothing },
                };
                let started = if forgotten { between(7200, 7200) } else { between(0, 0) };
                Stage::InDoubt(Doubt { body, since: between(0, 0), started })
            }
            State::Open => Stage::Open,
            State::Failed | State::Expired => unreachable!("nothing here leads there"),
        };
        Stored { fingerprint: FINGERPRINT, epoch: row.known.epoch, attempt: row.known.attempt, stage }
    }

    /// One call, up to its answer.
    fn claim(&mut self, transactional: bool, mut ways: Ways) -> Option<()> {
        if self.bodies.len() == MOST {
            return None;
        }
        let attempt = attempt_of(self.bodies.len() + 1);
        loop {
            let stored = self.row.as_ref().map(|row| World::stored(row, self.forgotten));
            match claim(stored, &Asking { fingerprint: FINGERPRINT, attempt, ways }, NOW) {
                OnClaim::Start { epoch } => {
                    // Invariant 2 of the ledger.
                    let before = &self.bodies;
                    assert!(before.iter().all(|body| !body.runs && !body.happened), "a second run: {self:?}");
                    self.start(epoch, attempt, transactional, false);
                    return Some(());
                }
                OnClaim::Again { epoch } => {
                    assert!(!self.forgotten, "after the window: {self:?}");
                    assert!(self.bodies.iter().all(|body| !body.runs), "beside a body: {self:?}");
                    self.start(epoch, attempt, transactional, true);
                    return Some(());
                }
                decided @ (OnClaim::Orphaned | OnClaim::RolledBack) => {
                    let to = if decided == OnClaim::Orphaned { State::InDoubt } else { State::Open };
                    let row = self.row.as_mut().expect("it has an owner");
                    row.known = Known { state: to, running: false, by: By::Attempt, ..row.known };
                }
                OnClaim::Reconcile => {
                    ways.reconcile = None;
                    let verdict = if self.bodies.iter().any(|body| body.happened) {
                        Verdict::Happened(Receipt::Absent)
                    } else {
                        assert!(self.bodies.iter().all(|body| !body.runs), "asked beside a body: {self:?}");
                        Verdict::DidNotHappen
                    };
                    let row = self.row.as_mut().expect("it is in doubt");
                    let resolution = Resolution { epoch: row.known.epoch, attempt: row.known.attempt, verdict };
                    match resolve(Some(row.known), &resolution) {
                        OnResolve::Apply { to } => {
                            row.known = Known { state: to, by: By::Reconciliation, ..row.known };
                        }
                        OnResolve::Unknown | OnResolve::Late => panic!("nobody came in between: {self:?}"),
                    }
                }
                OnClaim::Refuse(Why::Absent) => {
                    assert!(self.bodies.iter().any(|body| body.happened), "a receipt of nothing: {self:?}");
                    return Some(());
                }
                // Refused, and what was written on the way stays.
                OnClaim::InFlight | OnClaim::Refuse(Why::InDoubt(_)) => return Some(()),
                decided => panic!("{decided:?} in {self:?}"),
            }
        }
    }

    fn start(&mut self, epoch: u64, attempt: Attempt, transactional: bool, earlier_doubt: bool) {
        assert_eq!(epoch, self.bodies.len() as u64 + 1);
        self.bodies.push(Started { transactional, runs: true, happened: false });
        let known = Known { epoch, attempt, transactional, earlier_doubt, ..known(State::Pending, By::Attempt) };
        self.row = Some(Row { known, alive: true });
    }
}

#[test]
fn in_no_order_of_events_does_an_effect_happen_twice() {
    let steps = steps();
    let (mut seen, mut left) = (HashSet::new(), vec![World::default()]);
    let (mut starts_again, mut starts_within_the_window) = (0, 0);
    while let Some(world) = left.pop() {
        for &step in &steps {
            let Some(next) = world.after(step) else { continue };
            if next.bodies.len() > world.bodies.len() && world.row.is_some() {
                match next.row.as_ref().is_some_and(|row| row.known.earlier_doubt) {
                    false => starts_again += 1,
                    true => starts_within_the_window += 1,
                }
            }
            if seen.insert(format!("{next:?}")) {
                left.push(next);
            }
        }
    }
    // The walk has been somewhere.
    assert!(seen.len() > 500, "{} states", seen.len());
    assert!(starts_again > 50 && starts_within_the_window > 50, "{starts_again} and {starts_within_the_window}");
}
