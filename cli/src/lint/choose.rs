//! Which effects a workspace can have: those of the packages in its lock file, in the versions that it has.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::effects::{Group, List};
use super::workspace::Locked;
use super::{effects, generated};
use crate::output::Failure;

/// One line of clippy's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) reason: String,
    /// It may be missing in some builds, because a feature is off or the system is another.
    pub(super) optional: bool,
}

/// A package with effects.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Covered {
    pub(super) package: String,
    /// None for `std`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) version: String,
    pub(super) effects: usize,
}

#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) entries: Vec<Entry>,
    pub(super) covered: Vec<Covered>,
    /// Packages that the list knows, but not in this version: nothing of theirs is refused.
    pub(super) unknown: Vec<(String, String)>,
}

impl Chosen {
    pub(super) fn covers(&self, package: &Locked) -> bool {
        let version = package.version.to_string();
        self.covered.iter().any(|covered| covered.package == package.name && covered.version == version)
    }

    /// What must resolve in a build with exactly these packages and features.
    pub(super) fn required(packages: &[Locked]) -> Result<HashSet<String>, Failure> {
        let mut required = HashSet::new();
        let list = effects::list()?;
        let here = |group: &Group| group.os.is_none_or(effects::Os::is_here);
        for group in list.get("std").into_iter().flatten().filter(|group| here(group)) {
            required.extend(group.paths().into_iter().map(|path| format!("std::{path}")));
        }
        for package in packages {
            for (group, paths) in groups(&list, package) {
                if here(&group) && group.is_on(&package.features) {
                    required.extend(paths);
                }
            }
        }
        Ok(required)
    }
}

pub(super) fn choose(packages: &[Locked]) -> Result<Chosen, Failure> {
    let list = effects::list()?;
    let mut chosen = Chosen { entries: Vec::new(), covered: Vec::new(), unknown: Vec::new() };
    // How many versions of its package have a path, by the path.
    let mut versions: HashMap<String, usize> = HashMap::new();
    let mut entries: Vec<Entry> = Vec::new();
    let mut add = |group: &Group, paths: Vec<String>| {
        for path in paths {
            let optional = !group.features.is_empty() || group.os.is_some();
            let count = versions.entry(path.clone()).or_default();
            *count += 1;
            if *count == 1 {
                entries.push(Entry { path, reason: group.reason(), optional });
            }
        }
    };
    let mut effects = 0;
    for group in list.get("std").into_iter().flatten() {
        let paths: Vec<_> = group.paths().into_iter().map(|path| format!("std::{path}")).collect();
        effects += paths.len();
        add(group, paths);
    }
    let std = Covered { package: "std".to_owned(), version: String::new(), effects };
    let mut covered = vec![std];
    for package in sorted(packages) {
        let known = list.contains_key(&package.name) || generated::operations(package).is_some();
        let (mut effects, mut candidates) = (0, false);
        for (group, paths) in groups(&list, package) {
            candidates |= !paths.is_empty();
            // A feature that nothing turns on: nobody can call it.
            if group.is_on(&package.features) {
                effects += paths.len();
                add(&group, paths);
            }
        }
        let version = package.version.to_string();
        if known && !candidates {
            chosen.unknown.push((package.name.clone(), version));
        } else if effects > 0 {
            covered.push(Covered { package: package.name.clone(), version, effects });
        }
    }
    // Clippy knows a package by its name: where a member sees only one of its versions, the other's paths are missing.
    for entry in &mut entries {
        let library = entry.path.split("::").next();
        let all = packages.iter().filter(|package| Some(package.library.as_str()) == library).count();
        entry.optional |= versions.get(&entry.path).is_some_and(|count| *count < all);
    }
    (chosen.entries, chosen.covered) = (entries, covered);
    Ok(chosen)
}

/// By name, then version: the order of the file must not depend on cargo's.
fn sorted(packages: &[Locked]) -> Vec<&Locked> {
    let by_name: BTreeMap<_, _> = packages.iter().map(|package| ((&package.name, &package.version), package)).collect();
    by_name.into_values().collect()
}

