//! The family: one function's attributes are taken together, whatever order they stand in.
//!
//! The compiler expands the topmost attribute first. It takes its siblings with it, so that there is one layer with
//! one canonical order. A sibling that it can't see finds the layer and is an error: never a second layer.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Attribute, Ident, Meta};

use crate::args::{Args, Guard};
use crate::classify::classify;
use crate::errors::Errors;
use crate::expand::{expand, imports};
use crate::item::Function;
use crate::model::Model;
use crate::validate::{already_guarded, validate};

// Input:  Once, (key = "id"), #[boundary(before_cost)] #[inline] fn f(id: u64) -> R { body }
// Output: #[inline] fn f(id: u64) -> R { the guarded body }
pub(crate) fn guard(guard: Guard, args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let first = Args::parse(guard, attribute(&item), args, &mut errors);
    let mut function = match Function::parse(item) {
        Ok(function) => function,
        Err(unreadable) => {
            let mut attrs = unreadable.attrs;
            gather(first, &mut attrs, &mut Errors::default());
            errors.add(unreadable.error);
            let (rest, errors) = (unreadable.rest, errors.into_tokens());
            return quote!(#(#attrs)* #rest #errors);
        }
    };
    already_guarded(&function, &first, &mut errors);
    let Family { members, taken } = gather(first, &mut function.attrs, &mut errors);
    let model = Model::read(members, &mut errors);
    let work = classify(&function.sig, &mut errors);
    validate(&function, &work, &model, &mut errors);
    if errors.is_empty() {
        return expand(&function, &work, &model, &taken);
    }
    // The function first, so that an editor goes on knowing it.
    let (function, errors) = (function.unguarded(&imports(&taken)), errors.into_tokens());
    quote!(#function #errors)
}

/// The attribute that is being expanded, as the user's own tokens: without a word about a macro.
pub(crate) fn attribute(item: &TokenStream) -> Span {
    let here = Span::call_site();
    item.clone().into_iter().next().map_or(here, |tree| here.resolved_at(tree.span()))
}

struct Family {
    members: Vec<Args>,
    /// The siblings' names that were imported.
    taken: Vec<Ident>,
}

/// Takes the siblings out of `attrs`.
fn gather(first: Args, attrs: &mut Vec<Attribute>, errors: &mut Errors) -> Family {
    let mut family = Family { members: vec![first], taken: Vec::new() };
    // `crate = ::path` may stand on a sibling, and tells of others.
    let mut roots = vec!["portcullis".to_owned()];
    roots.extend(family.members.iter().filter_map(Args::root));
    loop {
        let mut found = attrs.iter().enumerate();
        let found = found.find_map(|(index, attr)| sibling(attr, &roots).map(|guard| (index, guard)));
        let Some((index, guard)) = found else { return family };
        family.take(guard, &attrs.remove(index), errors);
        roots.extend(family.members.last().and_then(Args::root));
    }
}

impl Family {
    fn take(&mut self, guard: Guard, attr: &Attribute, errors: &mut Errors) {
        let name = guard.name();
        let span = attr.path().segments.last().map_or_else(Span::call_site, |last| last.ident.span());
        let bare = attr.path().get_ident().cloned();
        let tokens = match &attr.meta {
            Meta::Path(_) => TokenStream::new(),
            Meta::List(list) => list.tokens.clone(),
            Meta::NameValue(_) => {
                errors.at(span, format!("write `#[{name}(…)]`"));
                return;
            }
        };
        let mut mistakes = Errors::default();
        let args = Args::parse(guard, span, tokens, &mut mistakes);
        if bare.is_some() && args.is_strange() {
            errors.at(span, like_another_crates(guard, "beside its siblings"));
            return;
        }
        if self.members.iter().any(|member| member.guard == guard) {
            errors.at(span, format!("a second `#[{name}(…)]` on one function: put the arguments of both on one"));
            return;
        }
        errors.absorb(mistakes);
        self.members.push(args);
        self.taken.extend(bare);
    }
}

pub(crate) fn like_another_crates(guard: Guard, here: &str) -> String {
    let (name, required) = (guard.name(), guard.required().unwrap_or_default());
    format!(
        "this does not look like portcullis's `#[{name}({required} = …)]`, which is what the name means {here}; if it is another \
         crate's, write it with its path, as `#[other::{name}(…)]`"
    )
}

/// The member of the family that an attribute is: `once`, `portcullis::once`, `::portcullis::once`, or one below a root
/// that the family knows or that it brings along (`#[::name::once(crate = ::name)]`).
pub(crate) fn sibling(attr: &Attribute, roots: &[String]) -> Option<Guard> {
    let path = attr.path();
    let last = path.segments.last()?;
    let guard = Guard::ALL.into_iter().find(|guard| last.ident == guard.name())?;
    let own = || match &attr.meta {
        Meta::List(list) => Args::parse(guard, Span::call_site(), list.tokens.clone(), &mut Errors::default()).root(),
        _ => None,
    };
    let brought = || own().is_some_and(|root| below(path, guard.name(), &[root]));
    (below(path, guard.name(), roots) || brought()).then_some(guard)
}

/// Is it `name`, bare or below a root?
pub(crate) fn below(path: &syn::Path, name: &str, roots: &[String]) -> bool {
    if path.segments.last().is_none_or(|last| last.ident != name) {
        return false;
    }
    let mut parent = path.clone();
    parent.segments.pop();
    parent.segments.pop_punct();
    parent.leading_colon = None;
    path.get_ident().is_some() || roots.contains(&parent.to_token_stream().to_string().replace(' ', ""))
}

/// Has one of us been here? Every expansion names `__private::Site`, and nobody else does.
pub(crate) fn is_guarded(body: TokenStream) -> bool {
    let trees: Vec<TokenTree> = body.into_iter().collect();
    let marker = |window: &[TokenTree]| match window {
        [TokenTree::Ident(private), TokenTree::Punct(_), TokenTree::Punct(_), TokenTree::Ident(site)] => {
            private == "__private" && site == "Site"
        }
        _ => false,
    };
    trees.windows(4).any(marker)
        || trees.into_iter().any(|tree| matches!(tree, TokenTree::Group(group) if is_guarded(group.stream())))
}
