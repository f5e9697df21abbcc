//! Budgets in the hands of code, and the loop check, beside exec-kernel where this machine's Python has it.
//!
//! ```sh
//! pip install exec-kernel
//! cargo bench -p portcullis-benches --bench tasks
//! ```

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use divan::Bencher;
use divan::counter::ItemsCount;
use portcullis::budget::{Budget, Limits, Tracker};
use portcullis::tasks::lifecycle::TaskState;
use portcullis::tasks::loops::{Detector, Proposal};

fn main() {
    beside_the_peer();
    divan::main();
}

const STEPS: u64 = 1_000;
/// Every limit is looked at, and none is reached.
const LIMITS: Limits = Limits::TASK.steps(u64::MAX / 2).duration(std::time::Duration::from_secs(1_000_000));

/// The peer's two calls for what is one here: count, and look at the limits.
const PEER: &str = "
import time
from kernel.budget import BudgetTracker
tracker = BudgetTracker()
tracker.start_task('task-1', {'max_steps': 10**12, 'max_depth': 10, 'max_duration_seconds': 10**6})
n = 300_000
best = float('inf')
for _ in range(5):
    began = time.perf_counter()
    for _ in range(n):
        tracker.record_step('task-1')
        tracker.check('task-1')
    best = min(best, (time.perf_counter() - began) / n)
print(best * 1e9)
";

fn best_of_five(mut step: impl FnMut()) -> f64 {
    const N: u32 = 3_000_000;
    let round = |_| {
        let began = Instant::now();
        (0..N).for_each(|_| step());
        began.elapsed().as_nanos() as f64 / f64::from(N)
    };
    (0..5).map(round).fold(f64::INFINITY, f64::min)
}

/// Both in one run, by the same measure: the best of five rounds, in nanoseconds a step.
fn beside_the_peer() {
    let budgets = Tracker::new();
    let budget = budgets.start("task-1", LIMITS).expect("it is new");
    let by_id = best_of_five(|| budgets.step(black_box("task-1")).expect("the limit is far"));
    let held = best_of_five(|| budget.step().expect("the limit is far"));
    println!("a step: by id {by_id:.1} ns, on a handle {held:.1} ns");
    let peer = Command::new("python3").args(["-c", PEER]).output().ok().filter(|output| output.status.success());
    let peer = peer.and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse::<f64>().ok());
    match peer {
        Some(peer) => println!(
            "exec-kernel's record_step and check: {peer:.1} ns, {:.0} × and {:.0} × as much",
            peer / by_id,
            peer / held
        ),
        None => println!("exec-kernel is not here: `pip install exec-kernel`"),
    }
}

#[divan::bench]
fn step_by_id(bencher: Bencher<'_, '_>) {
    let budgets = Tracker::new();
    budgets.start("task-1", LIMITS).expect("it is new");
    bencher
        .counter(ItemsCount::new(STEPS))
        .bench_local(|| (0..STEPS).try_for_each(|_| budgets.step(black_box("task-1"))));
}

#[divan::bench]
fn step_on_a_handle(bencher: Bencher<'_, '_>) {
    let budget = Budget::new("task-1", LIMITS).expect("a name");
    bencher.counter(ItemsCount::new(STEPS)).bench_local(|| (0..STEPS).try_for_each(|_| budget.step()));
}

#[divan::bench]
fn step_on_a_part_and_its_like(bencher: Bencher<'_, '_>) {
    let budgets = [Budget::new("task-1", LIMITS).expect("a name"), Budget::new("tenant", LIMITS).expect("a name")];
    bencher.counter(ItemsCount::new(STEPS)).bench_local(|| (0..STEPS).try_for_each(|_| Budget::step_all(&budgets)));
}

/// A chain of tasks, each the parent and creator of the next, down to `depth`.
fn chain(depth: u64) -> Detector {
    let tasks = Detector::new(depth + 1);
    for n in 0..=depth {
        let (id, before) = (format!("n{n}"), format!("n{}", n.saturating_sub(1)));
        let task = Proposal::new(&id, "agent", &id);
        let task = if n == 0 { task } else { task.parent(&before).creator(&before) };
        tasks.admit(&task).expect("it does not loop");
    }
    tasks
}

#[divan::bench(args = [10, 1_000, 100_000])]
fn check_of_a_new_task_at_depth(bencher: Bencher<'_, '_>, depth: u64) {
    let (tasks, last) = (chain(depth), format!("n{depth}"));
    let task = Proposal::new("new", "agent", "new").parent(&last).creator(&last);
    bencher.bench_local(|| tasks.check(black_box(&task)));
}

#[divan::bench(args = [10, 1_000, 100_000])]
fn check_that_finds_a_cycle_at_depth(bencher: Bencher<'_, '_>, depth: u64) {
    let (tasks, last) = (chain(depth), format!("n{depth}"));
    let task = Proposal::new("n0", "agent", "new").parent(&last).creator(&last);
    bencher.bench_local(|| tasks.check(black_box(&task)).expect_err("a cycle"));
}

#[divan::bench]
fn transition_by_the_table() -> bool {
    black_box(TaskState::InReview).transition(black_box(TaskState::Cancelled)).is_ok()
}