/// What this version of a package has, with the library in front.
fn groups(list: &List, package: &Locked) -> Vec<(Group, Vec<String>)> {
    let full = |path: String| format!("{}::{path}", package.library);
    let mut found = Vec::new();
    if let Some(group) = generated::operations(package) {
        let paths = group.paths().into_iter().map(full).collect();
        found.push((group, paths));
    }
    let Some(groups) = list.get(&package.name) else { return found };
    let words = package.words();
    // A function that a version does not have yet, or no longer, is not in its source under any name.
    let exists = |path: &String| path.split("::").all(|word| words.contains(word));
    let fits = |group: &&Group| group.versions.as_ref().is_none_or(|versions| versions.matches(&package.version));
    for group in groups.iter().filter(fits) {
        found.push((group.clone(), group.paths().into_iter().filter(exists).map(full).collect()));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A package on disk, as cargo would unpack it.
    fn package(dir: &std::path::Path, name: &str, version: &str, features: &[&str], source: &str) -> Locked {
        let dir = dir.join(format!("{name}-{version}"));
        fs::create_dir_all(dir.join("src")).unwrap();
        fs::write(dir.join("src/lib.rs"), source).unwrap();
        Locked {
            name: name.to_owned(),
            version: version.parse().unwrap(),
            library: name.replace('-', "_"),
            dir,
            source: None,
            features: features.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    fn paths(chosen: &Chosen) -> Vec<&str> {
        let paths = chosen.entries.iter().map(|entry| entry.path.as_str());
        paths.filter(|path| !path.starts_with("std::")).collect()
    }

    #[test]
    fn only_what_the_lock_file_names_is_chosen_and_std_always() {
        let chosen = choose(&[]).unwrap();
        assert!(chosen.entries.iter().any(|entry| entry.path == "std::fs::write" && !entry.optional));
        assert!(chosen.entries.iter().any(|entry| entry.path == "std::os::unix::fs::symlink" && entry.optional));
        assert_eq!(paths(&chosen), [""; 0]);
        assert_eq!(chosen.covered.len(), 1);
    }

    #[test]
    fn features_and_versions_decide_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let source =
            "pub fn get() {} struct RequestBuilder; fn send() {} struct Client; fn execute() {} mod blocking {}";
        let plain = choose(&[package(dir.path(), "reqwest", "0.13.5", &[], source)]).unwrap();
        assert_eq!(paths(&plain), ["reqwest::get", "reqwest::RequestBuilder::send", "reqwest::Client::execute"]);
        let both = choose(&[package(dir.path(), "reqwest", "0.13.5", &["blocking"], source)]).unwrap();
        assert!(paths(&both).contains(&"reqwest::blocking::get"));
        assert!(both.entries.iter().any(|entry| entry.path == "reqwest::blocking::get" && entry.optional));

        let source = "Request RequestBuilder call send request_ext WithAgent run Agent";
        let new = choose(&[package(dir.path(), "ureq", "3.1.0", &[], source)]).unwrap();
        assert!(paths(&new).contains(&"ureq::RequestBuilder::call") && !paths(&new).contains(&"ureq::Request::call"));
        let old = choose(&[package(dir.path(), "ureq", "2.9.0", &[], source)]).unwrap();
        assert_eq!(paths(&old), ["ureq::Request::call", "ureq::Request::send"]);
    }

    #[test]
    fn a_function_that_a_version_does_not_have_is_not_named() {
        let dir = tempfile::tempdir().unwrap();
        let old = package(dir.path(), "duct", "0.1.0", &[], "struct Expression; fn run() {} fn read() {}");
        assert_eq!(paths(&choose(&[old]).unwrap()), ["duct::Expression::run", "duct::Expression::read"]);
        let strange = package(dir.path(), "duct", "9.0.0", &[], "struct Anew;");
        let chosen = choose(&[strange]).unwrap();
        assert_eq!(paths(&chosen), [""; 0]);
        assert_eq!(chosen.unknown, [("duct".to_owned(), "9.0.0".to_owned())]);
    }

    #[test]
    fn two_versions_of_a_package_share_their_entries() {
        let dir = tempfile::tempdir().unwrap();
        let old = package(dir.path(), "duct", "0.13.0", &[], "struct Expression; fn run() {}");
        let new = package(dir.path(), "duct", "1.0.0", &[], "struct Expression; fn run() {} fn start() {}");
        let chosen = choose(&[new, old]).unwrap();
        assert_eq!(paths(&chosen), ["duct::Expression::run", "duct::Expression::start"]);
        let optional = |path: &str| chosen.entries.iter().find(|entry| entry.path == path).unwrap().optional;
        assert!(!optional("duct::Expression::run") && optional("duct::Expression::start"));
        assert_eq!(chosen.covered.len(), 3);
    }

    #[test]
    fn a_build_requires_what_its_features_and_its_system_have() {
        let dir = tempfile::tempdir().unwrap();
        let source = "get RequestBuilder send Client execute blocking";
        let required = Chosen::required(&[package(dir.path(), "reqwest", "0.13.5", &[], source)]).unwrap();
        assert!(required.contains("reqwest::get") && !required.contains("reqwest::blocking::get"));
        assert!(required.contains("std::fs::write"));
        assert_eq!(required.contains("std::os::unix::fs::symlink"), cfg!(unix));
    }
}
