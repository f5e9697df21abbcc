//! The examples do what they say.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Examples are built beside the tests of their package.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("this test has a path");
    let target = test.ancestors().nth(2).expect("it lies in target/PROFILE/deps");
    let path: PathBuf = target.join("examples").join(name);
    let mut command = Command::new(&path);
    command.env_clear().current_dir(std::env::temp_dir());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The place at which each text stands, in this order.
#[track_caller]
fn in_order(said: &str, texts: &[&str]) {
    let mut rest = said;
    for text in texts {
        rest = rest.split_once(text).unwrap_or_else(|| panic!("{text:?} is missing, or too early, in:\n{said}")).1;
    }
}

#[test]
fn the_quickstart_shows_the_whole_job() {
    let output = example("quickstart").output().expect("it starts");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    in_order(
        &said,
        &[
            "first call:  Receipt { id: \"re_o-17_1\", cents: 500 }",
            "the retry:   Receipt { id: \"re_o-17_1\", cents: 500 }",
            "money moved: 1 time(s)",
            "key_conflict: refused `orders.refund`",
            "5 steps were taken, then: budget_steps: refused `think`",
            "worker: passed its first boundary",
            "is revoked",
            "its last words: portcullis: refused, process ends: code=denied boundary=before_side_effect",
            "its exit code: 77",
        ],
    );
    assert!(!said.contains("is still alive"), "{said}");
}

#[test]
fn a_lost_reply_is_never_a_second_payment() {
    let output = example("in_doubt").output().expect("it starts");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    in_order(
        &said,
        &[
            "asking, first:   the connection broke before the reply",
            ", found",
            "again, first:    the connection broke before the reply",
            "again, retry:    payment ",
            "booking, first:  the connection broke before the reply",
            "booking, retry:  number 1",
            "person, retry:   in_doubt: refused `pay`",
            "person, notes:   sent ",
            "person, at last: payment 4",
            "money moved:     3 times for 3 payments",
        ],
    );
}

#[test]
fn a_batch_asks_once_for_what_is_new() {
    let output = example("batch").output().expect("it starts");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    in_order(
        &said,
        &[
            "the bank is asked for 3 payouts",
            "first:\n  tr_",
            "\n  tr_",
            "\n  the bank does not know the account 0",
            // The third is free again, since nothing was moved; the fourth is new.
            "the bank is asked for 2 payouts",
            "again:\n  tr_",
            "\n  key_conflict",
            "\n  the bank does not know the account 0",
            "\n  tr_",
        ],
    );
}

#[test]
fn a_task_is_done_once_and_goes_on_with_the_account_that_it_has() {
    let output = example("task").output().expect("it starts");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    in_order(
        &said,
        &[
            "it is short          done, fine",
            "it is done again     done, loop_reprocess",
            "it is long           blocked, budget_steps",
            "it is tried again    blocked, budget_steps",
            "it creates itself    blocked, loop_cycle",
            "it was given up      cancelled, loop_reprocess",
        ],
    );
}

#[test]
fn the_agent_is_stopped_by_each_limit_in_turn() {
    let output = example("agent_loop").output().expect("it starts");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    in_order(
        &said,
        &[
            "it loops 50 times",
            "budget_steps: Task report exceeded step budget: 51 steps taken, max 50",
            "budget_depth: ",
            "budget_duration: ",
            "it asks 3 models",
            "budget_cost: ",
            "it spreads to 2 parts",
            "budget_steps: 20 steps are asked for, and of survey 10 are left",
            "loop_identity: ",
            "loop_cycle: ",
            "loop_reprocess: ",
            "loop_depth: Task depth 4 exceeds maximum 3",
            "invalid_transition: ",
            "task_ended: ",
            "it tries 3 times",
            "gave up: the printer is on fire",
            "not_admitted: ",
            "(missing: pain_point, validation_path)",
            "idle: ",
        ],
    );
}

/// A MachineID that allows the first `allowed` questions and denies the rest. Gives its address.
fn machineid(allowed: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let base = format!("http://{}", listener.local_addr().expect("it is bound"));
    let asked = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a client connects");
            let asked = Arc::clone(&asked);
            std::thread::spawn(move || converse(stream, &asked, allowed));
        }
    });
    base
}

/// Answers one connection until the client has gone.
fn converse(stream: TcpStream, asked: &AtomicUsize, allowed: usize) {
    let mut stream = BufReader::new(stream);
    while let Some(path) = request(&mut stream) {
        let body = if path.ends_with("/register") {
            r#"{"status":"ok","handler":"devices/register"}"#.to_owned()
        } else {
            let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
            let allowed = number <= allowed;
            let code = if allowed { "ALLOW" } else { "DEVICE_REVOKED" };
            format!(r#"{{"allowed":{allowed},"code":"{code}","request_id":"question-{number}"}}"#)
        };
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.get_mut().write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads one request and gives its path; `None` once the client has gone.
fn request(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|&read| read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).ok().filter(|&read| read > 0)?;
        match header.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    stream.read_exact(&mut vec![0; length]).ok()?;
    Some(path)
}

fn worker(base: &str) -> (Output, String) {
    let ledger = std::env::temp_dir().join(format!(
        "portcullis-worker-{}-{}.db",
        std::process::id(),
        base.rsplit(':').next().expect("a port")
    ));
    let output = example("worker")
        .env("PORTCULLIS_AUTHORITY", "machineid")
        .env("MACHINEID_ORG_KEY", "org_0123456789abcdef")
        .env("MACHINEID_BASE_URL", base)
        .env("PORTCULLIS_LEDGER", format!("sqlite:{}", ledger.display()))
        .envs([("SERVICE_NAME", "mailer"), ("ENVIRONMENT", "test"), ("SERVICE_ROLE", "worker"), ("INSTANCE_ID", "i-1")])
        .output()
        .expect("it starts");
    let said = said(&output);
    (output, said)
}

#[test]
fn the_worker_passes_every_boundary_of_three_jobs() {
    let (output, said) = worker(&machineid(usize::MAX));
    assert_eq!(output.status.code(), Some(0), "{said}");
    in_order(
        &said,
        &["startup: allowed", "job 1: started", "job 1: done", "job 2: done", "job 3: done", "drained: All"],
    );
    assert_eq!(said.matches(": mail to ").count(), 6, "{said}");
}

#[test]
fn the_worker_ends_where_it_is_revoked() {
    // Startup, the first job, its model call, its fan-out: then the mails are denied.
    let (output, said) = worker(&machineid(4));
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains("job 1: started") && !said.contains(": mail to "), "{said}");
    assert!(
        said.contains("code=denied boundary=before_side_effect action=mail.send device=mailer:test:worker:i-1"),
        "{said}"
    );
    assert!(!said.contains("org_0123456789abcdef"), "{said}");
}

#[test]
fn the_worker_says_what_to_configure() {
    let output = example("worker").output().expect("it starts");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains("code=not_configured") && said.contains("PORTCULLIS_AUTHORITY=machineid"), "{said}");
}
