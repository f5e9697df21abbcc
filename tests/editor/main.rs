//! What an editor knows of a guarded function while it is being typed: asked of `rust-analyzer`, over its own protocol.
//!
//! Runs `rust-analyzer`, or what `RUST_ANALYZER` names; `rustup component add rust-analyzer` installs it.

mod fixture;
mod server;

use serde_json::Value;
use server::RustAnalyzer;

/// The functions that are typed in the tests, and one that calls them. `‸` is where the question is asked.
const WHOLE: &str = r#"
use portcullis::permit::BeforeCost;
use portcullis::{Permit, Refused, boundary, budgeted, once};

pub struct Client {
    pub account: String,
}

impl Client {
    /// Sends it.
    pub async fn send_refund(&self, order: &str, cents: u64) -> u64 {
        cents + (order.len() + self.account.len()) as u64
    }
}

/// Pays back an order.
#[boundary(before_side_effect)]
#[once(action = "orders.refund", key = "order", skip(client))]
#[budgeted(max_steps = 50)]
pub async fn refund(client: &Client, order: &str, cents: u64) -> Result<u64, Refused> {
    let sent = client.send_refund(order, cents).await;
    Ok(sent)
}

/// Asks a model.
#[boundary(before_cost, permit = allowed)]
pub fn ask_model(client: &Client, prompt: &str) -> usize {
    count(&allowed, prompt) + client.account.len()
}

fn count(_: &Permit<'_, BeforeCost>, prompt: &str) -> usize {
    prompt.len()
}

pub async fn caller(client: &Client) -> Result<u64, Refused> {
    let asked = ask_model(client, "why");
    refund(client, "o-1", asked as u64).await
}
"#;

const REFUND: &str = "pub async fn refund(client: &Client, order: &str, cents: u64) -> Result<u64, Refused>";

#[test]
fn a_guarded_function_keeps_its_signature_and_its_completions_while_it_is_typed() {
    let Some(mut editor) = RustAnalyzer::start(&fixture::project(WHOLE)) else { return };

    editor.open(WHOLE);
    assert_eq!(editor.errors(), [""; 0], "the whole text has none");
    is_known(&mut editor, WHOLE);

    let text = WHOLE.replace("client.send_refund(order, cents).await;\n    Ok(sent)", "client.‸");
    half_typed(&mut editor, &text, "send_refund");

    let text = WHOLE.replace(
        "client.send_refund(order, cents).await;\n    Ok(sent)",
        "client.send_refund(order, cents).await;\n    if se‸",
    );
    half_typed(&mut editor, &text, "sent");

    // The body of a function that binds its permit, and what it binds.
    let text = WHOLE.replace("count(&allowed, prompt) + client.account.len()", "count(&allow‸");
    half_typed(&mut editor, &text, "allowed");
    let text = WHOLE.replace("count(&allowed, prompt) + client.account.len()", "allowed.‸");
    half_typed(&mut editor, &text, "boundary");
    let text = WHOLE.replace("count(&allowed, prompt) + client.account.len()", "client.account.‸");
    half_typed(&mut editor, &text, "len");
}

#[test]
fn a_guarded_function_stays_known_while_its_attributes_are_typed() {
    let Some(mut editor) = RustAnalyzer::start(&fixture::project(WHOLE)) else { return };
    for (whole, half) in [
        ("before_side_effect)]", "before_side_)]"),
        ("#[boundary(before_side_effect)]", "#[boundary()]"),
        (r#"key = "order", skip"#, "key = , skip"),
        (r#"key = "order", skip(client)"#, r#"key = "ord""#),
        ("max_steps = 50", "max_steps"),
        ("max_steps = 50", "max_st"),
    ] {
        let text = WHOLE.replace(whole, half);
        assert_ne!(text, WHOLE, "{whole}");
        editor.open(&text);
        is_known(&mut editor, &text);
    }
}

/// Where the cursor is `wanted` is offered, and the function is known as if it were whole.
fn half_typed(editor: &mut RustAnalyzer, marked: &str, wanted: &str) {
    let at = marked.find('‸').expect("a cursor");
    let text = marked.replace('‸', "");
    editor.open(&text);
    let offered = editor.completions(&text, at);
    assert!(offered.iter().any(|label| label.starts_with(wanted)), "{wanted} is not offered in {text}\n{offered:?}");
    is_known(editor, &text);
}

/// From its call, the function's signature and words are seen, and the way to it is found.
fn is_known(editor: &mut RustAnalyzer, text: &str) {
    let call = text.rfind("refund(client, \"o-1\"").expect("the call");
    let hover = editor.ask("textDocument/hover", text, call + 1);
    let shown = hover["contents"]["value"].as_str().unwrap_or_default();
    assert!(shown.contains(REFUND) && shown.contains("Pays back an order."), "{hover} in {text}");

    let definition = editor.ask("textDocument/definition", text, call + 1);
    let line = text[..text.find("pub async fn refund").expect("the function")].matches('\n').count();
    assert_eq!(first(&definition)["range"]["start"]["line"], line, "{definition} in {text}");

    let returned = editor.ask("textDocument/hover", text, text.rfind("asked as u64").expect("a variable"));
    assert!(
        returned["contents"]["value"].as_str().is_some_and(|shown| shown.contains("usize")),
        "{returned} in {text}"
    );
}

fn first(answer: &Value) -> &Value {
    answer.get(0).unwrap_or(answer)
}
