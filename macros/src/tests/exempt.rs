//! Which bodies `portcullis lint` leaves alone.

use proc_macro2::TokenStream;
use quote::quote;

use super::{boundary, budgeted, once};

#[test]
fn only_a_body_that_somebody_was_asked_for_may_have_effects() {
    let allows = |tokens: TokenStream| tokens.to_string().matches("allow (clippy :: disallowed_methods)").count();
    let f = || {
        quote! { fn f(id: u64) -> R { g(id) } }
    };
    let claimed = |attr: TokenStream, item| allows(once(quote!(key = g(id), claim = claim), quote!(#attr #item)));
    for (kinds, exempt) in [
        (quote!(before_side_effect), 1),
        (quote!(before_cost), 1),
        (quote!(startup, before_cost), 1),
        (quote!(before_job), 0),
        (quote!(startup, before_fan_out), 0),
    ] {
        for item in [
            f(),
            quote! { async fn f(id: u64) -> R { g(id) } },
            quote! { fn f(id: u64) -> BoxFuture<'static, R> { g(id) } },
            quote! { fn f(id: u64) -> impl Future<Output = R> { g(id) } },
        ] {
            assert_eq!(allows(boundary(kinds.clone(), item.clone())), exempt, "{kinds} {item}");
            assert_eq!(claimed(quote!(#[boundary(#kinds)]), item.clone()), exempt, "{kinds} {item}");
        }
    }
    assert_eq!(claimed(quote!(#[budgeted(max_steps = 5)]), f()), 0);
    assert_eq!(allows(budgeted(quote!(max_steps = 5), f())), 0);

    // The body and nothing else: what stands before it is evaluated before anybody is asked.
    let text = boundary(quote!(before_cost, resource = h(id)), f()).to_string();
    let (before, body) = text.split_once("# [allow (clippy :: disallowed_methods)] move | _ | {").unwrap();
    assert!(before.contains("h (id)") && body.trim_start().starts_with("g (id)"), "{text}");

    // Whoever names the lint has the last word.
    let cost = || quote!(before_cost);
    assert_eq!(
        allows(boundary(
            cost(),
            quote!(
                #[deny(clippy::disallowed_methods)]
                fn f() {}
            )
        )),
        0
    );
    assert_eq!(allows(boundary(cost(), quote! { fn f() { #![deny(clippy::disallowed_methods)] } })), 0);
    assert_eq!(allows(boundary(cost(), quote! { fn f() { #![deny(unused)] } })), 1);
}
