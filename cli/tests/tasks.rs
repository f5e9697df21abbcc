//! Questions about tasks: what a program reads, and what scripts rely on.

use std::process::{Command, Output};

use serde_json::{Value, json};

fn portcullis(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(args).env_clear().current_dir(std::env::temp_dir());
    command.output().expect("it starts")
}

#[track_caller]
fn says(args: &[&str], exit: i32) -> (String, String) {
    let output = portcullis(args);
    assert_eq!(output.status.code(), Some(exit), "{output:?}");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (text(output.stdout), text(output.stderr))
}

#[track_caller]
fn json(args: &[&str], exit: i32) -> Value {
    serde_json::from_str(&says(&[&["--json"], args].concat(), exit).0).expect("JSON")
}

#[test]
fn a_no_is_a_verdict_on_stdout_and_advice_on_stderr() {
    let (out, err) = says(&["validate", "todo", "done"], 1);
    assert_eq!(out, "INVALID: No valid transition from todo to done\n");
    assert_eq!(err, "portcullis: from todo a task can go to in_progress, cancelled or blocked\n");
    let (out, err) = says(&["check-loop", "c", "agent", "kind", "--parent-task-id", "p"], 1);
    assert_eq!(out, "DENIED: [unknown_parent] Task c names the parent p, which is not on record\n");
    assert!(err.contains("open that one first"), "{err}");
}

#[test]
fn every_verdict_is_there_for_programs() {
    let valid = json(&["validate", "blocked", "todo"], 0);
    assert_eq!((&valid["verdict"], &valid["reason"]), (&json!("valid"), &json!("Unblocked, needs fresh start")));
    let invalid = json(&["validate", "backlog", "done"], 1);
    assert_eq!((&invalid["verdict"], &invalid["allowed"]), (&json!("invalid"), &json!(["todo"])));
    assert_eq!(json(&["check-loop", "t", "a", "k"], 0)["depth"], 0);
    let denied = json(&["check-loop", "t", "a", "k", "--created-by-task-id", "t"], 1);
    assert_eq!((&denied["loop_type"], &denied["code"]), (&json!("cycle"), &json!("loop_cycle")));
    let exceeded = json(&["check-budget", "t", "--duration", "61", "--max-duration", "60"], 1);
    assert_eq!((&exceeded["verdict"], &exceeded["budget_type"]), (&json!("exceeded"), &json!("duration")));
    assert_eq!(json(&["sleep", "--agent-id", "a"], 0)["sleep_seconds"], 30);
}

#[test]
fn a_state_that_is_none_is_told_from_a_no() {
    let (out, err) = says(&["validate", "todo", "finished\nVALID: all"], 1);
    assert_eq!(out, "");
    assert!(err.starts_with("Invalid state: ") && err.lines().count() == 1, "{err}");
    let (_, err) = says(&["--json", "validate", "todo", "finished"], 1);
    assert_eq!(serde_json::from_str::<Value>(&err).expect("JSON")["error"]["code"], "invalid_state");
}

#[test]
fn names_cannot_write_a_line_of_their_own() {
    for args in [
        &["check-loop", "t\nALLOWED: depth=0", "a", "k"][..],
        &["check-budget", "t\nOK: 0 steps"],
        &["sleep", "--agent-id", "a\nSLEEP:idle agent=b"],
    ] {
        let (out, err) = says(args, 2);
        assert_eq!(out, "");
        assert!(err.contains("U+000A"), "{err}");
    }
}

#[test]
fn completions_and_manual_pages_know_every_subcommand() {
    for shell in ["bash", "zsh", "fish"] {
        let (script, _) = says(&["completions", shell], 0);
        assert!(script.contains("check-budget") && script.contains("device"), "{script}");
    }
    let (page, _) = says(&["man"], 0);
    assert!(page.contains(".TH portcullis") && page.contains("check\\-loop"), "{page}");
    let dir = tempfile::tempdir().expect("a directory");
    says(&["man", "--dir", dir.path().to_str().expect("text")], 0);
    for page in ["portcullis.1", "portcullis-validate.1", "portcullis-ledger-show.1"] {
        assert!(dir.path().join(page).is_file(), "{page}");
    }
    says(&["man", "--dir", "/there/is/no/such/place"], 1);
}

#[test]
fn what_is_configured_stands_where_the_command_line_says_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let ask = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let output = command.args(args).env_clear().env("HOME", dir.path()).current_dir(dir.path()).output();
        let output = output.expect("it starts");
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("text") + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let file = dir.path().join(".exec-kernel.yml");
    std::fs::write(&file, "budget: {max_steps: 3, max_duration_seconds: 1.5}\n").expect("it is written");
    let (code, said) = ask(&["check-budget", "t", "--steps", "3"]);
    assert_eq!((code, &*said), (Some(0), "OK: 3 steps, 0s elapsed (max 3 steps, 1.5s)\n"));
    assert_eq!(ask(&["check-budget", "t", "--steps", "4"]).0, Some(1));
    assert_eq!(ask(&["check-budget", "t", "--steps", "4", "--max-steps", "9"]).0, Some(0));

    std::fs::write(&file, "budget: {max_step: 3}\n").expect("it is written");
    let (code, said) = ask(&["check-budget", "t"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("did you mean `max_steps`?"), "{said}");
}
