//! A process whose disk fails.

use super::*;

/// Runs the keys that it is told to, one line each: `run KEY`, `hold KEY` (says when it has started, and is told when to
/// go on), `break MODE KEY` (the disk breaks in that mode in the body), `fill KEY` (the body leaves no room on the disk).
pub(super) fn serve(gate: &Portcullis) {
    say("ready");
    loop {
        let line = listen();
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["run", key] => say(&told(run(gate, key))),
            ["break", mode, key] => say(&told(run_and_break(gate, mode, key))),
            ["hold", key] => say(&told(run_slowly(gate, key))),
            ["fill", key] => say(&told(run_and_fill(gate, key))),
            _ => return,
        }
    }
}

/// Beside the ledger: `name`.
fn beside(name: &str) -> PathBuf {
    Path::new(&std::env::args().nth(1).expect("the ledger is named")).with_file_name(name)
}

#[once(action = "effect", key = "key", skip(gate, mode), with = gate)]
fn run_and_break(gate: &Portcullis, mode: &str, key: &str) -> Result<String, Refused> {
    effect(key);
    std::fs::write(beside("shim"), mode).expect("the shim is told");
    Ok(format!("receipt of {key}"))
}

#[once(action = "effect", key = "key", skip(gate), with = gate, claim = claim)]
fn run_and_fill(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    effect(key);
    // What the ledger has set aside for its log is used up, too.
    let mut failed = 0;
    for _ in 0..10_000 {
        fill(&beside("filling"));
        failed += u32::from(claim.note("there is still room").wait().is_err());
        if failed == 3 {
            return Ok(format!("receipt of {key}"));
        }
    }
    panic!("the disk has no end");
}

/// Takes all the room that there is.
fn fill(path: &Path) {
    let mut file = std::fs::File::options().create(true).append(true).open(path).expect("the filling");
    for size in [65536, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}
