//! Arguments: what stands in the parentheses of one attribute, before anybody asks what it means.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Expr, Ident, Token, token};

use crate::errors::{Errors, listed, nearest};

/// The attributes of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    Boundary,
    Once,
    Budgeted,
    Task,
}

/// What every attribute takes, once per function.
const SHARED: &[&str] = &["action", "with", "refused", "crate"];

/// Fixed by the design, not built yet: the answer must not be "no such thing".
const LATER: &[&str] = &["approval"];

impl Guard {
    pub(crate) const ALL: [Guard; 4] = [Guard::Boundary, Guard::Once, Guard::Budgeted, Guard::Task];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Guard::Boundary => "boundary",
            Guard::Once => "once",
            Guard::Budgeted => "budgeted",
            Guard::Task => "task",
        }
    }

    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Guard::Boundary => &["on_deny", "on_fault", "permit", "resource", "width"],
            Guard::Once => &[
                "key",
                "skip",
                "on_err",
                "reconcile",
                "reconcile_after",
                "provider_window",
                "wait",
                "max_run",
                "claim",
                "settle",
                "retain",
            ],
            Guard::Budgeted => &["max_steps", "max_depth", "max_duration", "max_cost", "cost", "per", "on_exceed"],
            Guard::Task => {
                &["id", "kind", "agent", "max_steps", "max_depth", "max_duration", "max_cost", "on_exceed", "durable"]
            }
        }
    }

    /// The argument without which it is somebody else's attribute of the same name, or a mistake.
    pub(crate) const fn required(self) -> Option<&'static str> {
        match self {
            Guard::Once => Some("key"),
            Guard::Task => Some("id"),
            Guard::Boundary | Guard::Budgeted => None,
        }
    }

    fn knows(self, name: &str) -> bool {
        self.arguments().contains(&name) || SHARED.contains(&name)
    }
}

/// One attribute's arguments. Each is taken out by name, so nothing is read twice.
pub(crate) struct Args {
    pub(crate) guard: Guard,
    /// Where a missing argument is reported: the attribute.
    pub(crate) span: Span,
    /// `#[boundary(before_cost)]`: what stands alone.
    pub(crate) words: Vec<Ident>,
    values: Vec<(Ident, Value)>,
    /// Some argument is unknown: with `has`, how another crate's attribute of the same name is recognised.
    strange: bool,
    /// Some argument is wrong and was reported, so nothing is said about what is missing.
    pub(crate) flawed: bool,
}

enum Value {
    /// `name = EXPR`
    Expr(Expr),
    /// `name(a, b)`
    List(Vec<Ident>),
}

