//! What is printed, and the exit code that goes with it.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use portcullis::Refused;
use serde::Serialize;
use serde_json::json;

const DONE: u8 = 0;
const NOT_DONE: u8 = 1;
const USAGE: u8 = 2;

/// A result, for people and for programs.
#[derive(Debug)]
pub(crate) struct Printed {
    text: String,
    json: serde_json::Value,
    exit: u8,
    /// What to do about it, where the result is a no.
    no: Option<String>,
    /// All of it has been written to standard output already.
    written: bool,
}

impl Printed {
    /// What was too long to be held.
    pub(crate) fn already() -> Self {
        Printed { text: String::new(), json: serde_json::Value::Null, exit: DONE, no: None, written: true }
    }

    pub(crate) fn new(text: String, json: impl Serialize) -> Result<Self, Failure> {
        match serde_json::to_value(json) {
            Ok(json) => Ok(Printed { text, json, exit: DONE, no: None, written: false }),
            Err(error) => Err(Failure::internal(error.to_string())),
        }
    }

    /// A result that is a no.
    pub(crate) fn refused(self) -> Self {
        Printed { exit: NOT_DONE, ..self }
    }

    /// A result that is a no: `text` is the verdict, `why` is for whoever reads standard error. Ends with 1.
    pub(crate) fn no(text: String, json: impl Serialize, why: String) -> Result<Self, Failure> {
        Ok(Printed { no: Some(why), ..Printed::new(text, json)?.refused() })
    }

    pub(crate) fn to_stdout(&self, json: bool) -> ExitCode {
        if let Some(why) = &self.no {
            // The verdict counts, heard or not.
            let _ = writeln!(std::io::stderr().lock(), "portcullis: {}", plain(why));
        }
        if self.written {
            return ExitCode::from(self.exit);
        }
        let mut text = if json { self.json.to_string() } else { self.text.clone() };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => ExitCode::from(self.exit),
            // `portcullis … | head` has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(self.exit),
            Err(_) => ExitCode::from(NOT_DONE),
        }
    }
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) struct Failure {
    code: &'static str,
    message: String,
    exit: u8,
}

impl Failure {
    pub(crate) fn usage(message: String) -> Self {
        Failure { code: "usage", message, exit: USAGE }
    }

    /// Nothing that the user did.
    pub(crate) fn internal(message: String) -> Self {
        Failure { code: "internal", message, exit: NOT_DONE }
    }

    /// What cargo says.
    pub(crate) fn cargo(message: String) -> Self {
        Failure { code: "cargo", message, exit: NOT_DONE }
    }

    pub(crate) fn file(path: &Path, message: &str) -> Self {
        Failure { code: "file", message: format!("{}: {message}", path.display()), exit: NOT_DONE }
    }

    /// A word of the command line that means nothing, where scripts expect 1 and these words.
    pub(crate) fn unknown_state(message: String) -> Self {
        Failure { code: "invalid_state", message: format!("Invalid state: {message}"), exit: NOT_DONE }
    }

    pub(crate) fn not_found(message: String) -> Self {
        Failure { code: "not_found", message, exit: NOT_DONE }
    }

    pub(crate) fn io(what: &str, error: &std::io::Error) -> Self {
        Failure { code: "io", message: format!("{what}: {error}"), exit: NOT_DONE }
    }

    pub(crate) fn to_stderr(&self, json: bool) -> ExitCode {
        let text = if json {
            json!({ "error": { "code": self.code, "message": self.message } }).to_string()
        } else if self.code == "invalid_state" {
            plain(&self.message)
        } else {
            format!("portcullis: {}", plain(&self.message))
        };
        // Nobody is left to be told if that fails too.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
        ExitCode::from(self.exit)
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let exit = if refused.kind() == portcullis::Kind::InvalidArgument { USAGE } else { NOT_DONE };
        Failure { code: refused.code(), message: refused.to_string(), exit }
    }
}

/// Without control characters: a key may come from anywhere, and must not drive the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut plain, character| {
        if character.is_control() {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
        plain
    })
}

/// Columns as wide as they need be; the last one as it comes.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> String {
    let rows: Vec<[String; N]> =
        std::iter::once(head.map(str::to_owned)).chain(rows).map(|row| row.map(|cell| plain(&cell))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
