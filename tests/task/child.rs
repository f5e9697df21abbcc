//! A process that works on durable tasks, and may be killed while it does: `task-child LEDGER EFFECTS SITUATION [ARGUMENT …]`.
//! LEDGER is the path of a file, or the URL of a PostgreSQL database.
//!
//! It says on standard output what it has come to, one line each, and waits on standard input where the test is to decide.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Duration;

use portcullis::{Kind, Portcullis, Refused, budgeted, task};

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the test listens");
}

fn listen() {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).expect("the test speaks");
}

/// The outside world: one line per effect.
fn effect(path: &Path, what: &str) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(format!("{what}\n").as_bytes())).expect("the effect is written");
}

/// One step, seen from outside before and after.
#[budgeted(max_steps = 1_000_000, per = "process")]
fn step(effects: &Path, id: &str) -> Result<(), Refused> {
    effect(effects, id);
    Ok(())
}

#[budgeted(max_steps = 1_000_000, per = "process", cost = "0.30 USD")]
fn buy(hold: bool) -> Result<(), Refused> {
    say("bought");
    if hold {
        listen();
    }
    portcullis::charge("0.10 USD".parse().expect("an amount"))
}

/// Takes so many steps, and then waits for the test.
#[task(id = "id", kind = "steps", max_steps = 50, durable = true)]
fn steps(id: &str, effects: &Path, count: u32) -> Result<u32, Refused> {
    for _ in 0..count {
        step(effects, id)?;
    }
    say("holding");
    listen();
    Ok(count)
}

/// The same without a word between.
#[task(id = "id", kind = "steps", max_steps = 50, durable = true)]
async fn steps_async(id: &str, effects: &Path, count: u32) -> Result<u32, Refused> {
    for _ in 0..count {
        step_async(effects, id).await?;
    }
    Ok(count)
}

#[budgeted(max_steps = 1_000_000, per = "process")]
async fn step_async(effects: &Path, id: &str) -> Result<(), Refused> {
    effect(effects, id);
    Ok(())
}

#[task(id = "id", kind = "shopping", max_cost = "1.00 USD", durable = true)]
fn shop(id: &str, times: u32, hold: bool) -> Result<u32, Refused> {
    for time in 0..times {
        buy(hold && time + 1 == times)?;
    }
    Ok(times)
}

#[task(id = "id", kind = "timed", max_duration = "2s", durable = true)]
fn timed(id: &str, effects: &Path, wait: bool) -> Result<u32, Refused> {
    step(effects, id)?;
    if wait {
        say("holding");
        listen();
    }
    Ok(0)
}

/// A tree: the child is opened inside of the parent.
#[task(id = "id", kind = "parent", durable = true)]
fn parent(id: &str, child: &str) -> Result<u32, Refused> {
    inner(child, true)
}

#[task(id = "id", kind = "child", durable = true)]
fn inner(id: &str, hold: bool) -> Result<u32, Refused> {
    if hold {
        say("holding");
        listen();
    }
    Ok(0)
}

/// Part of a crowd's work: ten steps, each of which the outside world sees.
#[task(id = "id", kind = "piece", max_steps = 10, durable = true)]
fn piece(id: &str, effects: &Path) -> Result<u32, Refused> {
    let mut taken = 0;
    loop {
        match step(effects, id) {
            Ok(()) => taken += 1,
            // Whoever has worked on it before has taken the rest.
            Err(refused) if refused.kind() == Kind::BudgetSteps => break,
            Err(refused) => return Err(refused),
        }
    }
    Ok(taken)
}

/// Works every piece off that is not done, until all are.
fn work_off(effects: &Path, pieces: u32, first: u32) {
    loop {
        let mut open = 0;
        for number in 0..pieces {
            let id = format!("piece-{}", (number + first) % pieces);
            match piece(&id, effects) {
                Ok(_) => say(&format!("done {id}")),
                Err(refused) => match refused.kind() {
                    Kind::LoopReprocess => {}
                    // Somebody else is at it; or has taken it over, because this process was not heard of for a while.
                    Kind::TaskRunning | Kind::Fenced | Kind::TaskEnded => open += 1,
                    _ => say(&format!("trouble {refused}")),
                },
            }
        }
        if open == 0 {
            return;
        }
        // Or was at it, and its death is not known yet.
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn told<T>(result: Result<T, Refused>) -> String {
    result.map_or_else(|refused| format!("{} {}", refused.code(), refused.reason()), |_| "done".into())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [ledger, effects, situation, rest @ ..] = arguments.as_slice() else {
        panic!("task-child LEDGER EFFECTS SITUATION [ARGUMENT …]")
    };
    let url = if ledger.starts_with("postgres:") { ledger.clone() } else { format!("sqlite:{ledger}") };
    Portcullis::builder().ledger(url).install().expect("the gate is configured");
    let effects = Path::new(effects);
    let number = |text: &str| text.parse::<u32>().expect("a number");
    match (situation.as_str(), rest) {
        ("steps", [id, count]) => say(&told(steps(id, effects, number(count)))),
        ("steps-async", [id, count]) => {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            say(&told(runtime.block_on(steps_async(id, effects, number(count)))));
        }
        ("shop", [id, times]) => say(&told(shop(id, number(times), false))),
        ("shop-and-hold", [id, times]) => say(&told(shop(id, number(times), true))),
        ("timed", [id]) => say(&told(timed(id, effects, false))),
        ("timed-and-hold", [id]) => say(&told(timed(id, effects, true))),
        ("parent", [id, child]) => say(&told(parent(id, child))),
        ("child", [id]) => say(&told(inner(id, false))),
        ("work-off", [pieces, first]) => {
            say("ready");
            listen();
            work_off(effects, number(pieces), number(first));
            say("finished");
        }
        _ => panic!("unknown situation {situation}"),
    }
}
