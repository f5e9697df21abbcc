//! The canary: a package that does what the list refuses, built by clippy under the workspace's own settings.
//!
//! A misspelt path is no error to clippy, and none at all where its crate is not loaded. So the canary loads every listed
//! crate, in the version and with the features that the workspace has, and must be refused.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use cargo_metadata::Message;
use cargo_metadata::diagnostic::{Diagnostic, DiagnosticLevel};
use serde::Serialize;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, value};

use super::choose::Chosen;
use super::workspace::{Locked, Workspace, cargo};
use super::{clippy_toml, levels};
use crate::output::Failure;

const CRATES_IO: &str = "https://github.com/rust-lang/crates.io-index";
const SOURCE: &str = "//! Written by `portcullis lint --canary`: clippy must refuse this.\n\n";
const EFFECT: &str = "pub fn raw() {\n    let _ = std::fs::write(\"\", \"\");\n}\n";

#[derive(Debug, Serialize)]
pub(super) struct Canary {
    /// Was a raw `std::fs::write` refused?
    refused: bool,
    /// The packages that were loaded, with their versions.
    loaded: Vec<String>,
    /// Listed packages that a build on this machine does not have.
    absent: Vec<String>,
    /// Paths that lead nowhere, in clippy's words.
    astray: Vec<String>,
    /// Why nothing could be proved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
}

impl Canary {
    pub(super) fn sings(&self) -> bool {
        self.refused && self.astray.is_empty() && self.errors.is_empty()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.sings() {
            lines.push(format!(
                "canary: a raw effect is refused, and every path leads to a function of {}",
                self.loaded.join(", ")
            ));
        } else if !self.refused && self.errors.is_empty() {
            lines.push(
                "canary: clippy let a raw `std::fs::write` pass: something switches the list or its level off"
                    .to_owned(),
            );
        }
        lines.extend(self.astray.iter().map(|path| format!("canary: {path}")));
        // One mistake in a crate makes many errors, and a long one.
        let first = |error: &String| error.lines().next().unwrap_or_default().to_owned();
        lines.extend(self.errors.iter().take(5).map(|error| format!("canary: {}", first(error))));
        if !self.absent.is_empty() {
            lines.push(format!("canary: not built here, so not proved: {}", self.absent.join(", ")));
        }
        lines
    }
}

/// Builds it with `list` as clippy's file and the levels of `root`, the workspace's manifest.
pub(super) fn run(
    workspace: &Workspace,
    chosen: &Chosen,
    mut list: DocumentMut,
    root: &DocumentMut,
) -> Result<Canary, Failure> {
    let name = |package: &Locked| format!("{} {}", package.name, package.version);
    let listed: Vec<String> = workspace.packages.iter().filter(|package| chosen.covers(package)).map(name).collect();
    // All that the workspace builds and not only the listed ones, so that features are the same, and most is built already.
    let here = workspace.built_here()?;
    let loaded: Vec<&Locked> = here.iter().filter(|package| listed.contains(&name(package))).collect();
    let mut canary = Canary {
        refused: false,
        loaded: std::iter::once("std".to_owned()).chain(loaded.iter().copied().map(name)).collect(),
        absent: Vec::new(),
        astray: Vec::new(),
        errors: Vec::new(),
    };
    canary.absent = listed.into_iter().filter(|name| !canary.loaded.contains(name)).collect();
    clippy_toml::require(&mut list, &Chosen::required(&here)?);
    let mut source = SOURCE.to_owned();
    source.extend(loaded.iter().map(|package| format!("extern crate {} as _;\n", key(package))));
    source.push_str(EFFECT);
    let manifest = manifest(root, &workspace.root, &here);

    let dir = workspace.target.join("portcullis").join("canary");
    let lay = || {
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("lib.rs"), source)?;
        fs::write(dir.join("clippy.toml"), list.to_string())?;
        fs::write(dir.join("Cargo.toml"), manifest.to_string())?;
        fs::copy(workspace.root.join("Cargo.lock"), dir.join("Cargo.lock"))
    };
    lay().map_err(|error| Failure::file(&dir, &error.to_string()))?;
    canary.listen(&dir, workspace)?;
    Ok(canary)
}

/// What the canary calls a package; there may be two of a name.
fn key(package: &Locked) -> String {
    format!("{}_{}", package.name, package.version).replace(|c: char| !c.is_alphanumeric(), "_")
}

fn manifest(root: &DocumentMut, dir: &Path, packages: &[Locked]) -> DocumentMut {
    let mut doc = DocumentMut::new();
    let mut package = Table::new();
    package.insert("name", value("portcullis-canary"));
    package.insert("version", value("0.0.0"));
    package.insert("edition", value("2024"));
    package.insert("publish", value(false));
    doc.insert("package", Item::Table(package));
    let mut lib = Table::new();
    lib.insert("path", value("lib.rs"));
    doc.insert("lib", Item::Table(lib));
    // Of no other workspace.
    doc.insert("workspace", Item::Table(Table::new()));
    let mut dependencies = Table::new();
    for package in packages {
        dependencies.insert(&key(package), value(dependency(package)));
    }
    doc.insert("dependencies", Item::Table(dependencies));
    if let Some(levels) = levels::clippy(root) {
        let mut lints = Table::new();
        lints.set_implicit(true);
        lints.insert("clippy", levels.clone());
        doc.insert("lints", Item::Table(lints));
    }
    // So that what is built is what the workspace builds.
    for key in ["profile", "patch"] {
        if let Some(item) = root.get(key) {
            doc.insert(key, item.clone());
        }
    }
    let patches = doc.get_mut("patch").and_then(Item::as_table_like_mut);
    for (_, patches) in patches.into_iter().flat_map(|patches| patches.iter_mut()) {
        for (_, patch) in patches.as_table_like_mut().into_iter().flat_map(|patches| patches.iter_mut()) {
            if let Some(path) = patch.get("path").and_then(Item::as_str) {
                let path = dir.join(path).display().to_string();
                if let Some(patch) = patch.as_table_like_mut() {
                    patch.insert("path", value(path));
                }
            }
        }
    }
    doc
}

