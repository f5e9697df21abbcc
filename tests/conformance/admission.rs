use std::error::Error;
use std::time::Duration;

use portcullis::Refused;
use portcullis::tasks::admission::{Admission, Agent, Incomplete, NewTask};
use serde_json::{Value, json};

use super::{by_value, has, run, same, text};

fn given_or<'a>(given: &'a Value, name: &str, default: &'a str) -> &'a str {
    given.get(name).map_or(default, |_| text(given, name))
}

fn admission(given: &Value) -> Admission {
    given.get("admission").map_or_else(
        || Admission::new("end-user", "login page is slow", "reduce load time by 40%", "benchmark test suite"),
        |admission| serde_json::from_value(admission.clone()).expect("what is no text is missing"),
    )
}

fn task(given: &Value) -> NewTask {
    let mut task =
        NewTask::new(given_or(given, "title", "T"), given_or(given, "task_type", "feature"), admission(given));
    if let Some(Value::Object(create)) = given.get("create") {
        for (name, value) in create {
            let value = value.as_str().expect("text");
            task = match name.as_str() {
                "description" => task.description(value),
                "parent_id" => task.parent(value),
                "goal_id" => task.goal(value),
                "assignee_agent_id" => task.assignee(value),
                other => panic!("{other}"),
            };
        }
    }
    task
}

/// The vectors' own name for a refusal.
fn refusal(refused: &Refused) -> Value {
    let error = match refused.code() {
        "not_admitted" => "TaskAdmissionError",
        "idle" => "IdleEnforcementError",
        other => panic!("{other}"),
    };
    let missing = refused.source().and_then(|source| source.downcast_ref::<Incomplete>()).map(|no| no.missing.clone());
    json!({"created": false, "error": error, "message": refused.reason(), "missing": missing})
}

/// All that is expected of the request is in it; it may hold more.
fn request(agent: &Agent, given: &Value, expected: &Value) -> Result<(), String> {
    let task = task(given);
    let admission = &task.admission;
    if let Some(complete) = expected.get("complete") {
        same("complete", &json!(admission.is_complete()), complete)?;
    }
    if let Some(fields) = expected.get("to_dict") {
        same("to_dict", &json!(admission), fields)?;
    }
    match agent.create(&task) {
        Err(refused) => {
            let mut wanted = expected.clone();
            for done in ["complete", "to_dict"] {
                wanted.as_object_mut().expect("an object").remove(done);
            }
            has(&refusal(&refused), &wanted)
        }
        Ok(request) => {
            same("created", &json!(true), &expected["created"])?;
            if let Some(path) = expected.get("url_path") {
                same("url_path", &json!(request.path), path)?;
            }
            if let Some(part) = expected.get("payload_has") {
                has(&request.body, part)?;
            }
            let Some(payload) = expected.get("payload") else { return Ok(()) };
            let mut wanted = payload.clone();
            let description = wanted.as_object_mut().expect("an object").remove("description").expect("a description");
            has(&request.body, &wanted)?;
            let (got, wanted) = (text(&request.body, "description"), description.as_str().expect("text"));
            same("description", &by_value(got), &by_value(wanted))
        }
    }
}

fn calls(agent: &Agent, given: &Value, expected: &Value) -> Result<(), String> {
    let task = task(given);
    for (call, wanted) in
        given["calls"].as_array().expect("calls").iter().zip(expected["results"].as_array().expect("results"))
    {
        let call = call.as_str().expect("text");
        let got = match call {
            "is_idle" => json!({"is_idle": agent.idle().is_idle()}),
            "sleep" => json!(agent.sleep()),
            "wake" => {
                agent.wake();
                json!({"status": "active", "agent_id": agent.id()})
            }
            "create" => agent.create(&task).map_or_else(|refused| refusal(&refused), |_| json!({"created": true})),
            other => panic!("{other}"),
        };
        has(&got, wanted).map_err(|why| format!("{call}: {why}"))?;
    }
    Ok(())
}

#[test]
fn every_vector_of_the_admission_passes() {
    run("admission.json", 35, |given, expected| {
        let mut agent = Agent::new(given_or(given, "agent_id", "agent-1"), "co-1").expect("an agent");
        if let Some(seconds) = given.get("idle_timeout_seconds") {
            agent = agent.idle_timeout(Duration::from_secs(seconds.as_u64().expect("seconds")));
        }
        if given.get("calls").is_some() {
            return calls(&agent, given, expected);
        }
        if given["idle"] == true {
            agent.sleep();
        }
        request(&agent, given, expected)
    });
}
