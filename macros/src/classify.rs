//! Classification: what is awaited, and what it gives. Decided by the return type, not by the word `async`.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    GenericArgument, Lifetime, PathArguments, PathSegment, ReturnType, Signature, Type, TypeParamBound, TypePath,
};

use crate::errors::Errors;

/// How the work is started.
pub(crate) enum Shape {
    /// The call is the work.
    Sync,
    /// `async fn`.
    Async,
    /// `-> Pin<Box<dyn Future>>`, `-> BoxFuture`: the work is what is awaited. The type is the future's, as free in
    /// its lifetime as the body needs (a permit that it borrows lives shorter than the caller's lifetime).
    Boxed(TokenStream),
    /// `-> impl Future`.
    Opaque,
}

pub(crate) struct Work {
    pub(crate) shape: Shape,
    /// What the work gives, fit for a turbofish: `impl Trait` is `_`, and `!` is `Infallible`.
    pub(crate) output: TokenStream,
    pub(crate) never: bool,
    /// What `output` was written as, for its span. `None` is the `()` that nobody wrote.
    pub(crate) written: Option<Type>,
}

// Input:  fn f() -> Pin<Box<dyn Future<Output = Result<A, E>> + Send + 'a>>
// Output: Boxed(Pin<Box<dyn Future<Output = Result<A, E>> + Send + '_>>) giving Result<A, E>
pub(crate) fn classify(sig: &Signature, errors: &mut Errors) -> Work {
    let ReturnType::Type(_, whole) = &sig.output else {
        let shape = if sig.asyncness.is_some() { Shape::Async } else { Shape::Sync };
        let output = quote_spanned!(sig.ident.span()=> ());
        return Work { shape, output, never: false, written: None };
    };
    let (shape, output) = match future(whole) {
        _ if sig.asyncness.is_some() => (Shape::Async, Some(&**whole)),
        Some((shape, output)) => (shape, output),
        None => (Shape::Sync, Some(&**whole)),
    };
    let Some(output) = output else {
        errors.over(
            whole,
            "portcullis can't see what this future gives, so it can't tell whether the work succeeded: \
             write `Output = …`",
        );
        return Work { shape, output: quote!(()), never: false, written: None };
    };
    if let Some(at) = hidden(output.to_token_stream()) {
        errors.at(
            at,
            "portcullis can't await a future inside of another type, and would guard the making of it instead of the \
             work: write `async fn`, or return `impl Future<Output = …>` or `Pin<Box<dyn Future<Output = …>>>` itself",
        );
    }
    let never = matches!(peel(output), Type::Never(_));
    let tokens = if never { quote!(::core::convert::Infallible) } else { nameable(output.to_token_stream()) };
    Work { shape, output: tokens, never, written: Some(output.clone()) }
}

/// The future that a type spells out, and its output if that is spelt out too.
fn future(ty: &Type) -> Option<(Shape, Option<&Type>)> {
    match peel(ty) {
        Type::ImplTrait(opaque) => Some((Shape::Opaque, output(bound(&opaque.bounds, "Future")?))),
        Type::Path(path) => {
            let segment = path.path.segments.last()?;
            if segment.ident == "BoxFuture" || segment.ident == "LocalBoxFuture" {
                return Some((Shape::Boxed(relaxed(path)), types(segment).next_back()));
            }
            let boxed = only(segment, "Pin").and_then(|ty| only(last(ty)?, "Box"))?;
            let (bounds, tokens) = match peel(boxed) {
                Type::TraitObject(object) => (&object.bounds, pinned(&object.bounds)),
                Type::ImplTrait(opaque) => (&opaque.bounds, quote!(_)),
                _ => return None,
            };
            Some((Shape::Boxed(tokens), output(bound(bounds, "Future")?)))
        }
        _ => None,
    }
}

/// A future at any depth: `Future<Output`, `IntoFuture<Output`, `BoxFuture<`. A type may well be called `Future`.
fn hidden(tokens: TokenStream) -> Option<Span> {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let spelt = trees.windows(3).find_map(|window| match window {
        [TokenTree::Ident(name), TokenTree::Punct(open), next] if open.as_char() == '<' => {
            let output = matches!(next, TokenTree::Ident(output) if output == "Output");
            let future = (output && (name == "Future" || name == "IntoFuture"))
                || name == "BoxFuture"
                || name == "LocalBoxFuture";
            future.then(|| name.span())
        }
        _ => None,
    });
    spelt.or_else(|| {
        trees.into_iter().find_map(|tree| match tree {
            TokenTree::Group(group) => hidden(group.stream()),
            _ => None,
        })
    })
}

/// Types that came out of a `macro_rules!` or stand in parentheses.
fn peel(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            _ => return ty,
        }
    }
}

type Bounds = syn::punctuated::Punctuated<TypeParamBound, syn::Token![+]>;

fn bound<'a>(bounds: &'a Bounds, name: &str) -> Option<&'a PathSegment> {
    bounds.iter().find_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last().filter(|segment| segment.ident == name),
        _ => None,
    })
}

fn arguments(segment: &PathSegment) -> impl DoubleEndedIterator<Item = &GenericArgument> {
    match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(arguments.args.iter()),
        _ => None,
    }
    .into_iter()
    .flatten()
}

