//! The pipeline as a whole, on tokens.

mod exempt;

use proc_macro2::TokenStream;
use quote::quote;
use syn::Item;

use crate::args::Guard;
use crate::errors::Errors;
use crate::family::guard;

/// What was reported, in order.
pub(crate) fn messages(errors: Errors) -> Vec<String> {
    items(errors.into_tokens()).iter().filter_map(error).collect()
}

fn items(tokens: TokenStream) -> Vec<Item> {
    match syn::parse2::<syn::File>(tokens.clone()) {
        Ok(file) => file.items,
        Err(error) => panic!("{error}: {tokens}"),
    }
}

/// The text of a `compile_error!`.
fn error(item: &Item) -> Option<String> {
    match item {
        Item::Macro(item) if item.mac.path.segments.last().unwrap().ident == "compile_error" => {
            Some(item.mac.parse_body::<syn::LitStr>().unwrap().value())
        }
        _ => None,
    }
}

fn pretty(tokens: TokenStream) -> String {
    prettyplease::unparse(&syn::File { shebang: None, frontmatter: None, attrs: Vec::new(), items: items(tokens) })
}

fn boundary(args: TokenStream, item: TokenStream) -> TokenStream {
    guard(Guard::Boundary, args, item)
}

fn once(args: TokenStream, item: TokenStream) -> TokenStream {
    guard(Guard::Once, args, item)
}

fn budgeted(args: TokenStream, item: TokenStream) -> TokenStream {
    guard(Guard::Budgeted, args, item)
}

/// The errors beside an item.
fn reported(tokens: TokenStream) -> Vec<String> {
    items(tokens).iter().filter_map(error).collect()
}

#[track_caller]
pub(crate) fn refuses(tokens: TokenStream, parts: &[&str]) {
    let found = reported(tokens);
    assert_eq!(found.len(), parts.len(), "{found:#?}");
    for (found, part) in found.iter().zip(parts) {
        assert!(found.contains(part), "`{part}` is not in: {found}");
    }
}

#[test]
fn the_quickstart_expands_to_something_readable() {
    let expansion = pretty(boundary(
        quote!(before_side_effect),
        quote! {
            #[once(action = "orders.refund", key = "order_id")]
            #[budgeted(max_steps = 50)]
            async fn refund(order_id: &str, cents: u64) -> Result<Receipt, RefundError> {
                stripe.refund(order_id, cents).await
            }
        },
    ));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/snapshots/quickstart.rs");
    if std::env::var_os("PORTCULLIS_SNAPSHOT").is_some() {
        std::fs::write(path, &expansion).unwrap();
    }
    assert_eq!(expansion, std::fs::read_to_string(path).unwrap(), "PORTCULLIS_SNAPSHOT=1 writes it anew");
    assert!(expansion.lines().count() <= 40, "{} lines", expansion.lines().count());
}

