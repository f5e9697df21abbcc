//! What stands under the attribute.
//!
//! The signature is parsed, to know what to expand to, and kept as it was written. The body is never parsed: an
//! editor sends half-typed ones, and the compiler knows syntax that we don't.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, FnArg, Ident, Pat, Signature, Type, Visibility};

use crate::errors::listed;

pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    /// Visibility and signature, byte for byte.
    pub(crate) head: TokenStream,
    pub(crate) sig: Signature,
    /// `#![allow(…)]` and the like at the start of the body.
    pub(crate) inner: TokenStream,
    /// The rest of the body. `None` is the `;` of a trait's function.
    pub(crate) body: Option<Group>,
    pub(crate) params: Vec<Param>,
}

/// A parameter that is not `self`.
pub(crate) struct Param {
    /// The names that its pattern binds. `_` binds none, and the body can't see what it carries.
    pub(crate) bindings: Vec<Ident>,
    /// A part of the pattern that may bind more: a macro's.
    pub(crate) unseen: Option<Pat>,
    pub(crate) ty: Type,
    /// `#[cfg(…)]`: unlike the function's own, those of a parameter are still unresolved.
    pub(crate) cfgs: Vec<Attribute>,
}

/// Something that can't be guarded, and why.
pub(crate) struct Unreadable {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) rest: TokenStream,
    pub(crate) error: syn::Error,
}

