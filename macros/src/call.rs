//! What the expansion says of one call: what is known of its function, and the values that its arguments are given.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;

use crate::expand::Expansion;
use crate::item::Param;
use crate::key::borrowed;
use crate::model::{Boundary, Budgeted, Model, OnRefusal, Once, Per};
use crate::paths::ours;
use crate::task::Task;
use crate::values::{mentions, string};

impl Expansion<'_> {
    // Output: let id = …;
    //         let key = …;
    //         let payload = …;
    //         let call = Call::new(&__SITE).task(id).resource(&EXPR).once(key, payload);
    pub(crate) fn call(&self, mutable: bool) -> TokenStream {
        let Model { action, with, boundary, budgeted, once, task, .. } = self.model;
        let new = self.runtime.private(quote!(Call::new));
        let mutable = mutable.then(|| ours!(mut));
        let mut call = ours!(#new(&__SITE));
        // Located at the value: it is what has the wrong type.
        let mut set = |method: &str, value: TokenStream| {
            let at = value.clone().into_iter().next().map_or_else(Span::mixed_site, |first| first.span());
            let at = Span::mixed_site().located_at(at);
            let method = Ident::new(method, at);
            call.extend(quote_spanned!(at=> .#method(#value)));
        };
        if let Some(with) = with {
            set("with", borrowed(with));
        }
        if let Some(action) = action.as_ref().filter(|action| string(action).is_none()) {
            set("action", action.to_token_stream());
        }
        let id = task.as_ref().map(|Task { id, kind, agent, .. }| {
            let id = id.as_ref().map(|id| id.expand(self.function, self.runtime));
            set("task", ours!(id));
            if let Some(kind) = kind {
                set("kind", borrowed(kind));
            }
            if let Some(agent) = agent {
                set("agent", borrowed(agent));
            }
            ours!(let id = #id;)
        });
        if let Some(Boundary { resource, width, .. }) = boundary {
            if let Some(resource) = resource {
                set("resource", borrowed(resource));
            }
            if let Some((_, width)) = width {
                set("width", width.to_token_stream());
            }
        }
        if let Some(Budgeted { cost, per, .. }) = budgeted {
            if let Some(cost) = cost {
                set("cost", cost.clone());
            }
            if let Per::Key(key) = per {
                set("per", borrowed(key));
            }
        }
        let claim = once.as_ref().map(|once| {
            let key = once.key.as_ref().map(|key| key.expand(self.function, self.runtime));
            let payload = self.payload(once);
            set("once", ours!(key, payload));
            if action.is_none() && !self.is_generic() {
                set("here", ours!(&|| ()));
            }
            ours!(let key = #key; #payload)
        });
        ours!(#id #claim let #mutable call = #call;)
    }

    /// A generic function has a default action only if an argument tells its types apart, and then it is one place.
    fn is_generic(&self) -> bool {
        let opaque = |param: &Param| mentions(param.ty.to_token_stream(), "impl").is_some();
        let generics = &self.function.sig.generics;
        generics.type_params().next().is_some()
            || generics.const_params().next().is_some()
            || self.function.params.iter().any(opaque)
    }

    /// What is known at compile time. Items have no hygiene, so their names are none that a body would use.
    pub(crate) fn site(&self) -> TokenStream {
        let Model { action, boundary, budgeted, once, task, .. } = self.model;
        let (site, on) = (self.runtime.private(quote!(Site)), self.runtime.public(quote!(OnRefusal)));
        let kind = self.model.permit().map(|_| self.kind()).map(|kind| ours!(<#kind>));
        let package = ours!(::core::env!("CARGO_PKG_NAME"));
        let name = self.function.sig.ident.unraw().to_string();
        let (here, mut value) = match action {
            None => (
                Some(ours!(
                    enum __Here {}
                )),
                ours!(#site::unnamed::<__Here>(#package, #name)),
            ),
            Some(action) => {
                let name = string(action).map_or_else(|| name.to_token_stream(), ToTokens::to_token_stream);
                (None, ours!(#site::named(#package, #name)))
            }
        };
        if let Some(Boundary { kinds, on_deny, on_fault, permit, .. }) = boundary {
            let boundary = self.runtime.public(quote!(Boundary));
            value.extend(match permit {
                Some(_) => ours!(.permit(#on::#on_deny, #on::#on_fault)),
                None => ours!(.boundary(&[#(#boundary::#kinds),*], #on::#on_deny, #on::#on_fault)),
            });
        }
        if let Some(Budgeted { limits, per, on_exceed, .. }) = budgeted {
            let (limits, per_path) = (self.limits(limits), self.runtime.public(quote!(budget::Per)));
            value.extend(ours!(.budget(#limits, #per_path::#per, #on::#on_exceed)));
        }
        if let Some(Task { limits, on_exceed, durable, .. }) = task {
            let limits = self.limits(limits);
            value.extend(ours!(.task(#limits, #on::#on_exceed)));
            if *durable {
                value.extend(ours!(.durable()));
            }
        }
        if let Some(Once { site, .. }) = once {
            value.extend(site.iter().map(|(method, argument)| ours!(.#method(#argument))));
        }
        ours!(#here static __SITE: #site #kind = #value;)
    }

    fn limits(&self, limits: &[(Ident, TokenStream)]) -> TokenStream {
        let new = self.runtime.public(quote!(budget::Limits::new()));
        let limits = limits.iter().map(|(method, value)| ours!(.#method(#value)));
        ours!(#new #(#limits)*)
    }

    // Output: let payload = Payload::new().arg("order_id", &order_id).arg("cents", &cents);
    fn payload(&self, once: &Once) -> TokenStream {
        let mut payload = self.runtime.private(quote!(Payload::new()));
        let mut statements = TokenStream::new();
        for param in &self.function.params {
            let kept = param.bindings.iter().filter(|name| once.skip.iter().all(|skip| skip.unraw() != name.unraw()));
            let args: TokenStream = kept.map(argument).collect();
            let cfgs = &param.cfgs;
            if cfgs.is_empty() {
                payload.extend(args);
            } else {
                // The parameter may be configured away; a link of a chain can't be.
                statements.extend(ours!(let payload = #payload; #(#cfgs)* let payload = payload #args;));
                payload = ours!(payload);
            }
        }
        ours!(#statements let payload = #payload;)
    }
}

/// `.arg("x", &x)`, located at the parameter: it is what can't be fingerprinted.
fn argument(name: &Ident) -> TokenStream {
    let text = name.unraw().to_string();
    let value = quote_spanned!(name.span()=> &#name);
    quote_spanned!(Span::mixed_site().located_at(name.span())=> .arg(#text, #value))
}

impl ToTokens for OnRefusal {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(match self {
            OnRefusal::Exit => ours!(Exit),
            OnRefusal::Return => ours!(Return),
        });
    }
}

impl ToTokens for Per {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(match self {
            Per::Task => ours!(Task),
            Per::Call => ours!(Call),
            Per::Process => ours!(Process),
            Per::Key(_) => ours!(Key),
        });
    }
}
