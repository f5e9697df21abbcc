//! One step through the attribute: account lookup, count, deadline and depth.
//!
//! ```sh
//! cargo bench -p portcullis-benches --bench budget
//! ```

use std::hint::black_box;
use std::time::Instant;

use divan::Bencher;
use portcullis::{Portcullis, Refused, budgeted, scope_sync};

fn main() {
    Portcullis::builder().install().expect("nothing has to be configured for a budget");
    divan::main();
}

fn bare(n: u64) -> Result<u64, Refused> {
    Ok(black_box(n) + 1)
}

#[budgeted(max_steps = 18_446_744_073_709_551_615, max_depth = 10, max_duration = "30days")]
fn step(n: u64) -> Result<u64, Refused> {
    Ok(black_box(n) + 1)
}

#[budgeted(max_steps = 18_446_744_073_709_551_615, max_depth = 10)]
fn step_without_a_deadline(n: u64) -> Result<u64, Refused> {
    Ok(black_box(n) + 1)
}

#[budgeted(max_steps = 18_446_744_073_709_551_615)]
fn calls(n: u64) -> Result<u64, Refused> {
    (0..n).try_fold(0, |sum, n| Ok(sum + step(n)?))
}

#[divan::bench]
fn the_function_without_a_budget() -> Result<u64, Refused> {
    bare(1)
}

#[divan::bench]
fn the_clock_alone() -> Instant {
    Instant::now()
}

#[divan::bench]
fn a_step_on_the_process_account() -> Result<u64, Refused> {
    step(1)
}

#[divan::bench]
fn a_step_without_a_deadline() -> Result<u64, Refused> {
    step_without_a_deadline(1)
}

#[divan::bench]
fn a_step_in_a_scope(bencher: Bencher<'_, '_>) {
    scope_sync("job", || bencher.bench_local(|| step(1)));
}

#[divan::bench(args = [100])]
fn steps_that_two_accounts_count(bencher: Bencher<'_, '_>, n: u64) {
    scope_sync("job", || bencher.bench_local(|| calls(n)));
}
