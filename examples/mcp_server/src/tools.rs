//! The tools.

use std::env;
use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use lettre::message::Mailbox;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use portcullis::adapters::rmcp::Json;
use portcullis::permit::BeforeSideEffect;
use portcullis::{Cost, HttpClient, Locked, boundary, budgeted, once};
use reqwest::StatusCode;
use reqwest::header::{HeaderName, HeaderValue};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::schemars::{self, JsonSchema};
use rmcp::{tool, tool_router};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use crate::failure::Failure;

/// What the tools work with. The clients are locked: only a permit opens them.
#[derive(Clone)]
pub(crate) struct Office {
    notes: PathBuf,
    mailer: Arc<Locked<AsyncSmtpTransport<Tokio1Executor>, BeforeSideEffect>>,
    http: HttpClient,
    payments: String,
}

#[derive(Deserialize, JsonSchema)]
struct Note {
    /// The file's name: letters, digits, `-` and `_`.
    name: String,
    text: String,
}

#[derive(Deserialize, JsonSchema)]
struct Mail {
    /// A name of your own for exactly this mail: under one name at most one mail is sent, however often you call.
    id: String,
    to: String,
    subject: String,
    text: String,
}

#[derive(Deserialize, JsonSchema)]
struct Refund {
    /// The order, of which at most one refund is made.
    order: String,
    cents: NonZeroU32,
}

/// What the payment provider says of a refund.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
struct Receipt {
    /// The provider's number of the refund.
    id: String,
    cents: u32,
}

impl Office {
    /// `NOTES_DIR` is a directory, `SMTP` a `host:port`, `PAYMENTS` a URL.
    pub(crate) fn from_env() -> Result<Self, Box<dyn Error>> {
        let variable =
            |name: &str| env::var(name).map_err(|_| format!("set {name}: see examples/mcp_server/README.md"));
        let smtp = variable("SMTP")?;
        let (host, port) = smtp.rsplit_once(':').ok_or("SMTP is `host:port`")?;
        // Without TLS, which is for loopback and nothing else.
        let mailer = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host).port(port.parse()?).build();
        Ok(Office {
            notes: variable("NOTES_DIR")?.into(),
            mailer: Arc::new(Locked::new(mailer)),
            http: HttpClient::new(reqwest::Client::new()),
            payments: variable("PAYMENTS")?,
        })
    }
}

#[tool_router(server_handler)]
impl Office {
    /// Writes a note to a new file.
    #[boundary(before_side_effect, on_deny = "return", resource = name)]
    #[once(action = "notes.write", key = "name", on_err = Failure::means)]
    #[budgeted(max_steps = 20)]
    #[tool(annotations(destructive_hint = false))]
    async fn write_note(&self, Parameters(Note { name, text }): Parameters<Note>) -> Result<String, Failure> {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            return Err(Failure::Wrong(format!("{name:?} is no name for a note, use letters, digits, `-` and `_`")));
        }
        let path = self.notes.join(&name).with_extension("txt");
        let opened = tokio::fs::OpenOptions::new().write(true).create_new(true).open(&path).await;
        let mut file = opened.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Failure::Wrong(format!("there is a note {name:?} already; take another name")),
            _ => Failure::unknown(error),
        })?;
        file.write_all(text.as_bytes()).await.map_err(Failure::unknown)?;
        file.sync_all().await.map_err(Failure::unknown)?;
        Ok(format!("{name} is written, {} bytes", text.len()))
    }

    /// Sends a mail.
    #[boundary(before_side_effect, on_deny = "return", resource = to, permit = permit)]
    #[once(action = "mail.send", key = "id", on_err = Failure::means)]
    #[budgeted(max_steps = 5)]
    #[tool]
    async fn send_mail(&self, Parameters(Mail { id, to, subject, text }): Parameters<Mail>) -> Result<String, Failure> {
        // An id belongs to one mail, also to one that was never sent.
        let wrong =
            |error: &dyn fmt::Display| Failure::Wrong(format!("{error}; correct it, and call again under another id"));
        let to: Mailbox = to.parse().map_err(|error| wrong(&format_args!("{to:?} is no mail address: {error}")))?;
        let from = Mailbox::new(None, "office@example.org".parse().map_err(|error| wrong(&error))?);
        let mail = Message::builder().from(from).to(to).subject(subject).body(text).map_err(|error| wrong(&error))?;
        match self.mailer.unlock(&permit).send(mail).await {
            Ok(_) => Ok(format!("mail {id} is sent")),
            // The server has said that it does not take this mail.
            Err(error) if error.is_permanent() || error.is_transient() => Err(wrong(&error)),
            Err(error) => Err(Failure::unknown(error)),
        }
    }

    /// Pays an order back.
    #[boundary(before_side_effect, on_deny = "return", resource = order, permit = permit)]
    #[once(action = "orders.refund", key = "order", on_err = Failure::means, claim = claim)]
    #[budgeted(max_cost = "100.00 USD", cost = Cost::from_micros(u64::from(cents.get()) * 10_000, "USD"))]
    #[tool]
    async fn refund(&self, Parameters(Refund { order, cents }): Parameters<Refund>) -> Result<Json<Receipt>, Failure> {
        let request = self.http.post(format!("{}/refunds", self.payments));
        // The provider deduplicates by it, should this process die on the way.
        let key = HeaderValue::from_str(claim.idempotency_key()).map_err(Failure::unknown)?;
        let request = request.header(HeaderName::from_static("idempotency-key"), key);
        let request = request.json(&serde_json::json!({ "order": order, "cents": cents }));
        let response = request.send(&permit).await.map_err(Failure::unknown)?;
        // No other answer says for sure that no money moves.
        if matches!(response.status(), StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) {
            return Err(Failure::Wrong(response.text().await.map_err(Failure::unknown)?));
        }
        let response = response.error_for_status().map_err(Failure::unknown)?;
        Ok(Json(response.json().await.map_err(Failure::unknown)?))
    }
}
