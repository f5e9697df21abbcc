//! What stands in a module, an `impl` or a trait, item by item.
//!
//! Items are told apart by their first words and their end, so that a half-typed body or a syntax that only the compiler
//! knows hides no other item.

use proc_macro2::{Delimiter, Group, Ident, Spacing, TokenStream, TokenTree};
use syn::Attribute;
use syn::parse::Parser;

pub(crate) struct Part {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    /// Without a body where it ends in `;`.
    Function { name: Ident, body: Option<Group> },
    /// `mod`, `impl` or `trait`. Without an inside where it ends in `;`.
    Holder { word: Ident, inside: Option<Group> },
    /// `name! { … }` where an item may stand.
    Invocation { name: Ident, inside: Group },
    /// `const`, `static`, `struct`, `enum`, `union`, `type`, `use`, `extern`: no function, unless in an expression.
    Other { word: Ident, tokens: TokenStream },
    /// A `macro_rules!`, which makes nothing before it is invoked.
    Definition,
    /// Something that the compiler may understand.
    Unknown(TokenTree),
}

// Input:  #[inline] pub fn f() { … } const N: usize = { 1 }; mod m;
// Output: [Function f { … }, Other const, Holder mod]
pub(crate) fn read(tokens: TokenStream) -> Vec<Part> {
    let trees = visible(tokens);
    let (mut rest, mut parts) = (trees.as_slice(), Vec::new());
    while !rest.is_empty() {
        let attrs = attributes(&mut rest);
        parts.extend(kind(&mut rest).map(|kind| Part { attrs, kind }));
    }
    parts
}

/// What a `macro_rules!` hands on comes in invisible groups.
fn visible(tokens: TokenStream) -> Vec<TokenTree> {
    let mut trees = Vec::new();
    for tree in tokens {
        match tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => trees.extend(visible(group.stream())),
            tree => trees.push(tree),
        }
    }
    trees
}

/// Takes the attributes. Those of the inside (`#![…]`) say nothing about the next item, and one that can't be read is
/// none of ours.
fn attributes(rest: &mut &[TokenTree]) -> Vec<Attribute> {
    let mut attrs = Vec::new();
    while let [pound, tail @ ..] = *rest
        && is(pound, '#')
    {
        match tail {
            [bang, TokenTree::Group(_), tail @ ..] if is(bang, '!') => *rest = tail,
            [group @ TokenTree::Group(_), tail @ ..] => {
                let tokens = TokenStream::from_iter([pound.clone(), group.clone()]);
                attrs.extend(Attribute::parse_outer.parse2(tokens).unwrap_or_default());
                *rest = tail;
            }
            _ => return attrs,
        }
    }
    attrs
}

/// Takes one item. `None` is a stray `;`.
fn kind(rest: &mut &[TokenTree]) -> Option<Kind> {
    match *rest {
        [] => return None,
        [semicolon, tail @ ..] if is(semicolon, ';') => {
            *rest = tail;
            return None;
        }
        [TokenTree::Ident(word), TokenTree::Group(group), tail @ ..]
            if word == "pub" && group.delimiter() == Delimiter::Parenthesis =>
        {
            *rest = tail;
        }
        [TokenTree::Ident(word), tail @ ..] if word == "pub" => *rest = tail,
        _ => {}
    }
    if let Some((name, inside, tail)) = invocation(rest) {
        *rest = tail;
        let definition = name == "macro_rules";
        return Some(if definition { Kind::Definition } else { Kind::Invocation { name, inside } });
    }
    let first = rest.first().cloned()?;
    let Some((word, after)) = keyword(rest) else {
        end(rest, true);
        return Some(Kind::Unknown(first));
    };
    let whole = *rest;
    let braces = !(word == "const" || word == "static" || word == "use" || word == "type");
    let braces = braces && !matches!(after, [TokenTree::Ident(next), ..] if word == "extern" && next == "crate");
    *rest = after;
    let inside = end(rest, braces);
    let taken = whole.len() - rest.len();
    Some(match (word.to_string().as_str(), after) {
        ("fn", [TokenTree::Ident(name), ..]) => Kind::Function { name: name.clone(), body: inside },
        ("fn", _) => Kind::Unknown(first),
        ("mod" | "impl" | "trait", _) => Kind::Holder { word, inside },
        // What is declared there has no body.
        ("extern", _) => Kind::Other { word, tokens: TokenStream::new() },
        _ => Kind::Other { word, tokens: whole.iter().take(taken).cloned().collect() },
    })
}

/// The word that says what an item is, and what stands behind it.
fn keyword(mut rest: &[TokenTree]) -> Option<(Ident, &[TokenTree])> {
    const ITEMS: [&str; 10] = ["fn", "mod", "impl", "trait", "struct", "enum", "union", "use", "static", "type"];
    while let [TokenTree::Ident(word), tail @ ..] = rest {
        if ITEMS.iter().any(|item| word == item) {
            return Some((word.clone(), tail));
        }
        rest = match (word.to_string().as_str(), tail) {
            ("const", [TokenTree::Ident(next), ..])
                if ["fn", "async", "unsafe", "extern", "impl", "trait"].iter().any(|item| next == item) =>
            {
                tail
            }
            ("extern", [TokenTree::Ident(next), ..]) if next == "crate" => return Some((word.clone(), tail)),
            ("extern", [TokenTree::Literal(_), after @ ..]) if !matches!(after, [TokenTree::Group(_), ..]) => after,
            ("extern", [TokenTree::Ident(_), ..]) => tail,
            ("const" | "extern", _) => return Some((word.clone(), tail)),
            ("async" | "unsafe" | "default" | "auto" | "gen", _) => tail,
            _ => return None,
        };
    }
    None
}