/// Exactly what the lock file has.
fn dependency(package: &Locked) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("package", package.name.as_str().into());
    match package.source.as_deref() {
        None => {
            table.insert("path", package.dir.display().to_string().into());
        }
        Some(source) => match source.split_once('+') {
            Some(("git", url)) => {
                // The lock file knows the commit; it is the same source only with the same branch, tag or revision.
                let url = url.split('#').next().unwrap_or(url);
                let (url, query) = url.split_once('?').unwrap_or((url, ""));
                table.insert("git", url.into());
                if let Some((key, value)) = query.split_once('=') {
                    table.insert(key, value.into());
                }
            }
            Some(("registry", CRATES_IO)) => {}
            Some(("registry", url)) => {
                table.insert("registry-index", url.into());
            }
            _ => {
                table.insert("registry-index", source.into());
            }
        },
    }
    table.insert("version", format!("={}", package.version).into());
    table.insert("default-features", false.into());
    table.insert("features", package.features.iter().map(String::as_str).collect::<Array>().into());
    table
}

impl Canary {
    /// Runs clippy on it, and hears what it says.
    fn listen(&mut self, dir: &Path, workspace: &Workspace) -> Result<(), Failure> {
        let output = Command::new(cargo())
            .args(["clippy", "--message-format=json", "--manifest-path"])
            .arg(dir.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&workspace.target)
            // For the configuration and the toolchain that are in force there.
            .current_dir(&workspace.root)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Failure::cargo(format!("`cargo clippy` can't be run: {error}")))?;
        for message in Message::parse_stream(output.stdout.as_slice()) {
            if let Ok(Message::CompilerMessage(message)) = message {
                let own = message.target.src_path.starts_with(dir);
                self.hear(message.message, own);
            }
        }
        if !self.refused && self.errors.is_empty() && !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let from = said.find("error").unwrap_or(0);
            self.errors.push(said.get(from..).unwrap_or(&said).trim().to_owned());
        }
        Ok(())
    }

    fn hear(&mut self, message: Diagnostic, own: bool) {
        let error = matches!(message.level, DiagnosticLevel::Error | DiagnosticLevel::Ice);
        let code = message.code.as_ref().map(|code| code.code.as_str());
        let in_list = message.spans.iter().any(|span| Path::new(&span.file_name).ends_with("clippy.toml"));
        if own && in_list {
            self.astray.push(message.message);
        } else if own && code == Some("clippy::disallowed_methods") {
            self.refused |= error;
        } else if error && !message.spans.is_empty() {
            let place = message.spans.first().map(|span| format!("{}:{}: ", span.file_name, span.line_start));
            self.errors.push(format!("it does not build: {}{}", place.unwrap_or_default(), message.message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(source: Option<&str>) -> Locked {
        Locked {
            name: "some-crate".to_owned(),
            version: "1.2.3".parse().unwrap(),
            library: "some_crate".to_owned(),
            dir: "/there".into(),
            source: source.map(str::to_owned),
            features: vec!["a".to_owned(), "b".to_owned()],
        }
    }

    #[test]
    fn a_dependency_is_exactly_what_the_lock_file_has() {
        let rest = "version = \"=1.2.3\", default-features = false, features = [\"a\", \"b\"]";
        for (source, from) in [
            (None, "path = \"/there\", "),
            (Some("registry+https://github.com/rust-lang/crates.io-index"), ""),
            (Some("registry+https://example.org/index"), "registry-index = \"https://example.org/index\", "),
            (Some("sparse+https://example.org/"), "registry-index = \"sparse+https://example.org/\", "),
            (Some("git+https://example.org/a?branch=x#abc"), "git = \"https://example.org/a\", branch = \"x\", "),
            (Some("git+https://example.org/a#abc"), "git = \"https://example.org/a\", "),
        ] {
            let table = value(dependency(&package(source))).to_string();
            assert_eq!(table.trim(), format!("{{ package = \"some-crate\", {from}{rest} }}"));
        }
    }

    #[test]
    fn its_manifest_takes_levels_profiles_and_patches_along() {
        let root = "[workspace.lints.clippy]\ndisallowed_methods = \"deny\"\n[profile.dev]\ndebug = 1\n\
                    [patch.crates-io]\na = { path = \"vendor/a\" }\n";
        let doc = manifest(&root.parse().unwrap(), Path::new("/ws"), &[package(None)]);
        let doc: DocumentMut = doc.to_string().parse().unwrap();
        assert_eq!(doc["lints"]["clippy"]["disallowed_methods"].as_str(), Some("deny"));
        assert_eq!(doc["profile"]["dev"]["debug"].as_integer(), Some(1));
        assert_eq!(doc["patch"]["crates-io"]["a"]["path"].as_str(), Some("/ws/vendor/a"));
        assert!(doc["workspace"].is_table());
        assert_eq!(doc["dependencies"]["some_crate_1_2_3"]["package"].as_str(), Some("some-crate"));
    }
}
