use std::sync::Mutex;
use std::time::SystemTime;

use super::*;

/// A machine whose clocks the tests move.
#[derive(Debug)]
struct Machine(Mutex<Stamp>);

impl Machine {
    fn new() -> Arc<Self> {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        Arc::new(Machine(Mutex::new(Stamp { boot: "first".into(), since_boot: Duration::from_secs(500), wall })))
    }
    fn set(&self, change: impl FnOnce(&mut Stamp)) {
        change(&mut self.0.lock().unwrap());
    }
}

impl Clock for Machine {
    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap().since_boot
    }
    fn stamp(&self) -> Stamp {
        self.0.lock().unwrap().clone()
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn restored(budgets: &Tracker, machine: &Arc<Machine>) -> Tracker {
    let stored = serde_json::to_string(&budgets.snapshot()).unwrap();
    let clock = Arc::clone(machine) as Arc<dyn Clock>;
    Tracker::restore_with_clock(&serde_json::from_str(&stored).unwrap(), clock).unwrap()
}

#[test]
fn time_goes_on_over_a_restart_of_the_process_whatever_the_wall_clock_says() {
    let machine = Machine::new();
    let budgets = Tracker::with_clock(Arc::clone(&machine) as Arc<dyn Clock>);
    budgets.start("t", Limits::new().duration(seconds(60))).unwrap();
    machine.set(|now| now.since_boot += seconds(30));
    let stored = budgets.snapshot();
    machine.set(|now| {
        now.since_boot += seconds(20);
        now.wall -= seconds(3600);
    });
    let budgets = Tracker::restore_with_clock(&stored, Arc::clone(&machine) as Arc<dyn Clock>).unwrap();
    assert_eq!(budgets.standing("t").unwrap().elapsed, seconds(50));
    machine.set(|now| now.since_boot += seconds(11));
    assert_eq!(budgets.step("t").unwrap_err().kind(), Kind::BudgetDuration);
}

#[test]
fn a_restart_of_the_machine_counts_by_the_wall_clock_and_never_backwards() {
    for (wall, expected) in [(40, 70), (-1000, 30)] {
        let machine = Machine::new();
        let budgets = Tracker::with_clock(Arc::clone(&machine) as Arc<dyn Clock>);
        budgets.start("t", Limits::TASK).unwrap();
        machine.set(|now| now.since_boot += seconds(30));
        let stored = budgets.snapshot();
        machine.set(|now| {
            let wall_now = if wall < 0 { now.wall - seconds(1000) } else { now.wall + seconds(40) };
            *now = Stamp { boot: "second".into(), since_boot: seconds(5), wall: wall_now };
        });
        let budgets = Tracker::restore_with_clock(&stored, Arc::clone(&machine) as Arc<dyn Clock>).unwrap();
        assert_eq!(budgets.standing("t").unwrap().elapsed, seconds(expected));
    }
}

#[test]
fn a_restart_gives_nothing_back() {
    let machine = Machine::new();
    let budgets = Tracker::new();
    let cost = crate::Cost::from_micros(100, "USD");
    budgets.start("t", Limits::new().steps(5).depth(3).cost(cost)).unwrap();
    budgets.start_within("t", "part", Limits::new().steps(3).cost(crate::Cost::from_micros(60, "USD"))).unwrap();
    budgets.step("t").unwrap();
    budgets.record_depth("t", 2).unwrap();
    budgets.start("ended", Limits::TASK).unwrap();
    budgets.end("ended");

    let budgets = restored(&budgets, &machine);
    let left = budgets.budget("t").unwrap().left();
    assert_eq!((left.steps, left.depth, left.cost.map(crate::Cost::micros)), (Some(1), Some(1), Some(40)));
    assert_eq!(budgets.start("t", Limits::TASK).unwrap_err().kind(), Kind::AlreadyStarted);
    assert_eq!(budgets.step("ended").unwrap_err().kind(), Kind::TaskEnded);
    assert_eq!(budgets.start("ended", Limits::TASK).unwrap_err().kind(), Kind::TaskEnded);
}

#[test]
fn a_part_that_ends_gives_back_what_it_did_not_use() {
    let budgets = Tracker::new();
    budgets.start("whole", Limits::new().steps(10)).unwrap();
    let part = budgets.start_within("whole", "part", Limits::new().steps(8)).unwrap();
    assert_eq!(budgets.start_within("ghost", "x", Limits::new()).unwrap_err().kind(), Kind::UnknownTask);
    assert_eq!(budgets.start_within("whole", "x", Limits::new().steps(3)).unwrap_err().kind(), Kind::BudgetSteps);
    part.step().unwrap();
    budgets.end("part");
    assert_eq!(part.step().unwrap_err().kind(), Kind::TaskEnded);
    assert_eq!(budgets.budget("whole").unwrap().left().steps, Some(9));
}

#[test]
fn threads_together_take_no_more_steps_than_one() {
    let budgets = Tracker::new();
    budgets.start("t", Limits::new().steps(1_000)).unwrap();
    let taken = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..500).filter(|_| budgets.step("t").is_ok()).count())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!((taken, budgets.standing("t").unwrap().steps_taken), (1_000, 2_000));
}

#[test]
fn what_no_tracker_has_stored_is_refused() {
    let budgets = Tracker::new();
    budgets.start("t", Limits::TASK).unwrap();
    let stored = serde_json::to_value(budgets.snapshot()).unwrap();
    let with = |name: &str, value: serde_json::Value| {
        let mut stored = stored.clone();
        stored["tasks"][0][name] = value;
        stored
    };
    assert!(serde_json::from_value::<Snapshot>(with("max_steps", (-1).into())).is_err());
    assert!(serde_json::from_value::<Snapshot>(with("max_step", 1.into())).is_err());
    for (name, value) in [("id", "t "), ("max_cost", "free")] {
        let snapshot = serde_json::from_value(with(name, value.into())).unwrap();
        assert_eq!(Tracker::restore(&snapshot).unwrap_err().kind(), Kind::InvalidArgument, "{name}");
    }
    let mut twice = stored.clone();
    twice["tasks"] = serde_json::json!([stored["tasks"][0], stored["tasks"][0]]);
    assert!(Tracker::restore(&serde_json::from_value(twice).unwrap()).is_err());
}

#[test]
fn a_part_is_one_after_a_restart_too() {
    let budgets = Tracker::new();
    budgets.start("whole", Limits::new().steps(30)).unwrap();
    budgets.start_within("whole", "part", Limits::new().steps(10)).unwrap();
    budgets.start_within("part", "of the part", Limits::new().steps(4)).unwrap();
    budgets.start_within("whole", "over", Limits::new().steps(5)).unwrap();
    budgets.end("over");
    budgets.step("part").unwrap();
    budgets.step("of the part").unwrap();
    let stored = serde_json::to_value(budgets.snapshot()).unwrap();

    let restored = Tracker::restore(&serde_json::from_value(stored.clone()).unwrap()).unwrap();
    let left = |id: &str| restored.budget(id).unwrap().left().steps;
    assert_eq!((left("whole"), left("part"), left("of the part")), (Some(20), Some(5), Some(3)));
    restored.end("of the part");
    assert_eq!((left("whole"), left("part")), (Some(20), Some(8)));
    restored.end("part");
    assert_eq!(left("whole"), Some(28), "one step was taken in each of the two");

    let mut circle = stored;
    for task in circle["tasks"].as_array_mut().unwrap() {
        task["whole"] = "part".into();
    }
    let refused = Tracker::restore(&serde_json::from_value(circle).unwrap()).unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidArgument);
}
