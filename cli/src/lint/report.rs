//! What `portcullis lint` says.

use std::path::Path;

use serde::Serialize;

use super::canary::Canary;
use super::choose::{Chosen, Covered};
use super::clippy_toml::Changes;
use super::findings::{Accepted, Problem};
use super::workspace::Workspace;
use crate::output::{Failure, Printed, plain};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Where the list stands.
    config: String,
    effects: usize,
    crates: Vec<Covered>,
    /// Packages that the list knows, but not in this version.
    unknown: Vec<String>,
    /// Was this only looked at?
    check: bool,
    /// What was written, or with `--check` what would be.
    pub(super) changed: Vec<Change>,
    pub(super) problems: Vec<Problem>,
    pub(super) accepted: Vec<Accepted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) canary: Option<Canary>,
}

#[derive(Debug, Serialize)]
pub(super) struct Change {
    pub(super) file: String,
    pub(super) what: String,
}

/// What changes in the list, in a few words.
pub(super) fn list_changes(file: &str, changes: &Changes) -> Vec<Change> {
    let groups = [("adds", &changes.added), ("updates", &changes.updated), ("removes", &changes.removed)];
    let change = |(verb, paths): (&str, &Vec<String>)| {
        let shown = paths.iter().take(3).map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
        let what = match paths.len() {
            0 => return None,
            1..=3 => format!("{verb} {shown}"),
            count => format!("{verb} {count} effects: {shown}, …"),
        };
        Some(Change { file: file.to_owned(), what })
    };
    groups.into_iter().filter_map(change).collect()
}

impl Report {
    pub(super) fn new(workspace: &Workspace, config: &Path, chosen: &Chosen, check: bool) -> Report {
        Report {
            config: workspace.shown(config),
            effects: chosen.entries.len(),
            crates: chosen.covered.clone(),
            unknown: chosen.unknown.iter().map(|(package, version)| format!("{package} {version}")).collect(),
            check,
            changed: Vec::new(),
            problems: Vec::new(),
            accepted: Vec::new(),
            canary: None,
        }
    }

    pub(super) fn print(self) -> Result<Printed, Failure> {
        let stale = self.check && !self.changed.is_empty();
        let proved = self.canary.as_ref().is_none_or(Canary::sings);
        let ok = !stale && self.problems.is_empty() && proved;
        let text = self.text();
        let mut json = serde_json::to_value(&self).map_err(|error| Failure::internal(error.to_string()))?;
        json["ok"] = ok.into();
        let printed = Printed::new(text, json)?;
        Ok(if ok { printed } else { printed.refused() })
    }

    fn text(&self) -> String {
        let mut names: Vec<_> = self.crates.iter().map(|covered| covered.package.as_str()).collect();
        names.dedup();
        let mut lines = vec![format!("{}: {} effects of {}", self.config, self.effects, names.join(", "))];
        if !self.unknown.is_empty() {
            lines.push(format!("not covered, since they have none of the known effects: {}", self.unknown.join(", ")));
        }
        let word = if self.check { "stale: " } else { "" };
        lines.extend(self.changed.iter().map(|change| format!("{word}{}: {}", change.file, change.what)));
        if self.check && !self.changed.is_empty() {
            lines.push("`portcullis lint` brings it up to date".to_owned());
        }
        for Accepted { file, line, what, reason } in &self.accepted {
            lines.push(format!("accepted: {file}:{line}: `{what}`: {reason}"));
        }
        for Problem { file, line, what } in &self.problems {
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            let place = if file.is_empty() { String::new() } else { format!("{file}{line}: ") };
            lines.push(format!("problem: {place}{what}"));
        }
        lines.extend(self.canary.iter().flat_map(Canary::lines));
        lines.iter().map(|line| format!("{}\n", plain(line))).collect()
    }
}