fn types(segment: &PathSegment) -> impl DoubleEndedIterator<Item = &Type> {
    arguments(segment).filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// `T` in `Future<Output = T>`.
fn output(segment: &PathSegment) -> Option<&Type> {
    arguments(segment).find_map(|argument| match argument {
        GenericArgument::AssocType(assoc) if assoc.ident == "Output" => Some(&assoc.ty),
        _ => None,
    })
}

fn last(ty: &Type) -> Option<&PathSegment> {
    match peel(ty) {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// `T` in `Name<T>`.
fn only<'a>(segment: &'a PathSegment, name: &str) -> Option<&'a Type> {
    if segment.ident == name { types(segment).next() } else { None }
}

fn pinned(bounds: &Bounds) -> TokenStream {
    let kept = bounds.iter().filter(|bound| !matches!(bound, TypeParamBound::Lifetime(_)));
    let kept = nameable(quote!(#(#kept)+*));
    quote!(::core::pin::Pin<::std::boxed::Box<dyn #kept + '_>>)
}

// Input:  BoxFuture<'static, R>
// Output: BoxFuture<'_, R>
fn relaxed(path: &TypePath) -> TokenStream {
    let mut path = path.clone();
    if let Some(PathArguments::AngleBracketed(arguments)) =
        path.path.segments.last_mut().map(|last| &mut last.arguments)
        && let Some(GenericArgument::Lifetime(lifetime)) = arguments.args.first_mut()
    {
        *lifetime = Lifetime::new("'_", lifetime.span());
    }
    nameable(path.into_token_stream())
}

// Input:  Result<impl Iterator<Item = (A, B)> + 'a, E>
// Output: Result<_, E>
fn nameable(tokens: TokenStream) -> TokenStream {
    let mut out = TokenStream::new();
    let mut trees = tokens.into_iter().peekable();
    while let Some(tree) = trees.next() {
        match tree {
            TokenTree::Ident(word) if word == "impl" => {
                out.extend(quote_spanned!(word.span()=> _));
                let (mut depth, mut arrow) = (0_usize, false);
                // Up to the `,` or `>` that ends the type.
                while let Some(next) = trees.peek() {
                    let c = if let TokenTree::Punct(punct) = next { punct.as_char() } else { ' ' };
                    match c {
                        '<' => depth += 1,
                        '>' if arrow => {}
                        '>' | ',' if depth == 0 => break,
                        '>' => depth -= 1,
                        _ => {}
                    }
                    arrow = c == '-';
                    trees.next();
                }
            }
            TokenTree::Group(group) => {
                let inner = nameable(group.stream());
                out.extend([TokenTree::Group(crate::item::with_stream(&group, inner))]);
            }
            other => out.extend([other]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn seen(tokens: TokenStream) -> String {
        let sig: Signature = syn::parse2(tokens).unwrap();
        let mut errors = Errors::default();
        let work = classify(&sig, &mut errors);
        if let Some(error) = crate::tests::messages(errors).first() {
            return error.clone();
        }
        let shape = match work.shape {
            Shape::Sync => "sync".into(),
            Shape::Async => "async".into(),
            Shape::Boxed(ty) => format!("boxed {ty}"),
            Shape::Opaque => "opaque".into(),
        };
        format!("{shape} -> {}", work.output).replace(' ', "")
    }

    #[test]
    fn by_the_return_type() {
        for (sig, expected) in [
            (quote!(fn f()), "sync->()"),
            (quote!(async fn f()), "async->()"),
            (quote!(fn f() -> Result<A, E>), "sync->Result<A,E>"),
            (quote!(fn f() -> !), "sync->::core::convert::Infallible"),
            (quote!(fn f() -> impl Future<Output = R> + Send + 'a), "opaque->R"),
            (quote!(fn f() -> BoxFuture<'static, R>), "boxedBoxFuture<'_,R>->R"),
            (quote!(fn f() -> futures::future::LocalBoxFuture<'_, R>), "boxedfutures::future::LocalBoxFuture<'_,R>->R"),
            (
                quote!(fn f() -> ::core::pin::Pin<Box<dyn ::core::future::Future<Output = R> + Send + 'async_trait>>),
                "boxed::core::pin::Pin<::std::boxed::Box<dyn::core::future::Future<Output=R>+Send+'_>>->R",
            ),
            (quote!(fn f() -> Pin<Box<impl Future<Output = R>>>), "boxed_->R"),
            (quote!(fn f() -> Result<Future, E>), "sync -> Result<Future, E>"),
            (quote!(fn f() -> Pin<Box<dyn Iterator<Item = R>>>), "sync->Pin<Box<dynIterator<Item=R>>>"),
        ] {
            assert_eq!(seen(sig), expected.replace(' ', ""));
        }
    }

    #[test]
    fn through_groups_and_parentheses() {
        let ty = TokenTree::Group(proc_macro2::Group::new(
            proc_macro2::Delimiter::None,
            quote!(Pin<Box<(dyn Future<Output = R> + Send)>>),
        ));
        assert!(seen(quote!(fn f() -> #ty)).starts_with("boxed"));
    }

    #[test]
    fn opaque_types_can_be_inferred() {
        assert_eq!(
            seen(quote!(fn f() -> Result<(impl Fn(A) -> Vec<B> + 'a, u8), Box<dyn Iterator<Item = impl X<Y>>>>)),
            "sync->Result<(_,u8),Box<dynIterator<Item=_>>>"
        );
    }

    #[test]
    fn what_can_not_be_seen_is_refused() {
        for sig in [
            quote!(fn f() -> impl IntoFuture<Output = R>),
            quote!(fn f() -> Result<Pin<Box<dyn Future<Output = R> + Send>>, E>),
            quote!(fn f() -> Option<futures::future::BoxFuture<'static, R>>),
            quote!(fn f() -> impl Future<Output = impl Future<Output = R>>),
            quote!(async fn f() -> BoxFuture<'static, R>),
        ] {
            assert!(seen(sig.clone()).contains("inside of another type"), "{sig}");
        }
        assert!(seen(quote!(fn f() -> Pin<Box<dyn Future>>)).contains("write `Output = …`"));
    }
}
