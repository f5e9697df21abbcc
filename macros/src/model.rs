//! The model: what the attributes of one function say together, defaults filled in.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Expr, ExprPath, Ident};

use crate::args::{Args, Guard};
use crate::errors::{Errors, listed, nearest};
use crate::key::{Key, Of};
use crate::paths::{Runtime, ours};
use crate::task::Task;
use crate::values;

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) runtime: Runtime,
    pub(crate) action: Option<Expr>,
    pub(crate) with: Option<Expr>,
    pub(crate) refused: Option<ExprPath>,
    pub(crate) boundary: Option<Boundary>,
    pub(crate) once: Option<Once>,
    pub(crate) budgeted: Option<Budgeted>,
    pub(crate) task: Option<Task>,
}

/// What follows a refusal, as `portcullis::OnRefusal` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnRefusal {
    Exit,
    Return,
}

pub(crate) struct Boundary {
    /// As `portcullis::Boundary` spells them, with the spans of the user's words.
    pub(crate) kinds: Vec<Ident>,
    pub(crate) on_deny: OnRefusal,
    pub(crate) on_fault: OnRefusal,
    pub(crate) permit: Option<Ident>,
    pub(crate) resource: Option<Expr>,
    pub(crate) width: Option<(Ident, Expr)>,
}

pub(crate) struct Once {
    pub(crate) span: Span,
    /// `None` only beside an error.
    pub(crate) key: Option<Key>,
    pub(crate) skip: Vec<Ident>,
    pub(crate) on_err: OnErr,
    pub(crate) reconcile: Option<Expr>,
    /// What is said of the site, in methods of `Site` and their arguments.
    pub(crate) site: Vec<(Ident, Option<TokenStream>)>,
    pub(crate) claim: Option<Ident>,
}

/// As the runtime spells it, where the user wrote it.
pub(crate) enum OnErr {
    Fixed(Ident),
    Classify(ExprPath),
}

pub(crate) struct Budgeted {
    /// Methods of `portcullis::budget::Limits` and their arguments.
    pub(crate) limits: Vec<(Ident, TokenStream)>,
    pub(crate) cost: Option<TokenStream>,
    pub(crate) per: Per,
    pub(crate) on_exceed: OnRefusal,
}

pub(crate) enum Per {
    Task,
    Call,
    Process,
    Key(Expr),
}

/// The five boundaries, as the attribute and as `portcullis::Boundary` spell them.
const KINDS: [(&str, &str); 5] = [
    ("startup", "Startup"),
    ("before_job", "BeforeJob"),
    ("before_cost", "BeforeCost"),
    ("before_side_effect", "BeforeSideEffect"),
    ("before_fan_out", "BeforeFanOut"),
];

const REFUSALS: [(&str, OnRefusal); 2] = [("exit", OnRefusal::Exit), ("return", OnRefusal::Return)];

impl Model {
    pub(crate) fn read(family: Vec<Args>, errors: &mut Errors) -> Model {
        let mut model = Model::default();
        let mut family = family;
        model.shared(&mut family, errors);
        for args in family {
            match args.guard {
                Guard::Boundary => model.boundary = Some(Boundary::read(args, errors)),
                Guard::Once => model.once = Some(Once::read(args, errors)),
                Guard::Budgeted => model.budgeted = Some(Budgeted::read(args, &model.runtime, errors)),
                Guard::Task => model.task = Some(Task::read(args, &model.runtime, errors)),
            }
        }
        model
    }

    /// Once per function, on any of its attributes.
    fn shared(&mut self, family: &mut [Args], errors: &mut Errors) {
        let mut one = |name: &str, errors: &mut Errors| {
            let mut given = family.iter_mut().filter_map(|args| args.take_named(name));
            let first = given.next();
            for (second, _) in given {
                errors.at(second.span(), format!("`{name}` is given twice for this function; keep one of them"));
            }
            first.map(|(_, expr)| expr)
        };
        if let Some(expr) = one("crate", errors) {
            self.runtime = Runtime::read(&expr, errors);
        }
        self.action = one("action", errors).map(|expr| values::expression(expr, errors));
        self.with = one("with", errors).map(|expr| values::expression(expr, errors));
        self.refused =
            one("refused", errors).and_then(|expr| values::path("refused", expr, "fn(Refused) -> Ret", errors));
        if let Some(Expr::Lit(literal)) = &self.action
            && values::string(&Expr::Lit(literal.clone())).is_none_or(|text| text.value().trim().is_empty())
        {
            errors.over(
                literal,
                "`action` is the name under which this is asked, counted and kept: `action = \"orders.refund\"`",
            );
        }
    }

