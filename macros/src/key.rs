//! The grammar of `key = …`, and of a task's `id = …`: a parameter, a field of one, a template over them, or any expression.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{Expr, ExprReference, Ident, LitStr, Member, Token};

use crate::errors::Errors;
use crate::item::Function;
use crate::paths::Runtime;
use crate::values;

pub(crate) struct Key {
    of: Of,
    grammar: Grammar,
}

/// What a key is called, and what comes of one that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// `key = …`
    Claim,
    /// `id = …`
    Task,
}

enum Grammar {
    /// `key = (tenant, order)`
    Expr(Expr),
    /// `key = "req.id"`
    Place(Place),
    /// `key = "order:{symbol}:{req.qty}"`: the literals stand before, between and behind the places.
    Template { literals: Vec<String>, places: Vec<Place> },
}

/// A parameter, or a field of it.
pub(crate) struct Place {
    root: Ident,
    fields: Vec<Member>,
    /// The string it was read from. Errors point there.
    span: Span,
}

impl Key {
    pub(crate) fn read(expr: Expr, of: Of, errors: &mut Errors) -> Option<Key> {
        let grammar = match values::string(&expr) {
            Some(text) => read(text, of).map_err(|wrong| errors.at(text.span(), wrong)).ok()?,
            None if matches!(expr, Expr::Lit(_)) => {
                errors.over(&expr, format!("this is a constant. {}", of.constant()));
                return None;
            }
            None => Grammar::Expr(values::expression(expr, errors)),
        };
        Some(Key { of, grammar })
    }

    fn places(&self) -> &[Place] {
        match &self.grammar {
            Grammar::Expr(_) => &[],
            Grammar::Place(place) => std::slice::from_ref(place),
            Grammar::Template { places, .. } => places,
        }
    }

    /// Every place must start at something that the function was given.
    pub(crate) fn validate(&self, function: &Function, errors: &mut Errors) {
        for place in self.places() {
            if function.binding(&place.root).is_none() {
                let (root, known, constant) = (place.root.unraw(), function.known(), self.of.constant());
                errors.at(place.span, format!("no parameter of this function is called `{root}`: {known}. {constant}"));
            }
        }
    }

