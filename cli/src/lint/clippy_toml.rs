//! The list in `clippy.toml`. What the user wrote there stays, down to the comments.

use std::collections::HashSet;

use toml_edit::{Array, DocumentMut, InlineTable, Item, Value};

use super::choose::Entry;
use super::effects::is_ours;

const KEY: &str = "disallowed-methods";
const HEADER: &str = "# From here on by `portcullis lint`, from the crates in Cargo.lock.";
const INDENT: &str = "\n    ";

/// What changed, by path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) added: Vec<String>,
    pub(super) updated: Vec<String>,
    pub(super) removed: Vec<String>,
}

/// Brings our entries in `doc` up to date. `Err` says what is in the way.
pub(super) fn update(doc: &mut DocumentMut, entries: &[Entry]) -> Result<Changes, String> {
    let item = doc.entry(KEY).or_insert_with(|| Item::Value(Value::Array(Array::new())));
    let Some(array) = item.as_array_mut() else {
        return Err(format!("`{KEY}` must be an array: `{KEY} = [\"path\", {{ path = \"…\", reason = \"…\" }}]`"));
    };
    let mut changes = Changes::default();
    remove(array, entries, &mut changes);
    insert(array, entries, &mut changes);
    Ok(changes)
}

/// Makes every entry of ours that `required` names one that must resolve.
pub(super) fn require(doc: &mut DocumentMut, required: &HashSet<String>) {
    let array = doc.get_mut(KEY).and_then(Item::as_array_mut);
    for value in array.into_iter().flat_map(Array::iter_mut) {
        if path(value).is_some_and(|path| ours(value) && required.contains(path))
            && let Some(table) = value.as_inline_table_mut()
        {
            table.remove("allow-invalid");
        }
    }
}

/// Takes out what is no longer wanted, and leaves the comments in front of it.
fn remove(array: &mut Array, entries: &[Entry], changes: &mut Changes) {
    let theirs: HashSet<String> =
        array.iter().filter(|value| !ours(value)).filter_map(|value| path(value).map(str::to_owned)).collect();
    let wanted: HashSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    let mut seen = HashSet::new();
    let mut index = 0;
    while let Some(value) = array.get(index) {
        let path = path(value).unwrap_or_default().to_owned();
        // A path that the user lists is the user's, and one entry is enough.
        let keep = !ours(value) || (wanted.contains(&*path) && !theirs.contains(&path) && seen.insert(path.clone()));
        if keep {
            index += 1;
            continue;
        }
        let comments = prefix(value).trim_end().to_owned();
        array.remove(index);
        if comments.contains('#') {
            let rest = before(array, index);
            set_before(array, index, &format!("{comments}{}", if rest.is_empty() { "\n" } else { &rest }));
        }
        changes.removed.push(path);
    }
}

fn insert(array: &mut Array, entries: &[Entry], changes: &mut Changes) {
    let theirs: HashSet<String> =
        array.iter().filter(|value| !ours(value)).filter_map(|value| path(value).map(str::to_owned)).collect();
    let mut position = array.iter().position(ours).unwrap_or(array.len());
    let mut header = position == array.len();
    for entry in entries.iter().filter(|entry| !theirs.contains(&entry.path)) {
        let known = array.iter().position(|value| ours(value) && path(value) == Some(&entry.path));
        if let Some(known) = known {
            if let Some(value) = array.get_mut(known)
                && !same(value, entry)
            {
                let decor = value.decor().clone();
                *value = Value::InlineTable(table(entry));
                *value.decor_mut() = decor;
                changes.updated.push(entry.path.clone());
            }
            position = known + 1;
            continue;
        }
        // A comment behind the element before stays with it.
        let next = before(array, position);
        let (same_line, rest) = next.split_once('\n').unwrap_or((&next, ""));
        let (same_line, rest) = (same_line.trim_end().to_owned(), rest.to_owned());
        let last = position == array.len();
        let lead = if last { rest.trim_end().to_owned() } else { String::new() };
        let lead = if lead.is_empty() { same_line } else { format!("{same_line}\n{lead}") };
        let header = if std::mem::take(&mut header) { format!("{INDENT}{HEADER}") } else { String::new() };
        if last {
            array.set_trailing("\n");
            array.set_trailing_comma(true);
        } else {
            set_before(array, position, &format!("\n{rest}"));
        }
        let value = Value::InlineTable(table(entry)).decorated(format!("{lead}{header}{INDENT}"), "");
        array.insert_formatted(position, value);
        changes.added.push(entry.path.clone());
        position += 1;
    }
}

fn table(entry: &Entry) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("path", entry.path.as_str().into());
    table.insert("reason", entry.reason.as_str().into());
    if entry.optional {
        table.insert("allow-invalid", true.into());
    }
    table
}

fn same(value: &Value, entry: &Entry) -> bool {
    let Some(table) = value.as_inline_table() else { return false };
    let invalid = table.get("allow-invalid").and_then(Value::as_bool).unwrap_or(false);
    reason(value) == Some(&entry.reason) && invalid == entry.optional
}

fn ours(value: &Value) -> bool {
    reason(value).is_some_and(is_ours)
}

fn reason(value: &Value) -> Option<&str> {
    value.as_inline_table()?.get("reason")?.as_str()
}

fn path(value: &Value) -> Option<&str> {
    match value {
        Value::String(path) => Some(path.value()),
        Value::InlineTable(table) => table.get("path")?.as_str(),
        _ => None,
    }
}

fn prefix(value: &Value) -> &str {
    value.decor().prefix().and_then(|raw| raw.as_str()).unwrap_or_default()
}

