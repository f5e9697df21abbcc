//! Whatever answers: in time, sent once, and told as what it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use portcullis::tasks::admission::Agent;
use portcullis::tasks::lifecycle::TaskState;
use portcullis::tasks::paperclip::{ApiKey, Failure, InvalidPaperclip, Move, Paperclip};
use portcullis_tests::hostile_server::{Connection, Server, answer, chunk, json};

const KEY: &str = "pcp_5ecret";
const AGENT: &str = "00000000-0000-4000-8000-00000000000a";
const COMPANY: &str = "00000000-0000-4000-8000-00000000000c";
const RUN: &str = "00000000-0000-4000-8000-00000000000e";
const DEADLINE: Duration = Duration::from_millis(600);
const COMMENT: &str = r#"{"id":"c-1","issueId":"i-1"}"#;
const ISSUE: &str = r#"{"id":"i-1","title":"t","status":"in_progress"}"#;

pub fn paperclip(url: &str) -> Paperclip {
    let agent = Agent::new(AGENT, COMPANY).unwrap();
    Paperclip::builder(url, agent, ApiKey::new(KEY).unwrap(), RUN).deadline(DEADLINE).connect().unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    NotMine,
    Denied,
    NotFound,
    Rejected,
    /// A write may have happened.
    Perhaps,
    /// Nothing has happened, read or write.
    Nothing,
}

fn meaning(failure: &Failure) -> Means {
    match failure {
        Failure::NotMine(_) => Means::NotMine,
        Failure::Denied(_) => Means::Denied,
        Failure::NotFound(_) => Means::NotFound,
        Failure::Rejected(_) => Means::Rejected,
        Failure::NoAnswer(no) if no.may_have_happened => Means::Perhaps,
        Failure::NoAnswer(_) => Means::Nothing,
        other => panic!("{other:?}"),
    }
}

/// A write and a read against a server that answers each request so.
#[track_caller]
fn answered(name: &str, means: Means, script: impl Fn(&mut Connection) + Send + Sync + 'static) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let server = Server::start(move |connection| {
        while connection.request().is_some() {
            counted.fetch_add(1, Ordering::SeqCst);
            script(connection);
        }
    });
    let paperclip = paperclip(&server.base());
    let began = Instant::now();
    let write = paperclip.comment("i-1", "hello").wait().expect_err(name);
    assert!(began.elapsed() < DEADLINE + Duration::from_millis(900), "{name}: {:?}", began.elapsed());
    assert_eq!(meaning(&write), means, "{name}: {write}");
    assert_eq!(write.may_have_happened(), means == Means::Perhaps, "{name}");
    assert_eq!(requests.load(Ordering::SeqCst), 1, "{name}: it was sent more than once");
    let read = paperclip.issue("i-1").wait().expect_err(name);
    // What only reads has done nothing, whatever comes back.
    let means = if means == Means::Perhaps { Means::Nothing } else { means };
    assert_eq!(meaning(&read), means, "{name}: {read}");
    for failure in [write, read] {
        assert!(!format!("{failure} {failure:?}").contains("5ecret"), "{name}: {failure:?}");
        assert!(!failure.to_string().contains(['\n', '\u{1b}']), "{name}: {failure}");
    }
}

/// The same with an answer in one piece, after which the connection is closed.
#[track_caller]
fn said(name: &str, means: Means, bytes: impl Into<Vec<u8>>) {
    let bytes = bytes.into();
    answered(name, means, move |connection| {
        connection.send(&bytes);
        connection.close();
    });
}

const JSON: &str = "content-type: application/json\r\n";

