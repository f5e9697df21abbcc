//! What must work over a real connection, and the one retry. The hostile answers are tested with real processes.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::authority::Denial;
use crate::boundary::Boundary;

/// What the server does with a request.
enum Does {
    Answer(&'static str),
    /// Writes this and closes.
    Close(&'static str),
}

/// Serves by (connection, request on it), and keeps every request's head and body.
fn serve(script: fn(usize, usize) -> Does) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    thread::spawn(move || {
        for (connection, stream) in listener.incoming().enumerate() {
            let (mut stream, hears) = (stream.unwrap(), Arc::clone(&hears));
            thread::spawn(move || {
                for request in 0.. {
                    let mut text = String::new();
                    let mut byte = [0];
                    // Every body ends in the one closing brace.
                    while !text.ends_with('}') {
                        match stream.read(&mut byte) {
                            Ok(1) => text.push(char::from(byte[0])),
                            _ => return,
                        }
                    }
                    hears.lock().unwrap().push(text);
                    match script(connection, request) {
                        Does::Answer(answer) => stream.write_all(answer.as_bytes()).unwrap(),
                        Does::Close(answer) => return stream.write_all(answer.as_bytes()).unwrap(),
                    }
                }
            });
        }
    });
    (base, heard)
}

const ALLOW: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: 16\r\n\r\n{\"allowed\":true}";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{\"status\":\"ok\"}";

fn device() -> Device {
    Device::parse("pay:prod:worker:1").unwrap()
}

fn machineid(base: &str) -> MachineId {
    MachineId::new(base, OrgKey::new("org_secret").unwrap()).unwrap()
}

fn question() -> Question {
    Question {
        boundary: Boundary::BeforeCost,
        device: device(),
        action: "llm.call".into(),
        resource: "llm.call".into(),
        width: None,
        deadline: Instant::now() + Duration::from_secs(2),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn it_speaks_the_published_protocol() {
    let (base, heard) = serve(|_, request| Does::Answer(if request == 0 { OK } else { ALLOW }));
    let machineid = machineid(&format!("{base}/prefix/"));
    block_on(async {
        assert!(matches!(machineid.register(&device()).await, Registration::Accepted));
        assert!(matches!(machineid.decide(&question()).await, Verdict::Allow(_)));
    });
    let heard = heard.lock().unwrap();
    for (request, path) in heard.iter().zip(["register", "validate"]) {
        let lower = request.to_lowercase();
        assert!(request.starts_with(&format!("POST /prefix/api/v1/devices/{path} HTTP/1.1\r\n")), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"deviceId\":\"pay:prod:worker:1\"}"), "{request}");
        for header in ["x-org-key: org_secret", "content-type: application/json", "accept-encoding: identity"] {
            assert_eq!(lower.matches(&format!("{header}\r\n")).count(), 1, "{request}");
        }
        assert!(
            !lower.contains("authorization") && !lower.contains("referer") && !lower.contains("cookie"),
            "{request}"
        );
    }
    assert_eq!(heard.len(), 2);
}

#[test]
fn a_kept_connection_that_broke_before_its_answer_is_replaced_once() {
    let (base, heard) = serve(|connection, request| match (connection, request) {
        (0, 1) => Does::Close(""),
        _ => Does::Answer(ALLOW),
    });
    let machineid = machineid(&base);
    block_on(async {
        assert!(matches!(machineid.decide(&question()).await, Verdict::Allow(_)));
        assert!(matches!(machineid.decide(&question()).await, Verdict::Allow(_)));
    });
    assert_eq!((machineid.wire.retries(), heard.lock().unwrap().len()), (1, 3));
}

#[test]
fn the_second_time_is_the_last() {
    let (base, heard) = serve(|connection, request| match (connection, request) {
        (0, 0) => Does::Answer(ALLOW),
        _ => Does::Close(""),
    });
    let machineid = machineid(&base);
    block_on(async {
        assert!(matches!(machineid.decide(&question()).await, Verdict::Allow(_)));
        let Verdict::Fault(fault) = machineid.decide(&question()).await else { panic!("an answer") };
        assert_eq!(fault.kind(), FaultKind::Unreachable);
    });
    assert_eq!((machineid.wire.retries(), heard.lock().unwrap().len()), (1, 3));
}

#[test]
fn a_new_connection_that_breaks_is_not_replaced() {
    let (base, heard) = serve(|_, _| Does::Close(""));
    let machineid = machineid(&base);
    block_on(async { assert!(matches!(machineid.decide(&question()).await, Verdict::Fault(_))) });
    assert_eq!((machineid.wire.retries(), heard.lock().unwrap().len()), (0, 1));
}

#[test]
fn an_answer_that_broke_off_on_a_kept_connection_is_not_asked_for_again() {
    for part in [&ALLOW[..ALLOW.len() - 4], &ALLOW[..20], "HTTP/1.1 100 Continue\r\n\r\n", "x"] {
        static PART: Mutex<&str> = Mutex::new("");
        *PART.lock().unwrap() = part;
        let (base, heard) = serve(|connection, request| match (connection, request) {
            (0, 1) => Does::Close(*PART.lock().unwrap()),
            _ => Does::Answer(ALLOW),
        });
        let machineid = machineid(&base);
        block_on(async {
            assert!(matches!(machineid.decide(&question()).await, Verdict::Allow(_)));
            assert!(matches!(machineid.decide(&question()).await, Verdict::Fault(_)), "{part:?}");
        });
        assert_eq!((machineid.wire.retries(), heard.lock().unwrap().len()), (0, 2), "{part:?}");
    }
}

#[test]
fn a_plan_at_its_limit_refuses_the_registration() {
    let (base, _) = serve(|_, _| {
        Does::Close(
            "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: 55\r\n\r\n\
             {\"status\":\"blocked\",\"error\":\"device_limit_reached\"    }",
        )
    });
    let machineid = machineid(&base);
    let registration = block_on(async { machineid.register(&device()).await });
    match registration {
        Registration::Refused(denial) => assert_eq!(denial, Denial::new("device_limit_reached")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_prints_the_key() {
    let printed = format!("{:?}", machineid("http://127.0.0.1:1"));
    assert!(!printed.contains("secret"), "{printed}");
    for base in ["https://user:secret@machineid.io", "https://machineid.io?secret", "http://machineid.io/secret"] {
        let error = MachineId::new(base, OrgKey::new("org_secret").unwrap()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}
