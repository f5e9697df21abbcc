//! A company in a task service, with two agents, each in a run: recorded, or real.
//!
//! | environment | what answers |
//! | --- | --- |
//! | nothing | `fixtures/NAME.json`: each request must be the recorded one, and is answered as it was then |
//! | `PORTCULLIS_PAPERCLIP_URL` | that server: one that takes this machine for its owner (`local_trusted`) |
//! | and `PORTCULLIS_PAPERCLIP_RECORD` | the same, and the fixture is written anew |

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use portcullis::tasks::admission::Agent;
use portcullis::tasks::paperclip::{ApiKey, Paperclip};
use portcullis_tests::hostile_server::{Connection, Request, Server, answer};
use serde_json::{Map, Value, json};

/// What stands in a fixture in place of a key.
const PLACEHOLDER: &str = "pcp_placeholder";

/// What was said at the beginning, and what was said then.
pub struct World {
    name: &'static str,
    base: String,
    /// The ids of `company`, `lead`, and the issues by their names; `agents` and `runs`.
    ids: Value,
    keys: Vec<String>,
    /// The server itself, where there is one.
    live: Option<String>,
    tape: Arc<Mutex<Tape>>,
}

/// The exchanges: those that are still to come, or those that have been.
#[derive(Default)]
struct Tape {
    exchanges: Vec<Value>,
    wrong: Option<String>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("paperclip/fixtures").join(name).with_extension("json")
}

impl World {
    /// A company of its own, with these issues, each in this state and nobody's.
    pub fn open(name: &'static str, issues: &[(&str, &str)]) -> Self {
        match std::env::var("PORTCULLIS_PAPERCLIP_URL") {
            Ok(live) => World::real(name, live, issues),
            Err(_) => World::recorded(name),
        }
    }

    fn recorded(name: &'static str) -> Self {
        let text = fs::read_to_string(fixture(name)).expect("a fixture: docs/paperclip.md says how they are made");
        let mut fixture: Value = serde_json::from_str(&text).expect("JSON");
        let Value::Array(mut exchanges) = fixture["exchanges"].take() else { panic!("no exchanges") };
        exchanges.reverse();
        let tape = Arc::new(Mutex::new(Tape { exchanges, wrong: None }));
        let keys: Vec<_> = (0..2).map(|agent| format!("{PLACEHOLDER}_{agent}")).collect();
        let (heard, known) = (Arc::clone(&tape), keys.clone());
        let server = Server::start(move |connection| {
            while let Some(request) = connection.request() {
                replay(connection, &told(&request, &known), &mut heard.lock().unwrap());
            }
        });
        World { name, base: server.base(), ids: fixture["ids"].take(), keys, live: None, tape }
    }

    fn real(name: &'static str, live: String, issues: &[(&str, &str)]) -> Self {
        let board = Board(live.clone());
        let company = board.post("/companies", json!({"name": "Portcullis"}))["id"].clone();
        let company_path = format!("/companies/{}", company.as_str().expect("an id"));
        let hire = |name: &str, role: &str, wakes: bool| {
            let body = json!({
                "name": name, "role": role, "adapterType": "process",
                "adapterConfig": {"command": "/bin/sleep", "args": ["120"], "cwd": "/tmp", "timeoutSec": 120, "graceSec": 1},
                "runtimeConfig": {"heartbeat": {"enabled": false, "wakeOnDemand": wakes}},
            });
            board.post(&format!("{company_path}/agents"), body)["id"].as_str().expect("an id").to_owned()
        };
        let lead = hire("lead", "ceo", false);
        let agents = [hire("first", "engineer", true), hire("second", "engineer", true)];
        let mut runs = Vec::new();
        let mut keys = Vec::new();
        for agent in &agents {
            let key = board.post(&format!("/agents/{agent}/keys"), json!({"name": "test"}));
            keys.push(key["token"].as_str().expect("a key").to_owned());
            // An issue in `todo` wakes its agent, and the run takes it.
            let body = json!({"title": format!("wakes {agent}"), "status": "todo", "assigneeAgentId": agent});
            let issue = board.post(&format!("{company_path}/issues"), body);
            let path = format!("/issues/{}", issue["id"].as_str().expect("an id"));
            runs.push(board.until(&path, |issue| issue["checkoutRunId"].as_str().map(str::to_owned)));
            // From here on it is not woken again: another run would take issues on its own.
            let asleep = json!({"runtimeConfig": {"heartbeat": {"enabled": false, "wakeOnDemand": false}}});
            let (status, answered) = board.ask("PATCH", &format!("/agents/{agent}"), &asleep);
            assert!(status.starts_with("200"), "{status}: {answered}");
        }
        let mut ids = json!({"company": company, "lead": lead, "agents": agents, "runs": runs});
        for (name, state) in issues {
            let issue = board.post(&format!("{company_path}/issues"), json!({"title": name, "status": state}));
            ids[name] = issue["id"].clone();
        }
        let tape = Arc::new(Mutex::new(Tape::default()));
        let base = recorder(live.clone(), keys.clone(), Arc::clone(&tape));
        World { name, base, ids, keys, live: Some(live), tape }
    }

