use portcullis::Refused;
use portcullis::tasks::loops::{Detector, Proposal};
use serde_json::{Value, json};

use super::{has, run, same, text};

/// The vectors' own word for a refusal.
fn word(refused: &Refused) -> &str {
    match refused.code() {
        "already_started" => "duplicate",
        code => code.strip_prefix("loop_").unwrap_or(code),
    }
}

/// `None`: a depth that no proposal can state.
fn proposal(op: &Value) -> Option<Proposal<'_>> {
    let mut proposal = Proposal::new(text(op, "task_id"), text(op, "agent_id"), text(op, "task_type"));
    if let Some(parent) = op.get("parent_task_id").filter(|id| !id.is_null()) {
        proposal = proposal.parent(parent.as_str().expect("text"));
    }
    if let Some(creator) = op.get("created_by_task_id").filter(|id| !id.is_null()) {
        proposal = proposal.creator(creator.as_str().expect("text"));
    }
    match op.get("depth") {
        None => Some(proposal),
        Some(depth) => depth.as_u64().map(|depth| proposal.depth(depth)),
    }
}

fn apply(tasks: &Detector, op: &Value) -> Value {
    let done = |done: Result<(), Refused>| match done {
        Ok(()) => json!({"ok": true}),
        Err(refused) => json!({"ok": false, "error": word(&refused)}),
    };
    match text(op, "op") {
        "check" => match tasks.check(&proposal(op).expect("a check")) {
            Ok(depth) => json!({"allowed": true, "depth": depth}),
            Err(refused) => json!({"allowed": false, "loop_type": word(&refused)}),
        },
        "register" => match proposal(op) {
            Some(proposal) => done(tasks.register(&proposal)),
            None => json!({"ok": false, "error": "invalid"}),
        },
        "complete" => done(tasks.complete(text(op, "task_id"))),
        "complete_many" => {
            let ids = (0..op["count"].as_u64().expect("a count")).map(|n| format!("{}{n}", text(op, "prefix")));
            done(ids.into_iter().try_for_each(|id| tasks.complete(&id)))
        }
        other => panic!("{other}"),
    }
}

/// A limit that must be a whole number from 0: there is no other in our types.
fn limit(given: &Value, name: &str, default: u64) -> Result<u64, Value> {
    given.get(name).map_or(Some(default), Value::as_u64).ok_or_else(|| json!({"config_error": name}))
}

#[test]
fn every_vector_of_the_loop_check_passes() {
    run("loop.json", 60, |given, expected| {
        let limits = limit(given, "max_depth", Detector::MAX_DEPTH)
            .and_then(|depth| limit(given, "max_heap_size", 1000).map(|_| depth));
        let tasks = match limits {
            Ok(max_depth) => Detector::new(max_depth),
            Err(error) => return same("the detector", &error, expected),
        };
        let ops = given["ops"].as_array().expect("ops");
        let wanted = expected["results"].as_array().ok_or("it should not have come into being")?;
        same("the number of results", &wanted.len(), &ops.len())?;
        for (number, (op, wanted)) in ops.iter().zip(wanted).enumerate() {
            let mut wanted = wanted.clone();
            // For information, by the vectors' own rules.
            for name in ["peer_loop_type", "message"] {
                wanted.as_object_mut().expect("a result").remove(name);
            }
            has(&apply(&tasks, op), &wanted).map_err(|why| format!("op {number}: {why}"))?;
        }
        Ok(())
    });
}
