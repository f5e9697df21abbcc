//! `#[guarded]` and `#[unguarded]`: in a module, an `impl` or a trait, no function is left unguarded without a word.
//!
//! Both give back what they stand on as it was written, and errors beside it.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Meta, Token};

use crate::args::{Args, Guard, each_argument, root, visible};
use crate::effects;
use crate::errors::{Errors, listed, nearest};
use crate::family::{attribute, below, is_guarded, like_another_crates, sibling};
use crate::items::{self, Kind, Part};
use crate::paths::Runtime;
use crate::values::string;

// Input:  (), mod m { #[boundary(before_cost)] fn a() { … } fn b() { … } }
// Output: mod m { #[boundary(before_cost)] fn a() { … } fn b() { … } } and an error at `b`
pub(crate) fn guarded(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let mut roots = vec!["portcullis".to_owned()];
    for (_, value) in Arguments::read(&Arguments::GUARDED, args, &mut errors).values {
        Runtime::read(&value, &mut errors);
        roots.extend(root(&value));
    }
    let mut check = Check { roots, errors };
    match items::read(item.clone()).as_slice() {
        [part] => check.whole(part, &item),
        _ => check.errors.over(&item, GUARDS),
    }
    let errors = check.errors.into_tokens();
    quote!(#item #errors)
}

const GUARDS: &str = "`#[guarded]` is for an inline module, an `impl` or a trait, and checks every function in it";

// Input:  (reason = "pure"), fn f() { … }
// Output: fn f() { … }
pub(crate) fn unguarded(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let span = attribute(&item);
    let arguments = Arguments::read(&Arguments::UNGUARDED, args, &mut errors);
    match arguments.values.first() {
        Some((_, value)) => reason(value, &mut errors),
        None if arguments.flawed => {}
        None => errors.at(span, "say why this may run unguarded: `#[unguarded(reason = \"…\")]`"),
    }
    match items::read(item.clone()).as_slice() {
        [part] => leaves(part, span, &item, &mut errors),
        _ => errors.over(&item, LEAVES),
    }
    let errors = errors.into_tokens();
    quote!(#item #errors)
}

const LEAVES: &str = "`#[unguarded]` is for a function, and there is none here: remove it";

fn reason(value: &Expr, errors: &mut Errors) {
    match string(value) {
        Some(text) if text.value().chars().any(char::is_alphabetic) => {}
        Some(_) => errors.over(value, "a reason has at least one word: say why this may run unguarded"),
        None => errors.over(value, "a reason is a text in quotes: write `reason = \"…\"`"),
    }
}

/// What `#[unguarded]` may stand on.
fn leaves(part: &Part, span: Span, item: &TokenStream, errors: &mut Errors) {
    match &part.kind {
        Kind::Function { body: None, .. } => errors.at(
            span,
            "a function without a body has nothing to leave unguarded: put `#[unguarded]` on the functions in each `impl`",
        ),
        Kind::Function { body: Some(body), .. } => {
            let roots = ["portcullis".to_owned()];
            let both = |guard: &str| {
                format!(
                    "a function is either guarded or unguarded: it is one or the other; remove `#[{guard}(…)]` or \
                     `#[unguarded(…)]`"
                )
            };
            for attr in &part.attrs {
                if below(attr.path(), "unguarded", &roots) {
                    errors.over(attr.path(), "a second `#[unguarded(…)]` on one function: keep one of them");
                } else if let Some(guard) = sibling(attr, &roots) {
                    errors.over(attr.path(), both(guard.name()));
                }
            }
            // An attribute that stood above this one has been here.
            if is_guarded(body.stream()) {
                errors.at(
                    span,
                    "a function is either guarded or unguarded, and this one is guarded already: it is one or the \
                     other; remove the guard, or this `#[unguarded(…)]`",
                );
            }
        }
        Kind::Invocation { .. } | Kind::Unknown(_) => {}
        Kind::Holder { word, .. } => errors.at(
            word.span(),
            format!("`#[unguarded]` is for one function and its reason: put it on each function of this `{word}` that needs it"),
        ),
        Kind::Other { .. } | Kind::Definition => errors.over(item, LEAVES),
    }
}

struct Check {
    /// What the attributes' paths may begin with.
    roots: Vec<String>,
    errors: Errors,
}

impl Check {
    /// The item under the attribute.
    fn whole(&mut self, part: &Part, item: &TokenStream) {
        if let Some(second) = part.attrs.iter().find(|attr| self.named(attr, "guarded")) {
            self.errors.over(second.path(), "a second `#[guarded]` on one item: keep one of them");
            return;
        }
        match &part.kind {
            Kind::Holder { word, inside: Some(inside) } => self.inside(word, inside),
            Kind::Holder { word, inside: None } if word == "mod" => self.file(word),
            Kind::Function { name, .. } => self.errors.at(
                name.span(),
                format!("{GUARDS}. A function is guarded by an attribute that says how: {}", guards()),
            ),
            _ => self.errors.over(item, GUARDS),
        }
    }

    /// `mod m;`
    fn file(&mut self, word: &Ident) {
        self.errors.at(
            word.span(),
            "the functions of this module stand in another file, where `#[guarded]` can't see them: put it in that file, on \
             each `impl` and trait, or around its functions as `#[guarded] mod name { … }`",
        );
    }

    /// `holder` is the word under the attribute, however deep this is inside of it.
    fn inside(&mut self, holder: &Ident, inside: &Group) {
        for part in items::read(inside.stream()) {
            if part.attrs.iter().any(only_in_tests) {
                continue;
            }
            match &part.kind {
                Kind::Function { name, body: Some(body) } => self.function(holder, &part.attrs, name, body),
                // It checks itself, with its own arguments.
                Kind::Holder { inside: Some(_), .. } if part.attrs.iter().any(|attr| self.named(attr, "guarded")) => {}
                Kind::Holder { inside: Some(inside), .. } => self.inside(holder, inside),
                Kind::Holder { word, inside: None } if word == "mod" => self.file(word),
                Kind::Invocation { name, inside } => self.invocation(holder, &part.attrs, name, inside),
                Kind::Other { word, tokens } => self.other(word, tokens.clone()),
                Kind::Unknown(tree) => self.errors.at(
                    tree.span(),
                    format!("`#[guarded]` can't tell what this is, so it may hide a function: move it out of this `{holder}`"),
                ),
                Kind::Function { body: None, .. } | Kind::Holder { .. } | Kind::Definition => {}
            }
        }
    }

    fn function(&mut self, holder: &Ident, attrs: &[Attribute], name: &Ident, body: &Group) {
        let mut stranger = None;
        for attr in attrs {
            if self.named(attr, "unguarded") {
                if !knows_of_effects(attr) {
                    effects::point_at(name, body, &mut self.errors);
                }
                return;
            }
            match sibling(attr, &self.roots) {
                Some(guard) if is_another_crates(guard, attr) => stranger = Some((guard, attr)),
                Some(_) => return,
                None => {}
            }
        }
        if let Some((guard, stranger)) = stranger {
            let like = like_another_crates(guard, "in a `#[guarded]` item");
            self.errors.over(stranger.path(), format!("{like}; `{}` is not guarded by it", name.unraw()));
        } else if let Some(hidden) = attrs.iter().find_map(switched) {
            let what = if hidden == "unguarded" { "(reason = \"…\")" } else { "(…)" };
            self.errors.at(
                hidden.span(),
                format!(
                    "a `cfg_attr` may switch this off, and `{}` would run unguarded: put `#[{hidden}{what}]` itself on the \
                     function",
                    name.unraw()
                ),
            );
        } else {
            self.errors.at(
                name.span(),
                format!(
                    "`{}` is not guarded, but it stands in a `#[guarded]` `{holder}`: whoever calls it reaches what it does \
                     without a question asked, a claim or a limit. Put {} on it; or, if it needs none, say why with \
                     `#[unguarded(reason = \"…\")]`",
                    name.unraw(),
                    guards()
                ),
            );
        }
    }

    fn invocation(&mut self, holder: &Ident, attrs: &[Attribute], name: &Ident, inside: &Group) {
        match attrs.iter().find(|attr| self.named(attr, "unguarded")) {
            Some(attr) if knows_of_effects(attr) => {}
            Some(_) => effects::point_at(name, inside, &mut self.errors),
            None => self.errors.at(
                name.span(),
                format!(
                    "`#[guarded]` can't see the functions that `{name}!` may make: move it out of this `{holder}`; or, if they \
                     need no guard, say why with `#[unguarded(reason = \"…\")]` on it"
                ),
            ),
        }
    }

    /// A function in an expression, such as a constant's value, with an `impl` around it or without.
    fn other(&mut self, word: &Ident, tokens: TokenStream) {
        let mut after = false;
        for tree in tokens {
            match tree {
                TokenTree::Ident(name) if after => {
                    let name = name.unraw();
                    self.errors.at(
                        name.span(),
                        format!(
                            "`{name}` is hidden in a `{word}`, where `#[guarded]` does not look: move it out of there"
                        ),
                    );
                    after = false;
                }
                tree => {
                    after = matches!(&tree, TokenTree::Ident(word) if word == "fn");
                    if let TokenTree::Group(group) = tree {
                        self.other(word, group.stream());
                    }
                }
            }
        }
    }

    fn named(&self, attr: &Attribute, name: &str) -> bool {
        below(attr.path(), name, &self.roots)
    }
}

fn guards() -> String {
    let names: Vec<String> = Guard::ALL.iter().map(|guard| format!("`#[{}(…)]`", guard.name())).collect();
    match names.split_last() {
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// A bare `#[once]` without a key is `cached`'s, a bare `#[task]` without an id may be an executor's; or it is a mistake that our own
/// reports too.
fn is_another_crates(guard: Guard, attr: &Attribute) -> bool {
    let Some(required) = guard.required() else { return false };
    let tokens = match &attr.meta {
        Meta::List(list) => list.tokens.clone(),
        _ => TokenStream::new(),
    };
    let args = Args::parse(guard, Span::call_site(), tokens, &mut Errors::default());
    attr.path().get_ident().is_some() && !args.has(required)
}

/// `#[unguarded(reason = "…", effects)]`
fn knows_of_effects(attr: &Attribute) -> bool {
    let Meta::List(list) = &attr.meta else { return false };
    Arguments::read(&Arguments::UNGUARDED, list.tokens.clone(), &mut Errors::default()).effects
}

/// `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, …))]`
fn only_in_tests(attr: &Attribute) -> bool {
    fn implies_test(meta: &Meta) -> bool {
        match meta {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) if list.path.is_ident("all") => {
                let parts = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(list.tokens.clone());
                parts.is_ok_and(|parts| parts.iter().any(implies_test))
            }
            _ => false,
        }
    }
    match &attr.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => {
            list.parse_args::<Meta>().is_ok_and(|condition| implies_test(&condition))
        }
        _ => false,
    }
}

/// The attribute of ours that a `cfg_attr` puts there, or does not.
fn switched(attr: &Attribute) -> Option<Ident> {
    fn ours(tokens: TokenStream) -> Option<Ident> {
        tokens.into_iter().find_map(|tree| match tree {
            TokenTree::Ident(word) => {
                let known = word == "unguarded" || Guard::ALL.iter().any(|guard| word == guard.name());
                known.then_some(word)
            }
            TokenTree::Group(group) => ours(group.stream()),
            _ => None,
        })
    }
    match &attr.meta {
        Meta::List(list) if list.path.is_ident("cfg_attr") => ours(list.tokens.clone()),
        _ => None,
    }
}

/// What stands in the parentheses of these two: at most one `name = value`, and a word.
#[derive(Default)]
struct Arguments {
    values: Vec<(Ident, Expr)>,
    effects: bool,
    flawed: bool,
}

struct Grammar {
    attribute: &'static str,
    value: &'static str,
    example: &'static str,
    word: Option<&'static str>,
}

impl Arguments {
    const GUARDED: Grammar = Grammar { attribute: "guarded", value: "crate", example: "crate = ::path", word: None };
    const UNGUARDED: Grammar =
        Grammar { attribute: "unguarded", value: "reason", example: "reason = \"…\"", word: Some("effects") };

    fn read(grammar: &Grammar, tokens: TokenStream, errors: &mut Errors) -> Arguments {
        let mut arguments = Arguments::default();
        arguments.flawed = each_argument(tokens, errors, |input, _| arguments.argument(grammar, input));
        arguments
    }

    fn argument(&mut self, grammar: &Grammar, input: ParseStream<'_>) -> syn::Result<()> {
        let Grammar { attribute, value, example, word } = grammar;
        let supported = || format!("It takes {}", listed([*example].into_iter().chain(*word)));
        let Ok(name) = input.call(Ident::parse_any) else {
            return Err(input.error(format!("expected an argument. {}", supported())));
        };
        let text = name.unraw().to_string();
        let twice = || Err(syn::Error::new(name.span(), format!("`{text}` is given twice; keep one of them")));
        if word.is_some_and(|word| word == text) {
            if !input.is_empty() && !input.peek(Token![,]) {
                return Err(syn::Error::new(name.span(), format!("`{text}` stands alone, without a value")));
            }
            return if std::mem::replace(&mut self.effects, true) { twice() } else { Ok(()) };
        }
        if text != *value {
            let meant = match nearest(&text, [*value].into_iter().chain(*word)) {
                Some(name) => format!(": did you mean `{name}`?"),
                None => ".".to_owned(),
            };
            let message = format!("`#[{attribute}]` has no argument `{text}`{meant} {}", supported());
            return Err(syn::Error::new(name.span(), message));
        }
        if !input.peek(Token![=]) {
            return Err(syn::Error::new(name.span(), format!("`{text}` needs a value: write `{example}`")));
        }
        let equals: Token![=] = input.parse()?;
        if input.is_empty() || input.peek(Token![,]) {
            return Err(syn::Error::new(equals.span, format!("`{text}` needs a value: write `{example}`")));
        }
        let expr = visible(input.parse()?);
        if !input.is_empty() && !input.peek(Token![,]) {
            return Err(input.error("expected `,` between two arguments"));
        }
        if !self.values.is_empty() {
            return twice();
        }
        self.values.push((name, expr));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