    /// An id of this world.
    #[track_caller]
    pub fn id(&self, name: &str) -> &str {
        self.ids[name].as_str().expect("an id of that name")
    }

    pub fn agent(&self, number: usize) -> Agent {
        Agent::new(self.ids["agents"][number].as_str().expect("an agent"), self.id("company")).expect("an agent")
    }

    pub fn run(&self, number: usize) -> &str {
        self.ids["runs"][number].as_str().expect("a run")
    }

    /// An agent in its run.
    pub fn paperclip(&self, number: usize) -> Paperclip {
        self.paperclip_with(number, &self.keys[number], self.run(number))
    }

    pub fn paperclip_with(&self, number: usize, key: &str, run: &str) -> Paperclip {
        let key = ApiKey::new(key).expect("a key");
        // A real server may be busy with other tests.
        let builder = Paperclip::builder(&self.base, self.agent(number), key, run).deadline(Duration::from_secs(30));
        builder.connect().expect("a connection")
    }

    pub fn key(&self, number: usize) -> &str {
        &self.keys[number]
    }

    /// A person does something that is in no fixture.
    pub fn board_moves(&self, issue: &str, state: &str) {
        if let Some(live) = &self.live {
            let board = Board(live.clone());
            board.ask("PATCH", &format!("/issues/{}", self.id(issue)), &json!({"status": state}));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let mut tape = self.tape.lock().unwrap();
        if let Some(live) = &self.live {
            let board = Board(live.clone());
            for run in self.ids["runs"].as_array().into_iter().flatten() {
                board.ask("POST", &format!("/heartbeat-runs/{}/cancel", run.as_str().unwrap_or("-")), &json!({}));
            }
            for agent in self.ids["agents"].as_array().into_iter().flatten().chain([&self.ids["lead"]]) {
                board.ask("POST", &format!("/agents/{}/terminate", agent.as_str().unwrap_or("-")), &json!({}));
            }
        }
        if thread::panicking() {
            if let Some(wrong) = &tape.wrong {
                eprintln!("{wrong}");
            }
            return;
        }
        assert_eq!(tape.wrong, None);
        if self.live.is_none() {
            assert!(tape.exchanges.is_empty(), "{} recorded exchanges were not asked for", tape.exchanges.len());
        } else if std::env::var_os("PORTCULLIS_PAPERCLIP_RECORD").is_some() {
            let version = Board(self.live.clone().unwrap_or_default()).ask("GET", "/health", &Value::Null).1;
            let recorded = json!({
                "server": format!("paperclipai {}", version["version"].as_str().unwrap_or("?")),
                "ids": self.ids,
                "exchanges": std::mem::take(&mut tape.exchanges),
            });
            let text = serde_json::to_string_pretty(&recorded).expect("JSON");
            for key in &self.keys {
                assert!(!text.contains(key.as_str()), "a key would be written into a fixture");
            }
            fs::write(fixture(self.name), text + "\n").expect("the fixture is written");
        }
    }
}

/// A request as it stands in a fixture: what matters of it.
fn told(request: &Request, keys: &[String]) -> Value {
    let (head, body) = request.0.split_once("\r\n\r\n").expect("a head");
    let header = |wanted: &str| {
        head.lines().skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
        })
    };
    let mut headers = Map::new();
    for name in ["authorization", "x-paperclip-run-id", "content-type", "accept", "accept-encoding"] {
        if let Some(mut value) = header(name) {
            for (number, key) in keys.iter().enumerate() {
                value = value.replace(key.as_str(), &format!("{PLACEHOLDER}_{number}"));
            }
            headers.insert(name.into(), value.into());
        }
    }
    let method = head.split(' ').next().expect("a method");
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).expect("JSON") };
    json!({"method": method, "path": request.path(), "headers": headers, "body": body})
}