/// The blanks and comments in front of an element, or in front of the closing bracket.
fn before(array: &Array, index: usize) -> String {
    match array.get(index) {
        Some(value) => prefix(value).to_owned(),
        None => array.trailing().as_str().unwrap_or_default().to_owned(),
    }
}

fn set_before(array: &mut Array, index: usize, text: &str) {
    match array.get_mut(index) {
        Some(value) => value.decor_mut().set_prefix(text),
        None => array.set_trailing(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, optional: bool) -> Entry {
        let reason = "writes: do it in a function with `#[boundary(before_side_effect)]`".to_owned();
        Entry { path: path.to_owned(), reason, optional }
    }

    #[track_caller]
    fn updated(text: &str, entries: &[Entry]) -> (String, Changes) {
        let mut doc: DocumentMut = text.parse().unwrap();
        let changes = update(&mut doc, entries).unwrap();
        let text = doc.to_string();
        let mut again: DocumentMut = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert!(update(&mut again, entries).unwrap() == Changes::default(), "{text}");
        assert_eq!(again.to_string(), text, "a second run changes nothing");
        (text, changes)
    }

    const LINE: &str =
        "{ path = \"a::a\", reason = \"writes: do it in a function with `#[boundary(before_side_effect)]`\" },";

    #[test]
    fn a_new_file_has_one_line_for_each_effect() {
        let (text, changes) = updated("", &[entry("a::a", false), entry("b::b", true)]);
        let second = LINE.replace("a::a", "b::b").replace(" },", ", allow-invalid = true },");
        assert_eq!(text, format!("disallowed-methods = [\n    {HEADER}\n    {LINE}\n    {second}\n]\n"));
        assert_eq!(changes.added, ["a::a", "b::b"]);
    }

    #[test]
    fn what_the_user_wrote_stays_with_its_comments() {
        let theirs = r#"# Ours.
msrv = "1.95" # not older

disallowed-methods = [
    # No clocks.
    "std::time::Instant::now", # really
    { path = "std::env::set_var", reason = "threads" },
    # The end.
]
# Last.
too-many-lines-threshold = 80
"#;
        let (text, _) = updated(theirs, &[entry("a::a", false)]);
        let expected = theirs.replace("    # The end.\n", &format!("    # The end.\n    {HEADER}\n    {LINE}\n"));
        assert_eq!(text, expected);
        // All of ours away, and it is as it was, but for the header.
        let (text, changes) = updated(&text, &[]);
        assert_eq!(text, theirs.replace("    # The end.\n", &format!("    # The end.\n    {HEADER}\n")));
        assert_eq!(changes.removed, ["a::a"]);
    }

    #[test]
    fn entries_keep_their_order_and_comments_their_places() {
        let (text, _) = updated("", &[entry("a::a", false), entry("c::c", false)]);
        let text = text.replace("    { path = \"c::c\"", "    # About c.\n    { path = \"c::c\"");
        let (text, changes) = updated(&text, &[entry("a::a", false), entry("b::b", false), entry("c::c", false)]);
        let (b, c) = (LINE.replace("a::a", "b::b"), LINE.replace("a::a", "c::c"));
        assert_eq!(
            text,
            format!("disallowed-methods = [\n    {HEADER}\n    {LINE}\n    {b}\n    # About c.\n    {c}\n]\n")
        );
        assert_eq!(changes.added, ["b::b"]);
        let (text, changes) = updated(&text, &[entry("b::b", false)]);
        assert_eq!(text, format!("disallowed-methods = [\n    {HEADER}\n    {b}\n    # About c.\n]\n"));
        assert_eq!(changes.removed, ["a::a", "c::c"]);
    }

    #[test]
    fn arrays_on_one_line_and_comments_behind_elements_survive() {
        let (text, _) = updated("disallowed-methods = [\"x::x\"]\n", &[entry("a::a", false)]);
        assert_eq!(text, format!("disallowed-methods = [\"x::x\",\n    {HEADER}\n    {LINE}\n]\n"));
        let (text, _) = updated("disallowed-methods = [\n    \"x::x\" # why\n]\n", &[entry("a::a", false)]);
        assert!(text.contains("# why\n") && text.contains("a::a"), "{text}");
    }

    #[test]
    fn a_path_of_the_users_is_not_listed_twice() {
        let theirs = "disallowed-methods = [\n    { path = \"a::a\", reason = \"never\" },\n    \"b::b\",\n]\n";
        let (text, changes) = updated(theirs, &[entry("a::a", false), entry("b::b", false)]);
        assert_eq!(text, theirs);
        assert_eq!(changes, Changes::default());
    }

    #[test]
    fn a_changed_reason_or_condition_is_brought_up_to_date_in_place() {
        let (text, _) = updated("", &[entry("a::a", true)]);
        let old = text.replace("writes", "wrote");
        let (new, changes) = updated(&old, &[entry("a::a", false)]);
        assert_eq!(new, text.replace(", allow-invalid = true", ""));
        assert_eq!(changes.updated, ["a::a"]);
    }

    #[test]
    fn a_list_of_another_shape_is_refused() {
        let mut doc: DocumentMut = "[[disallowed-methods]]\npath = \"a::a\"\n".parse().unwrap();
        assert!(update(&mut doc, &[]).unwrap_err().contains("must be an array"));
    }

    #[test]
    fn the_canary_wants_what_its_build_has() {
        let (text, _) = updated("", &[entry("a::a", true), entry("b::b", true)]);
        let mut doc: DocumentMut = text.parse().unwrap();
        require(&mut doc, &HashSet::from(["a::a".to_owned()]));
        let text = doc.to_string();
        assert_eq!(text.matches("allow-invalid").count(), 1, "{text}");
        assert!(text.lines().any(|line| line.contains("b::b") && line.contains("allow-invalid")), "{text}");
    }
}
