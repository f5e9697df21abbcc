//! `portcullis lint` as a real process, and clippy behind it.

#[path = "lint/sample.rs"]
mod sample;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A workspace of two packages that depend on nothing: cargo needs no registry for it.
struct Shop {
    dir: TempDir,
}

fn shop() -> Shop {
    let shop = Shop { dir: tempfile::tempdir().unwrap() };
    shop.write("Cargo.toml", "# The shop.\n[workspace]\nmembers = [\"till\", \"stock\"]\nresolver = \"3\"\n");
    for name in ["till", "stock"] {
        let manifest = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
        shop.write(&format!("{name}/Cargo.toml"), &manifest);
        shop.write(&format!("{name}/src/lib.rs"), "");
    }
    shop
}

impl Shop {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{text}");
        self.write(name, &text.replace(from, to));
    }

    fn run(&self, args: &[&str]) -> Output {
        command(args).arg("--manifest-path").arg(self.path("Cargo.toml")).output().unwrap()
    }

    #[track_caller]
    fn ends(&self, args: &[&str], code: i32) -> Value {
        report(&self.run(&[&["--json"], args].concat()), code)
    }

    /// Everything that is wrong, with `--check`: what is stale, and what switches the list off.
    #[track_caller]
    fn wrong(&self) -> Vec<String> {
        let report = self.ends(&["--check"], 1);
        let of = |name: &str| report[name].as_array().unwrap().clone();
        let place = |found: &Value| {
            let line = found["line"].as_u64().map(|line| format!(":{line}")).unwrap_or_default();
            format!("{}{line}: {}", found["file"].as_str().unwrap_or_default(), found["what"].as_str().unwrap())
        };
        of("changed").iter().chain(&of("problems")).map(place).collect()
    }

    #[track_caller]
    fn is_wrong(&self, parts: &[&str]) {
        let wrong = self.wrong();
        assert_eq!(wrong.len(), parts.len(), "{wrong:#?}");
        for (found, part) in wrong.iter().zip(parts) {
            assert!(found.contains(part), "`{part}` is not in: {found}");
        }
    }

    /// Every file but those that cargo builds.
    fn files(&self) -> Vec<(PathBuf, String)> {
        fn below(dir: &Path, files: &mut Vec<(PathBuf, String)>) {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true if entry.file_name() == "target" => {}
                    true => below(&entry.path(), files),
                    false => files.push((entry.path(), fs::read_to_string(entry.path()).unwrap())),
                }
            }
        }
        let mut files = Vec::new();
        below(self.dir.path(), &mut files);
        files.sort();
        files
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg("lint").args(args);
    for name in
        ["CLIPPY_CONF_DIR", "RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "PORTCULLIS_LEDGER"]
    {
        command.env_remove(name);
    }
    command
}

