use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::Refused;
use portcullis::tasks::admission::{Agent, NewTask, Request};
use portcullis::tasks::escalation::{
    Backoff, Call, Called, Delivery, Escalation, Message, Notice, Queue, Queued, Retries, TaskService, Tier, Watcher,
};
use serde_json::{Value, json};

use super::{by_value, has, run, same, text};

fn backoff(config: Option<&Value>, jitter: bool) -> Backoff {
    let mut backoff = Backoff::default().jitter(jitter);
    let Some(Value::Object(config)) = config else { return backoff };
    for (name, value) in config {
        let number = || value.as_f64().expect("a number");
        backoff = match name.as_str() {
            "max_retries" => backoff.max_retries(number() as u32),
            "base_delay_seconds" => backoff.base(Duration::from_secs_f64(number())),
            "backoff_factor" => backoff.factor(number()),
            "max_delay_seconds" => backoff.cap(Duration::from_secs_f64(number())),
            "jitter" => backoff.jitter(value.as_bool().expect("a truth value")),
            // Tier 1 has no switch.
            "enabled" => backoff,
            other => panic!("{other}"),
        };
    }
    backoff
}

fn delay(given: &Value, expected: &Value) -> Result<(), String> {
    let Ok(attempt) = u32::try_from(given["attempt"].as_i64().expect("a number")) else {
        return same("a negative attempt", &json!({"error": "invalid_argument"}), expected);
    };
    let backoff = backoff(given.get("config"), false);
    for chance in [0.0, 0.3, 1.0] {
        let delay = match backoff.delay(attempt, chance) {
            Ok(delay) => delay.map(|delay| delay.as_secs_f64()),
            Err(refused) => return same("the refusal", &json!({"error": refused.code()}), expected),
        };
        if let Some(wanted) = expected.get("delay_seconds") {
            same("delay_seconds", &delay, &wanted.as_f64())?;
            continue;
        }
        let [least, most] = ["at_least", "at_most"].map(|name| expected[name].as_f64().expect("a number"));
        if delay.is_none_or(|delay| delay < least || delay > most) {
            return Err(format!("{delay:?} is not within {least} and {most}"));
        }
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);

fn retry(given: &Value, expected: &Value) -> Result<(), String> {
    let retries = match Retries::new(backoff(given.get("config"), false)) {
        Ok(retries) => retries,
        // What is configured is the argument here.
        Err(refused) => {
            same("the refusal", &refused.code(), &"invalid_argument")?;
            return same("the error", &json!({"error": "invalid_config"}), expected);
        }
    };
    let mut outcomes = given["outcomes"].as_array().expect("outcomes").iter().map(|text| text.as_str().expect("text"));
    let (mut calls, mut waits, mut attempts) = (0, Vec::new(), Vec::new());
    let work = || {
        calls += 1;
        match outcomes.next().expect("one more outcome") {
            "ok" => Ok("value"),
            error => Err(Failure(error.into())),
        }
    };
    let done = retries.run("t", work, |attempt, wait, _| {
        attempts.push(attempt);
        waits.push(wait.as_secs());
    });
    let mut got = json!({"calls": calls, "waits_seconds": waits, "on_retry_attempts": attempts});
    match done {
        Ok(value) => got["returns"] = value.into(),
        Err(error) => got["raises"] = error.to_string().into(),
    }
    same("the outcome", &got, expected)
}

fn counter(given: &Value, expected: &Value) -> Result<(), String> {
    let retries = Retries::new(backoff(given.get("config"), false)).expect("retries");
    let results: Vec<Value> = given["counter"]
        .as_array()
        .expect("ops")
        .iter()
        .map(|op| match (text(op, "op"), text(op, "task")) {
            ("should", task) => json!(retries.should_retry(task)),
            ("record", task) => json!(retries.record(task)),
            ("reset", task) => {
                retries.reset(task);
                Value::Null
            }
            other => panic!("{other:?}"),
        })
        .collect();
    same("results", &json!(results), &expected["results"])
}

/// Stands at the other end of every line, and writes down what arrives.
#[derive(Default)]
struct Recorder(Mutex<Vec<Value>>);

impl Recorder {
    fn put(&self, sent: Value) {
        self.0.lock().expect("a record").push(sent);
    }
}

impl Watcher for Recorder {
    fn notice(&self, notice: &Notice) {
        self.put(json!({"POST": "http://127.0.0.1:8000/api/v1/escalate", "body": notice}));
    }
}

impl Queue for Recorder {
    fn enqueue(&self, message: Message) -> Result<Queued, Refused> {
        self.put(json!({"POST": "http://127.0.0.1:8000/api/v1/queue/enqueue", "body": message}));
        Ok(Queued::new("x-1"))
    }
    fn dequeue(&self, _: &str, _: Duration) -> Result<Option<Delivery>, Refused> {
        panic!("nobody asks")
    }
    fn ack(&self, _: &Delivery) -> Result<(), Refused> {
        panic!("nobody answers")
    }
    fn nack(&self, _: &Delivery) -> Result<(), Refused> {
        panic!("nobody answers")
    }
}

impl TaskService for Recorder {
    fn create(&self, task: &NewTask) -> Result<Value, Refused> {
        self.put(json!({"create_task": task}));
        Ok(json!({"id": "issue-1"}))
    }
    fn request_approval(&self, request: &Request) -> Result<Value, Refused> {
        self.put(json!({"POST": format!("http://tasks{}", request.path), "body": request.body}));
        Ok(json!({"status": "queued", "id": "x-1"}))
    }
}

fn call(given: &Value) -> Call {
    let mut call = Call::new(text(given, "task_id"), text(given, "reason")).expect("a call");
    let optional = |name: &str| given.get(name).map(|_| text(given, name).to_owned());
    if let Some(sender) = optional("sender") {
        call = call.sender(sender);
    }
    if let Some(target) = optional("target_agent_id") {
        call = call.target(target);
    }
    if let Some(parent) = optional("parent_issue_id") {
        call = call.parent(parent);
    }
    if let Some(goal) = optional("goal_id") {
        call = call.goal(goal);
    }
    if let Some(action) = optional("recommended_action") {
        call = call.recommend(action);
    }
    if let Some(Value::Object(details)) = given.get("details") {
        call = details.iter().fold(call, |call, (name, value)| call.detail(name, value.clone()));
    }
    call
}

/// What a call made at one tier alone gives back: what the other end said.
fn bare(called: Called) -> Value {
    match called {
        Called::PeerEscalated { result, .. } => json!(result),
        Called::LeadNotified { issue, .. } => issue,
        Called::PersonAsked { approval, .. } => approval,
        other => json!(other),
    }
}

/// The texts in which JSON stands, by value.
fn sent_by_value(mut sent: Value) -> Value {
    for request in sent.as_array_mut().expect("requests") {
        for place in ["/create_task/description", "/body/payload/summary"] {
            if let Some(text) = request.pointer_mut(place) {
                *text = json!(by_value(text.as_str().expect("text")));
            }
        }
    }
    sent
}

fn escalate(given: &Value, expected: &Value) -> Result<(), String> {
    let recorder = Arc::new(Recorder::default());
    let agent = Agent::new("me", "co-1").expect("an agent");
    let escalation =
        Escalation::new(agent, Arc::clone(&recorder) as Arc<dyn Queue>, Arc::clone(&recorder) as Arc<dyn TaskService>)
            .watcher(Arc::clone(&recorder) as Arc<dyn Watcher>)
            .enabled(given["config"]["enabled"] != false);
    let asked = &given["call"];
    let called = match text(asked, "method") {
        "escalate" => Tier::try_from(asked["tier"].as_i64().expect("a tier"))
            .and_then(|tier| escalation.escalate(tier, &call(asked)))
            .map(|called| json!(called)),
        "tier2_escalate_to_peer" => escalation.call(Tier::Peer, &call(asked)).map(bare),
        "tier3_escalate_to_ceo" => escalation.call(Tier::Lead, &call(asked)).map(bare),
        "tier4_escalate_to_human" => escalation.call(Tier::Person, &call(asked)).map(bare),
        other => panic!("{other}"),
    };
    let sent = Value::Array(std::mem::take(&mut recorder.0.lock().expect("a record")));
    if let Some(payload) = expected.get("sent_payload") {
        return has(&sent[0]["body"]["payload"], payload);
    }
    same("sent", &sent_by_value(sent), &sent_by_value(expected["sent"].clone()))?;
    match called {
        Ok(returned) => same("returns", &returned, &expected["returns"]),
        Err(refused) => {
            same("the refusal", &refused.code(), &"invalid_argument")?;
            same("message", &json!(refused.reason()), &expected["message"])
        }
    }
}

#[test]
fn every_vector_of_the_escalation_passes() {
    run("escalation.json", 53, |given, expected| {
        if given.get("attempt").is_some() {
            delay(given, expected)
        } else if given.get("outcomes").is_some() {
            retry(given, expected)
        } else if given.get("counter").is_some() {
            counter(given, expected)
        } else {
            escalate(given, expected)
        }
    });
}
