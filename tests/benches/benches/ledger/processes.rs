//! Processes that share one file.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::race::{median, spread, tell};
use crate::{disk, guarded, room};

pub const CHILD: &str = "--a-process-of-the-benchmark";
const ROUNDS: u64 = 5;
const TIME: Duration = Duration::from_millis(1_500);

/// One caller, for so long.
pub fn child(ledger: &str, millis: &str) {
    let gate = guarded::gate(Path::new(ledger));
    let time = Duration::from_millis(millis.parse().expect("a number"));
    let mut key = u64::from(std::process::id()) << 32;
    guarded::effect(&gate, key, 500).expect("it runs");
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new()).expect("a line");
    let (mut effects, mut errors, mut longest) = (0_u64, 0_u64, Duration::ZERO);
    let begun = Instant::now();
    while begun.elapsed() < time {
        key += 1;
        let asked = Instant::now();
        match guarded::effect(&gate, key, 500) {
            Ok(_) => effects += 1,
            Err(refused) => {
                eprintln!("{refused}");
                errors += 1;
            }
        }
        longest = longest.max(asked.elapsed());
    }
    println!("{effects} {errors} {}", longest.as_micros());
}

pub fn run() {
    println!("\nprocesses with one caller each on one file");
    let mut rates = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    let mut flushes = Vec::new();
    let (mut errors, mut longest) = ([0, 0], [Duration::ZERO; 2]);
    for _ in 0..ROUNDS {
        let room = room();
        let before = disk::probe(room.path());
        for (i, processes) in [1, 4].into_iter().enumerate() {
            let told = together(&room.path().join(format!("{processes}.sqlite")), processes);
            rates[i].push(told.0 as f64 / TIME.as_secs_f64());
            errors[i] += told.1;
            longest[i] = longest[i].max(told.2);
        }
        flushes.push(before.min(disk::probe(room.path())));
        ratios.push(rates[1][rates[1].len() - 1] / rates[0][rates[0].len() - 1]);
    }
    for (i, processes) in ["one", "four"].into_iter().enumerate() {
        println!(
            "  {processes:5} {:>9.0} effects a second  {} errors  longest call {:.1} ms",
            median(&rates[i]),
            errors[i],
            longest[i].as_secs_f64() * 1e3
        );
    }
    println!("  four / one: {:.2} ({})", median(&ratios), spread(&ratios));
    tell(&flushes);
}

/// Effects, errors, and the longest call.
fn together(ledger: &Path, processes: usize) -> (u64, u64, Duration) {
    let mut children: Vec<Child> = (0..processes)
        .map(|_| {
            Command::new(std::env::current_exe().expect("this program"))
                .arg(CHILD)
                .arg(ledger)
                .arg(TIME.as_millis().to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a process")
        })
        .collect();
    let mut outputs: Vec<_> =
        children.iter_mut().map(|child| BufReader::new(child.stdout.take().expect("piped"))).collect();
    let mut hear = |i: usize| {
        let mut line = String::new();
        outputs[i].read_line(&mut line).expect("a line");
        line
    };
    for i in 0..processes {
        hear(i);
    }
    for child in &mut children {
        child.stdin.take().expect("piped").write_all(b"go\n").expect("it listens");
    }
    let mut sum = (0, 0, Duration::ZERO);
    for i in 0..processes {
        let line = hear(i);
        let told: Vec<u64> = line.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        sum = (sum.0 + told[0], sum.1 + told[1], sum.2.max(Duration::from_micros(told[2])));
    }
    for mut child in children {
        child.wait().expect("it ends");
    }
    sum
}
