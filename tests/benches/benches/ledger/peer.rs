//! agent-effects 0.2 on SQLite: a program of its own, because it brings another SQLite.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use portcullis::Portcullis;
use tokio::runtime::Runtime;

use crate::race::{median, spread, tell};
use crate::{disk, guarded, many, room};

const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_millis(1_500);

pub fn run() {
    println!("\nbeside agent-effects, effects a second");
    let Some(program) = build() else {
        println!("  it can't be built here");
        return;
    };
    let runtime = many::runtime();
    for callers in [1_u32, 32] {
        let (mut ours, mut theirs, mut ratios, mut flushes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let room = room();
            let before = disk::probe(room.path());
            let gate = guarded::gate(&room.path().join("ledger.sqlite"));
            let our = tasks(&runtime, &gate, callers);
            let their = peer(&program, &room.path().join("peer.sqlite"), callers);
            flushes.push(before.min(disk::probe(room.path())));
            ratios.push(our / their);
            ours.push(our);
            theirs.push(their);
        }
        println!(
            "  {callers:2} async callers: {:>9.0}, agent-effects {:>6.0}: {:.1} × ({})",
            median(&ours),
            median(&theirs),
            median(&ratios),
            spread(&ratios)
        );
        tell(&flushes);
    }
}

/// The program, built beside this one.
fn build() -> Option<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("agent-effects/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agent-effects");
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .status();
    built.is_ok_and(|status| status.success()).then(|| target.join("release/agent-effects-bench"))
}

fn tasks(runtime: &Runtime, gate: &Portcullis, callers: u32) -> f64 {
    guarded::many(gate, 1);
    let begun = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let gate = gate.clone();
            runtime.spawn(async move {
                let mut effects = 0_u32;
                while begun.elapsed() < TIME {
                    guarded::many_async(&gate, 1).await;
                    effects += 1;
                }
                effects
            })
        })
        .collect();
    let effects: u32 = runtime.block_on(async {
        let mut effects = 0;
        for task in tasks {
            effects += task.await.expect("no panic");
        }
        effects
    });
    f64::from(effects) / begun.elapsed().as_secs_f64()
}

fn peer(program: &Path, ledger: &Path, callers: u32) -> f64 {
    let output = Command::new(program)
        .arg(ledger)
        .args([callers.to_string(), TIME.as_millis().to_string()])
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    told.trim().parse().unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}
