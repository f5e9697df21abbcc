//! Attributes in the sources that take the list's force away: `allow`, `expect`, `warn` and `forbid` of the lint or of a group
//! that it belongs to.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

use super::workspace::sources;

/// The lint, by its name and its old one, and the groups that it is in.
pub(super) const NAMES: [&str; 4] = ["disallowed_methods", "disallowed_method", "style", "all"];
const LEVELS: [&str; 4] = ["allow", "expect", "warn", "forbid"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Escape {
    pub(super) line: usize,
    /// `allow(clippy::all)`
    pub(super) what: String,
    /// `reason = "…"`
    pub(super) reason: Option<String>,
}

/// Everything in the Rust files below a package, and why a file could not be read.
pub(super) fn find(dir: &Path, found: &mut impl FnMut(&Path, Result<Vec<Escape>, String>)) {
    sources(dir, &mut |path| match fs::read_to_string(path) {
        Ok(text) => {
            let escapes = scan(&text);
            if escapes.as_ref().map_or(true, |escapes| !escapes.is_empty()) {
                found(path, escapes);
            }
        }
        Err(error) => found(path, Err(error.to_string())),
    });
}

fn scan(text: &str) -> Result<Vec<Escape>, String> {
    // Most files say nothing of clippy, and need no second look.
    if !text.contains("clippy") {
        return Ok(Vec::new());
    }
    let mut escapes = Vec::new();
    let tokens = TokenStream::from_str(&without_shebang(text)).map_err(|error| error.to_string())?;
    attributes(tokens, &mut escapes);
    Ok(escapes)
}

/// `#!/usr/bin/env …` is no token; `#![…]` is.
fn without_shebang(text: &str) -> String {
    if text.starts_with("#!") && !text.trim_start_matches("#!").trim_start().starts_with('[') {
        format!("//{text}")
    } else {
        text.to_owned()
    }
}

/// `#[…]` and `#![…]` at any depth, also in a `macro_rules!`.
fn attributes(tokens: TokenStream, escapes: &mut Vec<Escape>) {
    let mut hash = false;
    for tree in tokens {
        match tree {
            TokenTree::Group(group) if hash && group.delimiter() == Delimiter::Bracket => {
                levels(group.stream(), escapes);
                hash = false;
            }
            TokenTree::Group(group) => {
                attributes(group.stream(), escapes);
                hash = false;
            }
            TokenTree::Punct(punct) => hash = punct.as_char() == '#' || (hash && punct.as_char() == '!'),
            _ => hash = false,
        }
    }
}

/// `allow(…)`, by itself or in a `cfg_attr(…, allow(…))`.
fn levels(attribute: TokenStream, escapes: &mut Vec<Escape>) {
    let mut before: Option<Ident> = None;
    for tree in attribute {
        match tree {
            TokenTree::Group(group) => match before.take() {
                Some(level) if LEVELS.iter().any(|known| level == known) => escapes.extend(escape(&level, &group)),
                _ => levels(group.stream(), escapes),
            },
            TokenTree::Ident(ident) => before = Some(ident),
            _ => before = None,
        }
    }
}

fn escape(level: &Ident, lints: &Group) -> Option<Escape> {
    let text = lints.stream().to_string().replace(' ', "");
    let lint = text.split(',').find_map(|lint| {
        let name = lint.strip_prefix("clippy::")?;
        NAMES.contains(&name).then(|| format!("{level}(clippy::{name})"))
    })?;
    Some(Escape { line: level.span().start().line, what: lint, reason: reason(lints) })
}

fn reason(lints: &Group) -> Option<String> {
    let trees: Vec<TokenTree> = lints.stream().into_iter().collect();
    trees.windows(3).find_map(|window| match window {
        [TokenTree::Ident(word), TokenTree::Punct(equals), TokenTree::Literal(text)]
            if word == "reason" && equals.as_char() == '=' =>
        {
            let text = text.to_string();
            let text = text.trim_start_matches(['r', '#']).trim_end_matches('#').trim_matches('"').trim().to_owned();
            (!text.is_empty()).then_some(text)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, String, Option<String>)> {
        scan(text).unwrap().into_iter().map(|escape| (escape.line, escape.what, escape.reason)).collect()
    }

    #[test]
    fn escapes_of_every_kind_are_found_where_they_stand() {
        let text = r#"#![warn(clippy::all)]
//! allow(clippy::all)
#[allow(clippy::disallowed_methods)]
fn a() {
    // #[allow(clippy::style)]
    #[expect(unused, clippy::style)]
    let a = 1;
    let text = "allow(clippy::all)";
}
#[cfg_attr(test, inline, allow(clippy::disallowed_methods, reason = "tests write files"))]
#[forbid(clippy::disallowed_methods)]
mod m {}
macro_rules! m { () => { #[allow(clippy::disallowed_method)] fn f() {} } }
#[expect(clippy::disallowed_methods, reason = " ")]
#[allow(clippy::all, reason = r"generated")]
fn b() {}
"#;
        let none = |line, what: &str| (line, what.to_owned(), None);
        let with = |line, what: &str, reason: &str| (line, what.to_owned(), Some(reason.to_owned()));
        assert_eq!(
            found(text),
            [
                none(1, "warn(clippy::all)"),
                none(3, "allow(clippy::disallowed_methods)"),
                none(6, "expect(clippy::style)"),
                with(10, "allow(clippy::disallowed_methods)", "tests write files"),
                none(11, "forbid(clippy::disallowed_methods)"),
                none(13, "allow(clippy::disallowed_method)"),
                none(14, "expect(clippy::disallowed_methods)"),
                with(15, "allow(clippy::all)", "generated"),
            ]
        );
    }

    #[test]
    fn other_lints_and_higher_levels_are_no_escape() {
        let text = "#![deny(clippy::all)]\n#[allow(clippy::pedantic, unused)]\nfn f(clippy: u8) { allow(clippy::all) }";
        assert_eq!(found(text), []);
    }

    #[test]
    fn a_script_is_read_and_nonsense_is_reported() {
        assert_eq!(found("#!/usr/bin/env cargo\n#![allow(clippy::all)]\n").len(), 1);
        assert!(scan("clippy \"").is_err());
        assert!(scan("\"").unwrap().is_empty());
    }
}