/// Reads what stands between commas, with every mistake in it. `true` if there was one.
pub(crate) fn each_argument(
    tokens: TokenStream,
    errors: &mut Errors,
    mut argument: impl FnMut(ParseStream<'_>, &mut Errors) -> syn::Result<()>,
) -> bool {
    let mut flawed = false;
    let parser = |input: ParseStream<'_>| {
        while !input.is_empty() {
            // One bad argument must not hide the next.
            if let Err(error) = argument(input, errors) {
                errors.add(error);
                flawed = true;
                while !input.is_empty() && !input.peek(Token![,]) {
                    input.parse::<TokenTree>()?;
                }
            }
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(())
    };
    if let Err(error) = parser.parse2(tokens) {
        errors.add(error);
    }
    flawed
}

impl Args {
    // Input:  key = "order_id", skip(client), wait = "5s"
    // Output: [("key", Expr), ("skip", List), ("wait", Expr)], and every mistake in the rest.
    pub(crate) fn parse(guard: Guard, span: Span, tokens: TokenStream, errors: &mut Errors) -> Args {
        let mut args = Args { guard, span, words: Vec::new(), values: Vec::new(), strange: false, flawed: false };
        let flawed = each_argument(tokens, errors, |input, errors| args.argument(input, errors));
        args.flawed |= flawed;
        args
    }

    fn argument(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<()> {
        let Ok(name) = input.call(Ident::parse_any) else {
            self.strange = true;
            let text = format!("expected an argument, `name = value`. {}", self.supported());
            return Err(input.error(text));
        };
        let text = name.unraw().to_string();
        if input.is_empty() || input.peek(Token![,]) {
            if self.guard == Guard::Boundary && !self.guard.knows(&text) {
                self.words.push(name);
                return Ok(());
            }
            self.known(&name, &text)?;
            let value = if text == "skip" { "`skip(a, b)`".into() } else { format!("`{text} = …`") };
            return Err(syn::Error::new(name.span(), format!("`{text}` needs a value: write {value}")));
        }
        let value = if input.peek(token::Paren) {
            let content;
            syn::parenthesized!(content in input);
            if text != "skip" {
                content.parse::<TokenStream>()?;
                self.known(&name, &text)?;
                return Err(syn::Error::new(name.span(), format!("write `{text} = …`, without parentheses")));
            }
            let names = Punctuated::<Ident, Token![,]>::parse_terminated_with(&content, Ident::parse_any)?;
            Value::List(names.into_iter().collect())
        } else {
            let equals: Token![=] = input.parse()?;
            self.known(&name, &text)?;
            if text == "skip" {
                return Err(syn::Error::new(name.span(), "write `skip(a, b)`, with the names of the parameters"));
            }
            if input.is_empty() || input.peek(Token![,]) {
                return Err(syn::Error::new(equals.span, format!("`{text}` needs a value: write `{text} = …`")));
            }
            Value::Expr(visible(input.parse()?))
        };
        if !input.is_empty() && !input.peek(Token![,]) {
            return Err(input.error("expected `,` between two arguments"));
        }
        self.known(&name, &text)?;
        if self.has(&text) {
            errors.at(name.span(), format!("`{text}` is given twice; keep one of them"));
        } else {
            self.values.push((name, value));
        }
        Ok(())
    }

    /// Says what is wrong with a name that this attribute does not know.
    fn known(&mut self, name: &Ident, text: &str) -> syn::Result<()> {
        if self.guard.knows(text) {
            return Ok(());
        }
        let attribute = self.guard.name();
        let message = if LATER.contains(&text) {
            format!("`{text}` is not yet available. {}", self.supported())
        } else if let Some(owner) = Guard::ALL.iter().find(|guard| guard.knows(text)) {
            format!("`{text}` belongs to `#[{}(…)]`, not to `#[{attribute}(…)]`", owner.name())
        } else {
            self.strange = true;
            let meant = match nearest(text, self.guard.arguments().iter().chain(SHARED).copied()) {
                Some(name) => format!(": did you mean `{name}`?"),
                None => ".".to_owned(),
            };
            format!("`#[{attribute}(…)]` has no argument `{text}`{meant} {}", self.supported())
        };
        Err(syn::Error::new(name.span(), message))
    }

    fn supported(&self) -> String {
        let kinds = if self.guard == Guard::Boundary { "one or more boundaries, and " } else { "" };
        format!("It takes {kinds}{}", listed(self.guard.arguments().iter().chain(SHARED)))
    }

    /// It does not look like ours: another crate may have an attribute of this name.
    pub(crate) fn is_strange(&self) -> bool {
        let nothing = self.guard == Guard::Task && self.words.is_empty() && self.values.is_empty() && !self.flawed;
        self.guard.required().is_some_and(|required| !self.has(required)) && (self.strange || nothing)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(known, _)| known.unraw() == name)
    }

    /// The path in `crate = ::path`, as an attribute may spell it.
    pub(crate) fn root(&self) -> Option<String> {
        self.values.iter().find_map(|(name, value)| match value {
            Value::Expr(expr) if name == "crate" => root(expr),
            _ => None,
        })
    }

    fn take(&mut self, name: &str) -> Option<(Ident, Value)> {
        let index = self.values.iter().position(|(known, _)| known.unraw() == name)?;
        Some(self.values.swap_remove(index))
    }

    /// The name as written (for its span) and the value of `name = EXPR`.
    pub(crate) fn take_named(&mut self, name: &str) -> Option<(Ident, Expr)> {
        match self.take(name)? {
            (name, Value::Expr(expr)) => Some((name, expr)),
            (_, Value::List(_)) => None,
        }
    }

    pub(crate) fn take_expr(&mut self, name: &str) -> Option<Expr> {
        self.take_named(name).map(|(_, expr)| expr)
    }

    /// The names in `name(a, b)`.
    pub(crate) fn take_list(&mut self, name: &str) -> Vec<Ident> {
        match self.take(name) {
            Some((_, Value::List(list))) => list,
            _ => Vec::new(),
        }
    }
}

/// A path to a crate, as an attribute may spell it.
pub(crate) fn root(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Path(path) => {
            Some(path.to_token_stream().to_string().replace(' ', "").trim_start_matches("::").to_owned())
        }
        _ => None,
    }
}

/// A `$value:expr` of a `macro_rules!` comes in an invisible group.
pub(crate) fn visible(expr: Expr) -> Expr {
    match expr {
        Expr::Group(group) => visible(*group.expr),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn mistakes(guard: Guard, tokens: TokenStream) -> Vec<String> {
        let mut errors = Errors::default();
        Args::parse(guard, Span::call_site(), tokens, &mut errors);
        crate::tests::messages(errors)
    }

    #[test]
    fn arguments_are_read_in_any_order() {
        let mut errors = Errors::default();
        let tokens = quote!(wait = "5s", skip(a, b,), key = f::<A, B>(x),);
        let mut args = Args::parse(Guard::Once, Span::call_site(), tokens, &mut errors);
        assert!(errors.is_empty());
        assert_eq!(args.take_list("skip").len(), 2);
        assert!(args.take_expr("key").is_some());
        assert!(args.take_expr("key").is_none(), "taken once");
        assert!(args.has("wait"));
    }

    #[test]
    fn every_mistake_is_reported_and_none_hides_another() {
        let found =
            mistakes(Guard::Budgeted, quote!(max_step = 5, max_steps = 1, max_steps = 2, key = "a", per =, "x"));
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(found[0].starts_with("`#[budgeted(…)]` has no argument `max_step`: did you mean `max_steps`? It"));
        assert_eq!(found[1], "`max_steps` is given twice; keep one of them");
        assert_eq!(found[2], "`key` belongs to `#[once(…)]`, not to `#[budgeted(…)]`");
        assert_eq!(found[3], "`per` needs a value: write `per = …`");
        assert!(found[4].starts_with("expected an argument"));
    }

    #[test]
    fn half_typed_and_wrongly_shaped_arguments() {
        assert_eq!(mistakes(Guard::Once, quote!(key)), ["`key` needs a value: write `key = …`"]);
        assert_eq!(mistakes(Guard::Once, quote!(key("a"))), ["write `key = …`, without parentheses"]);
        assert_eq!(mistakes(Guard::Once, quote!(skip = a)), ["write `skip(a, b)`, with the names of the parameters"]);
        assert_eq!(mistakes(Guard::Once, quote!(key = a b)), ["expected `,` between two arguments"]);
        assert_eq!(mistakes(Guard::Once, quote!(key = req., wait = "5s")).len(), 1);
        assert!(mistakes(Guard::Boundary, quote!(approval = "1m"))[0].starts_with("`approval` is not yet available"));
    }
}