    /// Can anything on this function hand a refusal back to the caller?
    pub(crate) fn returns_refusals(&self) -> bool {
        let boundary = self.boundary.as_ref().map(|boundary| [boundary.on_deny, boundary.on_fault]);
        let budgeted = self.budgeted.as_ref().map(|budgeted| budgeted.on_exceed);
        let task = self.task.as_ref().map(|task| task.on_exceed);
        let mut all = boundary.into_iter().flatten().chain(budgeted).chain(task);
        self.once.is_some() || all.any(|on| on == OnRefusal::Return)
    }

    /// `permit = NAME`, if there is a boundary that has one.
    pub(crate) fn permit(&self) -> Option<(&Ident, &Ident)> {
        let boundary = self.boundary.as_ref()?;
        Some((boundary.permit.as_ref()?, boundary.kinds.first()?))
    }

    pub(crate) fn claim(&self) -> Option<&Ident> {
        self.once.as_ref()?.claim.as_ref()
    }
}

impl Boundary {
    fn read(mut args: Args, errors: &mut Errors) -> Boundary {
        let mut kinds: Vec<Ident> = Vec::new();
        let silent = args.words.is_empty() && !args.flawed;
        let names = || KINDS.iter().map(|&(name, _)| name);
        for word in std::mem::take(&mut args.words) {
            let text = word.to_string();
            match KINDS.iter().find(|&&(name, _)| name == text) {
                Some(&(_, kind)) if kinds.iter().any(|known| known == kind) => {
                    errors.at(word.span(), format!("`{text}` is given twice; it is asked once"));
                }
                Some(&(_, kind)) => kinds.push(Ident::new(kind, word.span())),
                None => {
                    let meant = match nearest(&text, names()) {
                        Some(name) => format!(": did you mean `{name}`?"),
                        None => ".".to_owned(),
                    };
                    errors
                        .at(word.span(), format!("there is no boundary `{text}`{meant} There are {}", listed(names())));
                }
            }
        }
        if silent {
            errors.at(
                args.span,
                format!("`#[boundary(…)]` must say where it stands: one or more of {}", listed(names())),
            );
        }
        let on_deny = refusal("on_deny", &mut args, errors);
        let on_fault = refusal("on_fault", &mut args, errors);
        Boundary {
            kinds,
            on_deny: on_deny.unwrap_or(OnRefusal::Exit),
            on_fault: on_fault.or(on_deny).unwrap_or(OnRefusal::Exit),
            permit: args.take_expr("permit").and_then(|expr| values::name("permit", &expr, errors)),
            resource: args.take_expr("resource").map(|expr| values::expression(expr, errors)),
            width: args.take_named("width").map(|(name, expr)| (name, values::expression(expr, errors))),
        }
    }
}

impl Once {
    fn read(mut args: Args, errors: &mut Errors) -> Once {
        let span = args.span;
        if !args.has("key") && !args.flawed {
            errors.at(
                span,
                "`#[once(…)]` needs a key, which says what must not happen twice: `key = \"order_id\"`, the name of a parameter",
            );
        }
        let words = [("hold", "Hold"), ("release", "Release"), ("record", "Record")];
        let on_err = args.take_expr("on_err").and_then(|expr| match expr {
            Expr::Path(path) if path.path.get_ident().is_none_or(|name| words.iter().all(|(word, _)| name != word)) => {
                Some(OnErr::Classify(path))
            }
            other => {
                let name = values::choice("on_err", &other, &words, errors)?;
                Some(OnErr::Fixed(Ident::new(name, other.span())))
            }
        });
        let reconcile = args.take_expr("reconcile").and_then(|expr| match expr {
            Expr::Path(_) | Expr::Closure(_) => Some(expr),
            other => {
                errors.over(
                    other,
                    "`reconcile` is the path of a `fn(&Doubt) -> Reconciled<T>`, or a closure of this shape; `async`, if the \
                     guarded function is",
                );
                None
            }
        });
        let claim = args.take_expr("claim").and_then(|expr| values::name("claim", &expr, errors));
        let site = Once::site(&mut args, reconcile.is_some(), claim.is_some(), errors);
        Once {
            span,
            key: args.take_expr("key").and_then(|expr| Key::read(expr, Of::Claim, errors)),
            skip: args.take_list("skip"),
            on_err: on_err.unwrap_or_else(|| OnErr::Fixed(Ident::new("Hold", Span::mixed_site()))),
            reconcile,
            site,
            claim,
        }
    }
}