#[test]
fn a_status_is_told_as_what_it_means() {
    let error =
        r#"{"error":"because\nOK: of this","details":{"status":"done","assigneeAgentId":"a","checkoutRunId":"r"}}"#;
    for (status, means) in [
        ("400 Bad Request", Means::Rejected),
        ("401 Unauthorized", Means::Denied),
        ("402 Payment Required", Means::Rejected),
        ("403 Forbidden", Means::Denied),
        ("404 Not Found", Means::NotFound),
        ("409 Conflict", Means::NotMine),
        ("422 Unprocessable Entity", Means::Rejected),
        ("429 Too Many Requests", Means::Rejected),
        ("500 Internal Server Error", Means::Perhaps),
        ("502 Bad Gateway", Means::Perhaps),
        ("503 Service Unavailable", Means::Perhaps),
        ("599 Whatever", Means::Perhaps),
        ("301 Moved Permanently", Means::Perhaps),
        ("304 Not Modified", Means::Perhaps),
    ] {
        said(status, means, answer(status, JSON, error));
    }
    // Not the service's own words: something else stands in between, and nobody knows what it let through.
    for status in ["404 Not Found", "409 Conflict", "403 Forbidden", "422 Unprocessable Entity", "503 Gone"] {
        said(status, Means::Perhaps, answer(status, "content-type: text/html\r\n", "<html>"));
    }
}

#[test]
fn the_holder_of_an_issue_is_named() {
    let body = r#"{"error":"Issue checkout conflict","details":{"status":"blocked","assigneeAgentId":"a-2","checkoutRunId":"r-2"}}"#;
    let server = Server::start(move |connection| {
        while connection.request().is_some() {
            connection.send(answer("409 Conflict", JSON, body));
        }
    });
    let Err(Failure::NotMine(holder)) = paperclip(&server.base()).checkout("i-1").wait() else { panic!("it was ours") };
    assert_eq!((holder.state, holder.agent.as_deref()), (Some(TaskState::Blocked), Some("a-2")));
    assert_eq!(holder.to_string(), "409: Issue checkout conflict; it is in blocked, held by run r-2 of agent a-2");
}

#[test]
fn a_checkout_is_subject_to_the_services_rules_too() {
    let (server, _heard) = telling(|connection| {
        connection.send(answer(
            "422 Unprocessable Entity",
            JSON,
            r#"{"error":"Issue is blocked by unresolved blockers"}"#,
        ));
    });
    let Err(Failure::Rule { to, said }) = paperclip(&server.base()).checkout("i-1").wait() else { panic!("taken") };
    assert_eq!(
        (to, said.to_string().as_str()),
        (TaskState::InProgress, "422: Issue is blocked by unresolved blockers")
    );
}

#[test]
fn what_is_no_answer_is_not_taken_for_one() {
    let wrong_type = answer("201 Created", "content-type: text/html\r\n", COMMENT);
    said("HTML", Means::Perhaps, wrong_type);
    said("no content type", Means::Perhaps, answer("201 Created", "", COMMENT));
    said(
        "two content types",
        Means::Perhaps,
        answer("201 Created", &format!("{JSON}content-type: text/html\r\n"), COMMENT),
    );
    said("gzip", Means::Perhaps, answer("201 Created", &format!("{JSON}content-encoding: gzip\r\n"), COMMENT));
    said("no content", Means::Perhaps, "HTTP/1.1 204 No Content\r\n\r\n");
    for body in [
        "",
        "null",
        "[]",
        "true",
        r#"{"id":"c-1"}"#,
        r#"{"id":"c-1","id":"c-2","issueId":"i"}"#,
        "{",
        "{}x",
        "\u{feff}{}",
    ] {
        said(body, Means::Perhaps, answer("201 Created", JSON, body));
    }
    said("bad UTF-8", Means::Perhaps, json(b"{\"id\":\"c\",\"issueId\":\"i\",\"x\":\"\xff\"}"));
    said("a short body", Means::Perhaps, &json(COMMENT)[..json(COMMENT).len() - 1]);
    said("cut in the head", Means::Perhaps, "HTTP/1.1 201 Created\r\ncontent-type: appl");
    said("garbage", Means::Perhaps, "\0\u{1}garbage\r\n\r\n");
    said("nothing", Means::Perhaps, "");
}

#[test]
fn a_huge_answer_is_not_read_to_its_end() {
    let long = format!("{}{COMMENT}", " ".repeat(2 << 20));
    said("2 MiB", Means::Perhaps, json(&long));
    answered("an endless body", Means::Perhaps, |connection| {
        connection.send(format!("HTTP/1.1 201 Created\r\n{JSON}transfer-encoding: chunked\r\n\r\n"));
        connection.send_for_ever(chunk([b' '; 4096]));
    });
    answered("an endless head", Means::Perhaps, |connection| {
        connection.send("HTTP/1.1 201 Created\r\n");
        connection.send_for_ever("x-padding: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n");
    });
    let padded = format!("{}{COMMENT}", " ".repeat(1024 * 1024 - COMMENT.len()));
    let server = Server::start(move |connection| {
        while connection.request().is_some() {
            connection.send(json(&padded));
        }
    });
    assert_eq!(paperclip(&server.base()).comment("i-1", "hello").wait().unwrap().id, "c-1");
}

