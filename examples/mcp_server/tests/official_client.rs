//! The server, driven by the official Python client over stdio. Effects are counted where they arrive: in the stand-ins of the
//! mail server and the payment provider, and in the directory.

#[path = "official_client/python.rs"]
mod python;
#[path = "official_client/world.rs"]
mod world;

use portcullis::authority::Acted;
use serde_json::{Value, json};

use python::Python;
use world::World;

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("a text was to come: {result}"))
}

#[track_caller]
fn is_success(result: &Value) {
    assert_eq!(result["isError"], false, "{result}");
}

/// A tool error with this code, and these words for the model.
#[track_caller]
fn is_refused(result: &Value, code: &str, words: &str) {
    assert_eq!(result["isError"], true, "{result}");
    assert_eq!(result["_meta"]["portcullis/refusal"]["code"], code, "{result}");
    assert!(text(result).contains(words), "{result}");
}

fn note(name: &str, text: &str) -> Value {
    json!({ "tool": "write_note", "arguments": { "name": name, "text": text } })
}

fn mail(id: &str, to: &str) -> Value {
    json!({ "tool": "send_mail", "arguments": { "id": id, "to": to, "subject": id, "text": "Hello." } })
}

fn refund(order: &str, cents: u64) -> Value {
    json!({ "tool": "refund", "arguments": { "order": order, "cents": cents } })
}

fn taken(id: &str, to: &str) -> Value {
    json!({ "mail": { "to": [to], "subject": id } })
}

fn paid(order: &str, cents: u64) -> Value {
    json!({ "refund": { "order": order, "cents": cents } })
}

#[test]
fn the_tools_are_listed_with_their_descriptions_and_schemas() {
    let Some(python) = Python::ready() else { return };
    let world = World::new();
    let mut client = python.connect(&world);
    let listed = client.ask(&json!("list"));
    let tools = listed["tools"].as_array().unwrap();
    let described: Vec<_> = tools.iter().map(|tool| (&tool["name"], &tool["description"])).collect();
    let expected = json!([
        ["refund", "Pays an order back."],
        ["send_mail", "Sends a mail."],
        ["write_note", "Writes a note to a new file."]
    ]);
    assert_eq!(json!(described), expected);
    assert_eq!(tools[0]["inputSchema"]["required"], json!(["order", "cents"]));
    assert_eq!(tools[0]["outputSchema"]["required"], json!(["id", "cents"]));
    client.end();
    assert_eq!(world.end(), [Value::Null; 0]);
}

#[test]
fn a_duplicate_call_gets_the_same_result_and_the_effect_happens_once() {
    let Some(python) = Python::ready() else { return };
    let world = World::new();
    let calls = [note("plan", "Refund Ada."), mail("m-1", "ada@example.org"), refund("o-1", 500)];

    let mut client = python.connect(&world);
    let first: Vec<_> = calls.iter().map(|call| client.ask(call)).collect();
    first.iter().for_each(is_success);
    assert_eq!(first[2]["structuredContent"], json!({ "id": "re_1", "cents": 500 }));
    let again: Vec<_> = calls.iter().map(|call| client.ask(call)).collect();
    assert_eq!(again, first);
    client.end();

    // Another process, the same ledger.
    let mut client = python.connect(&world);
    let again: Vec<_> = calls.iter().map(|call| client.ask(call)).collect();
    assert_eq!(again, first);
    is_refused(&client.ask(&refund("o-1", 900)), "key_conflict", "repeat its arguments exactly");
    client.end();

    assert_eq!(world.notes(), [("plan.txt".to_owned(), "Refund Ada.".to_owned())]);
    assert_eq!(world.end(), [taken("m-1", "ada@example.org"), paid("o-1", 500)]);
}

#[test]
fn a_revocation_in_the_middle_refuses_the_next_call_and_ends_the_next_server() {
    let Some(python) = Python::ready() else { return };
    let world = World::new();
    let mut client = python.connect(&world);
    is_success(&client.ask(&mail("m-1", "ada@example.org")));
    is_success(&client.ask(&note("before", "")));

    assert_eq!(world.desk().revoke(&world.device(), "test").unwrap(), Acted::Done);
    for call in [mail("m-2", "ada@example.org"), refund("o-1", 500), note("after", "")] {
        is_refused(&client.ask(&call), "denied", "The answer is final");
    }
    // Not even what is on record is given to somebody who is revoked.
    is_refused(&client.ask(&mail("m-1", "ada@example.org")), "denied", "Nothing was done");

    let ended = world.server().output().unwrap();
    assert_eq!(ended.status.code(), Some(portcullis::EXIT_CODE), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("code=denied boundary=startup") && ended.stdout.is_empty(), "{ended:?}");

    assert_eq!(world.desk().restore(&world.device(), "test").unwrap(), Acted::Done);
    is_success(&client.ask(&mail("m-2", "ada@example.org")));
    client.end();

    assert_eq!(world.notes(), [("before.txt".to_owned(), String::new())]);
    assert_eq!(world.end(), [taken("m-1", "ada@example.org"), taken("m-2", "ada@example.org")]);
}

#[test]
fn a_spent_budget_is_a_tool_error_and_stops_the_effect() {
    let Some(python) = Python::ready() else { return };
    let world = World::new();
    let mut client = python.connect(&world);
    // Five mails, and a hundred dollars.
    let mut effects = Vec::new();
    for number in 1..=5 {
        let id = format!("m-{number}");
        is_success(&client.ask(&mail(&id, "ada@example.org")));
        effects.push(taken(&id, "ada@example.org"));
    }
    is_refused(&client.ask(&mail("m-6", "ada@example.org")), "budget_steps", "finish with what you have");

    is_success(&client.ask(&refund("o-1", 60_00)));
    is_refused(&client.ask(&refund("o-2", 40_01)), "budget_cost", "What this work may spend is spent");
    is_success(&client.ask(&refund("o-3", 40_00)));
    effects.extend([paid("o-1", 60_00), paid("o-3", 40_00)]);
    client.end();
    assert_eq!(world.end(), effects);
}

#[test]
fn what_surely_did_not_happen_may_be_called_again_and_nothing_else() {
    let Some(python) = Python::ready() else { return };
    let world = World::new();
    let mut client = python.connect(&world);

    let full = mail("m-1", "full@example.org");
    for _ in 0..2 {
        let failed = client.ask(&full);
        assert_eq!(failed["isError"], true, "{failed}");
        assert!(
            text(&failed).contains("this mailbox is full; correct it, and call again under another id"),
            "{failed}"
        );
    }
    is_success(&client.ask(&mail("m-2", "ada@example.org")));

    // The directory goes away: whether a file was written is not for the tool to guess.
    world.without_notes();
    let failed = client.ask(&note("plan", ""));
    assert!(text(&failed).starts_with("It may have happened, or not"), "{failed}");
    is_refused(&client.ask(&note("plan", "")), "in_doubt", "who has to find out first");
    client.end();
    assert_eq!(world.end(), [taken("m-2", "ada@example.org")]);
}
