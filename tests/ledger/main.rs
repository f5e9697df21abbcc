//! The ledger under processes that share it, die, fork and run out of disk. Effects are counted outside, in a file.

mod processes;
mod threads;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use portcullis::Portcullis;
use portcullis::ledger::{Ledger, Record};
use tempfile::TempDir;

struct Room {
    dir: TempDir,
}

impl Room {
    fn new() -> Self {
        // In memory where there is such a place: what is tested is who may run, and a disk that stalls for seconds while
        // others build on it would have claims refused, as it should.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Room { dir: dir.unwrap() }
    }

    fn ledger_path(&self) -> PathBuf {
        self.dir.path().join("ledger.sqlite")
    }

    fn effects_path(&self) -> PathBuf {
        self.dir.path().join("effects")
    }

    fn gate(&self) -> Portcullis {
        Portcullis::builder()
            .ledger(format!("sqlite:{}", self.ledger_path().display()))
            .namespace("tests")
            .build()
            .unwrap()
    }

    fn ledger(&self) -> Ledger {
        Ledger::open(&format!("sqlite:{}", self.ledger_path().display())).unwrap()
    }

    fn record(&self, key: &str) -> Record {
        self.ledger().show("tests", "effect", key).unwrap().unwrap()
    }

    /// How often each effect has happened.
    fn effects(&self) -> HashMap<String, usize> {
        let text = std::fs::read_to_string(self.effects_path()).unwrap_or_default();
        text.lines().fold(HashMap::new(), |mut counts, key| {
            *counts.entry(key.to_owned()).or_default() += 1;
            counts
        })
    }

    fn start(&self, situation: &[&str]) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ledger-child"))
            .arg(self.ledger_path())
            .arg(self.effects_path())
            .args(situation)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Process { child, input, output }
    }
}

/// A child, killed when the test is over.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// The next line that it says.
    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    #[track_caller]
    fn expect(&mut self, line: &str) {
        assert_eq!(self.hear(), line);
    }

    fn go(&mut self) {
        self.input.write_all(b"go\n").unwrap();
    }

    /// As `kill -9`; returns when it is dead.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
