//! What `#[task(…)]` says.

use proc_macro2::{Ident, TokenStream};
use syn::{Expr, Lit};

use crate::args::Args;
use crate::errors::Errors;
use crate::key::{Key, Of};
use crate::model::{OnRefusal, limits, refusal};
use crate::paths::Runtime;
use crate::values;

pub(crate) struct Task {
    /// `None` only beside an error.
    pub(crate) id: Option<Key>,
    pub(crate) kind: Option<Expr>,
    pub(crate) agent: Option<Expr>,
    /// Methods of `portcullis::budget::Limits` and their arguments.
    pub(crate) limits: Vec<(Ident, TokenStream)>,
    pub(crate) on_exceed: OnRefusal,
    pub(crate) durable: bool,
}

impl Task {
    pub(crate) fn read(mut args: Args, runtime: &Runtime, errors: &mut Errors) -> Task {
        if !args.has("id") && !args.flawed {
            errors.at(
                args.span,
                "`#[task(…)]` needs an id, which says which piece of work this is: `id = \"order_id\"`, the name of a parameter",
            );
        }
        let (limits, _) = limits(&mut args, runtime, errors);
        Task {
            id: args.take_expr("id").and_then(|expr| Key::read(expr, Of::Task, errors)),
            kind: args.take_expr("kind").and_then(|expr| name("kind", "kind = \"refund\"", expr, errors)),
            agent: args.take_expr("agent").and_then(|expr| name("agent", "agent = \"agent-7\"", expr, errors)),
            limits,
            on_exceed: refusal("on_exceed", &mut args, errors).unwrap_or(OnRefusal::Return),
            durable: args.take_expr("durable").is_some_and(|expr| flag("durable", &expr, errors)),
        }
    }
}

/// A text, or an expression that can be written as one.
fn name(argument: &str, example: &str, expr: Expr, errors: &mut Errors) -> Option<Expr> {
    if let Expr::Lit(literal) = &expr
        && values::string(&expr).is_none_or(|text| text.value().trim().is_empty())
    {
        errors.over(literal, format!("`{argument}` is a name: write `{example}`, or an expression"));
        return None;
    }
    Some(values::expression(expr, errors))
}

/// `true` or `false`: it is known at compile time whether a task is durable.
fn flag(argument: &str, expr: &Expr, errors: &mut Errors) -> bool {
    match expr {
        Expr::Lit(literal) if matches!(&literal.lit, Lit::Bool(_)) => {
            matches!(&literal.lit, Lit::Bool(flag) if flag.value)
        }
        other => {
            errors.over(other, format!("`{argument}` is `true` or `false`, without quotes"));
            false
        }
    }
}
