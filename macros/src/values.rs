//! What an argument's value may be.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, ExprPath, Ident, Lit, UnOp};

use crate::errors::{Errors, listed, nearest};
use crate::literal;
use crate::paths::Runtime;

/// An expression of the user's that runs before the call is guarded.
///
/// `return`, `?` and `.await` in it would leave or suspend the function before anybody was asked.
pub(crate) fn expression(expr: Expr, errors: &mut Errors) -> Expr {
    if let Some((span, word)) = early_exit(expr.to_token_stream()) {
        errors.at(
            span,
            format!(
                "`{word}` can't stand in an argument: it would leave the function before it is guarded; \
                 move it to a function that always returns a value, and call that here"
            ),
        );
    }
    expr
}

fn early_exit(tokens: TokenStream) -> Option<(Span, &'static str)> {
    let mut after_dot = false;
    for tree in tokens {
        match &tree {
            TokenTree::Ident(ident) if ident == "return" => return Some((ident.span(), "return")),
            TokenTree::Ident(ident) if after_dot && ident == "await" => return Some((ident.span(), ".await")),
            TokenTree::Punct(punct) if punct.as_char() == '?' => return Some((punct.span(), "?")),
            TokenTree::Group(group) => {
                if let Some(found) = early_exit(group.stream()) {
                    return Some(found);
                }
            }
            _ => {}
        }
        after_dot = matches!(&tree, TokenTree::Punct(punct) if punct.as_char() == '.');
    }
    None
}

/// One of a few words in quotes.
pub(crate) fn choice<T: Copy>(name: &str, expr: &Expr, choices: &[(&str, T)], errors: &mut Errors) -> Option<T> {
    let written = string(expr).map(|text| text.value());
    let found = choices.iter().find(|(word, _)| written.as_deref() == Some(*word));
    if found.is_none() {
        let words = listed(choices.iter().map(|(word, _)| format!("\"{word}\"")));
        let bare = expr.to_token_stream().to_string();
        let meant = nearest(written.as_deref().unwrap_or(&bare), choices.iter().map(|&(word, _)| word))
            .or_else(|| choices.iter().map(|&(word, _)| word).find(|word| *word == bare))
            .map(|word| format!("; did you mean `\"{word}\"`?"))
            .unwrap_or_default();
        errors.over(expr, format!("`{name}` is one of {words}{meant}"));
    }
    found.map(|&(_, value)| value)
}

/// `permit = NAME`: a new name for the body.
pub(crate) fn name(argument: &str, expr: &Expr, errors: &mut Errors) -> Option<Ident> {
    let ident = match expr {
        Expr::Path(path) if path.attrs.is_empty() && path.qself.is_none() => path.path.get_ident().cloned(),
        _ => None,
    };
    if ident.is_none() {
        errors.over(expr, format!("`{argument}` is the name that the body will know it by: write `{argument} = name`"));
    }
    ident
}

/// `refused = path`: a function.
pub(crate) fn path(argument: &str, expr: Expr, signature: &str, errors: &mut Errors) -> Option<ExprPath> {
    match expr {
        Expr::Path(path) => Some(path),
        other => {
            errors.over(other, format!("`{argument}` is the path of a `{signature}`: write `{argument} = path`"));
            None
        }
    }
}

/// A limit: a whole number above zero, or a constant.
pub(crate) fn count(argument: &str, expr: Expr, errors: &mut Errors) -> Option<TokenStream> {
    let wrong = match &expr {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => match number.base10_parse::<u64>() {
            Ok(0) => "nothing would ever run; a limit is at least 1",
            Ok(_) => return Some(expr.into_token_stream()),
            Err(_) => "this number is too large for a limit",
        },
        Expr::Lit(_) => "a limit is a whole number above zero, without quotes",
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => "a limit can't be negative",
        _ => return constant(argument, expr, errors),
    };
    errors.over(&expr, format!("`{argument}`: {wrong}"));
    None
}

