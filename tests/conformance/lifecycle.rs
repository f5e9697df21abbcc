use portcullis::Refused;
use portcullis::tasks::lifecycle::{InvalidTransition, Lifecycle, TaskState};
use serde_json::{Value, json};

use super::{run, same, text};

fn state(text: &str) -> TaskState {
    text.parse().expect("a state")
}

fn by_table(answer: Result<&str, InvalidTransition>) -> Value {
    match answer {
        Ok(reason) => json!({"valid": true, "reason": reason}),
        Err(no) => json!({"valid": false, "reason": no.reason(), "message": no.to_string()}),
    }
}

/// The table's objection, which a task's refusal carries.
fn objection(refused: &Refused) -> InvalidTransition {
    let source = std::error::Error::source(refused).expect("a source");
    *source.downcast_ref().expect("it is the table that refuses")
}

fn ask(task: &Lifecycle, to: TaskState, actor: &str) -> Result<String, InvalidTransition> {
    task.transition(to, actor).map(|done| done.change.reason.into_owned()).map_err(|refused| objection(&refused))
}

fn pair(given: &Value, expected: &Value) -> Result<(), String> {
    let (from, to) = (state(text(given, "from")), state(text(given, "to")));
    let table = from.transition(to);
    same("validate", &by_table(table.map(|way| way.reason)), &expected["validate"])?;
    same("can_transition_to", &json!(table.is_ok()), &expected["can_transition_to"])?;
    let asked = ask(&Lifecycle::at("t", from).expect("a task"), to, "system");
    same("transition", &by_table(asked.as_deref().map_err(|no| *no)), &expected["transition"])
}

fn sequence(given: &Value, expected: &Value) -> Result<(), String> {
    let start = given.get("start").map_or(TaskState::Todo, |_| state(text(given, "start")));
    let actor = given.get("actor").map_or("system", |_| text(given, "actor"));
    let task = Lifecycle::at("t", start).expect("a task");
    let steps: Vec<Value> = given["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|to| match ask(&task, state(to.as_str().expect("a state")), actor) {
            Ok(reason) => json!({"ok": true, "reason": reason}),
            Err(no) => json!({"ok": false, "reason": no.reason()}),
        })
        .collect();
    same("steps", &json!(steps), &expected["steps"])?;
    same("final", &json!(task.state()), &expected["final"])?;
    let history: Vec<Value> =
        task.history().iter().map(|change| json!([change.from, change.to, change.reason, change.actor])).collect();
    same("history", &json!(history), &expected["history"])
}

#[test]
fn every_vector_of_the_lifecycle_passes() {
    run("lifecycle.json", 66, |given, expected| {
        if given.get("steps").is_some() {
            sequence(given, expected)
        } else if given.get("terminal").is_some() {
            same("is_terminal", &json!(state(text(given, "terminal")).is_terminal()), &expected["is_terminal"])
        } else {
            pair(given, expected)
        }
    });
}