impl Function {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Function, Unreadable> {
        let split = |input: ParseStream<'_>| Ok((input.call(Attribute::parse_outer)?, input.parse::<TokenStream>()?));
        let (attrs, rest) = match split.parse2(tokens.clone()) {
            Ok(split) => split,
            Err(error) => return Err(Unreadable { attrs: Vec::new(), rest: tokens, error }),
        };
        let (head, body) = behead(rest.clone());
        let signature = |input: ParseStream<'_>| {
            input.parse::<Visibility>()?;
            // Specialization's `default fn`.
            if input.peek(Ident) && input.fork().parse::<Ident>()? == "default" {
                input.parse::<Ident>()?;
            }
            input.parse::<Signature>()
        };
        match (signature.parse2(head.clone()), body) {
            (Ok(sig), Some(end)) => {
                let params = sig.inputs.iter().filter_map(Param::read).collect();
                let (inner, body) = match end {
                    TokenTree::Group(body) => {
                        let (inner, rest) = inner_attributes(body.stream());
                        (inner, Some(with_stream(&body, rest)))
                    }
                    _ => (TokenStream::new(), None),
                };
                Ok(Function { attrs, head, sig, inner, body, params })
            }
            (sig, _) => {
                let error = match not_a_function(&rest) {
                    Some(error) => error,
                    None => sig.err().unwrap_or_else(|| syn::Error::new_spanned(&rest, "this function has no body")),
                };
                Err(Unreadable { attrs, rest, error })
            }
        }
    }

    /// The names that the signature gives to the body.
    pub(crate) fn bindings(&self) -> impl Iterator<Item = &Ident> {
        self.params.iter().flat_map(|param| &param.bindings)
    }

    /// For messages: what could have been meant.
    pub(crate) fn known(&self) -> String {
        match listed(self.bindings().map(IdentExt::unraw)) {
            none if none.is_empty() => "it has none with a name".to_owned(),
            names => format!("it has {names}"),
        }
    }

    /// The parameter's own identifier, whose hygiene is right, for a name in the user's attribute.
    pub(crate) fn binding(&self, name: &Ident) -> Option<Ident> {
        let own = self.sig.receiver().map(|receiver| Ident::from(receiver.self_token));
        let own = own.filter(|own| own == name);
        own.or_else(|| self.bindings().find(|known| known.unraw() == name.unraw()).cloned())
    }

    /// The function without our attributes and without our guard, for an editor beside a compile error.
    pub(crate) fn unguarded(&self, imports: &TokenStream) -> TokenStream {
        let Function { attrs, head, inner, body, .. } = self;
        let body = match body {
            Some(body) => {
                let rest = body.stream();
                with_stream(body, quote!(#inner #imports #rest)).into_token_stream()
            }
            None => quote!(;),
        };
        quote!(#(#attrs)* #head #body)
    }
}

impl Param {
    fn read(arg: &FnArg) -> Option<Param> {
        let FnArg::Typed(typed) = arg else { return None };
        let (mut bindings, mut unseen) = (Vec::new(), None);
        bound(&typed.pat, &mut |pat| match pat {
            Pat::Ident(pat) => bindings.push(pat.ident.clone()),
            other => unseen = Some(other.clone()),
        });
        let cfgs = typed.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).cloned().collect();
        Some(Param { bindings, unseen, ty: (*typed.ty).clone(), cfgs })
    }
}

/// Visits every name that a pattern binds, and every part whose names can't be seen.
fn bound(pat: &Pat, visit: &mut impl FnMut(&Pat)) {
    match pat {
        Pat::Ident(name) => {
            visit(pat);
            if let Some((_, pat)) = &name.subpat {
                bound(pat, visit);
            }
        }
        Pat::Paren(pat) => bound(&pat.pat, visit),
        Pat::Reference(pat) => bound(&pat.pat, visit),
        Pat::Type(pat) => bound(&pat.pat, visit),
        Pat::Slice(pat) => pat.elems.iter().for_each(|pat| bound(pat, visit)),
        Pat::Tuple(pat) => pat.elems.iter().for_each(|pat| bound(pat, visit)),
        Pat::TupleStruct(pat) => pat.elems.iter().for_each(|pat| bound(pat, visit)),
        Pat::Struct(pat) => pat.fields.iter().for_each(|field| bound(&field.pat, visit)),
        // The alternatives of an or-pattern bind the same names.
        Pat::Or(pat) => pat.cases.iter().take(1).for_each(|pat| bound(pat, visit)),
        Pat::Wild(_) | Pat::Rest(_) | Pat::Path(_) | Pat::Lit(_) | Pat::Range(_) | Pat::Const(_) => {}
        unseen => visit(unseen),
    }
}

// Input:  pub fn f(a: u8) -> u8 { a }
// Output: (pub fn f(a: u8) -> u8, { a })
fn behead(tokens: TokenStream) -> (TokenStream, Option<TokenTree>) {
    let mut trees: Vec<TokenTree> = tokens.into_iter().collect();
    // A `$body:block` of a `macro_rules!` comes in an invisible group.
    while let Some(TokenTree::Group(group)) = trees.last()
        && group.delimiter() == Delimiter::None
    {
        let inner = group.stream();
        trees.pop();
        trees.extend(inner);
    }
    let ends = match trees.last() {
        Some(TokenTree::Group(group)) => group.delimiter() == Delimiter::Brace,
        Some(TokenTree::Punct(punct)) => punct.as_char() == ';',
        _ => false,
    };
    let end = if ends { trees.pop() } else { None };
    (trees.into_iter().collect(), end)
}

// Input:  #![allow(unused)] //! text
//         let a = 1; a
// Output: (#![allow(unused)] #![doc = " text"], let a = 1; a)
fn inner_attributes(body: TokenStream) -> (TokenStream, TokenStream) {
    let trees: Vec<TokenTree> = body.into_iter().collect();
    let is_inner = |window: &[TokenTree]| match window {
        [TokenTree::Punct(pound), TokenTree::Punct(bang), TokenTree::Group(group)] => {
            pound.as_char() == '#' && bang.as_char() == '!' && group.delimiter() == Delimiter::Bracket
        }
        _ => false,
    };
    let count = trees.chunks(3).take_while(|window| is_inner(window)).count() * 3;
    let mut trees = trees.into_iter();
    let inner = trees.by_ref().take(count).collect();
    (inner, trees.collect())
}

/// The same braces around other tokens. The user's braces keep lints such as `dead_code` at work.
pub(crate) fn with_stream(group: &Group, stream: TokenStream) -> Group {
    let mut new = Group::new(group.delimiter(), stream);
    new.set_span(group.span());
    new
}

fn not_a_function(rest: &TokenStream) -> Option<syn::Error> {
    const ITEMS: [&str; 10] =
        ["struct", "enum", "union", "trait", "impl", "mod", "static", "type", "use", "macro_rules"];
    let mut words = rest.clone().into_iter().filter_map(|tree| match tree {
        TokenTree::Ident(ident) => Some(ident),
        _ => None,
    });
    let found = words.find(|word| word == "fn" || ITEMS.iter().any(|item| word == item));
    let advice = match found.as_ref().map(Ident::to_string).as_deref() {
        Some("fn") => return None,
        Some("impl" | "trait") => "put the attribute on each of its methods that must be guarded",
        Some("mod") => "put the attribute on each of its functions that must be guarded",
        _ => "put the attribute on the function that does the work",
    };
    let message = format!("only a function can be guarded: {advice}");
    Some(match found {
        Some(word) => syn::Error::new(word.span(), message),
        None => syn::Error::new_spanned(rest, message),
    })
}