#[test]
fn what_takes_too_long_ends_in_time() {
    answered("silence", Means::Perhaps, Connection::hang);
    answered("one byte at a time in the head", Means::Perhaps, |connection| {
        connection.drip(json(COMMENT), 1, Duration::from_millis(100));
    });
    answered("one byte at a time in the body", Means::Perhaps, |connection| {
        connection.send(format!("HTTP/1.1 201 Created\r\n{JSON}content-length: {}\r\n\r\n", COMMENT.len()));
        connection.drip(COMMENT, 1, Duration::from_millis(100));
    });
    answered("interim responses", Means::Perhaps, |connection| {
        for _ in 0..20 {
            connection.drip("HTTP/1.1 100 Continue\r\n\r\n", 25, Duration::from_millis(100));
        }
    });
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Server::start(|connection| {
        while connection.request().is_some() {
            connection.send(json(COMMENT));
        }
    });
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("location: {}/api/issues/i-1\r\n{JSON}", elsewhere.base());
        said(status, Means::Perhaps, answer(status, &location, COMMENT));
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn what_never_left_has_not_happened() {
    // Bound and let go: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plain = Server::start(|connection| connection.send(json(COMMENT)));
    for (name, url) in [
        ("connection refused", format!("http://{free}")),
        ("plain HTTP where TLS is expected", plain.base().replace("http:", "https:")),
        ("a name that does not resolve", "https://nowhere.invalid".to_owned()),
    ] {
        let failure = paperclip(&url).comment("i-1", "hello").wait().unwrap_err();
        assert_eq!(meaning(&failure), Means::Nothing, "{name}: {failure}");
        assert_eq!(portcullis::Refused::from(failure).code(), "task_service_unavailable", "{name}");
    }
}

/// A server that tells of each request, and answers as the script says.
fn telling(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> (Server, Receiver<String>) {
    let (told, heard) = channel();
    let server = Server::start(move |connection| {
        while let Some(request) = connection.request() {
            let _ = told.send(request.0);
            script(connection);
        }
    });
    (server, heard)
}

#[test]
fn reads_share_a_connection_and_replace_one_that_was_closed() {
    let (server, heard) = telling(|connection| {
        connection.send(json(ISSUE));
        if connection.served == 2 {
            connection.close();
        }
    });
    let paperclip = paperclip(&server.base());
    for _ in 0..4 {
        paperclip.issue("i-1").wait().unwrap();
    }
    assert_eq!(server.connections(), 2);
    // One more, where the third met the connection while it was closing.
    assert!(matches!(heard.try_iter().count(), 4 | 5));
}

#[test]
fn a_write_does_not_meet_a_connection_that_was_just_closed() {
    let (server, heard) = telling(|connection| {
        connection.send(json(COMMENT));
        connection.close();
    });
    let paperclip = paperclip(&server.base());
    for _ in 0..20 {
        paperclip.comment("i-1", "hello").wait().unwrap();
    }
    assert_eq!((server.connections(), heard.try_iter().count()), (20, 20));
}

#[test]
fn a_write_whose_connection_breaks_is_not_sent_again() {
    let (server, heard) = telling(Connection::close);
    let failure = paperclip(&server.base()).comment("i-1", "hello").wait().unwrap_err();
    assert_eq!(meaning(&failure), Means::Perhaps, "{failure}");
    assert_eq!((server.connections(), heard.try_iter().count()), (1, 1));
}

#[test]
fn every_request_carries_key_and_run_and_asks_for_plain_json() {
    let (server, heard) = telling(|connection| connection.send(json(COMMENT)));
    paperclip(&server.base()).comment("i-1", "hello").wait().unwrap();
    let request = heard.recv().unwrap().to_ascii_lowercase();
    assert!(request.starts_with("post /api/issues/i-1/comments http/1.1\r\n"), "{request}");
    for line in [
        &format!("authorization: bearer {KEY}"),
        &format!("x-paperclip-run-id: {RUN}"),
        "content-type: application/json",
        "accept: application/json",
        "accept-encoding: identity",
    ] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{line}: {request}");
    }
    assert!(request.ends_with(r#"{"body":"hello"}"#), "{request}");
}

#[test]
fn an_id_cannot_lead_to_another_endpoint() {
    let (server, heard) = telling(|connection| connection.send(answer("404 Not Found", JSON, "{}")));
    let paperclip = paperclip(&server.base());
    for (id, path) in [
        ("../companies/c", "/api/issues/..%2Fcompanies%2Fc"),
        ("i-1/release", "/api/issues/i-1%2Frelease"),
        ("i?x=y#z", "/api/issues/i%3Fx%3Dy%23z"),
        ("ü", "/api/issues/%C3%BC"),
    ] {
        assert!(matches!(paperclip.issue(id).wait(), Err(Failure::NotFound(_))), "{id}");
        let request = heard.recv().unwrap();
        assert_eq!(request.split(' ').nth(1), Some(path));
    }
    let long = "i".repeat(201);
    for id in ["", ".", "..", " i", "i\r\nx-evil: 1", &long] {
        let Err(Failure::Refused(refused)) = paperclip.issue(id).wait() else { panic!("{id:?}") };
        assert_eq!(refused.code(), "invalid_argument");
    }
    assert_eq!(heard.try_iter().count(), 0);
}

#[test]
fn what_the_table_does_not_have_is_refused_before_anything_is_sent() {
    let (server, heard) = telling(|connection| connection.send(json(ISSUE)));
    let paperclip = paperclip(&server.base());
    for from in TaskState::ALL {
        for to in TaskState::ALL {
            if from.transition(to).is_ok() {
                continue;
            }
            let Err(Failure::Refused(refused)) = paperclip.transition("i-1", Move::new(from, to)).wait() else {
                panic!("{from} to {to}")
            };
            let code = if from.is_terminal() { "task_ended" } else { "invalid_transition" };
            assert_eq!(refused.code(), code, "{from} to {to}");
        }
    }
    let (todo, started, blocked) = (TaskState::Todo, TaskState::InProgress, TaskState::Blocked);
    for unsayable in [
        Move::new(todo, started).comment("a checkout has no room for it"),
        Move::new(todo, started).unblock("not blocked"),
        Move::new(started, blocked).unblock(" "),
        Move::new(started, blocked).comment("\u{200b}"),
    ] {
        let Err(Failure::Refused(refused)) = paperclip.transition("i-1", unsayable).wait() else { panic!("sent") };
        assert_eq!(refused.code(), "invalid_argument");
    }
    assert_eq!((server.connections(), heard.try_iter().count()), (0, 0));
}

#[test]
fn a_checkout_that_does_not_say_it_is_ours_is_none() {
    let ours = format!(
        r#"{{"id":"i-1","title":"t","status":"in_progress","assigneeAgentId":"{AGENT}","checkoutRunId":"{RUN}"}}"#
    );
    for (name, body) in [
        ("another state", ours.replace("in_progress", "todo")),
        ("another agent", ours.replace(AGENT, COMPANY)),
        ("another run", ours.replace(RUN, COMPANY)),
        ("no run", ours.replace(&format!("\"{RUN}\""), "null")),
    ] {
        let server = telling(move |connection| connection.send(json(&body))).0;
        let failure = paperclip(&server.base()).checkout("i-1").wait().unwrap_err();
        assert_eq!(meaning(&failure), Means::Perhaps, "{name}");
        assert_eq!(portcullis::Refused::from(failure).code(), "in_doubt", "{name}");
    }
    let server = telling(move |connection| connection.send(json(&ours))).0;
    assert_eq!(paperclip(&server.base()).checkout("i-1").wait().unwrap().state, TaskState::InProgress);
}

#[test]
fn a_move_that_the_service_does_not_make_is_not_told_as_made() {
    // It answers with 200, and the issue is where it was.
    let (server, heard) = telling(|connection| connection.send(json(ISSUE)));
    let paperclip = paperclip(&server.base());
    let done = Move::new(TaskState::InProgress, TaskState::Done);
    let failure = paperclip.transition("i-1", done.clone()).wait().unwrap_err();
    assert_eq!(meaning(&failure), Means::Perhaps, "{failure}");
    assert_eq!(heard.try_iter().count(), 2);
    // It is elsewhere to begin with: nothing is sent but the question where it is.
    let review = Move::new(TaskState::InReview, TaskState::Done);
    let Err(Failure::Elsewhere { expected, found }) = paperclip.transition("i-1", review).wait() else {
        panic!("moved")
    };
    assert_eq!((expected, found), (TaskState::InReview, TaskState::InProgress));
    assert_eq!(heard.try_iter().count(), 1);
}

#[test]
fn one_thread_serves_every_runtime() {
    let (server, _heard) = telling(|connection| connection.send(json(COMMENT)));
    let paperclip = paperclip(&server.base());
    let call = || paperclip.comment("i-1", "hello");
    assert_eq!(pollster::block_on(call()).unwrap().id, "c-1");
    assert_eq!(smol::block_on(call()).unwrap().id, "c-1");
    let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(tokio.block_on(call()).unwrap().id, "c-1");
    // Blocking inside of an executor of one thread: the answer does not come from that thread.
    assert_eq!(tokio.block_on(async { call().wait() }).unwrap().id, "c-1");
}

#[test]
fn calls_do_not_wait_for_each_other() {
    let (server, heard) = telling(|connection| match connection.number {
        0 => connection.hang(),
        _ => connection.send(json(COMMENT)),
    });
    let paperclip = paperclip(&server.base());
    let slow = paperclip.comment("i-1", "slow");
    heard.recv().unwrap();
    paperclip.comment("i-1", "fast").wait().unwrap();
    assert_eq!(meaning(&slow.wait().unwrap_err()), Means::Perhaps);
}

#[test]
fn a_call_that_nobody_waits_for_goes_on() {
    let (server, heard) = telling(|connection| connection.send(json(COMMENT)));
    let paperclip = paperclip(&server.base());
    drop(paperclip.comment("i-1", "hello"));
    // Nor for the rest.
    drop(paperclip);
    assert!(heard.recv().unwrap().ends_with(r#"{"body":"hello"}"#));
}

#[test]
fn a_fork_refuses_and_does_not_hang() {
    let (server, heard) = telling(|connection| connection.send(json(COMMENT)));
    let paperclip = paperclip(&server.base());
    paperclip.comment("i-1", "hello").wait().unwrap();
    // SAFETY: the child calls nothing but code that takes no lock of other threads, and `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let outcome = paperclip.comment("i-1", "from the child").wait();
        let refused = matches!(&outcome, Err(Failure::Refused(refused)) if refused.code() == "forked");
        drop(paperclip);
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(if refused { 7 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: `child` is a child of this process, and `status` is a place for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(libc::WEXITSTATUS(status), 7);
    assert_eq!(heard.try_iter().count(), 1);
}

#[test]
fn what_cannot_work_is_refused_at_once_and_without_the_secret() {
    let agent = || Agent::new(AGENT, COMPANY).unwrap();
    let key = || ApiKey::new(KEY).unwrap();
    for url in
        ["http://paperclip.example", "http://10.0.0.1:3100", "https://user:5ecret@paperclip.example", "ftp://x", ""]
    {
        let builder = Paperclip::builder(url, agent(), key(), RUN);
        assert!(!format!("{builder:?}").contains("5ecret"));
        let error = builder.connect().unwrap_err();
        assert!(matches!(error, InvalidPaperclip::Url(_)) && !error.to_string().contains("5ecret"), "{error}");
    }
    let error = Paperclip::builder("http://127.0.0.1:3100", agent(), key(), "run-1").connect().unwrap_err();
    assert!(matches!(error, InvalidPaperclip::Run), "{error}");
    for wrong in [Duration::ZERO, Duration::from_millis(99), Duration::from_secs(61)] {
        let builder = Paperclip::builder("http://127.0.0.1:3100", agent(), key(), RUN).deadline(wrong);
        assert!(matches!(builder.connect().unwrap_err(), InvalidPaperclip::Deadline(_)), "{wrong:?}");
    }
    assert!(!format!("{:?}", paperclip("http://127.0.0.1:3100")).contains("5ecret"));
}