#[test]
fn the_order_of_the_attributes_does_not_matter() {
    let [b, o, u] = [quote!(before_cost, on_deny = "return"), quote!(key = "id", wait = "5s"), quote!(max_steps = 5)];
    let f = quote! { fn f(id: u64) -> R { g(id) } };
    let of = |imports: [&str; 2], expansion: TokenStream| {
        // Only the imports that are kept alive tell which attribute came first.
        let text = pretty(expansion);
        for name in imports {
            assert!(text.contains(&format!("{name} as _")), "{text}");
        }
        text.lines().filter(|line| !line.trim_start().starts_with("use {")).collect::<String>()
    };
    let expansions = [
        of(["once", "budgeted"], boundary(b.clone(), quote!(#[once(#o)] #[budgeted(#u)] #f))),
        of(["once", "budgeted"], boundary(b.clone(), quote!(#[budgeted(#u)] #[once(#o)] #f))),
        of(["boundary", "budgeted"], once(o.clone(), quote!(#[boundary(#b)] #[budgeted(#u)] #f))),
        of(["boundary", "budgeted"], once(o.clone(), quote!(#[budgeted(#u)] #[boundary(#b)] #f))),
        of(["boundary", "once"], budgeted(u.clone(), quote!(#[boundary(#b)] #[once(#o)] #f))),
        of(["boundary", "once"], budgeted(u.clone(), quote!(#[once(#o)] #[boundary(#b)] #f))),
    ];
    for expansion in &expansions {
        assert_eq!(expansion, &expansions[0]);
    }
}

#[test]
fn siblings_are_known_by_name_and_by_path() {
    let item = |attr: TokenStream| quote!(#[inline] #attr #[must_use] fn f(id: u64) -> R { g(id) });
    let taken = |attr| {
        let text = pretty(budgeted(quote!(max_steps = 5), item(attr)));
        assert!(text.starts_with("#[inline]\n#[must_use]\nfn f"), "{text}");
        text
    };
    for attr in [quote!(#[portcullis::once(key = "id")]), quote!(#[::portcullis::once(key = "id")])] {
        assert!(!taken(attr).contains(" as _"), "a path is no import");
    }
    let renamed = taken(quote!(#[::rt2::once(key = "id")] #[boundary(before_cost, crate = ::rt2)]));
    assert!(renamed.contains("::rt2::__private::once_sync") && !renamed.contains("portcullis"), "{renamed}");
    let own = taken(quote!(#[::rt2::once(key = "id", crate = ::rt2)]));
    assert!(own.contains("::rt2::__private::once_sync"), "{own}");
    // Another crate's, by its path, is none of our business.
    let text = pretty(budgeted(quote!(max_steps = 5), quote! { #[cached::once(time = 10)] fn f() -> R { g() } }));
    assert!(text.starts_with("#[cached::once(time = 10)]\nfn f"), "{text}");
}

#[test]
fn doubles_strangers_and_layers_are_refused() {
    let f = quote! { fn f(id: u64) -> R { g(id) } };
    refuses(once(quote!(key = "id"), quote!(#[once(key = "id")] #f)), &["a second `#[once(…)]`"]);
    refuses(once(quote!(key = "id"), quote!(#[portcullis::once(key = "id")] #f)), &["a second `#[once(…)]`"]);
    refuses(budgeted(quote!(max_steps = 1), quote!(#[once(time = 10)] #f)), &["does not look like portcullis's"]);
    refuses(budgeted(quote!(max_steps = 1), quote!(#[once = "x"] #f)), &["write `#[once(…)]`"]);
    // `use portcullis::budgeted as b`: the boundary could not see it, and it sees the boundary's layer.
    let first = boundary(quote!(before_cost), quote!(#[b(max_steps = 5)] #f));
    let Item::Fn(mut first) = items(first).remove(0) else { panic!() };
    assert_eq!(first.attrs.len(), 1);
    first.attrs.clear();
    refuses(
        budgeted(quote!(max_steps = 5), quote!(#first)),
        &["is already guarded by an attribute that could not see"],
    );
    // A guarded function inside is not a layer of this one.
    let inner = quote! { fn f() -> R { #[boundary(before_cost)] fn g() {} g() } };
    refuses(budgeted(quote!(max_steps = 5), inner), &[]);
}

#[test]
fn arguments_that_are_shared_stand_once() {
    let item = quote! { #[boundary(before_cost, action = "b")] fn f(id: u64) -> R { g(id) } };
    refuses(once(quote!(key = "id", action = "a"), item), &["`action` is given twice for this function"]);
}

#[test]
fn all_mistakes_are_reported_at_once_and_the_function_stands() {
    let tokens = once(
        quote!(key = "no", skip(no, a, a), wait = 5, on_err = "hald", claim = a, settle = "lasy"),
        quote! {
            #[boundary(before_tea, before_cost, width = 3, permit = "p", on_deny = exit)]
            #[budgeted(max_steps = 0, max_duration = "5", max_cost = "5 usd", per = "tsk", cost = f()?)]
            pub const extern "C" fn f(a: u64) -> R { half typed . }
        },
    );
    let text = tokens.to_string();
    assert!(
        text.starts_with(
            "pub const extern \"C\" fn f (a : u64) -> R { use { boundary as _ , budgeted as _ } ; half typed . }"
        ),
        "{text}"
    );
    let rest = text.split_once("typed . }").unwrap().1.parse().unwrap();
    refuses(
        rest,
        &[
            "`on_err` is one of `\"hold\"`, `\"release\"` and `\"record\"`; did you mean `\"hold\"`?",
            "`wait` is a duration with its unit in quotes",
            "`settle` is one of `\"durable\"`, `\"lazy\"` and `\"transaction\"`; did you mean `\"lazy\"`?",
            "there is no boundary `before_tea`",
            "`on_deny` is one of `\"exit\"` and `\"return\"`; did you mean `\"exit\"`?",
            "write `permit = name`",
            "`max_steps`: nothing would ever run",
            "`max_duration`: the unit is missing",
            "`max_cost`: the currency is three capital letters",
            "`per` is one of",
            "`?` can't stand in an argument",
            "a `const fn` can't be guarded",
            "an `extern` function can't be guarded",
            "`width` says how far work is spread",
            "no parameter of this function is called `no`: it has `a`",
            "no parameter of this function is called `no`: it has `a`",
            "`a` is skipped twice",
            "`a` is already a parameter",
        ],
    );
}

#[test]
fn what_can_not_be_guarded_says_what_to_do_instead() {
    let here = quote!(before_cost);
    for (item, part) in [
        (quote! { const fn f() {} }, "Remove `const`"),
        (quote! { extern "C" fn f() {} }, "Guard a Rust function"),
        (quote! { extern "C" fn f() {} }, "Guard a Rust function"),
        (quote! { unsafe extern "C" fn f(a: u8, ...) {} }, "Guard a Rust function"),
        (quote! { #[track_caller] fn f() {} }, "remove it, or take the `&Location`"),
        (quote! { fn f() -> impl IntoFuture<Output = R> { g() } }, "write `async fn`"),
        (quote! { fn f() -> Pin<Box<dyn Future>> { g() } }, "write `Output = …`"),
    ] {
        let found = reported(boundary(here.clone(), item));
        assert!(found.iter().any(|found| found.contains(part)), "{part}: {found:#?}");
    }
    for (item, part) in [
        (quote! { pub struct S; }, "put the attribute on the function that does the work"),
        (quote! { struct S { a: u8, } }, "only a function can be guarded"),
        (quote!(impl S { fn f() {} }), "on each of its methods"),
        (quote! { pub(crate) trait T { fn f(); } }, "on each of its methods"),
        (quote! { mod m { fn f() {} } }, "on each of its functions"),
        (quote! { static S: u8 = 1; }, "only a function can be guarded"),
        (quote! { const S: u8 = 1; }, "only a function can be guarded"),
    ] {
        let tokens = boundary(here.clone(), quote!(#[once(key = "a")] #[doc = "kept"] #item));
        assert!(tokens.to_string().starts_with(&quote!(#[doc = "kept"] #item).to_string()), "{tokens}");
        refuses(tokens, &[part]);
    }
    let bodiless = boundary(here, quote! { fn f(&self); }).to_string();
    assert!(bodiless.starts_with("fn f (& self) ;") && bodiless.contains("in each `impl`"), "{bodiless}");
}

#[test]
fn a_method_names_its_action() {
    let key = || quote!(key = "id");
    for (item, part) in [
        (quote! { fn pay(&self, id: u64) -> R { g() } }, "`#[once(action = \"….pay\", …)]`"),
        (quote! { fn pay(self: Arc<Self>, id: u64) -> R { g() } }, "a method's `#[once]`"),
        (quote! { fn pay(id: u64) -> Result<Self, E> { g() } }, "a method's `#[once]`"),
        (quote! { fn pay<C: Currency>(id: u64) -> R { g() } }, "`action = C::NAME`"),
        (quote! { fn pay<const N: usize>(id: u64) -> R { g() } }, "no argument tells one `N` from another"),
    ] {
        refuses(once(key(), item.clone()), &[part]);
        refuses(once(quote!(key = "id", action = "pay"), item.clone()), &[]);
        refuses(once(key(), quote!(#[boundary(before_cost, action = C::NAME)] #item)), &[]);
        // Only receipts can be mixed up.
        refuses(boundary(quote!(before_cost), item), &[]);
    }
    refuses(once(key(), quote! { fn pay<'a, C: Currency>(id: &'a Id<C>) -> R { g() } }), &[]);
}

#[test]
fn claims_need_to_know_what_they_keep() {
    let key = || quote!(key = "id");
    let hidden = quote! { fn f(id: u64, (a, pattern!(b)): P) -> R { g() } };
    refuses(once(key(), hidden.clone()), &["can't see the names in this pattern"]);
    refuses(boundary(quote!(before_cost), hidden), &[]);
    refuses(once(key(), quote! { fn f(id: u64) -> Result<impl Sized, E> { g() } }), &["so it must know the type"]);
    refuses(once(key(), quote! { fn f(id: u64) -> ! { g() } }), &["a function that never returns has none"]);
    refuses(once(quote!(), quote! { fn f(id: u64) -> R { g() } }), &["`#[once(…)]` needs a key"]);
    refuses(budgeted(quote!(per = "task"), quote! { fn f(id: u64) -> R { g() } }), &["without a limit stops nothing"]);
    refuses(boundary(quote!(), quote! { fn f(id: u64) -> R { g() } }), &["must say where it stands"]);
    let several = quote!(before_cost, before_job, permit = p);
    refuses(boundary(several, quote! { fn f() {} }), &["a permit is for exactly one boundary"]);
    refuses(boundary(quote!(before_cost, before_cost), quote! { fn f() {} }), &["`before_cost` is given twice"]);
}

#[test]
fn a_half_typed_body_is_kept_and_still_guarded() {
    for body in [quote!({ let x = stripe. }), quote!({ match }), quote!({ x.unwrap( ) . ; fn }), quote!({})] {
        let tokens = boundary(quote!(before_cost), quote!(#[doc = " Pays."] pub async fn pay(id: u64) -> R #body));
        let text = tokens.to_string();
        assert!(text.starts_with("# [doc = \" Pays.\"] pub async fn pay (id : u64) -> R {"), "{text}");
        assert!(!text.contains("compile_error"), "{text}");
        let inside = body.to_string();
        assert!(text.contains(inside.trim_matches(['{', '}', ' '])), "{text}");
    }
    // A signature that can't be read is left to the compiler, as it was written.
    let tokens = boundary(quote!(before_cost), quote!(fn pay(id: ) -> R { g() }));
    assert!(tokens.to_string().starts_with("fn pay (id :) -> R { g () }"), "{tokens}");
    // So is a half-typed argument.
    let tokens = once(quote!(key = req.), quote! { fn pay(id: u64) -> R { g() } });
    assert!(tokens.to_string().starts_with("fn pay (id : u64) -> R { g () }"), "{tokens}");
}

#[test]
fn attributes_and_signature_stay_as_they_were() {
    let head = quote! {
        #[doc = " Pays."]
        #[cfg_attr(all(), must_use)]
        #[expect(dead_code)]
        pub(in crate::m) unsafe fn r#type<'a, T: ?Sized + 'a, const N: usize>(
            mut self: Pin<&'a mut Self>, (mut a, [b, ..], _): (u8, [u8; N], &T), r#fn: impl Fn(u8) -> u8,
        ) -> Result<&'a u8, E> where T: Copy
    };
    let text = boundary(quote!(before_cost), quote!(#head { #![allow(unused)] a })).to_string();
    let expected = quote!(#head).to_string();
    assert!(text.starts_with(&format!("{expected} {{ # ! [allow (unused)] enum __Here")), "{text}");
    assert!(text.contains("unnamed :: < __Here > (:: core :: env ! (\"CARGO_PKG_NAME\") , \"type\")"), "{text}");
}

#[test]
fn every_binding_is_fingerprinted_and_nothing_else() {
    let expansion = once(
        quote!(key = "id", skip(client, r#type), action = "a"),
        quote! {
            fn f(&self, id: u64, client: &C, P(Args { a, b: [c, ..], .. }): P<Args>, r#type: u8, r#fn: u8, _: u8, d @ (e, ref f): T) -> R {
                g()
            }
        },
    );
    let text = expansion.to_string();
    let args = r#". arg ("id" , & id) . arg ("a" , & a) . arg ("c" , & c) . arg ("fn" , & r#fn) . arg ("d" , & d) . arg ("e" , & e) . arg ("f" , & f) ;"#;
    assert!(text.contains(args), "{text}");
}

#[test]
fn a_parameter_that_may_be_configured_away_takes_its_fingerprint_along() {
    let expansion = once(quote!(key = "a"), quote! { fn f(a: u8, #[cfg(unix)] b: u8, c: u8) -> R { g() } });
    let text = expansion.to_string();
    let link = r#"let payload = :: portcullis :: __private :: Payload :: new () . arg ("a" , & a) ; # [cfg (unix)] let payload = payload . arg ("b" , & b) ; let payload = payload . arg ("c" , & c) ;"#;
    assert!(text.contains(link), "{text}");
}

#[test]
fn only_what_can_return_a_refusal_needs_a_type_that_carries_one() {
    let f = || {
        quote! { fn f(id: u64) -> R { g(id) } }
    };
    let ends = |tokens: TokenStream| tokens.to_string().contains("refuse_by_ending");
    assert!(ends(boundary(quote!(before_cost), f())));
    assert!(ends(boundary(quote!(before_cost, on_deny = "exit"), f())));
    assert!(!ends(boundary(quote!(before_cost, on_deny = "return"), f())));
    assert!(!ends(boundary(quote!(before_cost, on_fault = "return"), f())));
    assert!(!ends(budgeted(quote!(max_steps = 5), f())));
    assert!(ends(budgeted(quote!(max_steps = 5, on_exceed = "exit"), f())));
    assert!(!ends(once(quote!(key = "id"), f())));
    let custom = budgeted(quote!(max_steps = 5, refused = Self::refused), f()).to_string();
    assert!(custom.contains("(call , Self :: refused ,") && !custom.contains("refuse_by"), "{custom}");
}

#[test]
fn a_fault_is_treated_as_a_denial_unless_it_says_otherwise() {
    let on = |args: TokenStream| {
        let text = boundary(args, quote! { fn f() -> R { g() } }).to_string().replace(' ', "");
        let (_, rest) = text.split_once("BeforeCost],").unwrap();
        rest.split_once(')').unwrap().0.replace("::portcullis::OnRefusal::", "")
    };
    assert_eq!(on(quote!(before_cost)), "Exit,Exit");
    assert_eq!(on(quote!(before_cost, on_deny = "return")), "Return,Return");
    assert_eq!(on(quote!(before_cost, on_fault = "return")), "Exit,Return");
    assert_eq!(on(quote!(before_cost, on_deny = "return", on_fault = "exit")), "Return,Exit");
}
