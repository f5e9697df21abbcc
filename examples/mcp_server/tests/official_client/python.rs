//! The official Python client, in a virtual environment of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

use crate::world::World;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Made once, and kept from run to run.
static READY: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("official-mcp-client");
    let python = venv.join("bin/python");
    let requirements = Path::new(HERE).join("tests/requirements.txt");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))?;
    Ok(python)
});

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {said}"))
}

pub(crate) struct Python(&'static Path);

impl Python {
    /// `None`: there is no Python here, or no PyPI, which is said out loud. In CI that is a failure.
    pub(crate) fn ready() -> Option<Self> {
        match &*READY {
            Ok(python) => Some(Python(python)),
            Err(why) => {
                assert!(std::env::var_os("CI").is_none(), "the official MCP client can't be had: {why}");
                // Past the harness, which shows nothing of a test that passes.
                let _ = writeln!(
                    std::io::stderr(),
                    "\nSKIPPED, the official MCP client can't be had: the test of examples/mcp_server: {why}"
                );
                None
            }
        }
    }

    /// Starts the client, which starts the server.
    pub(crate) fn connect(&self, world: &World) -> Client {
        let mut child = Command::new(self.0)
            .arg(Path::new(HERE).join("tests/client.py"))
            .arg(env!("CARGO_BIN_EXE_mcp_server"))
            .env_clear()
            .envs(world.environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (asks, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Client { child, asks, answers }
    }
}

pub(crate) struct Client {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    /// Has the client do what `asked` says.
    pub(crate) fn ask(&mut self, asked: &Value) -> Value {
        writeln!(self.asks, "{asked}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{asked}: {error}: {answer:?}"))
    }

    pub(crate) fn end(mut self) {
        drop(self.asks);
        assert!(self.child.wait().unwrap().success());
    }
}
