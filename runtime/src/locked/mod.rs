//! Clients that open only with a permit.

use std::fmt;
use std::marker::PhantomData;

use crate::permit::{Kind, Permit};

#[cfg(feature = "reqwest")]
mod http;

#[cfg(feature = "reqwest")]
pub use http::{HttpClient, HttpRequest};

/// A client of the outside world that can be used only where a [`Permit`] of the boundary `K` is at hand: inside a body
/// behind `#[boundary(…, permit = NAME)]`.
///
/// Lock a client where it is made, and hand around the lock.
///
/// ```
/// use portcullis::permit::BeforeSideEffect;
/// use portcullis::{Locked, boundary};
/// # struct Mailer;
/// # impl Mailer { fn send(&self, _: &str) {} }
///
/// struct Agent {
///     mailer: Locked<Mailer, BeforeSideEffect>,
/// }
///
/// impl Agent {
///     #[boundary(before_side_effect, permit = permit)]
///     fn notify(&self, text: &str) {
///         self.mailer.unlock(&permit).send(text);
///     }
/// }
/// # let _ = Agent { mailer: Locked::new(Mailer) }.mailer;
/// ```
///
/// Without the boundary there is no permit, and without a permit no way in:
/// ```compile_fail,E0061
/// # use portcullis::{Locked, permit::BeforeSideEffect};
/// # struct Mailer;
/// # impl Mailer { fn send(&self, _: &str) {} }
/// fn notify(mailer: &Locked<Mailer, BeforeSideEffect>, text: &str) {
///     mailer.unlock().send(text);
/// }
/// ```
///
/// # How strong it is
/// As strong as the client is hard to clone. A database connection is not `Clone`: it is locked whole. A client that is
/// `Clone` can be cloned out of its lock by a body that has a permit once, and used without one ever after; for
/// `reqwest::Client`, which is, there is `HttpClient` (feature `reqwest`), which never hands out what it holds.
pub struct Locked<T, K: Kind> {
    inner: T,
    kind: PhantomData<fn() -> K>,
}

impl<T, K: Kind> Locked<T, K> {
    /// Locks `inner`. From here on there is no way to it without a permit.
    #[must_use]
    pub const fn new(inner: T) -> Self {
        Locked { inner, kind: PhantomData }
    }

    /// The client, for as long as the permit is borrowed.
    pub const fn unlock<'a>(&'a self, _permit: &'a Permit<'_, K>) -> &'a T {
        &self.inner
    }

    /// The client, to be changed, for as long as the permit is borrowed.
    pub const fn unlock_mut<'a>(&'a mut self, _permit: &'a Permit<'_, K>) -> &'a mut T {
        &mut self.inner
    }
}

impl<T, K: Kind> fmt::Debug for Locked<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locked({})", K::BOUNDARY)
    }
}