/// `"1h 30m"`, or a constant `Duration`.
pub(crate) fn duration(argument: &str, expr: Expr, errors: &mut Errors) -> Option<TokenStream> {
    let Expr::Lit(literal) = &expr else { return constant(argument, expr, errors) };
    let nanos = match string(&expr).map(|text| literal::duration(&text.value())) {
        Some(Ok(nanos)) => nanos,
        Some(Err(wrong)) => {
            errors.over(literal, format!("`{argument}`: {wrong}; write a duration such as \"90s\" or \"1h 30m\""));
            return None;
        }
        None => {
            errors.over(
                literal,
                format!("`{argument}` is a duration with its unit in quotes, such as \"90s\" or \"1h 30m\""),
            );
            return None;
        }
    };
    let span = Span::mixed_site().located_at(expr.span());
    Some(match u64::try_from(nanos / 1_000_000) {
        Ok(millis) if nanos % 1_000_000 == 0 => quote_spanned!(span=> ::core::time::Duration::from_millis(#millis)),
        _ => {
            let secs = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
            let nanos = u32::try_from(nanos % 1_000_000_000).unwrap_or_default();
            quote_spanned!(span=> ::core::time::Duration::new(#secs, #nanos))
        }
    })
}

/// As [`duration`], but nothing at all makes no sense.
pub(crate) fn some_duration(argument: &str, expr: Expr, errors: &mut Errors) -> Option<TokenStream> {
    if string(&expr).is_some_and(|text| literal::duration(&text.value()) == Ok(0)) {
        errors.over(&expr, format!("`{argument}` can't be zero"));
        return None;
    }
    duration(argument, expr, errors)
}

/// `"5.00 USD"`. `None` if it is no literal.
pub(crate) fn cost(argument: &str, expr: &Expr, runtime: &Runtime, errors: &mut Errors) -> Option<TokenStream> {
    let Expr::Lit(literal) = expr else { return None };
    let text = string(expr).map(syn::LitStr::value);
    let wrong = match text.as_deref().map(literal::cost) {
        Some(Ok((micros, currency))) => {
            let cost = runtime.public(quote!(budget::Cost));
            let span = Span::mixed_site().located_at(literal.span());
            return Some(quote_spanned!(span=> #cost::from_micros(#micros, #currency)));
        }
        Some(Err(wrong)) => wrong,
        None => "an amount needs its currency",
    };
    errors.over(literal, format!("`{argument}`: {wrong}; write an amount and a currency, such as \"5.00 USD\""));
    None
}

/// `max_cost`: some money, or a constant.
pub(crate) fn max_cost(argument: &str, expr: Expr, runtime: &Runtime, errors: &mut Errors) -> Option<TokenStream> {
    if string(&expr).is_some_and(|text| literal::cost(&text.value()).is_ok_and(|(micros, _)| micros == 0)) {
        errors.over(&expr, format!("`{argument}`: nothing would ever run; a limit is above zero"));
        return None;
    }
    match &expr {
        Expr::Lit(_) => cost(argument, &expr, runtime, errors),
        _ => constant(argument, expr, errors),
    }
}

/// Anything that is no literal stands in a `static`, so it must be known at compile time.
pub(crate) fn constant(argument: &str, expr: Expr, errors: &mut Errors) -> Option<TokenStream> {
    let expr = expression(expr, errors);
    if let Some(span) = mentions(expr.to_token_stream(), "Self") {
        errors.at(
            span,
            format!("`{argument}` is one number for all types, so it can't depend on `Self`: name the type, or use a constant outside"),
        );
        return None;
    }
    Some(expr.into_token_stream())
}

/// Where `word` stands in the tokens, at any depth.
pub(crate) fn mentions(tokens: TokenStream, word: &str) -> Option<Span> {
    tokens.into_iter().find_map(|tree| match tree {
        TokenTree::Ident(ident) => (ident == word).then(|| ident.span()),
        TokenTree::Group(group) => mentions(group.stream(), word),
        _ => None,
    })
}

/// The literal, if the expression is a string.
pub(crate) fn string(expr: &Expr) -> Option<&syn::LitStr> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text),
        _ => None,
    }
}
