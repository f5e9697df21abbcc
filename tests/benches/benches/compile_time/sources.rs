//! The throw-away crates: the same hundred functions, each time under other attributes.

use std::fmt::Write;

/// A crate that is measured.
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) sync: bool,
    style: Style,
}

enum Style {
    /// What stands above each function.
    Attributes(&'static str),
    /// Methods of a trait, under `#[async_trait]`.
    AsyncTrait,
}

const BOUNDARY: &str = "#[boundary(before_cost)]";
const ONCE: &str = r#"#[once(action = "orders.refundN", key = "order", skip(client))]"#;
const BUDGETED: &str = "#[budgeted(max_steps = 50)]";
const STACK: &str = r#"#[boundary(before_cost)]
#[once(action = "orders.refundN", key = "order", skip(client))]
#[budgeted(max_steps = 50)]"#;

/// The first of each kind is what the others are compared with.
pub(crate) const SETS: &[Set] = &[
    Set { name: "bare", sync: false, style: Style::Attributes("") },
    Set { name: "instrument", sync: false, style: Style::Attributes("#[instrument(skip(client))]") },
    Set { name: "async_trait", sync: false, style: Style::AsyncTrait },
    Set { name: "boundary", sync: false, style: Style::Attributes(BOUNDARY) },
    Set { name: "once", sync: false, style: Style::Attributes(ONCE) },
    Set { name: "budgeted", sync: false, style: Style::Attributes(BUDGETED) },
    Set { name: "stack", sync: false, style: Style::Attributes(STACK) },
    Set { name: "sync-bare", sync: true, style: Style::Attributes("") },
    Set { name: "sync-instrument", sync: true, style: Style::Attributes("#[instrument(skip(client))]") },
    Set { name: "sync-boundary", sync: true, style: Style::Attributes(BOUNDARY) },
    Set { name: "sync-once", sync: true, style: Style::Attributes(ONCE) },
    Set { name: "sync-budgeted", sync: true, style: Style::Attributes(BUDGETED) },
    Set { name: "sync-stack", sync: true, style: Style::Attributes(STACK) },
];

impl Set {
    /// `src/lib.rs`. Every crate loads the same crates, and every future is boxed, as whatever spawns it would do: otherwise
    /// nothing of it would be compiled to machine code.
    pub(crate) fn source(&self, functions: usize) -> String {
        let mut text = COMMON.to_owned();
        let (word, later) = if self.sync { ("fn", "") } else { ("async fn", ".await") };
        text.push_str(&CLIENT.replace("FN", word));
        let body = BODY.replace(".await", later);
        match self.style {
            Style::Attributes(attributes) => {
                for n in 0..functions {
                    let attributes = attributes.replace('N', &n.to_string());
                    let _ = write!(text, "\n{attributes}\npub {word} refund{n}({PARAMETERS}) -> {RETURN} {body}");
                }
            }
            Style::AsyncTrait => {
                let each = |end: &str| {
                    (0..functions).fold(String::new(), |mut text, n| {
                        let _ = write!(text, "\nasync fn refund{n}(&self, {PARAMETERS}) -> {RETURN}{end}");
                        text
                    })
                };
                let (declared, defined) = (each(";"), each(&body));
                let _ = write!(text, "\n#[async_trait]\npub trait Refunds {{{declared}\n}}\n");
                let _ = write!(text, "\npub struct Shop;\n\n#[async_trait]\nimpl Refunds for Shop {{{defined}\n}}\n");
            }
        }
        text.push_str(&self.driver(functions));
        text
    }

    fn driver(&self, functions: usize) -> String {
        let each = |call: &str| {
            (0..functions).fold(String::new(), |mut text, n| {
                let _ = writeln!(text, "        {},", call.replace('N', &n.to_string()));
                text
            })
        };
        let boxed = "Pin<Box<dyn Future<Output = Result<Receipt, Failed>> + Send + 'a>>";
        let (generics, parameters, item, call) = match self.style {
            _ if self.sync => ("", "client: &Client, order: &str", RETURN, "refundN(client, order, N)"),
            Style::Attributes(_) => {
                ("<'a>", "client: &'a Client, order: &'a str", boxed, "Box::pin(refundN(client, order, N))")
            }
            Style::AsyncTrait => {
                ("<'a>", "client: &'a Client, order: &'a str", boxed, "Shop.refundN(client, order, N)")
            }
        };
        // A promoted `&Shop` lives for ever.
        let call = call.replace("Shop.", "(&Shop as &'static Shop).");
        format!("\npub fn all{generics}({parameters}) -> Vec<{item}> {{\n    vec![\n{}    ]\n}}\n", each(&call))
    }
}

const PARAMETERS: &str = "client: &Client, order: &str, cents: u64";
const RETURN: &str = "Result<Receipt, Failed>";
const BODY: &str = r#"{
    if cents == 0 {
        return Err(Failed::Declined(order.to_owned()));
    }
    let id = client.post(order, cents).await?;
    Ok(Receipt { id, cents })
}
"#;

const COMMON: &str = r#"#![allow(unused_imports)]
use async_trait::async_trait;
use portcullis::{Refused, boundary, budgeted, once};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;
use tracing::instrument;

#[derive(Debug, Serialize, Deserialize)]
pub struct Receipt {
    pub id: String,
    pub cents: u64,
}

#[derive(Debug)]
pub enum Failed {
    Declined(String),
    Refused(Refused),
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Failed::Refused(refused)
    }
}
"#;

const CLIENT: &str = r#"
#[derive(Debug)]
pub struct Client {
    url: String,
}

impl Client {
    pub FN post(&self, order: &str, cents: u64) -> Result<String, Failed> {
        Ok(format!("{}/{order}/{cents}", self.url))
    }
}
"#;
