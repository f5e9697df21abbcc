//! agent-effects on SQLite: `PATH CALLERS MILLIS`; prints the effects that were settled in that time.

use std::time::{Duration, Instant};

use agent_effects::{EffectKind, EffectOutcome, Runtime};
use agent_effects_sqlite::SqliteStore;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    id: u64,
    status: String,
}

async fn effect(runtime: &Runtime<SqliteStore>, key: u64) {
    let outcome = runtime
        .effect("bench.effect", key)
        .kind(EffectKind::IrreversibleWrite)
        .input(&500_u64)
        .run(move |_| async move { Ok(Receipt { id: key, status: "captured".to_owned() }) })
        .await;
    assert!(matches!(outcome, Ok(EffectOutcome::Committed(_))), "{outcome:?}");
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, callers, millis] = arguments.as_slice() else { panic!("PATH CALLERS MILLIS") };
    let callers: u64 = callers.parse().expect("a number");
    let time = Duration::from_millis(millis.parse().expect("a number"));
    let runtime = Runtime::new(SqliteStore::open(path).await.expect("a store"));
    effect(&runtime, 0).await;
    let begun = Instant::now();
    let tasks: Vec<_> = (1..=callers)
        .map(|caller| {
            let runtime = runtime.clone();
            tokio::spawn(async move {
                let mut effects = 0_u64;
                while begun.elapsed() < time {
                    effects += 1;
                    effect(&runtime, (caller << 32) | effects).await;
                }
                effects
            })
        })
        .collect();
    let mut effects = 0;
    for task in tasks {
        effects += task.await.expect("no panic");
    }
    println!("{}", effects as f64 / begun.elapsed().as_secs_f64());
}
