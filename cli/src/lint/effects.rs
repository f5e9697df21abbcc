//! The list of effects: which functions of which crates change the world outside or cost money.

use std::collections::BTreeMap;

use semver::VersionReq;
use serde::Deserialize;

use crate::output::Failure;

/// What every reason ends with, and by which an entry is known for one of ours.
const ADVICE: &str = ": do it in a function with `#[boundary(before_";

const FILES: [&str; 5] = [
    include_str!("effects/system.toml"),
    include_str!("effects/http.toml"),
    include_str!("effects/sql.toml"),
    include_str!("effects/cloud.toml"),
    include_str!("effects/models.toml"),
];

/// Groups of effects by the package that has them.
pub(super) type List = BTreeMap<String, Vec<Group>>;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) does: String,
    #[serde(default)]
    pub(super) guard: Guard,
    /// All of them must be on; `a|b` is one of two.
    #[serde(default)]
    pub(super) features: Vec<String>,
    pub(super) versions: Option<VersionReq>,
    pub(super) os: Option<Os>,
    pub(super) paths: Vec<String>,
}

/// What must be asked before.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Guard {
    #[default]
    SideEffect,
    Cost,
    /// Only the caller knows.
    Either,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Os {
    Unix,
    Windows,
}

impl Os {
    pub(super) fn is_here(self) -> bool {
        match self {
            Os::Unix => cfg!(unix),
            Os::Windows => cfg!(windows),
        }
    }
}

/// The list that this binary was built with.
pub(super) fn list() -> Result<List, Failure> {
    let mut all = List::new();
    for file in FILES {
        let list: List = toml::from_str(file).map_err(|error| Failure::internal(error.to_string()))?;
        for (package, groups) in list {
            all.entry(package).or_default().extend(groups);
        }
    }
    Ok(all)
}

impl Group {
    /// `does` and the attribute to use.
    pub(super) fn reason(&self) -> String {
        let does = &self.does;
        match self.guard {
            Guard::SideEffect => format!("{does}{ADVICE}side_effect)]`"),
            Guard::Cost => format!("{does}{ADVICE}cost)]`"),
            Guard::Either => format!("{does}{ADVICE}side_effect)]`, or `before_cost` if all it does is cost money"),
        }
    }

    /// Whether everything that it needs is among the features that are on.
    pub(super) fn is_on(&self, features: &[String]) -> bool {
        let on = |name: &str| features.iter().any(|feature| feature == name);
        self.features.iter().all(|needed| needed.split('|').any(on))
    }

    /// Written out, without the package's library.
    pub(super) fn paths(&self) -> Vec<String> {
        self.paths.iter().flat_map(|path| expand(path)).collect()
    }
}

/// Is this the reason of an entry that we wrote?
pub(super) fn is_ours(reason: &str) -> bool {
    reason.contains(ADVICE)
}

// Input:  fs::{File, Dir}::{create, open}
// Output: [fs::File::create, fs::File::open, fs::Dir::create, fs::Dir::open]
fn expand(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let Some((inside, after)) = rest.split_once('}') else { return vec![path.to_owned()] };
    let after = expand(after);
    let one = |name: &str| {
        let name = name.trim().to_owned();
        after.iter().map(move |after| format!("{before}{name}{after}")).collect::<Vec<_>>()
    };
    inside.split(',').flat_map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn braces_multiply() {
        assert_eq!(expand("get"), ["get"]);
        assert_eq!(
            expand("fs::{File, Dir}::{create, open}"),
            ["fs::File::create", "fs::File::open", "fs::Dir::create", "fs::Dir::open"]
        );
    }

    #[test]
    fn the_list_names_functions_and_says_what_they_do() {
        let list = list().unwrap();
        assert!(list.len() > 30, "{}", list.len());
        for (package, groups) in &list {
            let mut seen = BTreeSet::new();
            for group in groups {
                let plain = |c: char| c.is_ascii_lowercase() || " -".contains(c);
                assert!(
                    group.does.chars().all(|c| plain(c) || c.is_ascii_uppercase()) && group.does.starts_with(plain),
                    "{package}: {}",
                    group.does
                );
                assert!(is_ours(&group.reason()), "{}", group.reason());
                for path in group.paths() {
                    let segments: Vec<_> = path.split("::").collect();
                    let word = |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
                    assert!(segments.iter().all(word), "{package}: {path}");
                    let name = segments.last().unwrap();
                    assert!(name.starts_with(|c: char| c.is_lowercase()), "{package}: {path}: no function");
                    let versions = group.versions.as_ref().map(ToString::to_string);
                    assert!(seen.insert((path.clone(), versions)), "{package}: {path}: twice");
                }
            }
        }
    }

    #[test]
    fn reasons_name_the_attribute() {
        let group = |guard: &str| -> Group {
            toml::from_str(&format!("does = \"writes a file\"\nguard = \"{guard}\"\npaths = []")).unwrap()
        };
        assert_eq!(
            group("side_effect").reason(),
            "writes a file: do it in a function with `#[boundary(before_side_effect)]`"
        );
        assert_eq!(group("cost").reason(), "writes a file: do it in a function with `#[boundary(before_cost)]`");
        assert!(group("either").reason().ends_with("or `before_cost` if all it does is cost money"));
        assert!(!is_ours("writes a file: use our wrapper"));
    }

    #[test]
    fn a_group_is_on_with_all_that_it_needs() {
        let group: Group = toml::from_str("does = \"a\"\nfeatures = [\"a\", \"b|c\"]\npaths = []").unwrap();
        let on = |features: &[&str]| group.is_on(&features.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert!(on(&["a", "c"]) && on(&["b", "a", "d"]));
        assert!(!on(&["a"]) && !on(&["b", "c"]) && !on(&[]));
    }
}
