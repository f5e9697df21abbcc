//! The sample: effects of many crates, found by plain `cargo clippy` where nobody is asked, and nowhere else.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::{command, report};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// `file:line path`
type Found = BTreeSet<String>;

/// A fresh copy, whose builds are kept from run to run.
fn sample() -> PathBuf {
    let (from, to) = (Path::new(HERE).join("tests/lint/sample"), target().with_file_name("sample"));
    let _ = fs::remove_dir_all(&to);
    fs::create_dir_all(to.join("src")).unwrap();
    for name in ["Cargo.toml", "Cargo.lock", "src/lib.rs", "src/raw.rs", "src/guarded.rs", "src/not_asked.rs"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let runtime = Path::new(HERE).parent().unwrap().join("runtime");
    let manifest = fs::read_to_string(to.join("Cargo.toml")).unwrap();
    let moved = manifest.replace("../../../../runtime", &runtime.display().to_string());
    assert_ne!(manifest, moved);
    fs::write(to.join("Cargo.toml"), moved).unwrap();
    to
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("lint/target")
}

fn cargo(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO"));
    command.args(args).current_dir(dir).env("CARGO_TARGET_DIR", target());
    for name in ["CLIPPY_CONF_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

fn lint(dir: &Path, args: &[&str], code: i32) -> Value {
    let manifest = dir.join("Cargo.toml");
    let mut command = command(args);
    command.args(["--json", "--manifest-path"]).arg(manifest).env("CARGO_TARGET_DIR", target());
    report(&command.output().unwrap(), code)
}

/// What the `//~` say.
fn expected(dir: &Path) -> Found {
    let mut expected = Found::new();
    for name in ["lib.rs", "raw.rs", "guarded.rs", "not_asked.rs"] {
        let text = fs::read_to_string(dir.join("src").join(name)).unwrap();
        let marked =
            text.lines().enumerate().filter_map(|(index, line)| Some((index + 1, line.split_once(" //~ ")?.1)));
        expected.extend(marked.map(|(line, path)| format!("src/{name}:{line} {path}")));
    }
    expected
}

/// What clippy refuses, and everything else that it says, which must be nothing.
fn refused(output: &Output) -> (Found, Vec<String>) {
    let (mut refused, mut other) = (Found::new(), Vec::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        let message = &message["message"];
        if message["code"]["code"] == "clippy::disallowed_methods" {
            assert_eq!(message["level"], "error");
            let span = message["spans"].as_array().unwrap().iter().find(|span| span["is_primary"] == true).unwrap();
            let path = message["message"].as_str().unwrap().split('`').nth(1).unwrap();
            refused.insert(format!("{}:{} {path}", span["file_name"].as_str().unwrap(), span["line_start"]));
            assert!(message["rendered"].as_str().unwrap().contains("#[boundary(before_"), "{message}");
        } else if let Some(span) = message["spans"].as_array().and_then(|spans| spans.first()) {
            other.push(format!("{}: {}", span["file_name"], message["message"]));
        }
    }
    (refused, other)
}

#[test]
fn plain_clippy_finds_every_raw_effect_and_none_in_a_guarded_function() {
    let dir = sample();
    let fetched = cargo(&dir, &["fetch"]);
    if !fetched.status.success() {
        let why = String::from_utf8_lossy(&fetched.stderr).into_owned();
        assert!(std::env::var_os("CI").is_none(), "the registry can't be reached: {why}");
        // Past the harness, which shows nothing of a test that passes.
        let _ = writeln!(
            std::io::stderr(),
            "\nSKIPPED, the registry can't be reached: the sample of `portcullis lint`: {why}"
        );
        return;
    }
    // The list for the sample's lock file; every path of it leads to a function in the crates as they are built.
    let written = lint(&dir, &["--canary"], 0);
    assert_eq!(written["canary"]["refused"], true, "{written}");
    every_path_was_proved(&written);

    let expected = expected(&dir);
    let raw: BTreeSet<&str> = expected
        .iter()
        .filter(|found| found.starts_with("src/raw.rs"))
        .map(|found| found.split([' ', ':']).nth(2).unwrap())
        .collect();
    assert!(raw.len() >= 12, "{raw:?}");
    assert!(expected.iter().all(|found| !found.starts_with("src/guarded.rs")));

    let output = cargo(&dir, &["clippy", "--message-format=json"]);
    assert!(!output.status.success(), "{output:?}");
    let (refused, other) = refused(&output);
    assert_eq!(refused, expected);
    assert_eq!(other, [""; 0]);

    let before = fs::read(dir.join("clippy.toml")).unwrap();
    assert_eq!(lint(&dir, &[], 0)["changed"], Value::Array(Vec::new()));
    assert_eq!(fs::read(dir.join("clippy.toml")).unwrap(), before);
    let checked = lint(&dir, &["--check"], 0);
    assert_eq!(checked["accepted"].as_array().unwrap().len(), 1, "{checked}");

    // Every lint that `--strict` adds leaves our expansions alone.
    lint(&dir, &["--strict"], 0);
    let (strict, other) = self::refused(&cargo(&dir, &["clippy", "--message-format=json"]));
    assert_eq!((strict, other), (refused, Vec::new()));
}

/// All features with effects are on in the sample, so only what belongs to another system may be missing, and the crates that
/// only some feature of a dependency would build.
fn every_path_was_proved(written: &Value) {
    let list = fs::read_to_string(target().join("portcullis/canary/clippy.toml")).unwrap();
    let absent = written["canary"]["absent"].as_array().unwrap().iter();
    let absent: Vec<String> =
        absent.map(|name| name.as_str().unwrap().split(' ').next().unwrap().replace('-', "_")).collect();
    assert!(absent.iter().all(|library| library == "async_std"), "{absent:?}");
    let elsewhere =
        |path: &str| path.contains("windows") || path.contains("::symlink_") || path.starts_with("async_std::");
    let lenient = list.lines().filter(|line| line.contains("allow-invalid"));
    let lenient: Vec<_> = lenient.map(|line| line.split('"').nth(1).unwrap()).collect();
    assert!(!lenient.is_empty() && lenient.iter().all(|path| elsewhere(path)), "{lenient:#?}");
}
