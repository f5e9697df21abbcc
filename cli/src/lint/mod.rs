//! `portcullis lint`: clippy refuses raw effects, except in functions that ask first.
//!
//! `effects` is the list, `choose` takes from it what the `workspace` can do, `clippy_toml` and `levels` bring the files up to
//! date, `findings` looks for what would switch the list off, and `canary` proves that nothing does.

mod canary;
mod cargo_config;
mod choose;
mod clippy_toml;
mod effects;
mod escapes;
mod files;
mod findings;
mod generated;
mod levels;
mod report;
mod workspace;

use std::path::PathBuf;

use toml_edit::Item;

use crate::args::LintArgs;
use crate::output::{Failure, Printed};
use files::Edited;
use findings::Problem;
use levels::Levels;
use report::{Change, Report};
use workspace::Workspace;

pub(crate) fn run(args: &LintArgs) -> Result<Printed, Failure> {
    let workspace = Workspace::read(args.manifest_path.as_deref(), args.check)?;
    let chosen = choose::choose(&workspace.packages)?;
    let config = config(&workspace);
    let mut report = Report::new(&workspace, &config, &chosen, args.check);

    let mut list = Edited::read(&config)?;
    let changes = clippy_toml::update(&mut list.doc, &chosen.entries)
        .map_err(|message| Failure::file(&config, &format!("{message}; nothing was changed")))?;
    report.changed.extend(report::list_changes(&workspace.shown(&config), &changes));
    let mut files = vec![list];
    for path in manifests(&workspace) {
        let mut file = Edited::read(&path)?;
        let levels = raise(&mut file, &workspace, args.strict);
        let shown = workspace.shown(&path);
        report.changed.extend(levels.changed.into_iter().map(|what| Change { file: shown.clone(), what }));
        report.problems.extend(levels.problems.into_iter().map(|what| Problem::of(shown.clone(), what)));
        files.push(file);
    }
    findings::look(&workspace, &config, &mut report);
    if !args.check {
        files::write(&files)?;
    }
    if args.canary {
        // What is in force: with `--check` what is on disk, else what was just written.
        let in_force = |file: &Edited| if args.check { file.before.clone() } else { file.doc.clone() };
        let [list, root, ..] = files.as_slice() else { return Err(Failure::internal("no manifest".to_owned())) };
        report.canary = Some(canary::run(&workspace, &chosen, in_force(list), &in_force(root))?);
    }
    report.print()
}

/// The file that clippy reads for the whole workspace.
fn config(workspace: &Workspace) -> PathBuf {
    let hidden = workspace.root.join(".clippy.toml");
    if hidden.exists() { hidden } else { workspace.root.join("clippy.toml") }
}

/// The workspace's first, then its members'.
fn manifests(workspace: &Workspace) -> Vec<PathBuf> {
    let root = workspace.manifest();
    let members = workspace.members.iter().map(|member| member.manifest.clone()).filter(|path| *path != root);
    std::iter::once(root.clone()).chain(members).collect()
}

fn raise(file: &mut Edited, workspace: &Workspace, strict: bool) -> Levels {
    let mut levels = Levels::default();
    let is_root = file.path == workspace.manifest();
    let has_workspace = file.doc.get("workspace").is_some_and(Item::is_table_like);
    if is_root {
        levels::workspace(&mut file.doc, strict, &mut levels);
    }
    if file.doc.contains_key("package") {
        levels::package(&mut file.doc, !is_root || has_workspace, strict, &mut levels);
    }
    levels
}
