//! What may be the name of a task, an agent or a kind.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Why a text can't be a name.
///
/// A name that looks like another one, or that prints as two lines, is refused and never repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It begins or ends with white space.
    #[error("there are blanks around it")]
    Blanks,
    /// It holds a character that drives a terminal, breaks a line or can't be seen.
    #[error("it holds the character U+{:04X}, which can't be seen or breaks the line", u32::from(*.0))]
    Unseen(char),
}

/// Checks the name of a task, an agent or a kind: text, without blanks around it, without characters that can't be seen.
/// Blanks inside are allowed. Names are compared exactly, as they are.
///
/// # Errors
/// It is no such name.
///
/// ```
/// use portcullis::tasks::{InvalidName, check_name};
/// assert_eq!(check_name("order 17"), Ok(()));
/// assert_eq!(check_name("t1 "), Err(InvalidName::Blanks));
/// assert_eq!(check_name("t\u{200b}1"), Err(InvalidName::Unseen('\u{200b}')));
/// ```
pub fn check_name(text: &str) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    // Most names are plain: one look at each byte.
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    if text.trim() != text {
        return Err(InvalidName::Blanks);
    }
    match text.chars().find(|&character| is_unseen(character)) {
        Some(character) => Err(InvalidName::Unseen(character)),
        None => Ok(()),
    }
}

/// `true` if there is nothing to read in `text`: only white space and characters that can't be seen.
pub(crate) fn is_blank(text: &str) -> bool {
    text.chars().all(|character| character.is_whitespace() || is_unseen(character))
}

fn is_unseen(character: char) -> bool {
    match character.general_category() {
        GeneralCategory::Control
        | GeneralCategory::Format
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator => true,
        // Letters of no width, by their standard: they fill a place and show nothing.
        _ => matches!(character, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_that_can_be_seen() {
        for name in ["t1", "my task", "aufgabe-é", "タスク-1", "a:b/c"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, flaw) in [
            ("", InvalidName::Empty),
            (" ", InvalidName::Blanks),
            ("t1\n", InvalidName::Blanks),
            ("\u{a0}t1", InvalidName::Blanks),
            ("a\nOK: b", InvalidName::Unseen('\n')),
            ("a\u{1b}[2J", InvalidName::Unseen('\u{1b}')),
            ("t\u{200b}1", InvalidName::Unseen('\u{200b}')),
            ("a\u{202e}b", InvalidName::Unseen('\u{202e}')),
            ("a\u{2028}b", InvalidName::Unseen('\u{2028}')),
            ("a\u{3164}b", InvalidName::Unseen('\u{3164}')),
        ] {
            assert_eq!(check_name(name), Err(flaw), "{name:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_blank() {
        for text in ["", "  ", "\t\n", "\u{a0}", "\u{200b}", "\u{feff} "] {
            assert!(is_blank(text), "{text:?}");
        }
        assert!(!is_blank(" a "));
    }
}
