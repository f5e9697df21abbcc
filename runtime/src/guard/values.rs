//! What the arguments of an attribute may be. Traits of our own, so that the compiler speaks of the argument.

use crate::gate::Portcullis;

/// What `with = …` accepts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a gate, and has none",
    label = "`with = …` takes a `portcullis::Portcullis`, or what has one: `impl AsRef<Portcullis>`"
)]
pub trait IntoGate {
    /// The gate.
    fn gate(&self) -> Portcullis;
}

#[diagnostic::do_not_recommend]
impl<T: AsRef<Portcullis> + ?Sized> IntoGate for T {
    fn gate(&self) -> Portcullis {
        self.as_ref().clone()
    }
}

/// What `action = …` accepts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the name of an action",
    label = "`action = …` takes a text: `&str`, `String`, or another `impl Into<String>`"
)]
pub trait IntoAction {
    /// The name.
    fn into_action(self) -> String;
}

#[diagnostic::do_not_recommend]
impl<T: Into<String>> IntoAction for T {
    fn into_action(self) -> String {
        self.into()
    }
}

/// What `resource = …`, `per = …`, `kind = …` and `agent = …` accept.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be written as a text",
    label = "`resource`, `per`, `kind` and `agent` take what implements `std::fmt::Display`",
    note = "name a part of it that does, such as its id, or implement `Display` for it"
)]
pub trait IntoText {
    /// The text.
    fn text(&self) -> String;
}

#[diagnostic::do_not_recommend]
impl<T: ToString + ?Sized> IntoText for T {
    fn text(&self) -> String {
        self.to_string()
    }
}

/// What `width = …` accepts: how many. A negative number is told to the authority as 0.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a number of things",
    label = "`width = …` takes a whole number",
    note = "of a list, say how long it is: `width = jobs.len()`"
)]
pub trait IntoWidth {
    /// How many.
    fn into_width(self) -> u64;
}

macro_rules! widths {
    ($($ty:ty)*) => {$(
        impl IntoWidth for $ty {
            fn into_width(self) -> u64 {
                u64::try_from(self).unwrap_or(0)
            }
        }
    )*};
}

widths!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);
