//! The fingerprint of a payload: what makes two calls "the same call".
//!
//! # Invariants
//! 1. Equal values have equal fingerprints, whatever the order of a struct's fields or a map's entries, and whatever
//!    the width of an integer.
//! 2. Different values have different encodings: every piece carries its type's tag and ends where its own bytes say.
//! 3. Adding a field whose value is `None` changes nothing. An explicit `None` in a map is an entry like any other.
//! 4. The first byte of a stored fingerprint is the version of these rules; another version is never taken for equal.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use super::Fingerprint;
use crate::refused::{Kind, Refused};

mod encode;

pub(crate) use encode::{Floats, Sink, Unencodable, encode};

/// The version of the rules above (invariant 4).
pub(crate) const VERSION: u8 = 1;

const CONTEXT: &str = "portcullis 2026 payload fingerprint v1";

/// Hashes one value.
pub(crate) fn digest_of<T: Serialize + ?Sized>(value: &T, floats: Floats) -> Result<[u8; 32], Unencodable> {
    let hashed = || {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        encode(value, &mut hasher, floats).map(|_| *hasher.finalize().as_bytes())
    };
    // A `Serialize` is somebody else's code.
    catch_unwind(AssertUnwindSafe(hashed)).unwrap_or_else(|_| Err(Unencodable::new("its `Serialize` panicked")))
}

/// The payload of a call: its parameters, by name.
///
/// Made by the attributes. A parameter that can't be encoded makes the whole payload invalid, and the call is refused
/// when it is claimed.
#[doc(hidden)]
#[derive(Debug)]
#[must_use]
pub struct Payload(Result<Vec<(&'static str, [u8; 32])>, String>);

impl Payload {
    /// A payload without parameters.
    pub fn new() -> Self {
        Payload(Ok(Vec::new()))
    }

    /// Adds a parameter. One whose value is `None` is as good as absent (invariant 3).
    pub fn arg<T: Argument + ?Sized>(self, name: &'static str, value: &T) -> Self {
        Payload(self.0.and_then(|mut arguments| match value.fingerprint() {
            Ok(Some(digest)) => {
                arguments.push((name, digest));
                Ok(arguments)
            }
            Ok(None) => Ok(arguments),
            Err(why) => Err(format!("the parameter `{name}` can't be fingerprinted: {why}")),
        }))
    }

    /// The fingerprint of all of them.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] if a parameter could not be encoded.
    pub(crate) fn into_fingerprint(self, action: &str) -> Result<Fingerprint, Refused> {
        let mut arguments = self.0.map_err(|why| {
            Refused::new(Kind::InvalidArgument, action, why)
                .advise("leave the parameter out with `skip(…)` if it is not part of what is done")
        })?;
        arguments.sort_unstable();
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        for (name, digest) in arguments {
            hasher.bytes(name.as_bytes());
            hasher.put(&digest);
        }
        let mut bytes = *hasher.finalize().as_bytes();
        bytes[0] = VERSION;
        Ok(Fingerprint(bytes))
    }
}

impl Default for Payload {
    fn default() -> Self {
        Payload::new()
    }
}

/// A parameter that can be part of the payload's fingerprint: anything `Serialize`.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be part of the payload's fingerprint",
    label = "`#[once]` tells a retry from another call by its parameters, and can't read this one",
    note = "if it does not say what is to be done (a client, a pool, a logger), leave it out: \
            `#[once(key = …, skip(name))]`",
    note = "otherwise derive `serde::Serialize` for it"
)]
pub trait Argument {
    /// `None`: the parameter is as good as absent.
    #[doc(hidden)]
    fn fingerprint(&self) -> Result<Option<[u8; 32]>, Unencodable>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> Argument for T {
    fn fingerprint(&self) -> Result<Option<[u8; 32]>, Unencodable> {
        let hashed = || {
            let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
            let shape = encode(self, &mut hasher, Floats::Allowed)?;
            Ok(shape.is_present().then(|| *hasher.finalize().as_bytes()))
        };
        catch_unwind(AssertUnwindSafe(hashed)).unwrap_or_else(|_| Err(Unencodable::new("its `Serialize` panicked")))
    }
}

#[cfg(test)]
mod tests;
