//! Turns, rounds, medians.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::disk;

const ROUNDS: usize = 5;
/// In each round everybody has so many turns, so that what else the machine does falls on everybody alike.
const TURNS: u32 = 5;

/// A contestant: does so many.
pub type Turn<'a> = (&'static str, Box<dyn FnMut(u32) + 'a>);

/// Everybody in turn; the first one is what the others are compared with.
pub fn run(title: &str, directory: &Path, calls: u32, mut contestants: Vec<Turn<'_>>) {
    println!("\n{title}");
    for (_, turn) in &mut contestants {
        turn(calls);
    }
    let mut rates = vec![Vec::new(); contestants.len()];
    let mut ratios = vec![Vec::new(); contestants.len()];
    let mut flushes = Vec::new();
    while flushes.len() < ROUNDS {
        let before = disk::probe(directory);
        let mut times = vec![Duration::ZERO; contestants.len()];
        for _ in 0..TURNS {
            for ((_, turn), time) in contestants.iter_mut().zip(&mut times) {
                let begun = Instant::now();
                turn(calls);
                *time += begun.elapsed();
            }
        }
        flushes.push(before.min(disk::probe(directory)));
        for (i, time) in times.iter().enumerate() {
            rates[i].push(f64::from(calls * TURNS) / time.as_secs_f64());
            ratios[i].push(times[0].as_secs_f64() / time.as_secs_f64());
        }
    }
    for (i, (name, _)) in contestants.iter().enumerate() {
        println!("  {name:64} {:>9.0}  {:.2} ({})", median(&rates[i]), median(&ratios[i]), spread(&ratios[i]));
    }
    tell(&flushes);
}

/// What the disk gave in each round.
pub fn tell(flushes: &[f64]) {
    let shown: Vec<String> = flushes
        .iter()
        .map(|rate| format!("{rate:.0}{}", if *rate < disk::ENOUGH { " (too few: void)" } else { "" }))
        .collect();
    println!("  flushes a second of the disk, round by round: {}", shown.join(", "));
}

pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// From the least to the most.
pub fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{least:.2}–{most:.2}")
}