    // Input:  "order:{symbol}:{req.qty}"
    // Output: Key::template(&["order:", ":", ""], &[&symbol, &req.qty])
    pub(crate) fn expand(&self, function: &Function, runtime: &Runtime) -> TokenStream {
        match &self.grammar {
            Grammar::Expr(expr) => {
                let of = runtime.private(quote!(Key::of));
                let value = borrowed(expr);
                quote!(#of(#value))
            }
            Grammar::Place(place) => {
                let of = runtime.private(quote!(Key::of));
                let value = place.expand(function);
                quote!(#of(#value))
            }
            Grammar::Template { literals, places } => {
                let template = runtime.private(quote!(Key::template));
                let values = places.iter().map(|place| place.expand(function));
                quote!(#template(&[#(#literals),*], &[#(#values),*]))
            }
        }
    }
}

fn read(text: &LitStr, of: Of) -> Result<Grammar, String> {
    let value = text.value();
    if value.contains(['{', '}']) {
        return template(&value, text.span(), of);
    }
    match place(&value, text.span()) {
        Some(place) => Ok(Grammar::Place(place)),
        None => Err(format!("`{value}` names no parameter. {}", of.constant())),
    }
}

impl Of {
    /// Why it must not be the same for every call, and what to write.
    const fn constant(self) -> &'static str {
        match self {
            Of::Claim => {
                "A key that is the same for every call would let the function run once ever: write the name of a \
                 parameter (`key = \"order_id\"`), a field of it (`key = \"req.id\"`), a template \
                 (`key = \"order:{order_id}\"`) or an expression without quotes"
            }
            Of::Task => {
                "A task that has the same id for every call is done once ever: write the name of a parameter \
                 (`id = \"order_id\"`), a field of it (`id = \"req.id\"`), a template (`id = \"order:{order_id}\"`) or an \
                 expression without quotes"
            }
        }
    }
}

impl Place {
    /// `&req.id`, located in the string and resolved where the parameter is.
    fn expand(&self, function: &Function) -> TokenStream {
        let Some(mut root) = function.binding(&self.root) else { return TokenStream::new() };
        let span = self.span;
        root.set_span(span.resolved_at(root.span()));
        let fields = &self.fields;
        quote_spanned!(span=> &#root #(.#fields)*)
    }
}

/// The members of a tuple are borrowed one by one, so that `key = (tenant, order)` moves neither.
pub(crate) fn borrowed(expr: &Expr) -> TokenStream {
    if let Expr::Tuple(tuple) = expr {
        let members = tuple.elems.iter().map(borrowed);
        return quote!(&(#(#members,)*));
    }
    let reference = ExprReference {
        attrs: Vec::new(),
        // Where the value is, so that an error about it starts there.
        and_token: Token![&](Span::mixed_site().located_at(expr.span())),
        mutability: None,
        expr: Box::new(expr.clone()),
    };
    quote!(#reference)
}

/// `req.id`, `pair.0`, `self.account`, `req.type`.
fn place(text: &str, span: Span) -> Option<Place> {
    let mut parts = text.split('.');
    let root = ident(parts.next()?, span)?;
    let fields = parts.map(|part| member(part, span)).collect::<Option<Vec<_>>>()?;
    Some(Place { root, fields, span })
}

fn member(text: &str, span: Span) -> Option<Member> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(|index| Member::Unnamed(syn::Index { index, span }));
    }
    ident(text, span).map(Member::Named)
}

/// A name as users think of it: `type` is `r#type`.
fn ident(text: &str, span: Span) -> Option<Ident> {
    let bare = text.strip_prefix("r#").unwrap_or(text);
    // Asked before the lexer, which would speak for itself about other text.
    if bare.chars().any(|c| c != '_' && !c.is_alphanumeric()) || ["_", "Self", "super", "crate"].contains(&bare) {
        return None;
    }
    let mut ident = Ident::parse_any.parse_str(text).ok()?;
    if text != "self" && syn::parse_str::<Ident>(text).is_err() {
        ident = Ident::new_raw(text, span);
    }
    ident.set_span(span);
    Some(ident)
}

fn template(text: &str, span: Span, of: Of) -> Result<Grammar, String> {
    let (mut literals, mut places) = (Vec::new(), Vec::new());
    let (mut literal, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        literal.push_str(before);
        rest = if let Some(after) = after.strip_prefix("{{") {
            literal.push('{');
            after
        } else if let Some(after) = after.strip_prefix("}}") {
            literal.push('}');
            after
        } else if let Some(after) = after.strip_prefix('{') {
            let (inner, after) =
                after.split_once('}').ok_or("a `{` without its `}`; for the character itself write `{{`")?;
            let place = place(inner.trim(), span).ok_or_else(|| {
                format!("`{{{inner}}}` is no parameter and no field of one: write `{{order_id}}` or `{{req.id}}`")
            })?;
            if literal.is_empty() && !places.is_empty() {
                return Err(RUN_TOGETHER.into());
            }
            literals.push(std::mem::take(&mut literal));
            places.push(place);
            after
        } else {
            return Err("a `}` without its `{`; for the character itself write `}}`".into());
        };
    }
    literal.push_str(rest);
    literals.push(literal);
    if places.is_empty() {
        return Err(format!("this template has no interpolation. {}", of.constant()));
    }
    if literals.iter().any(|literal| literal.contains('%')) {
        return Err("`%` marks what was escaped in an interpolation, so the text around it can't have one".into());
    }
    Ok(Grammar::Template { literals, places })
}

const RUN_TOGETHER: &str = "two interpolations stand side by side, so that `1` and `23` would be the same key as `12` and \
                            `3`: put something between them, such as `:`";

#[cfg(test)]
mod tests {
    use quote::quote;
    use syn::parse_quote;

    use super::*;

    fn expand(key: Expr) -> String {
        let function =
            Function::parse(quote! { fn f(&self, order: u64, r#type: &str, Args { req, .. }: Args) {} }).ok().unwrap();
        let mut errors = Errors::default();
        let key = Key::read(key, Of::Claim, &mut errors);
        if let Some(key) = &key {
            key.validate(&function, &mut errors);
        }
        match (crate::tests::messages(errors).first(), key) {
            (Some(error), _) => format!("error: {error}"),
            (None, Some(key)) => key.expand(&function, &Runtime::default()).to_string().replace(' ', ""),
            (None, None) => unreachable!(),
        }
    }

    #[test]
    fn places() {
        assert_eq!(expand(parse_quote!("order")), "::portcullis::__private::Key::of(&order)");
        assert_eq!(expand(parse_quote!("req.id")), "::portcullis::__private::Key::of(&req.id)");
        assert_eq!(expand(parse_quote!("req.0.type")), "::portcullis::__private::Key::of(&req.0.r#type)");
        assert_eq!(expand(parse_quote!("self.account")), "::portcullis::__private::Key::of(&self.account)");
        assert_eq!(expand(parse_quote!("type")), "::portcullis::__private::Key::of(&r#type)");
    }

    #[test]
    fn expressions_are_borrowed_and_tuples_member_by_member() {
        assert_eq!(expand(parse_quote!(order)), "::portcullis::__private::Key::of(&order)");
        assert_eq!(expand(parse_quote!(order + 1)), "::portcullis::__private::Key::of(&(order+1))");
        assert_eq!(
            expand(parse_quote!((req.a, (order, x)))),
            "::portcullis::__private::Key::of(&(&req.a,&(&order,&x,),))"
        );
    }

    #[test]
    fn templates() {
        assert_eq!(
            expand(parse_quote!("{{o}}:{order}:{ req.qty }")),
            "::portcullis::__private::Key::template(&[\"{o}:\",\":\",\"\"],&[&order,&req.qty])"
        );
    }

    #[test]
    fn keys_that_would_be_constant_or_ambiguous_are_refused() {
        for (key, part) in [
            (parse_quote!("orders"), "is called `orders`: it has `order`, `type` and `req`"),
            (parse_quote!("my key"), "names no parameter"),
            (parse_quote!(""), "names no parameter"),
            (parse_quote!("req."), "names no parameter"),
            (parse_quote!(7), "run once ever"),
            (parse_quote!("{{order}}"), "no interpolation"),
            (parse_quote!("{order}{type}"), "side by side"),
            (parse_quote!("100%{order}"), "`%`"),
            (parse_quote!("{order"), "without its `}`"),
            (parse_quote!("order}"), "without its `{`"),
            (parse_quote!("{}"), "no parameter"),
            (parse_quote!("."), "names no parameter"),
            (parse_quote!("order.99999999999"), "names no parameter"),
            (parse_quote!("order.-1"), "names no parameter"),
            (parse_quote!("'order"), "names no parameter"),
            (parse_quote!("ord\"er"), "names no parameter"),
            (parse_quote!("r#self"), "names no parameter"),
            (parse_quote!("crate"), "names no parameter"),
            (parse_quote!("_"), "names no parameter"),
            (parse_quote!("{self.²}"), "no parameter"),
            (parse_quote!("fn"), "is called `fn`"),
            (parse_quote!("{{order}"), "without its `{`"),
            (parse_quote!("{order{type}}"), "no parameter"),
            (parse_quote!("{order:?}"), "no parameter"),
            (parse_quote!("{nobody}"), "is called `nobody`"),
            (parse_quote!(find(order)?), "`?` can't stand in an argument"),
            (parse_quote!(find(order).await), "`.await` can't stand"),
            (parse_quote!({ return Ok(7) }), "`return` can't stand"),
        ] {
            let found = expand(key);
            assert!(found.starts_with("error: ") && found.contains(part), "{part}: {found}");
        }
    }
}