/// Takes everything up to the end of an item: a `;`, or braces that are no generic argument.
fn end(rest: &mut &[TokenTree], braces: bool) -> Option<Group> {
    let (mut angles, mut arrow) = (0_usize, false);
    while let [tree, tail @ ..] = *rest {
        *rest = tail;
        match tree {
            TokenTree::Group(group) if braces && angles == 0 && group.delimiter() == Delimiter::Brace => {
                return Some(group.clone());
            }
            TokenTree::Punct(punct) => match punct.as_char() {
                ';' => return None,
                '<' => angles += 1,
                '>' if !arrow => angles = angles.saturating_sub(1),
                _ => {}
            },
            _ => {}
        }
        arrow = matches!(tree, TokenTree::Punct(punct)
            if matches!(punct.as_char(), '-' | '=') && punct.spacing() == Spacing::Joint);
    }
    None
}

/// `name! { … }`, `path::name!(…);`, `macro_rules! name { … }`.
fn invocation(mut rest: &[TokenTree]) -> Option<(Ident, Group, &[TokenTree])> {
    let (name, tail) = loop {
        rest = match rest {
            // `impl !Send for S {}`
            [TokenTree::Ident(name), ..] if name == "impl" => return None,
            [TokenTree::Ident(name), bang, tail @ ..] if is(bang, '!') => break (name, tail),
            [TokenTree::Ident(_), colon, tail @ ..] if is(colon, ':') => tail,
            [colon, tail @ ..] if is(colon, ':') => tail,
            _ => return None,
        };
    };
    let (group, tail) = match tail {
        [TokenTree::Group(group), tail @ ..] | [TokenTree::Ident(_), TokenTree::Group(group), tail @ ..] => {
            (group, tail)
        }
        _ => return None,
    };
    Some((name.clone(), group.clone(), tail))
}

pub(crate) fn is(tree: &TokenTree, char: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == char)
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn summary(tokens: TokenStream) -> String {
        let line = |part: Part| {
            let attrs = "#".repeat(part.attrs.len());
            match part.kind {
                Kind::Function { name, body: Some(_) } => format!("{attrs}fn {name}"),
                Kind::Function { name, body: None } => format!("{attrs}fn {name};"),
                Kind::Holder { word, inside: Some(inside) } => format!("{attrs}{word}[{}]", summary(inside.stream())),
                Kind::Holder { word, inside: None } => format!("{attrs}{word};"),
                Kind::Invocation { name, .. } => format!("{attrs}{name}!"),
                Kind::Other { word, .. } => format!("{attrs}{word}"),
                Kind::Definition => "rules".to_owned(),
                Kind::Unknown(tree) => format!("?{tree}"),
            }
        };
        read(tokens).into_iter().map(line).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn items_are_told_apart_by_their_first_words_and_their_end() {
        let tokens = quote! {
            #![allow(unused)]
            //! Inner.
            use a::{b, c::{d}};
            pub use ::e;
            extern crate f as g;
            const N: usize = { 1 };
            const fn a() {}
            pub(in crate::m) const unsafe extern "C" fn b() {}
            extern fn c() {}
            static mut S: Option<fn(u8) -> u8> = { None };
            struct U;
            struct T<const N: usize = { 3 }>(u8);
            pub struct R { a: u8 }
            enum E { A = { 1 } }
            union V { a: u8 }
            type A<const N: usize> = F<{ N }>;
            unsafe extern "C" { fn g(); }
            extern "C" fn d() {}
            mod file;
            mod m { fn e() {} mod n { async fn f() {} } }
            #[a] #[b(c)] impl<const N: usize> F<{ N }> for G<{ N >> 1 }> where [u8; { N }]: Sized {
                const M: u8 = { 1 };
                type B = u8;
                default fn g() -> F<{ N }> where Box<dyn Fn(u8) -> Vec<Vec<u8>>>: Sized { a < b; c }
                m!();
            }
            impl !Send for U {}
            unsafe auto trait W {}
            trait X { fn h(&self); fn i(&self) -> impl Fn() -> u8 { || 1 } }
            macro_rules! rules { () => { fn j() {} } }
            thread_local! { static L: u8 = 1; }
            ::path::to::m!(a; b);
            fn k() {}
        };
        assert_eq!(
            summary(tokens),
            "use use extern const fn a fn b fn c static struct struct struct enum union type extern fn d mod; \
             mod[fn e mod[fn f]] ##impl[const type fn g m!] impl[] trait[] trait[fn h; fn i] rules thread_local! m! fn k"
        );
    }

    #[test]
    fn a_half_typed_body_hides_no_other_item() {
        assert_eq!(summary(quote! { fn a() { x. } fn b(a: ) { match } impl S { fn c() { let } } fn }), {
            "fn a fn b impl[fn c] ?fn"
        });
        assert_eq!(summary(quote! { macro m() {} fn a() {} }), "?macro fn a");
    }

    #[test]
    fn what_a_macro_hands_on_is_read_as_if_it_were_written() {
        let hidden = |tokens| TokenTree::Group(Group::new(Delimiter::None, tokens));
        let (vis, body, item) = (hidden(quote!()), hidden(quote!({ a })), hidden(quote! { #[a] fn b() {} }));
        assert_eq!(summary(quote!(#vis fn a() #body #item)), "fn a #fn b");
    }
}
