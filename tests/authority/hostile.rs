//! Each hostile answer ends a real process with 77, in time, and with no trace of the effect; what is an allow runs.
//!
//! The process under test is `guarded-child`: it ignores every error and catches every panic.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use portcullis_tests::hostile_server::{Connection, Server, answer, chunk, json};

const KEY: &str = "org_5ecret";
const DEVICE: &str = "pay:prod:worker:i-1";
const ALLOW: &str = r#"{"allowed":true,"code":"ALLOW","request_id":"7b0e"}"#;

const MALFORMED: Expect = Expect::Ends("authority_malformed");
const TIMEOUT: Expect = Expect::Ends("authority_timeout");
const UNREACHABLE: Expect = Expect::Ends("authority_unreachable");
const DENIED: Expect = Expect::Ends("denied");
const NOT_CONFIGURED: Expect = Expect::Ends("not_configured");

/// From the start of the process to its end.
const IN_TIME: Duration = Duration::from_millis(3500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// With 77, this code on its one line, and no effect.
    Ends(&'static str),
    /// The same after one effect, which was allowed.
    EndsAfterOne(&'static str),
    /// With 0, and this many effects.
    Runs(usize),
}

/// One process.
struct Case {
    name: String,
    mode: &'static str,
    environment: Vec<(&'static str, String)>,
    expect: Expect,
}

impl Case {
    fn new(name: impl Into<String>, base: String, expect: Expect) -> Case {
        let environment = vec![
            ("PORTCULLIS_AUTHORITY", "machineid".to_owned()),
            ("MACHINEID_BASE_URL", base),
            ("MACHINEID_ORG_KEY", KEY.to_owned()),
            ("SERVICE_NAME", "pay".to_owned()),
            ("ENVIRONMENT", "prod".to_owned()),
            ("SERVICE_ROLE", "worker".to_owned()),
            ("INSTANCE_ID", "i-1".to_owned()),
        ];
        Case { name: name.into(), mode: "once", environment, expect }
    }

    /// What every question is answered with.
    fn answered(name: impl Into<String>, bytes: impl Into<Vec<u8>>, expect: Expect) -> Case {
        let bytes = bytes.into();
        Case::judged(name, expect, move |connection| connection.send(&bytes))
    }

    /// As `answered`, and the connection is closed behind it.
    fn answered_and_closed(name: impl Into<String>, bytes: impl Into<Vec<u8>>, expect: Expect) -> Case {
        let bytes = bytes.into();
        Case::judged(name, expect, move |connection| {
            connection.send(&bytes);
            connection.close();
        })
    }

    fn judged(
        name: impl Into<String>,
        expect: Expect,
        judge: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Case {
        Case::new(name, Server::judge(judge).base(), expect)
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Case {
        self.environment.retain(|(present, _)| *present != name);
        self.environment.push((name, value.into()));
        self
    }

    fn without(mut self, name: &'static str) -> Case {
        self.environment.retain(|(present, _)| *present != name);
        self
    }

    fn mode(mut self, mode: &'static str) -> Case {
        self.mode = mode;
        self
    }

    /// Says what is wrong, if anything is.
    fn run(&self) -> Result<(), String> {
        let room = tempfile::tempdir().map_err(|error| error.to_string())?;
        let file = room.path().join("effects");
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_guarded-child"))
            .arg(self.mode)
            .arg(&file)
            .env_clear()
            .env("HOME", room.path())
            .env("PORTCULLIS_LEDGER", format!("sqlite:{}", room.path().join("ledger.db").display()))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(room.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut stderr = child.stderr.take().ok_or("no standard error")?;
        let (ended, end) = mpsc::channel();
        thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            // The receiver has given up if the process took too long.
            let _ = ended.send(text);
        });
        let said = end.recv_timeout(Duration::from_secs(10));
        let took = began.elapsed();
        if said.is_err() {
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| error.to_string())?;
        let said = said.map_err(|_| "still running after 10 s")?;
        let effects = fs::read_to_string(&file).unwrap_or_default().lines().count();

        let seen = format!("{status}, {effects} effects, after {took:?}, saying {said:?}");
        let ended = |code: &str, after: usize| {
            status.code() == Some(77)
                && effects == after
                && took < IN_TIME
                && said.lines().filter(|line| line.starts_with("portcullis: refused, process ends: ")).count() == 1
                && said.split_whitespace().any(|part| part == format!("code={code}"))
        };
        let as_expected = match self.expect {
            Expect::Ends(code) => ended(code, 0),
            Expect::EndsAfterOne(code) => ended(code, 1),
            Expect::Runs(times) => status.code() == Some(0) && effects == times,
        };
        let secrets = [KEY, "5ecret", "hunter2"];
        if !as_expected {
            Err(format!("expected {:?}, saw {seen}", self.expect))
        } else if secrets.iter().any(|secret| said.contains(secret)) {
            Err(format!("a secret was printed: {seen}"))
        } else {
            Ok(())
        }
    }
}

/// Runs them side by side, and reports every one that is wrong.
fn all(cases: Vec<Case>) {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = case.run() {
                        wrong.lock().unwrap().push(format!("{}: {why}", case.name));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// `{"allowed":true}`, compressed by gzip.
const GZIPPED: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xab, 0x56, 0x4a, 0xcc, 0xc9, 0xc9, 0x2f, 0x4f, 0x4d,
    0x51, 0xb2, 0x2a, 0x29, 0x2a, 0x4d, 0xad, 0x05, 0x00, 0x86, 0xfc, 0xc9, 0x20, 0x10, 0x00, 0x00, 0x00,
];

#[test]
fn bodies_that_are_no_allow_end_the_process() {
    let mut cases = Vec::new();
    for (body, expect) in [
        (r#"{"allowed":false}"#, DENIED),
        (r#"{"allowed":false,"code":"DEVICE_REVOKED","request_id":"7b0e"}"#, DENIED),
        (r#"{"allowed":"true"}"#, MALFORMED),
        (r#"{"allowed":"false"}"#, MALFORMED),
        (r#"{"allowed":1}"#, MALFORMED),
        (r#"{"allowed":null}"#, MALFORMED),
        (r#"{"allowed":[true]}"#, MALFORMED),
        (r#"{"status":"ok"}"#, MALFORMED),
        (r#"{"data":{"allowed":true}}"#, MALFORMED),
        (r#"{"allowed":{"allowed":true}}"#, MALFORMED),
        (r#"{"Allowed":true}"#, MALFORMED),
        (r#"{"allowed":True}"#, MALFORMED),
        (r#"{"allowed":TRUE}"#, MALFORMED),
        (r#"{"allowed":true,"allowed":false}"#, MALFORMED),
        (r#"{"allowed":false,"allowed":true}"#, MALFORMED),
        (r#"{"allowed":true,"allowed":true}"#, MALFORMED),
        (r#"{"allowed":false,"\u0061llowed":true}"#, MALFORMED),
        ("true", MALFORMED),
        ("[true]", MALFORMED),
        (r#"[{"allowed":true}]"#, MALFORMED),
        (r#""{\"allowed\":true}""#, MALFORMED),
        ("", MALFORMED),
        (r#"{"allowed":true,"code":"DEVICE_REVOKED"}"#, MALFORMED),
        (r#"{"allowed":true,"code":null}"#, MALFORMED),
        (r#"{"allowed":true,"deviceId":"pay:prod:worker:i-2"}"#, MALFORMED),
        (r#"{"allowed":true,"request_id":7}"#, MALFORMED),
        ("\u{feff}{\"allowed\":true}", MALFORMED),
        (r#"{"allowed":true"#, MALFORMED),
        (r#"{"allowed":true}x"#, MALFORMED),
        (r#"{"allowed":true}{"allowed":true}"#, MALFORMED),
        (r#"{"allowed":true,"x":NaN}"#, MALFORMED),
        ("<html><body>{\"allowed\":true}</body></html>", MALFORMED),
        ("allowed=true", MALFORMED),
    ] {
        cases.push(Case::answered(body, json(body), expect));
    }
    cases.push(Case::answered("bad UTF-8", json(b"{\"allowed\":true,\"x\":\"\xff\"}"), MALFORMED));
    let utf16: Vec<u8> = r#"{"allowed":true}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    cases.push(Case::answered("UTF-16", json(utf16), MALFORMED));
    let deep = format!("{{\"allowed\":true,\"x\":{}{}}}", "[".repeat(30_000), "]".repeat(30_000));
    cases.push(Case::answered("30,000 deep", json(deep), MALFORMED));
    all(cases);
}

#[test]
fn heads_that_are_no_answer_end_the_process() {
    let mut cases = Vec::new();
    for status in [
        "101 Switching Protocols",
        "201 Created",
        "202 Accepted",
        "203 Non-Authoritative Information",
        "204 No Content",
        "206 Partial Content",
        "299 Fine",
        "300 Multiple Choices",
        "304 Not Modified",
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "599 Whatever",
    ] {
        let perfect = answer(status, "content-type: application/json\r\n", ALLOW);
        cases.push(Case::answered_and_closed(status, perfect, MALFORMED));
    }
    for (name, headers, body) in [
        ("HTML that allows", "content-type: text/html\r\n", ALLOW.as_bytes()),
        ("text that allows", "content-type: text/plain; x=application/json\r\n", ALLOW.as_bytes()),
        ("no content type", "", ALLOW.as_bytes()),
        ("two content types", "content-type: application/json\r\ncontent-type: text/html\r\n", ALLOW.as_bytes()),
        ("gzip", "content-type: application/json\r\ncontent-encoding: gzip\r\n", GZIPPED),
        ("gzip that is none", "content-type: application/json\r\ncontent-encoding: gzip\r\n", ALLOW.as_bytes()),
        ("an unknown encoding", "content-type: application/json\r\ncontent-encoding: aes128gcm\r\n", ALLOW.as_bytes()),
        ("gzip that is not announced", "content-type: application/json\r\n", GZIPPED),
        ("two lengths", "content-type: application/json\r\ncontent-length: 3\r\n", ALLOW.as_bytes()),
    ] {
        cases.push(Case::answered_and_closed(name, answer("200 OK", headers, body), MALFORMED));
    }
    all(cases);
}

#[test]
fn broken_and_endless_streams_end_the_process() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let mut cases = Vec::new();
    let long = format!("{}{ALLOW}", " ".repeat(8 << 20));
    cases.push(Case::answered("8 MiB", json(&long), MALFORMED));
    let chunked = [format!("{HEAD}transfer-encoding: chunked\r\n\r\n").into_bytes(), chunk(&long), chunk("")].concat();
    cases.push(Case::answered("8 MiB in a chunk", chunked, MALFORMED));
    let just_over = format!("{}{ALLOW}", " ".repeat(64 * 1024 + 1 - ALLOW.len()));
    cases.push(Case::answered("64 KiB and one byte", json(just_over), MALFORMED));
    cases.push(Case::judged("an endless body", MALFORMED, |connection| {
        connection.send(format!("{HEAD}\r\n"));
        connection.send_for_ever([b' '; 4096]);
    }));
    cases.push(Case::judged("an endless chunked body", MALFORMED, |connection| {
        connection.send(format!("{HEAD}transfer-encoding: chunked\r\n\r\n"));
        connection.send_for_ever(chunk([b' '; 4096]));
    }));
    cases.push(Case::judged("an endless head", MALFORMED, |connection| {
        connection.send("HTTP/1.1 200 OK\r\n");
        connection.send_for_ever("x-padding: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n");
    }));
    cases.push(Case::judged("an endless header line", MALFORMED, |connection| {
        connection.send("HTTP/1.1 200 OK\r\nx-padding: ");
        connection.send_for_ever([b'x'; 4096]);
    }));
    cases.push(Case::answered_and_closed("a short body", &json(ALLOW)[..json(ALLOW).len() - 1], MALFORMED));
    let short_chunks = [format!("{HEAD}transfer-encoding: chunked\r\n\r\n").into_bytes(), chunk(ALLOW)].concat();
    cases.push(Case::answered_and_closed("chunks without an end", short_chunks, MALFORMED));
    cases.push(Case::answered_and_closed("a short head", "HTTP/1.1 200 OK\r\ncontent-type: appl", UNREACHABLE));
    for garbage in ["\0\u{1}\u{2}garbage\r\n\r\n", "ICY 200 OK\r\n\r\n{\"allowed\":true}", "{\"allowed\":true}\r\n\r\n"]
    {
        cases.push(Case::answered_and_closed(format!("{garbage:?}"), garbage, MALFORMED));
    }
    cases.push(Case::answered_and_closed("a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", MALFORMED));
    cases.push(Case::judged("closed without an answer", UNREACHABLE, Connection::close));
    let reset = Server::start(Connection::leave_unread);
    cases.push(Case::new("reset", reset.base(), UNREACHABLE));
    // Bound and let go: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    cases.push(Case::new("connection refused", format!("http://{free}"), UNREACHABLE));
    let plain = Server::start(|connection| connection.send(json(ALLOW)));
    let over_tls = plain.base().replace("http:", "https:");
    cases.push(Case::new("plain HTTP where TLS is expected", over_tls, UNREACHABLE));
    cases.push(Case::new("a name that does not resolve", "https://nowhere.invalid".into(), UNREACHABLE));
    all(cases);
}

#[test]
fn what_takes_too_long_ends_the_process_in_time() {
    const HALF: Duration = Duration::from_millis(500);
    let mut cases = Vec::new();
    cases.push(Case::judged("one byte every half second in the head", TIMEOUT, |c| c.drip(json(ALLOW), 1, HALF)));
    cases.push(Case::judged("one byte every half second in the body", TIMEOUT, |connection| {
        connection.send(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            ALLOW.len()
        ));
        connection.drip(ALLOW, 1, HALF);
    }));
    cases.push(Case::judged("one chunk every half second", TIMEOUT, |connection| {
        connection.send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n");
        for byte in ALLOW.bytes() {
            connection.drip(chunk([byte]), 64, HALF);
        }
    }));
    for interim in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"] {
        cases.push(Case::judged("interim responses now and then", TIMEOUT, move |connection| {
            connection.drip(interim.repeat(20), interim.len(), Duration::from_millis(250));
            connection.send(json(ALLOW));
        }));
        cases.push(Case::judged("interim responses without end", TIMEOUT, move |connection| {
            connection.send_for_ever(interim);
        }));
    }
    let phases = Server::start(|connection| {
        // Registration, head and body each take less than the deadline, and together more.
        while let Some(request) = connection.request() {
            if request.path().ends_with("/register") {
                connection.drip(json(r#"{"status":"ok"}"#), 4096, Duration::from_millis(900));
            } else {
                let whole = json(ALLOW);
                let (head, body) = whole.split_at(whole.len() - ALLOW.len());
                connection.drip(head, 4096, Duration::from_millis(900));
                connection.drip(body, 4096, Duration::from_millis(900));
            }
        }
    });
    cases.push(Case::new("each phase just under its own timeout", phases.base(), TIMEOUT));
    cases.push(Case::judged("an allow after 2.3 s", TIMEOUT, |c| {
        c.drip(json(ALLOW), 4096, Duration::from_millis(2300))
    }));
    cases.push(Case::new("a hang after accept", Server::start(Connection::hang).base(), TIMEOUT));
    cases.push(Case::judged("a hang after the question", TIMEOUT, Connection::hang));
    let silent = Server::start(Connection::hang).base().replace("http:", "https:");
    cases.push(Case::new("a hang in the TLS handshake", silent, TIMEOUT));
    cases.push(Case::new("a name whose resolution hangs", "https://hangs.invalid".into(), TIMEOUT));
    all(cases);
}

#[test]
fn a_redirect_is_not_followed() {
    let mut cases = Vec::new();
    let other = Server::start(|connection| {
        while connection.request().is_some() {
            connection.send(json(ALLOW));
        }
    });
    for status in
        ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let same = Server::start(move |connection| {
            while let Some(request) = connection.request() {
                connection.send(match request.path() {
                    "/elsewhere" => json(ALLOW),
                    path if path.ends_with("/register") => json(r#"{"status":"ok"}"#),
                    _ => answer(status, "content-type: application/json\r\nlocation: /elsewhere\r\n", ALLOW),
                });
            }
        });
        cases.push(Case::new(format!("{status}, same origin"), same.base(), MALFORMED));
        let away = format!("content-type: application/json\r\nlocation: {}/elsewhere\r\n", other.base());
        cases.push(Case::answered(format!("{status}, another origin"), answer(status, &away, ALLOW), MALFORMED));
    }
    all(cases);
    assert_eq!(other.connections(), 0, "the other origin was asked");
}

#[test]
fn a_proxy_in_the_environment_is_not_asked() {
    let proxy = Server::start(|connection| {
        while connection.request().is_some() {
            connection.send(json(ALLOW));
        }
    });
    let through = |mut case: Case| {
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            case = case.with(name, proxy.base());
        }
        case
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    all(vec![
        through(Case::answered("a proxy that would allow what is denied", json(r#"{"allowed":false}"#), DENIED)),
        through(Case::new("a proxy to where nobody listens", format!("http://{free}"), UNREACHABLE)),
        through(Case::new("a proxy to a name that does not resolve", "https://nowhere.invalid".into(), UNREACHABLE)),
        through(Case::answered("a proxy beside an allow", json(ALLOW), Expect::Runs(1))),
    ]);
    assert_eq!(proxy.connections(), 0, "the proxy was asked");
}

#[test]
fn what_is_not_configured_ends_the_process() {
    let server = Server::judge(|connection| connection.send(json(ALLOW)));
    let case = |name: &str| Case::new(name, server.base(), NOT_CONFIGURED);
    let nothing = Case { environment: Vec::new(), ..case("nothing configured") };
    all(vec![
        nothing,
        case("no authority").without("PORTCULLIS_AUTHORITY"),
        case("an unknown authority").with("PORTCULLIS_AUTHORITY", "none"),
        case("no key").without("MACHINEID_ORG_KEY"),
        case("an empty key").with("MACHINEID_ORG_KEY", ""),
        case("a blank key").with("MACHINEID_ORG_KEY", "  "),
        case("a key with a line break").with("MACHINEID_ORG_KEY", "org_hunter2\r\nx-allowed: true"),
        case("plain HTTP to a remote host").with("MACHINEID_BASE_URL", "http://198.51.100.1"),
        case("a base URL with a password").with("MACHINEID_BASE_URL", "https://user:hunter2@machineid.invalid"),
        case("a base URL with a query").with("MACHINEID_BASE_URL", "https://machineid.invalid/?key=hunter2"),
        case("a base URL that is none").with("MACHINEID_BASE_URL", "machineid"),
        case("a device with a part too many").with("SERVICE_ROLE", "worker:admin"),
    ]);
}

#[test]
fn a_registration_that_is_not_accepted_ends_the_process() {
    let register = |name: &str, bytes: Vec<u8>, expect| {
        let server = Server::start(move |connection| {
            while let Some(request) = connection.request() {
                connection.send(if request.path().ends_with("/register") { bytes.clone() } else { json(ALLOW) });
            }
        });
        Case::new(name, server.base(), expect)
    };
    let blocked = r#"{"status":"blocked","error":"device_limit_reached"}"#;
    all(vec![
        register("limit reached", json(r#"{"status":"limit_reached","limit":3}"#), DENIED),
        register("blocked", answer("403 Forbidden", "content-type: application/json\r\n", blocked), DENIED),
        register(
            "an error",
            answer("500 Internal Server Error", "content-type: application/json\r\n", "{}"),
            MALFORMED,
        ),
        register("another device", json(r#"{"status":"ok","deviceId":"a:b:c:d"}"#), MALFORMED),
        register("no status", json(r#"{"allowed":true}"#), MALFORMED),
        register("ok", json(r#"{"status":"ok"}"#), Expect::Runs(1)),
        register("exists", json(r#"{"status":"exists","deviceId":"pay:prod:worker:i-1"}"#), Expect::Runs(1)),
        register("restored", json(r#"{"status":"restored"}"#), Expect::Runs(1)),
    ]);
}

#[test]
fn a_caller_that_stops_waiting_does_not_undo_a_denial() {
    all(vec![
        Case::judged("denied after the future was dropped", DENIED, |connection| {
            connection.drip(json(r#"{"allowed":false,"code":"DEVICE_REVOKED"}"#), 4096, Duration::from_millis(300));
        })
        .mode("cancelled"),
        Case::judged("no answer after the future was dropped", TIMEOUT, Connection::hang).mode("cancelled"),
        Case::judged("denied after the gate was dropped", DENIED, |connection| {
            connection.drip(json(r#"{"allowed":false,"code":"DEVICE_REVOKED"}"#), 4096, Duration::from_millis(300));
        })
        .mode("gate-dropped"),
        Case::judged("no answer after the gate was dropped", TIMEOUT, Connection::hang).mode("gate-dropped"),
    ]);
}

#[test]
fn a_provider_or_a_subscriber_that_misbehaves_does_not_hold_up_the_end() {
    let case = |mode, expect| Case { environment: Vec::new(), ..Case::new(mode, String::new(), expect) }.mode(mode);
    all(vec![
        case("blocking-provider", TIMEOUT),
        case("sleeping-provider", TIMEOUT),
        case("panicking-provider", MALFORMED),
        case("blocking-subscriber", DENIED),
    ]);
}

#[test]
fn what_is_an_allow_runs() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let runs = |name: &str, bytes: Vec<u8>| Case::answered(name, bytes, Expect::Runs(1));
    let with_type = |value: &str| answer("200 OK", &format!("Content-Type: {value}\r\n"), ALLOW);
    let chunks = [
        format!("{HEAD}transfer-encoding: chunked\r\n\r\n").into_bytes(),
        chunk(&ALLOW[..9]),
        chunk(&ALLOW[9..]),
        chunk(""),
    ]
    .concat();
    let full = r#"{"status":"ok","handler":"devices/validate","allowed":true,"code":"ALLOW","reason":null,"request_id":"7b0e",
        "deviceId":"pay:prod:worker:i-1","planTier":"free","more":{"allowed":false,"list":[1,2.5,"x"]}}"#;
    let padded = format!("{}{ALLOW}", " ".repeat(64 * 1024 - ALLOW.len()));
    let interim = [b"HTTP/1.1 100 Continue\r\n\r\n".as_slice(), &json(ALLOW)].concat();
    all(vec![
        runs("the plain allow", json(ALLOW)),
        runs("nothing but allowed", json(r#"{"allowed":true}"#)),
        runs("a charset", with_type("application/json; charset=utf-8")),
        runs("capitals in the content type", with_type("Application/JSON;charset=UTF-8")),
        runs("unknown fields", json(full)),
        runs("chunked", chunks),
        runs("request_id null", json(r#"{"allowed":true,"request_id":null}"#)),
        runs("64 KiB", json(padded)),
        runs("an interim response", interim),
        Case::answered_and_closed("until closed", format!("{HEAD}\r\n{ALLOW}"), Expect::Runs(1)),
        Case::answered_and_closed(
            "connection: close",
            answer("200 OK", "content-type: application/json\r\nconnection: close\r\n", ALLOW),
            Expect::Runs(1),
        ),
        Case::answered("twice on one connection", json(ALLOW), Expect::Runs(2)).mode("twice"),
        Case::answered_and_closed("closed after each answer", json(ALLOW), Expect::Runs(2)).mode("twice"),
        closed_in_between(),
        Case::judged("an allow after 1.8 s", Expect::Runs(1), |c| {
            c.drip(json(ALLOW), 4096, Duration::from_millis(1800))
        }),
    ]);
}

/// The kept-alive connection takes the second question and closes instead of answering it.
fn closed_in_between() -> Case {
    let closed = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |connection| {
        while let Some(request) = connection.request() {
            if request.path().ends_with("/register") {
                connection.send(json(r#"{"status":"ok"}"#));
            } else if connection.served == 3 && closed.fetch_add(1, Ordering::SeqCst) == 0 {
                return connection.close();
            } else {
                connection.send(json(ALLOW));
            }
        }
    });
    Case::new("a kept-alive connection closed in between", server.base(), Expect::Runs(2)).mode("twice")
}

#[test]
fn only_an_accepted_certificate_speaks_for_the_authority() {
    let file = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("authority/tls").join(name);
    let at = |server: &Server, host: &str| format!("https://{host}:{}", server.address().port());
    let allowing = |certificate: &str, key: &str| {
        Server::judge_over_tls(&file(certificate), &file(key), |connection| connection.send(json(ALLOW)))
    };
    let trusting = |case: Case| case.with("SSL_CERT_FILE", file("root.pem").display().to_string());

    let good = allowing("localhost.pem", "localhost.key");
    let other = allowing("other.pem", "other.key");
    let expired = allowing("expired.pem", "localhost.key");
    all(vec![
        trusting(Case::new("an accepted certificate", at(&good, "localhost"), Expect::Runs(1))),
        trusting(Case::new("the same, twice on one connection", at(&good, "localhost"), Expect::Runs(2)).mode("twice")),
        Case::new("an unknown root", at(&good, "localhost"), UNREACHABLE),
        trusting(Case::new("an address that the certificate does not name", at(&good, "127.0.0.1"), UNREACHABLE)),
        trusting(Case::new("another host's certificate", at(&other, "localhost"), UNREACHABLE)),
        trusting(Case::new("an expired certificate", at(&expired, "localhost"), UNREACHABLE)),
    ]);
}

#[test]
fn an_allow_is_not_remembered() {
    // What the second question on the kept-alive connection is answered with.
    let second = |name: &str, expect, answer: fn(&mut Connection)| {
        let server = Server::judge(move |connection| match (connection.number, connection.served) {
            (0, 2) => connection.send(json(ALLOW)),
            (0, _) => answer(connection),
            // Who is asked again says yes: nobody may be.
            (_, _) => connection.send(json(ALLOW)),
        });
        Case::new(name, server.base(), expect).mode("twice")
    };
    let closed = Server::judge(|connection| {
        if (connection.number, connection.served) == (0, 2) {
            connection.send(json(ALLOW));
        } else {
            connection.close();
        }
    });
    // Two answers to the first question: what is left over must not be taken for the answer to the second.
    let too_many = Server::judge(|connection| {
        connection.send(match (connection.number, connection.served) {
            (0, 2) => [json(ALLOW), json(ALLOW)].concat(),
            _ => json(r#"{"allowed":false}"#),
        });
    });
    let unreachable = Expect::EndsAfterOne("authority_unreachable");
    all(vec![
        second("a denial", Expect::EndsAfterOne("denied"), |c| c.send(json(r#"{"allowed":false}"#))),
        second("an error", Expect::EndsAfterOne("authority_malformed"), |c| c.send(answer("503 No", "", ALLOW))),
        second("silence", Expect::EndsAfterOne("authority_timeout"), Connection::hang),
        second("a head that breaks off", unreachable, |connection| {
            connection.send("HTTP/1.1 200 OK\r\ncontent-");
            connection.close();
        }),
        second("one byte", unreachable, |connection| {
            connection.send("H");
            connection.close();
        }),
        second("an interim response and the end", unreachable, |connection| {
            connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            connection.close();
        }),
        second("a body that breaks off", Expect::EndsAfterOne("authority_malformed"), |connection| {
            connection.send(&json(ALLOW)[..json(ALLOW).len() - 1]);
            connection.close();
        }),
        Case::new("an answer too many", too_many.base(), Expect::EndsAfterOne("denied")).mode("twice"),
        Case::new("closed, and closed again on the new connection", closed.base(), unreachable).mode("twice"),
    ]);
}

#[test]
fn the_line_names_the_device_and_the_decision() {
    let denial = json(r#"{"allowed":false,"code":"DEVICE_REVOKED","request_id":"7b0e-42"}"#);
    let case = Case::answered("a denial", denial, DENIED);
    let room = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_guarded-child"))
        .args(["once".as_ref(), room.path().join("effects").as_os_str()])
        .env_clear()
        .env("PORTCULLIS_LEDGER", format!("sqlite:{}", room.path().join("ledger.db").display()))
        .envs(case.environment.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let parts: Vec<&str> = said.split_whitespace().collect();
    for part in [
        "code=denied",
        "boundary=before_side_effect",
        "action=effect",
        "reason=DEVICE_REVOKED",
        "request=7b0e-42",
        &format!("device={DEVICE}"),
    ] {
        assert!(parts.contains(&part), "{part:?} is not in {said:?}");
    }
}
