//! The attribute macros of portcullis.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod args;
mod classify;
mod errors;
mod expand;
mod family;
mod item;
mod key;
mod literal;
mod model;
mod paths;
#[cfg(test)]
mod tests;
mod validate;
mod values;

use proc_macro::TokenStream;

use crate::args::Guard;

/// Boundary.
#[proc_macro_attribute]
pub fn boundary(args: TokenStream, item: TokenStream) -> TokenStream {
    family::guard(Guard::Boundary, args.into(), item.into()).into()
}

/// Once.
#[proc_macro_attribute]
pub fn once(args: TokenStream, item: TokenStream) -> TokenStream {
    family::guard(Guard::Once, args.into(), item.into()).into()
}

/// Budgeted.
#[proc_macro_attribute]
pub fn budgeted(args: TokenStream, item: TokenStream) -> TokenStream {
    family::guard(Guard::Budgeted, args.into(), item.into()).into()
}
