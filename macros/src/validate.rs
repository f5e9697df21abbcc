//! Validation: what can't be guarded is refused, with the reason and the way out. Nothing here makes tokens.

use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{GenericParam, Ident};

use crate::args::Args;
use crate::classify::Work;
use crate::errors::Errors;
use crate::item::Function;
use crate::model::{Boundary, Model, Once};
use crate::values::mentions;

pub(crate) fn validate(function: &Function, work: &Work, model: &Model, errors: &mut Errors) {
    signature(function, errors);
    if let Some(boundary) = &model.boundary {
        boundary_arguments(boundary, errors);
    }
    if let Some(id) = model.task.as_ref().and_then(|task| task.id.as_ref()) {
        id.validate(function, errors);
    }
    if let Some(once) = &model.once {
        once_arguments(once, function, work, errors);
        if model.action.is_none() {
            identity(once, function, errors);
        }
    }
    names(function, model, errors);
}

fn signature(function: &Function, errors: &mut Errors) {
    let sig = &function.sig;
    if let Some(constness) = &sig.constness {
        errors.over(
            constness,
            "a `const fn` can't be guarded: at compile time there is nobody to ask. Remove `const`, or guard the \
             function that does the effect",
        );
    }
    if let Some(abi) = sig.abi.as_ref().filter(|abi| abi.name.as_ref().is_none_or(|name| name.value() != "Rust")) {
        errors.over(
            abi,
            "an `extern` function can't be guarded: its callers are outside of Rust and can't be given a refusal. \
             Guard a Rust function, and call it from here",
        );
    }
    if let Some(variadic) = &sig.variadic {
        errors
            .over(variadic, "a variadic function can't be guarded: its arguments can't be handed to the guarded body");
    }
    if function.body.is_none() {
        errors.over(
            &sig.ident,
            "a trait's function without a body has nothing to guard, and its implementations would not be guarded by \
             this: put the attribute on the functions in each `impl`",
        );
    }
    if let Some(attr) = function.attrs.iter().find(|attr| attr.path().is_ident("track_caller")) {
        errors.over(
            attr,
            "`#[track_caller]` would name portcullis instead of the caller, because the guarded body is called from \
             there: remove it, or take the `&Location` as a parameter",
        );
    }
}

fn boundary_arguments(boundary: &Boundary, errors: &mut Errors) {
    if let Some(permit) = &boundary.permit
        && boundary.kinds.len() > 1
    {
        errors.at(
            permit.span(),
            "a permit is for exactly one boundary, and this function passes several: keep one of them here, and put the \
             others on the function that calls it",
        );
    }
    if let Some((name, _)) = &boundary.width
        && !boundary.kinds.is_empty()
        && boundary.kinds.iter().all(|kind| kind != "BeforeFanOut")
    {
        errors.at(name.span(), "`width` says how far work is spread, so it needs the boundary `before_fan_out`");
    }
}

fn once_arguments(once: &Once, function: &Function, work: &Work, errors: &mut Errors) {
    if let Some(key) = &once.key {
        key.validate(function, errors);
    }
    for unseen in function.params.iter().filter_map(|param| param.unseen.as_ref()) {
        errors.over(
            unseen,
            "`#[once]` tells a retry from another call by its parameters, and can't see the names in this pattern: write it \
             out, or name the parameter and take it apart in the body",
        );
    }
    for (index, name) in once.skip.iter().enumerate() {
        let unraw = name.unraw();
        if unraw == "self" {
            errors.at(name.span(), "`self` is never part of the fingerprint, so there is nothing to skip");
        } else if function.bindings().all(|known| known.unraw() != unraw) {
            let known = function.known();
            errors.at(name.span(), format!("no parameter of this function is called `{unraw}`: {known}"));
        } else if once.skip.iter().take(index).any(|known| known.unraw() == unraw) {
            errors.at(name.span(), format!("`{unraw}` is skipped twice"));
        }
    }
    if let Some(written) = &work.written {
        if work.never {
            errors.over(written, "`#[once]` keeps a receipt of the result, and a function that never returns has none");
        } else if mentions(written.to_token_stream(), "impl").is_some() {
            errors.over(
                written,
                "`#[once]` keeps a receipt of the result and gives it to a retry, so it must know the type: write it \
                 out instead of `impl Trait`",
            );
        }
    }
}

/// A free function's action may default to its name. Where one name stands for several functions, one would get
/// the receipts of another.
fn identity(once: &Once, function: &Function, errors: &mut Errors) {
    let sig = &function.sig;
    let name = sig.ident.unraw();
    let say = format!("name the action: `#[once(action = \"….{name}\", …)]`");
    if sig.receiver().is_some() || mentions(function.head.clone(), "Self").is_some() {
        errors.at(
            once.span,
            format!(
                "a method's `#[once]` must say which action it is: `{name}` of another type would otherwise share its \
                 receipts; {say}"
            ),
        );
        return;
    }
    for parameter in &sig.generics.params {
        let (ident, or): (&Ident, _) = match parameter {
            GenericParam::Type(parameter) => (&parameter.ident, format!(", or `action = {}::NAME`", parameter.ident)),
            GenericParam::Const(parameter) => (&parameter.ident, String::new()),
            GenericParam::Lifetime(_) => continue,
        };
        let word = ident.to_string();
        if function.params.iter().all(|param| mentions(param.ty.to_token_stream(), &word).is_none()) {
            errors.at(
                ident.span(),
                format!(
                    "no argument tells one `{ident}` from another, so `#[once]` would give the receipt of one to the \
                     other; {say}{or}"
                ),
            );
        }
    }
}

/// `permit = NAME` and `claim = NAME` are new names.
fn names(function: &Function, model: &Model, errors: &mut Errors) {
    let permit = model.boundary.as_ref().and_then(|boundary| boundary.permit.as_ref());
    for (argument, name) in [("permit", permit), ("claim", model.claim())] {
        if let Some(name) = name
            && function.bindings().any(|known| known.unraw() == name.unraw())
        {
            errors.at(name.span(), format!("`{name}` is already a parameter, so the {argument} needs another name"));
        }
    }
    if let (Some(permit), Some(claim)) = (permit, model.claim())
        && permit == claim
    {
        errors.at(claim.span(), "the claim and the permit need two names");
    }
}

/// A layer that another attribute of ours has put there already, whose attribute could not see this one.
pub(crate) fn already_guarded(function: &Function, attribute: &Args, errors: &mut Errors) {
    let Some(body) = &function.body else { return };
    if crate::family::is_guarded(body.stream()) {
        let name = attribute.guard.name();
        errors.at(
            attribute.span,
            format!(
                "this function is already guarded by an attribute that could not see this one, probably because it is \
                 imported under another name: write it as `#[{name}(…)]` or `#[portcullis::{name}(…)]`, so that they \
                 are taken together"
            ),
        );
    }
}
