//! What the attributes add to the time of a build, beside `#[tracing::instrument]` and `#[async_trait]`.
//!
//! For every attribute there is a crate of a hundred functions. All of them have the same dependencies, which are built
//! beforehand; what is measured is `cargo check` and `cargo build` of the one crate, from its source and without incremental
//! compilation, in rounds in which every crate has its turn. Of the medians, that of the same functions without an attribute is
//! subtracted. Then the macro crate and its dependencies are built from nothing, beside `tracing-attributes` and its own.
//!
//! `1.00` means as long as `#[instrument]`; the limits are 1.00 for a boundary, 3.00 for all three attributes on one async
//! function, and 1.30 for the macro crate.
//!
//! ```sh
//! cargo bench -p portcullis-benches --bench compile_time
//! cargo bench -p portcullis-benches --bench compile_time -- boundary stack --rounds 15    # some of it
//! ```

mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sources::{SETS, Set};

const FUNCTIONS: usize = 100;
/// The crates that are built from nothing, and what they depend on.
const COLD: [&str; 2] = ["tracing-attributes", "portcullis-macros"];
const ROUNDS: usize = 9;
const COLD_ROUNDS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let mut wanted = arguments.iter().map(String::as_str);
    let (mut names, mut rounds) = (Vec::new(), None);
    while let Some(argument) = wanted.next() {
        match argument {
            "--rounds" => rounds = wanted.next().and_then(|number| number.parse().ok()).filter(|&number| number > 0),
            name => names.push(name),
        }
    }
    let chosen: Vec<&Set> = SETS.iter().filter(|set| names.is_empty() || set.is_needed_for(&names)).collect();
    let workshop = Workshop::open(&chosen);
    for profile in ["check", "build"] {
        warm(&workshop, &chosen, profile, rounds.unwrap_or(ROUNDS));
    }
    if names.is_empty() || names.contains(&"macros") {
        cold(&workshop, rounds.unwrap_or(COLD_ROUNDS));
    }
}

impl Set {
    /// The bare functions and the instrumented ones are what the others are measured by.
    fn is_needed_for(&self, names: &[&str]) -> bool {
        let alike = names.iter().any(|name| SETS.iter().any(|set| set.name == *name && set.sync == self.sync));
        names.contains(&self.name) || (alike && (self.name.ends_with("bare") || self.name.ends_with("instrument")))
    }
}

/// Where the throw-away crates lie: a workspace of their own, with one target directory.
struct Workshop(PathBuf);

impl Workshop {
    fn open(sets: &[&Set]) -> Workshop {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile-time");
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository");
        let path = |name: &str| format!("{{ path = {:?}", repository.join(name));
        let dependencies = [
            ("portcullis", format!("{}, default-features = false, features = [\"sqlite\"] }}", path("runtime"))),
            ("async-trait", "\"0.1\"".into()),
            ("serde", "{ version = \"1.0\", features = [\"derive\"] }".into()),
            ("tracing", "\"0.1\"".into()),
        ];
        let dependencies = dependencies.map(|(name, value)| format!("{name} = {value}\n")).concat();
        for set in sets {
            package(&root, set.name, &dependencies, &set.source(FUNCTIONS));
        }
        package(&root, "cold-tracing-attributes", "tracing-attributes = \"0.1\"\n", "");
        package(&root, "cold-portcullis-macros", &format!("portcullis-macros = {} }}\n", path("macros")), "");
        write(&root.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\nexclude = [\"target\"]\n");
        // The same versions as everywhere else in here.
        fs::copy(repository.join("Cargo.lock"), root.join("Cargo.lock")).expect("Cargo.lock");
        Workshop(root)
    }

    /// Runs cargo, and says how long it took.
    fn cargo(&self, command: &str, package: &str, target: &Path) -> Duration {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([command, "--quiet", "--package", package, "--target-dir"]).arg(target).current_dir(&self.0);
        cargo.env("CARGO_INCREMENTAL", "0");
        let began = Instant::now();
        let status = cargo.status().expect("cargo");
        let took = began.elapsed();
        assert!(status.success(), "cargo {command} --package {package}: {status}");
        took
    }
}

fn package(root: &Path, name: &str, dependencies: &str, source: &str) {
    let root = root.join(name);
    fs::create_dir_all(root.join("src")).expect("a directory");
    let manifest = format!("[package]\nname = {name:?}\nedition = \"2024\"\n\n[dependencies]\n{dependencies}");
    write(&root.join("Cargo.toml"), &manifest);
    write(&root.join("src/lib.rs"), source);
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn warm(workshop: &Workshop, sets: &[&Set], command: &str, rounds: usize) {
    let target = workshop.0.join("target");
    let mut times = vec![Vec::new(); sets.len()];
    for round in 0..=rounds {
        for (set, times) in sets.iter().zip(&mut times) {
            // Cargo sees that it is new, and nothing in it is.
            write(&workshop.0.join(set.name).join("src/lib.rs"), &set.source(FUNCTIONS));
            let took = workshop.cargo(command, set.name, &target);
            // The first round builds the dependencies.
            if round > 0 {
                times.push(took);
            }
        }
    }
    let medians: Vec<Duration> = times.into_iter().map(median).collect();
    let find = |name: &str| sets.iter().position(|set| set.name == name).map(|index| medians[index]);
    println!("cargo {command}, {FUNCTIONS} functions, median of {rounds} rounds");
    println!("{:<18}{:>10}{:>22}{:>16}", "", "crate", "added per function", "÷ instrument");
    for (set, &median) in sets.iter().zip(&medians) {
        let prefix = if set.sync { "sync-" } else { "" };
        let added = |median: Duration| {
            find(&format!("{prefix}bare"))
                .map(|bare| (median.as_secs_f64() - bare.as_secs_f64()) * 1e3 / FUNCTIONS as f64)
        };
        let (Some(own), Some(peer)) = (added(median), find(&format!("{prefix}instrument")).and_then(added)) else {
            continue;
        };
        let crate_ms = median.as_secs_f64() * 1e3;
        println!("{:<18}{crate_ms:>7.0} ms{own:>19.2} ms{:>16.2}", set.name, own / peer);
    }
    println!();
}

fn cold(workshop: &Workshop, rounds: usize) {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (name, times) in COLD.iter().zip(&mut times) {
            let target = workshop.0.join("target/cold");
            if target.exists() {
                fs::remove_dir_all(&target).expect("an old target directory");
            }
            times.push(workshop.cargo("build", &format!("cold-{name}"), &target));
        }
    }
    let [peer, own] = times.map(median);
    println!("cargo build, with all dependencies, from nothing, median of {rounds} rounds");
    for (name, took) in COLD.iter().zip([peer, own]) {
        println!("{name:<30}{:>8.2} s{:>16.2}", took.as_secs_f64(), took.as_secs_f64() / peer.as_secs_f64());
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
