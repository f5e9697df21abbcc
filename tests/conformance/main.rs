//! The vectors in `vectors/`: what must be the same as in the program that they were taken from, and what must be stricter.
//!
//! One test for each file; what fails is listed by the vectors' ids. `cli.json` is judged where the command is built: in `cli/tests`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;

mod admission;
mod budget;
mod config;
mod escalation;
mod lifecycle;
mod loops;

/// Runs every vector of a file: `judge` is given what is given and what is expected, and says what is wrong.
#[track_caller]
fn run(file: &str, count: usize, judge: impl Fn(&Value, &Value) -> Result<(), String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: Value = serde_json::from_str(&text).expect("the file is JSON");
    let vectors = file["vectors"].as_array().expect("vectors");
    assert_eq!(vectors.len(), count, "all vectors are here");
    let failed: Vec<String> = vectors
        .iter()
        .filter_map(|vector| {
            let expected = vector.get("ours").map_or(&vector["expect"], |ours| &ours["expect"]);
            let judged = catch_unwind(AssertUnwindSafe(|| judge(&vector["given"], expected)));
            let why = judged.unwrap_or_else(|_| Err("it panicked".into())).err()?;
            Some(format!("{}: {why}", vector["id"].as_str().expect("an id")))
        })
        .collect();
    assert!(failed.is_empty(), "{} of {count} fail:\n{}", failed.len(), failed.join("\n"));
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, wanted: &T) -> Result<(), String> {
    if got == wanted { Ok(()) } else { Err(format!("{what} is {got:?}, and should be {wanted:?}")) }
}

/// Every field that is wanted is there, with that value. What is not wanted does not count.
fn has(got: &Value, wanted: &Value) -> Result<(), String> {
    for (name, value) in wanted.as_object().expect("an object") {
        same(name, &got[name.as_str()], value)?;
    }
    Ok(())
}

fn text<'a>(given: &'a Value, name: &str) -> &'a str {
    given[name].as_str().unwrap_or_else(|| panic!("{name} is text"))
}

/// A text with the JSON blocks in it by value: how they are written does not count. The vectors' source wrote some of them in its own
/// language's notation.
fn by_value(text: &str) -> Vec<Value> {
    const FENCE: &str = "```json\n";
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, block)) = rest.split_once(FENCE) {
        // A fence inside a string of the JSON does not end it: the block ends where its value does.
        let mut values = serde_json::Deserializer::from_str(block).into_iter::<Value>();
        let (value, length) = match values.next() {
            Some(Ok(value)) => (value, values.byte_offset()),
            _ => {
                let length = block.find("\n```").expect("a block ends");
                (serde_json::from_str(&block[..length].replace('\'', "\"")).expect("it is JSON, nearly"), length)
            }
        };
        parts.extend([Value::from(before), value]);
        rest = &block[length..];
    }
    parts.push(rest.into());
    parts
}
