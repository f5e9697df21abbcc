//! What would lead clippy past the list, or past its level.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::report::Report;
use super::workspace::Workspace;
use super::{cargo_config, escapes};

/// Something that a person must put right.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    pub(super) what: String,
}

/// An exception that says why.
#[derive(Debug, Serialize)]
pub(super) struct Accepted {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) what: String,
    pub(super) reason: String,
}

impl Problem {
    pub(super) fn of(file: String, what: String) -> Problem {
        Problem { file, line: None, what }
    }
}

pub(super) fn look(workspace: &Workspace, config: &Path, report: &mut Report) {
    shadowed(workspace, config, report);
    led_elsewhere(workspace, config, report);
    in_the_sources(workspace, report);
}

/// Clippy reads one file, the nearest.
fn shadowed(workspace: &Workspace, config: &Path, report: &mut Report) {
    let ignored = workspace.root.join("clippy.toml");
    if config != ignored && ignored.exists() {
        let what = "clippy ignores it, because there is a `.clippy.toml`: merge it into that, and remove it";
        report.problems.push(Problem::of(workspace.shown(&ignored), what.to_owned()));
    }
    let mut reported: Vec<PathBuf> = Vec::new();
    for member in &workspace.members {
        match nearest(&member.dir, config) {
            Some(path) if path == config => {}
            Some(path) if reported.contains(&path) => {}
            Some(path) => {
                let (shown, list) = (workspace.shown(&path), workspace.shown(config));
                let what = format!(
                    "clippy reads only the nearest file, so this one switches the list off for `{}`: move what it says to \
                     `{list}`, and remove it",
                    member.name
                );
                report.problems.push(Problem::of(shown, what));
                reported.push(path);
            }
            None => {
                let what = format!(
                    "`{}` lies outside of the workspace's directory, where clippy does not find the list: move it, or \
                     run clippy with CLIPPY_CONF_DIR={}",
                    member.name,
                    workspace.root.display()
                );
                report.problems.push(Problem::of(workspace.shown(&member.manifest), what));
            }
        }
    }
}

/// The configuration that clippy finds from here. The list counts also before it is written.
fn nearest(dir: &Path, config: &Path) -> Option<PathBuf> {
    dir.ancestors().find_map(|dir| {
        let names = [dir.join(".clippy.toml"), dir.join("clippy.toml")];
        names.into_iter().find(|path| path == config || path.exists())
    })
}

fn led_elsewhere(workspace: &Workspace, config: &Path, report: &mut Report) {
    let list = config.parent().unwrap_or(&workspace.root);
    let dirs = workspace.members.iter().map(|member| member.dir.as_path()).chain([workspace.root.as_path()]);
    for path in cargo_config::files(dirs) {
        let problems = cargo_config::problems(&path, list);
        report.problems.extend(problems.into_iter().map(|what| Problem::of(workspace.shown(&path), what)));
    }
    let environment = |what: String| Problem { file: String::new(), line: None, what };
    if let Some(dir) = std::env::var_os("CLIPPY_CONF_DIR").filter(|dir| !cargo_config::leads_to(Path::new(dir), list)) {
        let what = format!("the environment has CLIPPY_CONF_DIR={}, where clippy finds another file", dir.display());
        report.problems.push(environment(what));
    }
    for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS"] {
        let Some(flags) = std::env::var_os(name) else { continue };
        // Cargo's own encoding parts them by the unit separator.
        let flags = flags.to_string_lossy();
        let flags: Vec<String> = flags.split(|c: char| c.is_whitespace() || c == '\u{1f}').map(str::to_owned).collect();
        if let Some(flag) = cargo_config::lowered(&flags) {
            report.problems.push(environment(format!("{name} has `{flag}`, which switches the list off")));
        }
    }
}

fn in_the_sources(workspace: &Workspace, report: &mut Report) {
    for member in &workspace.members {
        escapes::find(&member.dir, &mut |path, found| {
            let file = workspace.shown(path);
            let escapes = match found {
                Ok(escapes) => escapes,
                Err(error) => {
                    report.problems.push(Problem::of(file, format!("can't be looked through: {error}")));
                    return;
                }
            };
            for escapes::Escape { line, what, reason } in escapes {
                let advice = if what.starts_with("forbid") {
                    "refuses the exemption of guarded functions too: make it `deny`"
                } else if let Some(reason) = reason {
                    report.accepted.push(Accepted { file: file.clone(), line, what, reason });
                    continue;
                } else if what.starts_with("warn") {
                    "lowers the level, so that effects are only warned of: make it `deny`, or say why with `reason = \"…\"`"
                } else {
                    "switches the list off: guard the function, or say why with `reason = \"…\"`"
                };
                let what = format!("`{what}` {advice}");
                report.problems.push(Problem { file: file.clone(), line: Some(line), what });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_nearest_file_is_what_clippy_reads() {
        let dir = tempfile::tempdir().unwrap();
        let (member, list) = (dir.path().join("crates/a"), dir.path().join("clippy.toml"));
        fs::create_dir_all(&member).unwrap();
        assert_eq!(nearest(&member, &list), Some(list.clone()), "also before it is written");
        fs::write(dir.path().join("crates/clippy.toml"), "").unwrap();
        assert_eq!(nearest(&member, &list), Some(dir.path().join("crates/clippy.toml")));
        fs::write(dir.path().join("crates/.clippy.toml"), "").unwrap();
        assert_eq!(nearest(&member, &list), Some(dir.path().join("crates/.clippy.toml")));
    }
}
