//! The text of a key, and the identity that it makes.
//!
//! # Invariants
//! 1. Two keys of one type have the same text only if they are the same key: parts are length-prefixed, interpolations
//!    escaped.
//! 2. A key is never empty and never longer than [`MAX`] bytes.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use super::Digest;
use super::fingerprint::{Sink, Unencodable};
use crate::refused::{Kind, Refused};

mod text;

/// How long a key's text may be, in bytes.
pub(crate) const MAX: usize = 512;

impl Digest {
    /// The identity of what is done once.
    pub(crate) fn new(namespace: &str, action: &str, key: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("portcullis 2026 claim identity v1");
        for part in [namespace, action, key] {
            hasher.bytes(part.as_bytes());
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// What a provider that deduplicates is given: the same for every attempt, and for nothing else.
    pub(crate) fn idempotency_key(&self) -> String {
        hex(&self.0[..20])
    }

    /// The same for people: hexadecimal.
    pub(crate) fn hex(&self) -> String {
        hex(&self.0)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The key of a call, or why there is none.
///
/// Made by the attributes, before the body. A key that can't be one is refused when it is claimed.
#[doc(hidden)]
#[derive(Debug)]
#[must_use]
pub struct Key(Result<String, String>);

impl Key {
    /// The key that one value stands for.
    pub fn of<T: KeyPart + ?Sized>(value: &T) -> Self {
        Key(value.key_text().map_err(|why| format!("its key can't be one: {why}")))
    }

    /// The key that a template stands for: literal, value, literal, value, …, literal.
    ///
    /// A character of a value that stands in any literal, and `%`, is percent-escaped: after a value the next literal
    /// begins at the first character that the value could not have held.
    pub fn template(literals: &[&str], values: &[&dyn Part]) -> Self {
        Key(template(literals, values))
    }

    /// The text, if there is one.
    pub(crate) fn text(&self) -> Option<&str> {
        self.0.as_deref().ok()
    }

    /// The text of the key.
    ///
    /// # Errors
    /// [`Kind::InvalidKey`].
    pub(crate) fn into_text(self, action: &str) -> Result<String, Refused> {
        let checked = self.0.and_then(|text| match text.len() {
            0 => Err("its key is empty".to_owned()),
            1..=MAX => Ok(text),
            long => Err(format!("its key is {long} bytes long, and at most {MAX} are allowed")),
        });
        checked.map_err(|why| {
            Refused::new(Kind::InvalidKey, action, why)
                .advise("a key is the id of what is done once: a string, an integer, or a tuple of these")
        })
    }
}

fn template(literals: &[&str], values: &[&dyn Part]) -> Result<String, String> {
    if literals.len() != values.len() + 1 {
        return Err("its key's template has not one literal more than values".to_owned());
    }
    let between = literals.get(1..values.len()).unwrap_or_default();
    if between.iter().any(|literal| literal.is_empty()) || literals.iter().any(|literal| literal.contains('%')) {
        return Err("its key's template can't tell its values apart".to_owned());
    }
    let mut text = String::new();
    for (literal, value) in literals.iter().zip(values) {
        text.push_str(literal);
        let value = value.text().map_err(|why| format!("its key has a part that can't be one: {why}"))?;
        for character in value.chars() {
            if character == '%' || literals.iter().any(|literal| literal.contains(character)) {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "%{byte:02X}");
                }
            } else {
                text.push(character);
            }
        }
    }
    text.push_str(literals.last().unwrap_or(&""));
    Ok(text)
}

/// What can be the key of a call: anything `Serialize` but floats.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the key of `#[once]`",
    label = "a key is the id of what is done once: a string, an integer, or a tuple of these",
    note = "derive `serde::Serialize` for it, or name one of its fields: `key = \"request.id\"`"
)]
pub trait KeyPart {
    #[doc(hidden)]
    fn key_text(&self) -> Result<String, Unencodable>;
}

/// What can be interpolated into a key: anything `Serialize` but floats.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a part of the key of `#[once]`",
    label = "a part of a key is a string, an integer, or a tuple of these",
    note = "derive `serde::Serialize` for it, or name one of its fields: `{{request.id}}`"
)]
pub trait Part {
    #[doc(hidden)]
    fn text(&self) -> Result<String, Unencodable>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> KeyPart for T {
    fn key_text(&self) -> Result<String, Unencodable> {
        // A `Serialize` is somebody else's code.
        catch_unwind(AssertUnwindSafe(|| text::of(self)))
            .unwrap_or_else(|_| Err(Unencodable::new("its `Serialize` panicked")))
    }
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> Part for T {
    fn text(&self) -> Result<String, Unencodable> {
        self.key_text()
    }
}

#[cfg(test)]
mod tests;