impl Once {
    /// What is known of the function before any call of it.
    fn site(args: &mut Args, reconciles: bool, binds: bool, errors: &mut Errors) -> Vec<(Ident, Option<TokenStream>)> {
        let mut site = Vec::new();
        if let Some((name, expr)) = args.take_named("wait") {
            site.extend(values::duration("wait", expr, errors).map(|value| (method("wait", &name), Some(value))));
        }
        for argument in ["retain", "provider_window", "max_run"] {
            let Some((name, expr)) = args.take_named(argument) else { continue };
            let value = values::some_duration(argument, expr, errors);
            site.extend(value.map(|value| (method(argument, &name), Some(value))));
        }
        match args.take_named("reconcile_after") {
            Some((name, _)) if !reconciles && !args.flawed => {
                errors.at(
                    name.span(),
                    "`reconcile_after` says how long to wait before `reconcile` is asked, and there is no `reconcile` here",
                );
            }
            Some((name, expr)) => {
                let value = values::duration("reconcile_after", expr, errors);
                site.extend(value.map(|value| (method("reconcile", &name), Some(value))));
            }
            None if reconciles => {
                let name = Ident::new("reconcile", Span::mixed_site());
                site.push((name, Some(ours!(::core::time::Duration::ZERO))));
            }
            None => {}
        }
        if let Some((name, expr)) = args.take_named("settle") {
            let words =
                [("durable", None), ("lazy", Some("settle_lazily")), ("transaction", Some("settle_in_transaction"))];
            let chosen = values::choice("settle", &expr, &words, errors).flatten();
            if chosen == Some("settle_in_transaction") && !binds && !args.flawed {
                errors.at(
                    name.span(),
                    "with `settle = \"transaction\"` the body settles by itself: bind its claim, `claim = claim`, and call \
                     `claim.settle_in(&tx, &receipt)` before `tx.commit()`",
                );
            }
            site.extend(chosen.map(|chosen| (method(chosen, &name), None)));
        }
        site
    }
}

/// A method of the runtime's, where the user wrote its argument.
fn method(name: &str, written: &Ident) -> Ident {
    Ident::new(name, Span::mixed_site().located_at(written.span()))
}

impl Budgeted {
    fn read(mut args: Args, runtime: &Runtime, errors: &mut Errors) -> Budgeted {
        let (limits, given) = limits(&mut args, runtime, errors);
        if !given && !args.flawed {
            errors.at(
                args.span,
                "`#[budgeted(…)]` without a limit stops nothing: give `max_steps`, `max_depth`, `max_duration` or `max_cost`",
            );
        }
        let words = [("task", 0), ("call", 1), ("process", 2)];
        let per = args.take_expr("per").and_then(|expr| match &expr {
            Expr::Lit(_) => values::choice("per", &expr, &words, errors).map(|choice| match choice {
                0 => Per::Task,
                1 => Per::Call,
                _ => Per::Process,
            }),
            _ => Some(Per::Key(values::expression(expr, errors))),
        });
        Budgeted {
            limits,
            cost: args.take_expr("cost").and_then(|expr| match &expr {
                Expr::Lit(_) => values::cost("cost", &expr, runtime, errors),
                _ => {
                    let expr = values::expression(expr, errors);
                    Some(quote!(#expr))
                }
            }),
            per: per.unwrap_or(Per::Task),
            on_exceed: refusal("on_exceed", &mut args, errors).unwrap_or(OnRefusal::Return),
        }
    }
}

/// Methods of `portcullis::budget::Limits` and their arguments; and whether any limit was given, usable or not.
pub(crate) fn limits(args: &mut Args, runtime: &Runtime, errors: &mut Errors) -> (Vec<(Ident, TokenStream)>, bool) {
    let mut limits = Vec::new();
    let mut given = false;
    for (argument, method) in
        [("max_steps", "steps"), ("max_depth", "depth"), ("max_duration", "duration"), ("max_cost", "cost")]
    {
        let Some((name, expr)) = args.take_named(argument) else { continue };
        given = true;
        let value = match method {
            "duration" => values::some_duration(argument, expr, errors),
            "cost" => values::max_cost(argument, expr, runtime, errors),
            _ => values::count(argument, expr, errors),
        };
        limits.extend(value.map(|value| (Ident::new(method, name.span()), value)));
    }
    (limits, given)
}

pub(crate) fn refusal(name: &str, args: &mut Args, errors: &mut Errors) -> Option<OnRefusal> {
    args.take_expr(name).and_then(|expr| values::choice(name, &expr, &REFUSALS, errors))
}