#[track_caller]
fn report(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn the_list_and_the_levels_are_written_and_a_second_run_changes_nothing() {
    let shop = shop();
    shop.write("clippy.toml", "# House rules.\nmsrv = \"1.95\" # or newer\n");
    let report = shop.ends(&[], 0);
    assert_eq!((&report["ok"], &report["config"]), (&true.into(), &"clippy.toml".into()));
    assert_eq!(report["crates"][0]["package"], "std");

    let list = shop.read("clippy.toml");
    assert!(list.starts_with("# House rules.\nmsrv = \"1.95\" # or newer\n"), "{list}");
    assert!(list.contains("{ path = \"std::fs::write\", reason = \"changes the file system: do it in a function with"));
    let manifest = shop.read("Cargo.toml");
    assert!(manifest.starts_with("# The shop.\n") && manifest.contains("disallowed_methods = \"deny\""), "{manifest}");
    for name in ["till", "stock"] {
        assert!(shop.read(&format!("{name}/Cargo.toml")).ends_with("[lints]\nworkspace = true\n"));
    }

    let before = shop.files();
    assert_eq!(shop.ends(&[], 0)["changed"], Value::Array(Vec::new()));
    assert_eq!(shop.ends(&["--check"], 0)["ok"], true);
    assert_eq!(shop.files(), before);
}

#[test]
fn check_writes_nothing_and_says_what_is_stale() {
    let shop = shop();
    shop.ends(&[], 0);
    shop.edit("clippy.toml", "changes the file system", "touches the file system");
    shop.edit("clippy.toml", "std::process::Command::spawn", "std::process::Command::spwan");
    shop.edit("Cargo.toml", "\"deny\"", "\"warn\"");
    shop.edit("till/Cargo.toml", "[lints]\nworkspace = true\n", "");
    let before = shop.files();
    shop.is_wrong(&[
        "clippy.toml: adds `std::process::Command::spawn`",
        "clippy.toml: updates",
        "clippy.toml: removes `std::process::Command::spwan`",
        "Cargo.toml: [workspace.lints.clippy] disallowed_methods = \"deny\", which was \"warn\"",
        "till/Cargo.toml: [lints] workspace = true",
    ]);
    assert_eq!(shop.files(), before);
    let text = String::from_utf8(shop.run(&["--check"]).stdout).unwrap();
    assert!(
        text.contains("stale: till/Cargo.toml") && text.contains("`portcullis lint` brings it up to date"),
        "{text}"
    );
    shop.ends(&[], 0);
    assert_eq!(shop.ends(&["--check"], 0)["ok"], true);
}

#[test]
fn check_needs_a_lock_file_and_does_not_make_one() {
    let shop = shop();
    let output = shop.run(&["--check"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--locked"), "{output:?}");
    assert!(!shop.path("Cargo.lock").exists() && !shop.path("clippy.toml").exists());
}

#[test]
fn a_members_own_file_switches_the_list_off_and_is_reported() {
    let shop = shop();
    shop.write("till/clippy.toml", "msrv = \"1.95\"\n");
    let report = shop.ends(&[], 1);
    assert!(report["problems"][0]["what"].as_str().unwrap().contains("switches the list off for `till`"), "{report}");
    shop.is_wrong(&["till/clippy.toml: clippy reads only the nearest file"]);
    fs::remove_file(shop.path("till/clippy.toml")).unwrap();
    shop.write("till/.clippy.toml", "");
    shop.is_wrong(&["till/.clippy.toml: clippy reads only the nearest file"]);
}

#[test]
fn a_hidden_file_at_the_root_is_the_one_that_is_written() {
    let shop = shop();
    shop.write(".clippy.toml", "");
    assert_eq!(shop.ends(&[], 0)["config"], ".clippy.toml");
    assert!(!shop.path("clippy.toml").exists());
    shop.write("clippy.toml", "");
    shop.is_wrong(&["clippy.toml: clippy ignores it"]);
}

#[test]
fn forbid_is_made_deny() {
    let shop = shop();
    shop.ends(&[], 0);
    shop.edit("Cargo.toml", "\"deny\"", "\"forbid\" # for ever");
    shop.write("stock/src/lib.rs", "#![forbid(clippy::disallowed_methods)]\n");
    shop.is_wrong(&[
        "disallowed_methods = \"deny\", which was \"forbid\"",
        "stock/src/lib.rs:1: `forbid(clippy::disallowed_methods)` refuses the exemption of guarded functions too",
    ]);
    shop.ends(&[], 1);
    assert!(shop.read("Cargo.toml").contains("disallowed_methods = \"deny\" # for ever"));
    shop.is_wrong(&["stock/src/lib.rs:1: `forbid"]);
}

#[test]
fn escapes_without_a_reason_are_reported_and_those_with_one_are_listed() {
    let shop = shop();
    shop.ends(&[], 0);
    shop.write("till/src/lib.rs", "#![warn(clippy::all)]\n\n#[allow(clippy::disallowed_methods)]\npub fn a() {}\n");
    shop.write(
        "stock/tests/all.rs",
        "#![allow(clippy::disallowed_methods, reason = \"a test\")]\n#[expect(clippy::style)]\nfn a() {}\n",
    );
    shop.write("stock/fixtures/other/Cargo.toml", "[package]\nname = \"other\"\n[workspace]\n");
    shop.write("stock/fixtures/other/src/lib.rs", "#![allow(clippy::all)]\n");
    shop.is_wrong(&[
        "stock/tests/all.rs:2: `expect(clippy::style)` switches the list off",
        "till/src/lib.rs:1: `warn(clippy::all)` lowers the level",
        "till/src/lib.rs:3: `allow(clippy::disallowed_methods)` switches the list off",
    ]);
    let report = shop.ends(&["--check"], 1);
    assert_eq!(report["accepted"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["accepted"][0]["reason"], "a test");
    assert_eq!(report["accepted"][0]["file"], "stock/tests/all.rs");
}

#[test]
fn what_leads_clippy_elsewhere_is_reported() {
    let shop = shop();
    shop.ends(&[], 0);
    shop.write(".cargo/config.toml", "[env]\nCLIPPY_CONF_DIR = \"till\"\n[build]\nrustflags = [\"-Aclippy::style\"]\n");
    shop.is_wrong(&["CLIPPY_CONF_DIR = \"till\" makes clippy read another file", "rustflags has `-Aclippy::style`"]);
    fs::remove_file(shop.path(".cargo/config.toml")).unwrap();
    let output = command(&["--json", "--check", "--manifest-path"])
        .arg(shop.path("Cargo.toml"))
        .env("CLIPPY_CONF_DIR", shop.path("till"))
        .env("RUSTFLAGS", "--cap-lints warn")
        .output()
        .unwrap();
    assert_eq!(report(&output, 1)["problems"].as_array().unwrap().len(), 2, "{output:?}");
    for (name, flags) in
        [("CARGO_ENCODED_RUSTFLAGS", "-A\u{1f}clippy::all"), ("CARGO_BUILD_RUSTFLAGS", "-Aclippy::style")]
    {
        let mut command = command(&["--json", "--check", "--manifest-path"]);
        let output = command.arg(shop.path("Cargo.toml")).env(name, flags).output().unwrap();
        let problems = report(&output, 1)["problems"].to_string();
        assert!(problems.contains(&format!("{name} has `-A")), "{output:?}");
    }
}

#[test]
fn what_can_not_be_parsed_is_named_and_nothing_is_changed() {
    let shop = shop();
    shop.ends(&[], 0);
    shop.edit("Cargo.toml", "\"deny\"", "\"warn\"");
    shop.write("clippy.toml", "msrv = \"1.95\"\ndisallowed-methods = [\n");
    let before = shop.files();
    let output = shop.run(&[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("clippy.toml: line 2") && message.contains("nothing was changed"), "{message}");
    assert_eq!(shop.files(), before);
}

#[test]
fn a_package_without_a_workspace_gets_the_level_itself() {
    let shop = shop();
    shop.write("Cargo.toml", "[package]\nname = \"alone\"\nversion = \"0.1.0\"\n");
    shop.write("src/lib.rs", "");
    shop.ends(&["--strict"], 0);
    let manifest = shop.read("Cargo.toml");
    assert!(manifest.contains("[lints.clippy]\ndisallowed_methods = \"deny\"\n"), "{manifest}");
    assert!(manifest.contains("allow_attributes_without_reason = \"deny\""), "{manifest}");
    assert_eq!(shop.ends(&["--check"], 0)["ok"], true, "what is stricter is not stale");
}

#[test]
fn the_canary_hears_what_switches_the_list_off_and_which_paths_lead_nowhere() {
    let shop = shop();
    let canary = shop.ends(&["--canary"], 0)["canary"].clone();
    assert_eq!((&canary["refused"], canary["astray"].as_array().unwrap().len()), (&true.into(), 0), "{canary}");

    // A path of the user's, and a level that only warns, which `-D warnings` would not show.
    shop.edit("clippy.toml", "disallowed-methods = [", "disallowed-methods = [\n    \"std::fs::wriite\",");
    let canary = shop.ends(&["--check", "--canary"], 1)["canary"].clone();
    assert_eq!(canary["refused"], true, "{canary}");
    assert!(canary["astray"][0].as_str().unwrap().contains("std::fs::wriite"), "{canary}");
    shop.edit("clippy.toml", "\n    \"std::fs::wriite\",", "");

    shop.edit("Cargo.toml", "disallowed_methods = \"deny\"", "disallowed_methods = \"warn\"");
    assert_eq!(shop.ends(&["--check", "--canary"], 1)["canary"]["refused"], false);
    shop.ends(&[], 0);

    // `--check` sees this too; the canary would see it under any name.
    for config in ["[env]\nCLIPPY_CONF_DIR = \"till\"\n", "[build]\nrustflags = [\"-A\", \"clippy::style\"]\n"] {
        shop.write(".cargo/config.toml", config);
        assert_eq!(shop.ends(&["--canary"], 1)["canary"]["refused"], false, "{config}");
    }
}
