//! The pipeline as a whole, on tokens.

use proc_macro2::TokenStream;
use quote::quote;

use crate::args::Guard;
use crate::errors::Errors;
use crate::family::guard;

/// What was reported, in order.
pub(crate) fn messages(errors: Errors) -> Vec<String> {
    reported(errors.into_tokens())
}

/// The texts of the `compile_error!`s in `tokens`.
fn reported(tokens: TokenStream) -> Vec<String> {
    let file: syn::File = syn::parse2(tokens).unwrap();
    let errors = file.items.into_iter().filter_map(|item| match item {
        syn::Item::Macro(item) => Some(item.mac.parse_body::<syn::LitStr>().unwrap().value()),
        _ => None,
    });
    errors.collect()
}

fn pretty(tokens: TokenStream) -> String {
    match syn::parse2(tokens.clone()) {
        Ok(file) => prettyplease::unparse(&file),
        Err(error) => panic!("{error}: {tokens}"),
    }
}

#[test]
fn the_quickstart_expands_to_something_readable() {
    let expansion = pretty(guard(
        Guard::Boundary,
        quote!(before_side_effect),
        quote! {
            #[once(action = "orders.refund", key = "order_id")]
            #[budgeted(max_steps = 50)]
            async fn refund(order_id: &str, cents: u64) -> Result<Receipt, RefundError> {
                stripe.refund(order_id, cents).await
            }
        },
    ));
    println!("{expansion}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/snapshots/quickstart.rs");
    if std::env::var_os("PORTCULLIS_SNAPSHOT").is_some() {
        std::fs::write(path, &expansion).unwrap();
    }
    assert_eq!(expansion, std::fs::read_to_string(path).unwrap(), "PORTCULLIS_SNAPSHOT=1 writes it anew");
    assert!(expansion.lines().count() <= 40, "{} lines", expansion.lines().count());
}