fn replay(connection: &mut Connection, request: &Value, tape: &mut Tape) {
    let Some(mut exchange) = tape.exchanges.pop() else {
        tape.wrong = Some(format!("nothing more was recorded, and this was asked: {request:#}"));
        return connection.close();
    };
    if exchange["request"] != *request {
        tape.wrong = Some(format!("asked was {request:#}\nand recorded {:#}", exchange["request"]));
        return connection.close();
    }
    let answered = exchange["answer"].take();
    let status = answered["status"].as_str().expect("a status");
    let content_type = format!("content-type: {}\r\n", answered["content-type"].as_str().expect("a type"));
    connection.send(answer(status, &content_type, answered["body"].to_string()));
}

/// Passes everything on to the server, and keeps it.
fn recorder(live: String, keys: Vec<String>, tape: Arc<Mutex<Tape>>) -> String {
    let server = Server::start(move |connection| {
        while let Some(request) = connection.request() {
            let (status, content_type, body) = forward(&live, &request.0);
            let exchange = json!({
                "request": told(&request, &keys),
                "answer": {
                    "status": status,
                    "content-type": content_type,
                    "body": serde_json::from_str::<Value>(&body).expect("JSON"),
                },
            });
            tape.lock().unwrap().exchanges.push(exchange);
            connection.send(answer(&status, &format!("content-type: {content_type}\r\n"), body));
        }
    });
    server.base()
}

/// One request, as it is, on a connection of its own. Status, content type and body of the answer.
fn forward(live: &str, request: &str) -> (String, String, String) {
    let address = live.trim_start_matches("http://").trim_end_matches('/');
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    let head: Vec<_> = head
        .lines()
        .filter(|line| !line.to_ascii_lowercase().starts_with("host:"))
        .chain(["connection: close"])
        .collect();
    let mut stream = TcpStream::connect(address).expect("the server in PORTCULLIS_PAPERCLIP_URL");
    let request = format!("{}\r\nhost: {address}\r\n\r\n{body}", head.join("\r\n"));
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answered = Vec::new();
    stream.read_to_end(&mut answered).expect("an answer");
    let answered = String::from_utf8(answered).expect("UTF-8");
    let (head, body) = answered.split_once("\r\n\r\n").expect("a head");
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "chunks can't be passed on: {head}");
    let status = head.lines().next().and_then(|line| line.split_once(' ')).expect("a status").1;
    let content_type = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-type").then(|| value.trim().to_owned())
    });
    (status.to_owned(), content_type.expect("a content type"), body.to_owned())
}

/// The person who owns the server: needs no key on its own machine.
struct Board(String);

impl Board {
    fn ask(&self, method: &str, path: &str, body: &Value) -> (String, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} /api{path} HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, _, body) = forward(&self.0, &request);
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    #[track_caller]
    fn post(&self, path: &str, body: Value) -> Value {
        let (status, answered) = self.ask("POST", path, &body);
        assert!(status.starts_with("20"), "{path}: {status}: {answered}");
        answered
    }

    /// Asks until there is what is wanted: the server tells nobody.
    fn until<T>(&self, path: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            let (_, answered) = self.ask("GET", path, &Value::Null);
            if let Some(found) = wanted(&answered) {
                return found;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{path}: {answered}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}
