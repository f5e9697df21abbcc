//! The lint levels in `Cargo.toml`: `deny`, so that only an exemption that is meant gets through, and not `forbid`, which
//! would refuse the exemptions of guarded functions too.

use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value, value};

const LINT: &str = "disallowed_methods";
/// What else it goes by. Cargo passes these later, so that they would win.
const ALIASES: [&str; 3] = ["disallowed-methods", "disallowed_method", "disallowed-method"];
/// What `--strict` adds: every `allow` and `expect` says why.
const STRICT: &str = "allow_attributes_without_reason";

/// What was changed, or is in the way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    pub(super) changed: Vec<String>,
    pub(super) problems: Vec<String>,
}

/// The root of a workspace: `[workspace.lints.clippy]`.
pub(super) fn workspace(doc: &mut DocumentMut, strict: bool, levels: &mut Levels) {
    let Some(workspace) = doc.get_mut("workspace").and_then(Item::as_table_like_mut) else { return };
    deny(workspace, "workspace.lints.clippy", strict, levels);
}

/// A package: `[lints] workspace = true`, or the level itself where it has lints of its own, which can't be mixed.
pub(super) fn package(doc: &mut DocumentMut, inherits: bool, strict: bool, levels: &mut Levels) {
    let lints = doc.get("lints").and_then(Item::as_table_like);
    let empty = lints.is_none_or(TableLike::is_empty);
    let inherited = lints.and_then(|lints| lints.get("workspace")).and_then(Item::as_bool) == Some(true);
    if inherited {
        return;
    }
    if inherits && empty {
        let mut lints = Table::new();
        lints.insert("workspace", value(true));
        doc.insert("lints", Item::Table(lints));
        levels.changed.push("[lints] workspace = true".to_owned());
        return;
    }
    deny(doc.as_table_mut(), "lints.clippy", strict, levels);
}

/// The table of clippy's levels that holds for a package, to be copied.
pub(super) fn clippy(doc: &DocumentMut) -> Option<&Item> {
    let workspace = doc.get("workspace").and_then(|workspace| workspace.get("lints"));
    workspace.or_else(|| doc.get("lints"))?.get("clippy")
}

fn deny(parent: &mut dyn TableLike, place: &str, strict: bool, levels: &mut Levels) {
    let mut table: &mut dyn TableLike = parent;
    for key in ["lints", "clippy"] {
        // `[workspace.lints.clippy]` in one header, unless there is one already.
        let mut new = Table::new();
        new.set_implicit(true);
        let item = table.entry(key).or_insert(Item::Table(new));
        match item.as_table_like_mut() {
            Some(inner) => table = inner,
            None => return levels.problems.push(format!("[{place}] must be a table")),
        }
    }
    for group in ["all", "style"] {
        if table.get(group).and_then(level) == Some("forbid") {
            levels.problems.push(format!(
                "[{place}] {group} = \"forbid\" refuses the exemption of guarded functions too: make it \"deny\""
            ));
        }
    }
    for alias in ALIASES {
        if table.remove(alias).is_some() {
            levels.changed.push(format!("[{place}] without `{alias}`, which is `{LINT}` too"));
        }
    }
    set(table, LINT, place, levels);
    if strict {
        set(table, STRICT, place, levels);
    }
}

fn set(table: &mut dyn TableLike, lint: &str, place: &str, levels: &mut Levels) {
    // Of one priority the groups come last, and so win.
    let group = |name: &str| table.get(name).map(|item| priority(item).unwrap_or(0));
    let above = if lint == LINT { group("all").max(group("style")) } else { group("restriction") };
    let item = table.get(lint);
    let own = item.and_then(priority).unwrap_or(0);
    let needed = above.map_or(own, |above| own.max(above + 1));
    if item.and_then(level) == Some("deny") && own == needed {
        return;
    }
    let before = item.and_then(level).map(|level| format!(", which was \"{level}\"")).unwrap_or_default();
    let new = if needed == 0 {
        levels.changed.push(format!("[{place}] {lint} = \"deny\"{before}"));
        value("deny")
    } else {
        levels.changed.push(format!("[{place}] {lint} = \"deny\" with priority {needed}{before}"));
        let mut new = InlineTable::new();
        new.insert("level", "deny".into());
        new.insert("priority", needed.into());
        Item::Value(Value::InlineTable(new))
    };
    match table.get_mut(lint).and_then(Item::as_value_mut) {
        // The comment behind it stays.
        Some(old) => {
            let decor = old.decor().clone();
            if let Item::Value(mut new) = new {
                *new.decor_mut() = decor;
                *old = new;
            }
        }
        None => {
            table.insert(lint, new);
        }
    }
}

fn level(item: &Item) -> Option<&str> {
    item.as_str().or_else(|| item.as_table_like()?.get("level")?.as_str())
}

