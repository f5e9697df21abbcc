//! Where the runtime lives. Every path that an expansion names comes from here.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::{Expr, ExprPath};

use crate::errors::Errors;

/// `quote!` with our own hygiene: the user's body can't see a local of ours, and lints treat the tokens as ours.
macro_rules! ours {
    ($($tokens:tt)*) => { quote_spanned!(Span::mixed_site()=> $($tokens)*) };
}

pub(crate) use ours;

/// The crate that an expansion speaks to: `::portcullis`, or what `crate = ::path` says.
#[derive(Clone)]
pub(crate) struct Runtime(TokenStream);

impl Default for Runtime {
    fn default() -> Self {
        Runtime(ours!(::portcullis))
    }
}

impl Runtime {
    pub(crate) fn read(expr: &Expr, errors: &mut Errors) -> Runtime {
        match expr {
            Expr::Path(ExprPath { path, qself: None, .. })
                if path.leading_colon.is_some()
                    || path.segments.first().is_some_and(|first| first.ident == "crate") =>
            {
                Runtime(path.to_token_stream())
            }
            other => {
                errors.over(
                    other,
                    "`crate` is an absolute path to portcullis, so that it means the same in every module: \
                     write `crate = ::name` or `crate = crate::path`",
                );
                Runtime::default()
            }
        }
    }

    /// What users can name too.
    pub(crate) fn public(&self, path: TokenStream) -> TokenStream {
        let root = &self.0;
        ours!(#root::#path)
    }

    /// What only expansions name.
    pub(crate) fn private(&self, path: TokenStream) -> TokenStream {
        let root = &self.0;
        ours!(#root::__private::#path)
    }
}
