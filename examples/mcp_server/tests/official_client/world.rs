//! What is around a server: a directory, a ledger with its authority, and the stand-ins.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use portcullis::authority::{Device, Local};
use serde_json::Value;
use tempfile::TempDir;

const DEVICE: &str = "office:test:tools:1";

pub(crate) struct World {
    dir: TempDir,
    stand_ins: Child,
    said: BufReader<ChildStdout>,
    addresses: Value,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("notes")).unwrap();
        let mut stand_ins = Command::new(env!("CARGO_BIN_EXE_stand_ins")).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(stand_ins.stdout.take().unwrap());
        let mut addresses = String::new();
        said.read_line(&mut addresses).unwrap();
        World { dir, stand_ins, said, addresses: serde_json::from_str(&addresses).unwrap() }
    }

    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let parts: Vec<_> = DEVICE.split(':').map(str::to_owned).collect();
        let names = ["SERVICE_NAME", "ENVIRONMENT", "SERVICE_ROLE", "INSTANCE_ID"];
        let mut environment: Vec<_> = names.into_iter().zip(parts).collect();
        environment.extend(["SMTP", "PAYMENTS"].map(|name| (name, self.addresses[name].as_str().unwrap().to_owned())));
        environment.extend([
            ("NOTES_DIR", self.dir.path().join("notes").display().to_string()),
            ("PORTCULLIS_AUTHORITY", "local".to_owned()),
            ("PORTCULLIS_LEDGER", format!("sqlite:{}", self.ledger().display())),
        ]);
        environment
    }

    fn ledger(&self) -> PathBuf {
        self.dir.path().join("ledger.db")
    }

    /// The server without a client.
    pub(crate) fn server(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp_server"));
        command.env_clear().envs(self.environment()).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn desk(&self) -> Local {
        Local::open(self.ledger())
    }

    pub(crate) fn device(&self) -> Device {
        Device::parse(DEVICE).unwrap()
    }

    /// Names and texts.
    pub(crate) fn notes(&self) -> Vec<(String, String)> {
        let files = fs::read_dir(self.dir.path().join("notes")).unwrap().map(|file| file.unwrap());
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        files.map(|file| (file.file_name().into_string().unwrap(), read(file.path()))).collect()
    }

    pub(crate) fn without_notes(&self) {
        fs::remove_dir_all(self.dir.path().join("notes")).unwrap();
    }

    /// Every mail that was taken and every refund that was made, in order.
    pub(crate) fn end(mut self) -> Vec<Value> {
        self.stand_ins.kill().unwrap();
        let effects = self.said.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        self.stand_ins.wait().unwrap();
        effects
    }
}
