//! 64 callers at once.

use portcullis::Portcullis;
use tokio::runtime::Runtime;

use crate::{bare, guarded, race, room};

const CALLERS: u32 = 64;

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime")
}

pub fn run() {
    let room = room();
    let runtime = runtime();
    let group = bare::Group::open(&room.path().join("bare.sqlite"));
    let gate = guarded::gate(&room.path().join("ledger.sqlite"));
    let threads = guarded::gate(&room.path().join("threads.sqlite"));
    race::run(
        "64 callers, effects a second",
        room.path(),
        3_200,
        vec![
            ("bare rusqlite, group commit, 64 tasks", Box::new(|calls| bare_tasks(&runtime, &group, calls))),
            ("64 tasks, through the attribute", Box::new(|calls| guarded_tasks(&runtime, &gate, calls))),
            ("64 threads, through the attribute", Box::new(|calls| guarded_threads(&threads, calls))),
        ],
    );
}

/// Bare callers that share transactions.
pub trait Group: Clone + Send + Sync + 'static {
    fn effect(&self) -> impl Future<Output = ()> + Send;
}

pub fn bare_tasks(runtime: &Runtime, group: &impl Group, calls: u32) {
    all(
        runtime,
        |each| {
            let group = group.clone();
            async move {
                for _ in 0..each {
                    group.effect().await;
                }
            }
        },
        calls,
    );
}

pub fn guarded_tasks(runtime: &Runtime, gate: &Portcullis, calls: u32) {
    all(
        runtime,
        |each| {
            let gate = gate.clone();
            async move { guarded::many_async(&gate, each).await }
        },
        calls,
    );
}

fn all<F: Future<Output = ()> + Send + 'static>(runtime: &Runtime, task: impl Fn(u32) -> F, calls: u32) {
    let tasks: Vec<_> = (0..CALLERS).map(|i| runtime.spawn(task(share(calls, i)))).collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("no panic");
        }
    });
}

pub fn guarded_threads(gate: &Portcullis, calls: u32) {
    std::thread::scope(|scope| {
        for i in 0..CALLERS {
            scope.spawn(move || guarded::many(gate, share(calls, i)));
        }
    });
}

/// The calls of caller `i`.
fn share(calls: u32, i: u32) -> u32 {
    calls / CALLERS + u32::from(i < calls % CALLERS)
}
