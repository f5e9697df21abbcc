use super::*;
use crate::args::Guard::Boundary;
use crate::tests::refuses;

/// What is reported beside the item, which stays as it was.
#[track_caller]
fn beside(expansion: &TokenStream, item: &TokenStream) -> TokenStream {
    let (expansion, item) = (expansion.to_string(), item.to_string());
    expansion.strip_prefix(&item).unwrap_or_else(|| panic!("{expansion}")).parse().unwrap()
}

#[track_caller]
fn checks(item: TokenStream, parts: &[&str]) {
    refuses(beside(&guarded(quote!(), item.clone()), &item), parts);
}

#[track_caller]
fn states(args: TokenStream, item: TokenStream, parts: &[&str]) {
    refuses(beside(&unguarded(args, item.clone()), &item), parts);
}

#[test]
fn every_function_is_guarded_or_says_why_not() {
    checks(
        quote! {
            #[doc = "kept"]
            mod m {
                fn a() {}
                #[boundary(before_cost)] #[inline] pub async fn b() {}
                #[inline] #[portcullis::once(key = "id")] fn c(id: u64) {}
                #[::portcullis::budgeted(max_steps = 1)] fn d() {}
                #[other::boundary(before_cost)] fn e() {}
                #[unguarded(reason = "pure")] const fn f() {}
                mod n { impl S { fn g(&self) { half typed. } } }
                trait T { fn h(&self); fn i(&self) {} }
                #[::gate::once(key = "id", crate = ::gate)] fn j(id: u64) {}
            }
        },
        &["`a` is not guarded", "`e` is not guarded", "`g` is not guarded", "`i` is not guarded"],
    );
    checks(quote!(impl S { fn a() {} #[boundary(before_cost)] fn b() {} }), &["in a `#[guarded]` `impl`"]);
    checks(
        quote!(
            pub unsafe trait T: Sized {
                fn a() {}
                fn b();
            }
        ),
        &["in a `#[guarded]` `trait`"],
    );
}

#[test]
fn a_renamed_crate_is_named_by_an_argument() {
    let item =
        quote! { mod m { #[gate::boundary(before_cost)] fn a() {} #[::gate::unguarded(reason = "b")] fn b() {} } };
    checks(item.clone(), &["`a` is not guarded", "`b` is not guarded"]);
    refuses(guarded(quote!(crate = ::gate), item.clone()), &[]);
    refuses(guarded(quote!(crate = gate), item), &["`crate` is an absolute path"]);
}

#[test]
fn what_runs_in_tests_only_is_left_alone() {
    checks(
        quote! {
            mod m {
                #[cfg(test)] mod tests { fn a() {} }
                #[cfg(all(unix, test))] impl S { fn b() {} }
                #[test] fn c() {}
                #[cfg(any(test, unix))] fn d() {}
                #[cfg(not(test))] fn e() {}
                #[cfg_attr(test, test)] fn f() {}
            }
        },
        &["`d` is not guarded", "`e` is not guarded", "`f` is not guarded"],
    );
}

#[test]
fn what_may_be_switched_off_or_belongs_to_others_is_no_guard() {
    checks(
        quote! {
            impl S {
                #[cfg_attr(unix, boundary(before_cost))] fn a() {}
                #[cfg_attr(unix, cfg_attr(windows, portcullis::unguarded(reason = "b")))] fn b() {}
                #[cfg_attr(feature = "once", doc = "once")] fn c() {}
                #[cfg_attr(unix, once(key = "id"))] #[boundary(before_cost)] fn d() {}
                #[once(time = 10)] fn e() {}
                #[once] fn f() {}
            }
        },
        &[
            "put `#[boundary(…)]` itself on the function",
            "put `#[unguarded(reason = \"…\")]` itself on the function",
            "`c` is not guarded",
            "`e` is not guarded by it",
            "`f` is not guarded by it",
        ],
    );
}

#[test]
fn what_can_not_be_seen_into_is_refused() {
    checks(
        quote! {
            mod m {
                mod file;
                thread_local! { static A: u8 = 1; }
                #[unguarded(reason = "a cell")] thread_local! { static B: u8 = 1; }
                impl S { ::path::methods!(); }
                macro_rules! rules { () => { fn a() {} } }
                const _: () = { impl S { fn b() {} } };
                static C: fn() -> u8 = || 1;
                extern "C" { fn d(); }
                macro new() {}
                #[guarded] mod inner { fn e() {} }
            }
        },
        &[
            "stand in another file",
            "the functions that `thread_local!` may make",
            "the functions that `methods!` may make",
            "`b` is hidden in a `const`",
            "can't tell what this is",
        ],
    );
}

#[test]
fn it_stands_on_what_has_functions() {
    checks(quote! { mod m; }, &["stand in another file"]);
    checks(quote! { pub fn f() {} }, &["A function is guarded by an attribute that says how"]);
    checks(quote! { struct S; }, &["is for an inline module"]);
    checks(quote! { thread_local! {} }, &["is for an inline module"]);
    checks(quote! { #[guarded] mod m { fn a() {} } }, &["a second `#[guarded]`"]);
    checks(quote! { mod m {} }, &[]);
}

#[test]
fn effects_in_unguarded_functions_are_pointed_at() {
    checks(
        quote! {
            mod m {
                #[unguarded(reason = "a")] fn a() { std::fs::write(p, t) }
                #[unguarded(reason = "b", effects)] fn b() { std::fs::write(p, t) }
                #[boundary(before_side_effect)] fn c() { std::fs::write(p, t) }
                #[unguarded(reason = "d")] m! { fn d() { fs::rename(a, b) } }
            }
        },
        &["`fs::write` looks like a raw effect, and `a` is `#[unguarded]`", "`fs::rename`"],
    );
    // Elsewhere nobody has asked for it.
    states(quote!(reason = "a"), quote! { fn a() { std::fs::write(p, t) } }, &[]);
}

#[test]
fn a_reason_is_required_and_says_something() {
    let f = || {
        quote! { fn f() {} }
    };
    states(quote!(reason = "pure"), f(), &[]);
    states(quote!(effects, reason = "pure",), f(), &[]);
    states(quote!(), f(), &["say why this may run unguarded"]);
    states(quote!(effects), f(), &["say why this may run unguarded"]);
    for empty in [quote!(""), quote!(" "), quote!("…"), quote!("1.")] {
        states(quote!(reason = #empty), f(), &["a reason has at least one word"]);
    }
    states(quote!(reason = REASON), f(), &["a text in quotes"]);
    states(quote!("pure"), f(), &["expected an argument. It takes `reason = \"…\"` and `effects`"]);
    states(quote!(reson = "pure"), f(), &["did you mean `reason`? It takes"]);
    states(quote!(effect, reason = "pure"), f(), &["did you mean `effects`?"]);
    states(quote!(effects = true, reason), f(), &["`effects` stands alone", "`reason` needs a value"]);
    states(quote!(reason =, reason = "a" b), f(), &["`reason` needs a value", "expected `,`"]);
    states(quote!(reason = "a", reason = "b", effects, effects), f(), &["`reason` is given", "`effects` is given"]);
    refuses(
        guarded(
            quote!(before_cost, crate),
            quote!(
                mod m {}
            ),
        ),
        &["no argument `before_cost`", "needs a value"],
    );
}

#[test]
fn a_function_is_guarded_or_unguarded() {
    let why = || quote!(reason = "pure");
    states(why(), quote! { #[boundary(before_cost)] fn f() {} }, &["remove `#[boundary(…)]`"]);
    states(why(), quote! { #[inline] #[portcullis::once(key = "a")] fn f() {} }, &["remove `#[once(…)]`"]);
    states(why(), quote! { #[unguarded(reason = "b")] fn f() {} }, &["a second `#[unguarded(…)]`"]);
    // The other order: the boundary has been here, and left what it does not know.
    let first = crate::family::guard(Boundary, quote!(before_cost), quote! { #[unguarded(reason = "a")] fn f() {} });
    let mut first: syn::ItemFn = syn::parse2(first).unwrap();
    assert!(first.attrs.pop().unwrap().path().is_ident("unguarded"));
    states(why(), quote!(#first), &["this one is guarded already"]);
    // A guarded function inside is none of this one.
    states(why(), quote! { fn f() { #[boundary(before_cost)] fn g() {} g() } }, &[]);
}

#[test]
fn it_speaks_for_functions_only() {
    let why = || quote!(reason = "pure");
    states(why(), quote! { fn f(&self); }, &["nothing to leave unguarded"]);
    states(why(), quote! { impl S {} }, &["put it on each function of this `impl`"]);
    states(why(), quote! { mod m {} }, &["put it on each function of this `mod`"]);
    states(why(), quote! { struct S; }, &["there is none here"]);
    states(why(), quote! { thread_local! { static A: u8 = 1; } }, &[]);
    states(why(), quote! { pub fn f() { half typed. } }, &[]);
}
