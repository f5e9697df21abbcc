//! One step through the attribute: account lookup, count, deadline and depth.
//!
//! ```sh
//! cargo bench -p portcullis-benches --bench budget
//! ```

use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use portcullis::{Portcullis, Refused, budgeted, scope_sync};

fn main() {
    let dir = tempfile::tempdir().expect("a place for the ledger of durable tasks");
    let ledger = format!("sqlite:{}", dir.path().join("ledger.sqlite").display());
    Portcullis::builder().ledger(ledger).install().expect("nothing else has to be configured for a budget");
    divan::main();
}

const STEPS: u64 = 1_000;

fn bare(n: u64) -> Result<u64, Refused> {
    Ok(black_box(n) + 1)
}

#[budgeted(max_steps = 18_446_744_073_709_551_615, max_depth = 10, max_duration = "30days")]
fn step(n: u64) -> Result<u64, Refused> {
    Ok(black_box(n) + 1)
}

#[budgeted(max_steps = 18_446_744_073_709_551_615, max_depth = 10, max_duration = "900ms", per = "call")]
fn step_with_the_precise_clock(n: u64) -> Result<u64, Refused> {
    Ok(black_box(n) + 1)
}

#[budgeted(max_steps = 18_446_744_073_709_551_615, max_depth = 10)]
fn step_without_a_deadline(n: u64) -> Result<u64, Refused> {
    Ok(black_box(n) + 1)
}

#[budgeted(max_steps = 18_446_744_073_709_551_615, max_depth = 10, max_duration = "30days")]
async fn step_async(n: u64) -> Result<u64, Refused> {
    Ok(black_box(n) + 1)
}

/// Its account and that of `step` are both charged.
#[budgeted(max_steps = 18_446_744_073_709_551_615)]
fn two_accounts(calls: u64) -> Result<u64, Refused> {
    (0..calls).try_fold(0, |sum, n| Ok(sum + step(n)?))
}

/// `STEPS` calls in one iteration: divide by it, or read the throughput.
fn many(bencher: Bencher<'_, '_>, step: impl Fn(u64) -> Result<u64, Refused>) {
    bencher
        .counter(ItemsCount::new(STEPS))
        .bench_local(|| (0..STEPS).try_fold(0, |sum, n| Ok::<_, Refused>(sum + step(n)?)));
}

#[divan::bench]
fn the_function_without_a_budget(bencher: Bencher<'_, '_>) {
    many(bencher, bare);
}

#[divan::bench]
fn on_the_process_account(bencher: Bencher<'_, '_>) {
    many(bencher, step);
}

#[divan::bench]
fn in_a_scope(bencher: Bencher<'_, '_>) {
    scope_sync("job", || many(bencher, step));
}

#[portcullis::task(id = "id", max_steps = 18_446_744_073_709_551_615, max_depth = 10, max_duration = "30days")]
fn inside_of_a_task(id: &str, work: &mut dyn FnMut()) -> Result<(), Refused> {
    work();
    Ok(())
}

/// The task's own account and that of `step` are both charged.
#[divan::bench]
fn in_a_task(bencher: Bencher<'_, '_>) {
    let mut bencher = Some(bencher);
    let mut work = || many(bencher.take().expect("it works once"), step);
    inside_of_a_task("job", &mut work).expect("it is opened once");
}

#[portcullis::task(
    id = "id",
    durable = true,
    max_steps = 18_446_744_073_709_551_615,
    max_depth = 10,
    max_duration = "30days"
)]
fn inside_of_a_durable_task(id: &str, work: &mut dyn FnMut()) -> Result<(), Refused> {
    work();
    Ok(())
}

/// Each of them is on record before it begins.
#[divan::bench]
fn in_a_durable_task(bencher: Bencher<'_, '_>) {
    let mut bencher = Some(bencher);
    let mut work = || many(bencher.take().expect("it works once"), step);
    let id = format!("job-{:?}", std::time::SystemTime::now());
    inside_of_a_durable_task(&id, &mut work).expect("it is opened once");
}

#[divan::bench]
fn without_a_deadline(bencher: Bencher<'_, '_>) {
    many(bencher, step_without_a_deadline);
}

#[divan::bench]
fn with_a_new_account_and_the_precise_clock(bencher: Bencher<'_, '_>) {
    many(bencher, step_with_the_precise_clock);
}

#[divan::bench]
fn on_two_accounts(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(STEPS)).bench_local(|| two_accounts(STEPS));
}

#[divan::bench]
fn awaited(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    bencher.counter(ItemsCount::new(STEPS)).bench_local(|| {
        runtime.block_on(async {
            for n in 0..STEPS {
                black_box(step_async(n).await)?;
            }
            Ok::<_, Refused>(())
        })
    });
}
