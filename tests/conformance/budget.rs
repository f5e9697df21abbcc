use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use portcullis::Refused;
use portcullis::budget::{Clock, Limits, Stamp, Tracker};
use portcullis::tasks::settings::Settings;
use serde_json::{Value, json};

use super::{has, run, text};

/// A clock that the vectors move. The wall clock is set on its own.
#[derive(Debug, Default)]
struct Moved(Mutex<(Duration, f64)>);

impl Clock for Moved {
    fn monotonic(&self) -> Duration {
        self.0.lock().expect("a clock").0
    }
    fn stamp(&self) -> Stamp {
        let (passed, jumped) = *self.0.lock().expect("a clock");
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000) + passed;
        let jump = Duration::from_secs_f64(jumped.abs());
        let wall = if jumped < 0.0 { wall - jump } else { wall + jump };
        Stamp { boot: "the same".into(), since_boot: passed, wall }
    }
}

/// What is given as settings, by the same way as a file's: JSON is YAML, but for numbers that JSON can't write.
fn limits(config: &Value) -> Result<Limits, &'static str> {
    let mut section = json!({ "budget": config }).to_string();
    for float in ["nan", "inf", "-inf"] {
        section = section.replace(&json!({ "$float": float }).to_string(), &format!(".{float}"));
    }
    Settings::from_yaml(&section).map(|settings| settings.budget.limits()).map_err(|_| "invalid_config")
}

fn outcome(done: Result<(), Refused>) -> Value {
    match done {
        Ok(()) => json!({"result": "ok"}),
        Err(refused) => match refused.code().strip_prefix("budget_") {
            Some(by) => json!({"result": "exceeded", "by": by, "message": refused.reason()}),
            None => json!({"result": "error", "error": refused.code()}),
        },
    }
}

fn steps(budgets: &Tracker, task: &str, times: u64) -> Value {
    let refused: Vec<Refused> = (0..times).filter_map(|_| budgets.step(task).err()).collect();
    let mut result = json!({"accepted": times - refused.len() as u64, "refused": refused.len()});
    if let Some(first) = refused.first() {
        let by = first.code();
        result["refused_by"] = by.strip_prefix("budget_").unwrap_or(by).into();
        if by.starts_with("budget_") {
            result["message"] = first.reason().into();
        }
    }
    result
}

fn standing(budgets: &Tracker, task: &str) -> Value {
    let Some(standing) = budgets.standing(task) else { return json!({"result": "none"}) };
    let seconds = standing.limits.max_duration().expect("a limit").as_secs_f64();
    json!({
        "result": "state",
        "steps_taken": standing.steps_taken,
        "depth_reached": standing.depth_reached,
        "max_steps": standing.limits.max_steps(),
        "max_depth": standing.limits.max_depth(),
        "max_duration_seconds": if seconds.fract() == 0.0 { json!(seconds as u64) } else { json!(seconds) },
    })
}

fn apply(budgets: &mut Tracker, clock: &Arc<Moved>, op: &Value) -> Value {
    let task = op.get("task").map_or("", |task| task.as_str().expect("text"));
    // There is no negative depth in our types.
    let depth = || op["depth"].as_u64();
    let no_depth = json!({"result": "error", "error": "invalid_argument"});
    match text(op, "op") {
        "start" => match limits(&op["config"]) {
            Ok(limits) => outcome(budgets.start(task, limits).map(drop)),
            Err(error) => json!({"result": "error", "error": error}),
        },
        "step" => steps(budgets, task, op.get("times").map_or(1, |times| times.as_u64().expect("a number"))),
        "check" => outcome(budgets.check(task)),
        "check_depth" => depth().map_or(no_depth, |depth| outcome(budgets.check_depth(task, depth))),
        "record_depth" => depth().map_or(no_depth, |depth| outcome(budgets.record_depth(task, depth))),
        "get" => standing(budgets, task),
        "end" => {
            budgets.end(task);
            json!({"result": "ok"})
        }
        "advance" => {
            clock.0.lock().expect("a clock").0 += Duration::from_secs_f64(op["seconds"].as_f64().expect("seconds"));
            json!({"result": "ok"})
        }
        "wall_jump" => {
            clock.0.lock().expect("a clock").1 += op["seconds"].as_f64().expect("seconds");
            json!({"result": "ok"})
        }
        "restart" => {
            let stored = serde_json::to_string(&budgets.snapshot()).expect("it can be stored");
            let stored = serde_json::from_str(&stored).expect("it can be read");
            *budgets = Tracker::restore_with_clock(&stored, Arc::clone(clock) as Arc<dyn Clock>).expect("restored");
            json!({"result": "ok"})
        }
        other => panic!("{other}"),
    }
}

#[test]
fn every_vector_of_the_budget_passes() {
    run("budget.json", 50, |given, expected| {
        let clock = Arc::new(Moved::default());
        let mut budgets = Tracker::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let ops = given["ops"].as_array().expect("ops");
        let wanted = expected["results"].as_array().expect("results");
        assert_eq!(ops.len(), wanted.len());
        for (number, (op, wanted)) in ops.iter().zip(wanted).enumerate() {
            let got = apply(&mut budgets, &clock, op);
            has(&got, wanted).map_err(|why| format!("op {number}: {why}"))?;
            has(wanted, &got).map_err(|why| format!("op {number}, too much: {why}"))?;
        }
        Ok(())
    });
}
