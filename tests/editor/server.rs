//! `rust-analyzer` as a child process.

use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use lsp_server::{Message, Notification, Request, Response};
use serde_json::{Value, json};

/// No answer takes so long: the first waits until the crate's macros are built.
const PATIENCE: Duration = Duration::from_secs(300);
/// What was asked about is being read anew, says the protocol: ask again.
const CONTENT_MODIFIED: i32 = -32801;

pub(crate) struct RustAnalyzer {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Message>,
    file: String,
    requests: i32,
    version: i32,
}

impl RustAnalyzer {
    /// `None`: there is none on this machine, which is said loudly.
    pub(crate) fn start(project: &Path) -> Option<Self> {
        let program = std::env::var_os("RUST_ANALYZER").map_or_else(|| "rust-analyzer".into(), PathBuf::from);
        let found = Command::new(&program).arg("--version").current_dir(project).output();
        // The proxy of rustup is there also where the component is not.
        if !found.as_ref().is_ok_and(|output| output.status.success()) {
            let _ = writeln!(
                std::io::stderr(),
                "\nSKIPPED, there is no rust-analyzer (`rustup component add rust-analyzer`): the tests of what an editor sees"
            );
            return None;
        }
        let mut child = Command::new(&program)
            .current_dir(project)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("rust-analyzer starts");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (sender, messages) = mpsc::channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            while let Ok(Some(message)) = Message::read(&mut output) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let file = format!("file://{}", project.join("src/lib.rs").display());
        let mut server = RustAnalyzer { child, input, messages, file, requests: 0, version: 0 };
        server.begin(project);
        Some(server)
    }

    fn begin(&mut self, project: &Path) {
        let root = format!("file://{}", project.display());
        self.request(
            "initialize",
            &json!({
                "processId": std::process::id(),
                "rootUri": root,
                "workspaceFolders": [{ "uri": root, "name": "shop" }],
                "capabilities": {
                    "experimental": { "serverStatusNotification": true },
                    "general": { "positionEncodings": ["utf-8"] },
                    "textDocument": { "hover": { "contentFormat": ["markdown"] }, "diagnostic": {} },
                },
                "initializationOptions": {
                    "checkOnSave": false,
                    "cachePriming": { "enable": false },
                    "cargo": { "targetDir": true },
                    "diagnostics": { "experimental": { "enable": true } },
                },
            }),
        );
        self.notify("initialized", json!({}));
        while !self.is_at_rest() {}
    }

    /// Reads on; `true` once everything is loaded and the macros are built.
    fn is_at_rest(&mut self) -> bool {
        let Message::Notification(Notification { method, params }) = self.next() else { return false };
        if method != "experimental/serverStatus" || params["quiescent"] != true {
            return false;
        }
        assert_eq!(params["health"], "ok", "{params}");
        true
    }

    /// Types the whole text anew.
    pub(crate) fn open(&mut self, text: &str) {
        self.version += 1;
        let (file, version) = (&self.file, self.version);
        if version == 1 {
            let document = json!({ "uri": file, "languageId": "rust", "version": version, "text": text });
            self.notify("textDocument/didOpen", json!({ "textDocument": document }));
        } else {
            let document = json!({ "uri": file, "version": version });
            let changes = json!({ "textDocument": document, "contentChanges": [{ "text": text }] });
            self.notify("textDocument/didChange", changes);
        }
    }

    /// Asks about the place at `offset`.
    pub(crate) fn ask(&mut self, method: &str, text: &str, offset: usize) -> Value {
        let before = &text[..offset];
        let line = before.matches('\n').count();
        let character = offset - before.rfind('\n').map_or(0, |newline| newline + 1);
        let params = json!({
            "textDocument": { "uri": self.file },
            "position": { "line": line, "character": character },
        });
        self.request(method, &params)
    }

    /// What is offered at `offset`.
    pub(crate) fn completions(&mut self, text: &str, offset: usize) -> Vec<String> {
        let answer = self.ask("textDocument/completion", text, offset);
        let items = answer.get("items").unwrap_or(&answer).as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["label"].as_str()).map(str::to_owned).collect()
    }

    /// What is underlined as an error.
    pub(crate) fn errors(&mut self) -> Vec<String> {
        let params = json!({ "textDocument": { "uri": self.file } });
        let answer = self.request("textDocument/diagnostic", &params);
        let items = answer["items"].as_array().cloned().unwrap_or_else(|| panic!("no diagnostics: {answer}"));
        items.iter().filter(|item| item["severity"] == 1).map(|item| item["message"].to_string()).collect()
    }

    fn request(&mut self, method: &str, params: &Value) -> Value {
        loop {
            self.requests += 1;
            let id = self.requests;
            self.send(Request::new(id.into(), method.into(), params).into());
            let response = loop {
                match self.next() {
                    Message::Response(response) if response.id == id.into() => break response,
                    // Of what it asks (to be told of changed files, to show its progress), nothing matters here.
                    Message::Request(request) => self.send(Response::new_ok(request.id, Value::Null).into()),
                    Message::Response(_) | Message::Notification(_) => {}
                }
            };
            match response.response_result {
                Ok(value) => return value,
                Err(error) if error.code == CONTENT_MODIFIED => {}
                Err(error) => panic!("{method}: {error:?}"),
            }
        }
    }

    fn notify(&mut self, method: &str, params: Value) {
        self.send(Notification::new(method.into(), params).into());
    }

    fn send(&mut self, message: Message) {
        message.write(&mut self.input).expect("rust-analyzer reads");
    }

    fn next(&mut self) -> Message {
        match self.messages.recv_timeout(PATIENCE) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => panic!("rust-analyzer has said nothing for {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("rust-analyzer has ended"),
        }
    }
}

impl Drop for RustAnalyzer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