fn priority(item: &Item) -> Option<i64> {
    item.as_table_like()?.get("priority")?.as_integer()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn run(text: &str, change: impl Fn(&mut DocumentMut, &mut Levels)) -> (String, Levels) {
        let mut doc: DocumentMut = text.parse().unwrap();
        let mut levels = Levels::default();
        change(&mut doc, &mut levels);
        let text = doc.to_string();
        let (mut again, mut second): (DocumentMut, _) = (text.parse().unwrap(), Levels::default());
        change(&mut again, &mut second);
        assert_eq!((again.to_string(), &second.changed), (text.clone(), &Vec::new()), "a second run changes nothing");
        (text, levels)
    }

    fn root(text: &str) -> (String, Levels) {
        run(text, |doc, levels| workspace(doc, false, levels))
    }

    fn member(text: &str) -> (String, Levels) {
        run(text, |doc, levels| package(doc, true, false, levels))
    }

    #[test]
    fn a_workspace_denies_and_its_members_inherit() {
        let (text, levels) = root("[workspace]\nmembers = [\"a\"] # one\n");
        assert_eq!(
            text,
            "[workspace]\nmembers = [\"a\"] # one\n\n[workspace.lints.clippy]\ndisallowed_methods = \"deny\"\n"
        );
        assert_eq!(levels.changed, ["[workspace.lints.clippy] disallowed_methods = \"deny\""]);
        let (text, _) = member("[package]\nname = \"a\"\n");
        assert_eq!(text, "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n");
        let (text, levels) = member("[package]\nname = \"a\"\n[lints]\nworkspace = true\n");
        assert_eq!((text.contains("disallowed"), levels), (false, Levels::default()));
    }

    #[test]
    fn a_package_with_lints_of_its_own_gets_the_level_itself() {
        let (text, _) = member("[package]\nname = \"a\"\n\n[lints.rust]\nunsafe_code = \"forbid\"\n");
        assert!(text.ends_with("[lints.clippy]\ndisallowed_methods = \"deny\"\n"), "{text}");
        let (text, _) = member("[lints.clippy]\ntodo = \"warn\" # later\n");
        assert_eq!(text, "[lints.clippy]\ntodo = \"warn\" # later\ndisallowed_methods = \"deny\"\n");
        // No workspace to inherit from.
        let (text, _) = run("[package]\nname = \"a\"\n", |doc, levels| package(doc, false, false, levels));
        assert_eq!(text, "[package]\nname = \"a\"\n\n[lints.clippy]\ndisallowed_methods = \"deny\"\n");
    }

    #[test]
    fn lower_levels_and_forbid_become_deny() {
        for old in ["\"warn\"", "\"allow\"", "\"forbid\"", "{ level = \"forbid\", priority = 0 }"] {
            let (text, levels) = root(&format!("[workspace.lints.clippy]\ndisallowed_methods = {old} # why\n"));
            assert_eq!(text, "[workspace.lints.clippy]\ndisallowed_methods = \"deny\" # why\n", "{old}");
            assert!(levels.changed[0].contains("which was"), "{levels:?}");
        }
        let (text, _) = root("[workspace]\nlints.clippy.disallowed_methods = \"warn\"\n");
        assert_eq!(text, "[workspace]\nlints.clippy.disallowed_methods = \"deny\"\n");
    }

    #[test]
    fn other_names_of_the_lint_would_win_and_are_removed() {
        let (text, levels) = root("[workspace.lints.clippy]\ndisallowed-methods = \"allow\"\ntodo = \"warn\"\n");
        assert_eq!(text, "[workspace.lints.clippy]\ntodo = \"warn\"\ndisallowed_methods = \"deny\"\n");
        assert!(levels.changed[0].contains("without `disallowed-methods`"), "{levels:?}");
    }

    #[test]
    fn a_group_of_the_same_priority_would_win_and_is_outranked() {
        let (text, levels) = root("[workspace.lints.clippy]\nall = \"warn\"\n");
        assert!(text.ends_with("disallowed_methods = { level = \"deny\", priority = 1 }\n"), "{text}");
        assert!(levels.changed[0].contains("priority 1"), "{levels:?}");
        let (text, _) = root("[workspace.lints.clippy]\nstyle = { level = \"allow\", priority = 3 }\n");
        assert!(text.contains("priority = 4"), "{text}");
        let (text, _) = root("[workspace.lints.clippy]\nall = { level = \"warn\", priority = -1 }\n");
        assert!(text.ends_with("disallowed_methods = \"deny\"\n"), "{text}");
    }

    #[test]
    fn a_group_that_forbids_is_reported() {
        let (_, levels) = root("[workspace.lints.clippy]\nall = { level = \"forbid\", priority = -1 }\n");
        assert!(levels.problems[0].contains("all = \"forbid\""), "{levels:?}");
    }

    #[test]
    fn strict_asks_for_reasons_and_its_absence_takes_nothing_away() {
        let strict = |text: &str| run(text, |doc, levels| workspace(doc, true, levels)).0;
        let text = strict("[workspace]\n");
        assert!(text.contains("allow_attributes_without_reason = \"deny\""), "{text}");
        assert_eq!(root(&text).0, text);
        let text = strict("[workspace.lints.clippy]\nrestriction = \"warn\"\n");
        assert!(text.contains("allow_attributes_without_reason = { level = \"deny\", priority = 1 }"), "{text}");
    }
}
