//! Expansion: the signature as it was, and one call of the runtime around the body as it was.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;

use crate::classify::{Shape, Work};
use crate::item::{Function, with_stream};
use crate::model::{Model, OnErr, Once};
use crate::paths::{Runtime, ours};
use crate::values::mentions;

// Input:  pub async fn f(a: A) -> R { body }
// Output: pub async fn f(a: A) -> R { imports; let call = …; run(call, refuse, async move { body }).await }
pub(crate) fn expand(function: &Function, work: &Work, model: &Model, taken: &[Ident]) -> TokenStream {
    let Some(body) = &function.body else { return TokenStream::new() };
    let expansion = Expansion { function, work, model, runtime: &model.runtime, end: body.span_close() };
    let guarded = expansion.guarded(body.stream());
    let imports = imports(taken);
    let inner = &function.inner;
    let body = with_stream(body, quote!(#inner #imports #guarded));
    let Function { attrs, head, .. } = function;
    quote!(#(#attrs)* #head #body)
}

/// A sibling that we took would leave its import unused.
pub(crate) fn imports(taken: &[Ident]) -> TokenStream {
    if taken.is_empty() {
        return TokenStream::new();
    }
    // As tokens of ours the lint does not look at them, also inside of a `macro_rules!` of the user's.
    let taken = taken.iter().cloned().map(|mut name| {
        name.set_span(Span::mixed_site().located_at(name.span()));
        name
    });
    ours!(use {#(#taken as _),*};)
}

pub(crate) struct Expansion<'a> {
    pub(crate) function: &'a Function,
    work: &'a Work,
    pub(crate) model: &'a Model,
    pub(crate) runtime: &'a Runtime,
    /// The body's closing brace, where "this value is missing" must point.
    end: Span,
}

impl Expansion<'_> {
    fn guarded(&self, body: TokenStream) -> TokenStream {
        let site = self.site();
        let call = match &self.work.shape {
            Shape::Sync => {
                let (call, exempt) = (self.call(false), self.exempt());
                let (entered, body) = match self.entered() {
                    Some((entered, take)) => (entered, self.braced(quote!(#take #body))),
                    None => (ours!(_), self.braced(body)),
                };
                let run = self.run(ours!(#exempt move |#entered| #body), false, self.at_output());
                self.returned(call, run)
            }
            Shape::Async => {
                let edge = self.return_edge();
                self.awaited(quote!(#edge #body))
            }
            // The making of the future is part of the work: nothing of it happens before it is awaited.
            Shape::Boxed(ty) => {
                let awaited = self.made(ours!(::<#ty>), body);
                ours!(::std::boxed::Box::pin(async move #awaited))
            }
            Shape::Opaque => {
                let awaited = self.made(TokenStream::new(), body);
                ours!(async move #awaited)
            }
        };
        ours!(#site #call)
    }

    fn made(&self, turbofish: TokenStream, body: TokenStream) -> Group {
        let make = self.runtime.private(quote!(make));
        let body = self.braced(body);
        self.braced(self.awaited(ours!(#make #turbofish (move || #body).await)))
    }

    fn awaited(&self, body: TokenStream) -> TokenStream {
        let exempt = self.exempt();
        match self.entered() {
            None => {
                let (asks, body) = (self.asks(), self.braced(body));
                let call = self.call(asks.is_some());
                self.returned(ours!(#call #asks), self.run_later(ours!(#exempt async move #body)))
            }
            Some((entered, take)) => {
                let (call, asks, body) = (self.call(true), self.asks(), self.braced(quote!(#take #body)));
                let bind = ours!(let body = call.bind(#exempt async move |#entered| #body););
                self.returned(ours!(#call #asks #bind), self.run_later(ours!(body)))
            }
        }
    }

    // Output: let reconcile = call.reconcile(path);
    fn asks(&self) -> Option<TokenStream> {
        let path = self.model.once.as_ref()?.reconcile.as_ref()?;
        let at = Span::mixed_site().located_at(path.span());
        let method = Ident::new("reconcile", at);
        let ask = quote_spanned!(at=> call.#method(#path));
        Some(ours!(let reconcile = #ask;))
    }

    /// A body that somebody was asked for may have effects; the arguments, which run before, may not. What the user says
    /// of the lint on the function or at the start of its body stands.
    fn exempt(&self) -> Option<TokenStream> {
        let Function { attrs, inner, .. } = self.function;
        let asked =
            self.model.boundary.as_ref()?.kinds.iter().any(|kind| kind == "BeforeSideEffect" || kind == "BeforeCost");
        let said = mentions(quote!(#(#attrs)* #inner), "disallowed_methods").is_some();
        (asked && !said).then(|| ours!(#[allow(clippy::disallowed_methods)]))
    }

    /// The value of the guarded call, where `-> !` has no value.
    fn returned(&self, call: TokenStream, value: TokenStream) -> TokenStream {
        if self.work.never { ours!(#call match #value {}) } else { ours!(#call #value) }
    }

    /// Fresh braces, so that lints about the user's own don't see them, placed where the user's close.
    fn braced(&self, tokens: TokenStream) -> Group {
        let mut group = Group::new(Delimiter::Brace, tokens);
        group.set_span(Span::mixed_site().located_at(self.end));
        group
    }

    /// Gives `return` and `?` their type inside of an `async` block, which can't be annotated.
    fn return_edge(&self) -> TokenStream {
        let output = &self.work.output;
        let (_, at) = self.at_output();
        quote_spanned! {at=>
            if let ::core::option::Option::Some(edge) = ::core::option::Option::None::<#output> {
                return edge;
            }
        }
    }

    // Output: run_sync::<R, _>(call, refuse, body)
    //         run_task::<R, _>(call, refuse, body)
    //         once_sync::<R, _>(call, refuse, on_err, body)
    //         reconciled_sync::<R, _>(call, refuse, on_err, reconcile, body)
    fn run(&self, body: TokenStream, later: bool, at: (Span, Span)) -> TokenStream {
        let once = self.model.once.as_ref();
        let reconcile = once.and_then(|once| once.reconcile.as_ref());
        let name = match (once, reconcile, later) {
            (None, _, false) => "run_sync",
            (None, _, true) if self.model.task.is_some() => "run_task",
            (None, _, true) => "run",
            (Some(_), None, false) => "once_sync",
            (Some(_), None, true) => "once",
            (Some(_), Some(_), false) => "reconciled_sync",
            (Some(_), Some(_), true) => "reconciled",
        };
        let on_err = once.map(|once| self.on_err(once)).into_iter();
        let reconcile = reconcile.map(|path| if later { ours!(reconcile) } else { path.to_token_stream() }).into_iter();
        let refuse = self.refuse();
        let output = located(self.work.output.clone(), at);
        self.call_at(at, name, ours!(::<#output, _>), ours!(call, #refuse, #(#on_err,)* #(#reconcile,)* #body))
    }

    fn run_later(&self, body: TokenStream) -> TokenStream {
        let (first, last) = self.at_output();
        // Without a claim the compiler says it of the `await` as well, which is one token.
        let at = if self.model.once.is_some() { (first, last) } else { (first, first) };
        let run = self.run(body, true, at);
        quote_spanned!(at.1=> #run.await)
    }

    /// The first and the last place of the return type, or else the function's name.
    ///
    /// The compiler spans an expression from its first token to its last. What is placed here is underlined like the type that
    /// is at fault, and because it says the same thing at the same place several times, it says it once.
    fn at_output(&self) -> (Span, Span) {
        let written = match &self.work.written {
            Some(written) => written.to_token_stream(),
            None => self.function.sig.ident.to_token_stream(),
        };
        let mut spans = written.into_iter().map(|tree| tree.span());
        let first = spans.next().unwrap_or(self.end);
        let last = spans.last().unwrap_or(first);
        let ours = |span| Span::mixed_site().located_at(span);
        (ours(first), ours(last))
    }

    fn call_at(&self, at: (Span, Span), name: &str, generics: TokenStream, arguments: TokenStream) -> TokenStream {
        let name = Ident::new(name, at.1);
        let path = located(self.runtime.private(quote!(#name)), at);
        let mut arguments = Group::new(Delimiter::Parenthesis, arguments);
        arguments.set_span(at.1);
        quote_spanned!(at.1=> #path #generics #arguments)
    }

    fn refuse(&self) -> TokenStream {
        if let Some(path) = &self.model.refused {
            return path.to_token_stream();
        }
        let name = if self.model.returns_refusals() { "refuse_by_return" } else { "refuse_by_ending" };
        // A closure: as a value, the function would bring its bounds into every type around it, and its errors with them.
        let refuse = self.call_at(self.at_output(), name, TokenStream::new(), ours!(refused));
        ours!(|refused| #refuse)
    }

    /// Where the policy does not fit the error, the compiler points at what the user wrote.
    fn on_err(&self, once: &Once) -> TokenStream {
        let policy = |name: Ident| {
            let at = Span::mixed_site().located_at(name.span());
            located(self.runtime.private(name.into_token_stream()), (at, at))
        };
        match &once.on_err {
            OnErr::Fixed(name) => policy(name.clone()),
            OnErr::Classify(path) => {
                let at = path.span();
                let (classify, codec) = (policy(Ident::new("Classify", at)), policy(Ident::new("codec", at)));
                let output = &self.work.output;
                quote_spanned!(Span::mixed_site().located_at(at)=> #classify(#path, #codec!(#output)))
            }
        }
    }

    // Output: p: Entered<'_, BeforeSideEffect>
    //         let Entered { permit: p, .. } = p;
    //
    // What is handed over goes by the user's name for the permit, at the place of it: where that escapes, the compiler says
    // that it is for this call alone, and names it.
    fn entered(&self) -> Option<(TokenStream, TokenStream)> {
        let (permit, claim) = (self.model.permit(), self.model.claim());
        let mut name = permit.map(|(name, _)| name).or(claim)?.clone();
        let at = Span::mixed_site().located_at(name.span());
        name.set_span(at);
        let entered = match self.model.once.is_some() {
            true => self.runtime.private(quote!(EnteredOnce)),
            false => self.runtime.private(quote!(Entered)),
        };
        let entered = located(entered, (at, at));
        let kind = self.kind();
        let permit = permit.map(|(name, _)| quote_spanned!(at=> permit: #name,));
        let claim = claim.map(|name| quote_spanned!(at=> claim: #name,));
        let take = quote_spanned!(at=> let #entered { #permit #claim .. } = #name;);
        Some((quote_spanned!(at=> #name: #entered<'_, #kind>), take))
    }

    pub(crate) fn kind(&self) -> TokenStream {
        match self.model.permit() {
            Some((_, kind)) => self.runtime.public(quote!(permit::#kind)),
            None => self.runtime.private(quote!(NoPermit)),
        }
    }
}

/// Tokens that reach from one place to another.
fn located(path: TokenStream, (first, last): (Span, Span)) -> TokenStream {
    let tokens = path.into_iter().enumerate().map(|(index, mut tree)| {
        // `$crate` means what it means where it was written.
        if tree.to_string() != "$crate" {
            tree.set_span(if index == 0 { first } else { last });
        }
        tree
    });
    tokens.collect()
}
