//! `.cargo/config.toml`: what in it would lead clippy past the list.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, TableLike};

use super::escapes::NAMES;

/// Where cargo looks for its configuration from each of `dirs`, and in its home.
pub(super) fn files<'a>(dirs: impl Iterator<Item = &'a Path>) -> BTreeSet<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let ancestors = dirs.flat_map(Path::ancestors).map(|dir| dir.join(".cargo"));
    let names = |dir: PathBuf| ["config.toml", "config"].map(|name| dir.join(name));
    ancestors.chain(home).flat_map(names).filter(|path| path.is_file()).collect()
}

/// What is wrong with one of them. `config` is the directory that holds the list.
pub(super) fn problems(path: &Path, config: &Path) -> Vec<String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return vec![format!("can't be read: {error}")],
    };
    let doc: DocumentMut = match text.parse() {
        Ok(doc) => doc,
        Err(error) => return vec![format!("is no TOML: {error}")],
    };
    let mut problems = Vec::new();
    if let Some(item) = doc.get("env").and_then(|env| env.get("CLIPPY_CONF_DIR")) {
        // A relative one is relative to the directory that holds `.cargo`.
        let value = item.as_str().or_else(|| item.as_table_like()?.get("value")?.as_str()).unwrap_or_default();
        let base = path.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        if !leads_to(&base.join(value), config) {
            problems.push(format!("[env] CLIPPY_CONF_DIR = \"{value}\" makes clippy read another file"));
        }
    }
    let flags = |table: &dyn TableLike| table.get("rustflags").map(words).unwrap_or_default();
    let build = doc.get("build").and_then(Item::as_table_like).map(flags).unwrap_or_default();
    let targets = doc.get("target").and_then(Item::as_table_like);
    let targets = targets.into_iter().flat_map(TableLike::iter).filter_map(|(_, item)| item.as_table_like());
    for flags in std::iter::once(build).chain(targets.map(flags)) {
        problems.extend(lowered(&flags).map(|flag| format!("rustflags has `{flag}`, which switches the list off")));
    }
    problems
}

/// Whether a configuration directory is the one that holds the list.
pub(super) fn leads_to(dir: &Path, config: &Path) -> bool {
    match (dir.canonicalize(), config.canonicalize()) {
        (Ok(dir), Ok(config)) => dir == config,
        _ => false,
    }
}

fn words(item: &Item) -> Vec<String> {
    let array = item.as_array().into_iter().flatten().filter_map(|value| value.as_str().map(str::to_owned));
    let text = item.as_str().unwrap_or_default().split_whitespace().map(str::to_owned);
    array.chain(text).collect()
}

/// `-A clippy::all`, `-Wclippy::style`, `--allow=clippy::disallowed_methods`, `--cap-lints warn`
pub(super) fn lowered(flags: &[String]) -> Option<String> {
    let text = flags.join(" ").replace('=', " ");
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let lint = match word {
            "--cap-lints" => match words.peek() {
                Some(&level) if level != "deny" && level != "forbid" => return Some(format!("{word} {level}")),
                _ => continue,
            },
            "-A" | "-W" | "-F" | "--allow" | "--warn" | "--forbid" => words.peek().copied().unwrap_or_default(),
            _ => match ["-A", "-W", "-F"].iter().find_map(|flag| word.strip_prefix(flag)) {
                Some(lint) => lint,
                None => continue,
            },
        };
        let lint = lint.replace('-', "_");
        if lint.strip_prefix("clippy::").is_some_and(|lint| NAMES.contains(&lint)) {
            return Some(if word.len() > 2 && !word.starts_with("--") {
                word.to_owned()
            } else {
                format!("{word} {lint}")
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(text: &str) -> Option<String> {
        lowered(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_that_lower_the_level_are_seen() {
        assert_eq!(flags("-C debuginfo=1 -A clippy::all").as_deref(), Some("-A clippy::all"));
        assert_eq!(flags("-Wclippy::style").as_deref(), Some("-Wclippy::style"));
        assert_eq!(flags("--allow=clippy::disallowed-methods").as_deref(), Some("--allow clippy::disallowed_methods"));
        assert_eq!(flags("--cap-lints=warn").as_deref(), Some("--cap-lints warn"));
        for harmless in
            ["-D clippy::all", "-A clippy::pedantic", "-A unused", "--cap-lints deny", "-C target-cpu=native"]
        {
            assert_eq!(flags(harmless), None, "{harmless}");
        }
    }

    #[test]
    fn a_configuration_that_leads_clippy_elsewhere_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".cargo/config.toml");
        fs::create_dir_all(dir.path().join(".cargo")).unwrap();
        fs::create_dir_all(dir.path().join("other")).unwrap();
        let problems = |text: &str| {
            fs::write(&path, text).unwrap();
            super::problems(&path, dir.path())
        };
        assert_eq!(problems("[env]\nCLIPPY_CONF_DIR = { value = \".\", relative = true }\n"), [""; 0]);
        assert!(problems("[env]\nCLIPPY_CONF_DIR = \"other\"\n")[0].contains("another file"));
        assert!(problems("[build]\nrustflags = [\"-A\", \"clippy::all\"]\n")[0].contains("-A clippy::all"));
        assert!(problems("[target.'cfg(all())']\nrustflags = \"--cap-lints allow\"\n")[0].contains("--cap-lints"));
        assert!(problems("[build\n")[0].contains("is no TOML"));
        assert!(files(std::iter::once(dir.path())).contains(&path));
    }
}
