//! The adapter to [Paperclip](https://github.com/paperclipai/paperclip), a task service: an agent takes issues, moves them, speaks about
//! them, gives them back and makes new ones.
//!
//! ```no_run
//! use portcullis::tasks::admission::Agent;
//! use portcullis::tasks::lifecycle::TaskState::{Done, InProgress};
//! use portcullis::tasks::paperclip::{ApiKey, Failure, Move, Paperclip};
//!
//! # async fn work() {}
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let agent = Agent::new("b6b19b62-bf17-4c46-8f7c-c33c23bb4c80", "9abb1d28-4373-4dc9-b48f-dcb2a5682078")?;
//! let key = ApiKey::new(std::env::var("PAPERCLIP_API_KEY")?)?;
//! let run = std::env::var("PAPERCLIP_RUN_ID")?;
//! let paperclip = Paperclip::builder("http://127.0.0.1:3100", agent, key, run).connect()?;
//!
//! match paperclip.checkout("ACME-7").await {
//!     Ok(_) => work().await,
//!     Err(Failure::NotMine(holder)) => return Ok(println!("somebody else does it: {holder}")),
//!     Err(failure) => return Err(failure.into()),
//! }
//! paperclip.transition("ACME-7", Move::new(InProgress, Done).comment("as ordered")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | | |
//! | --- | --- |
//! | [`Paperclip`] | every call; in sync code, `.wait()` in place of `.await` |
//! | [`Failure`] | what can go wrong, by what it means; [`NotMine`] is 409 |
//! | [`Mirror`] | moves an issue wherever a [`Lifecycle`](crate::tasks::lifecycle::Lifecycle) goes |
//! | [`TaskService`](crate::tasks::escalation::TaskService) | [`Paperclip`] is one: calls for help at tiers 3 and 4 |
//!
//! The service accepts nearly every move of an issue. **The table of states is kept here**: a move that it does not have is refused before
//! anything is sent.
//!
//! One thread owns the connections; sync and async callers both talk to it, so this works on any async runtime and outside of all.
//! Every call has one absolute deadline, from the call to the end of its last answer. Answers are limited to 1 MiB and read strictly;
//! redirects are not followed, proxies in the environment not used, nothing is sent twice. Plain HTTP goes to this machine only.

use std::env::VarError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

mod answer;
mod calls;
mod failure;
mod key;
mod link;
mod mirror;
mod moves;

pub use answer::{Approval, Comment, Created, Issue};
pub use failure::{Failure, NoAnswer, NotMine, Said};
pub use key::{ApiKey, InvalidApiKey};
pub use link::Pending;
pub use mirror::Mirror;
pub use moves::Move;

use crate::tasks::admission::Agent;
use crate::tasks::settings::PaperclipSettings;
use crate::wire::{Base, Wire};
use link::{Link, RULES};

/// One run of one agent, and its way to the service. Clones share the thread and the connections.
///
/// Each call begins when it is made and has the outcome in a [`Pending`].
#[derive(Clone)]
pub struct Paperclip(Arc<Inner>);

struct Inner {
    agent: Agent,
    run: String,
    link: Link,
}

/// Why there is no [`Paperclip`]. Says nothing of keys and URLs, which may hold a secret by mistake.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPaperclip {
    /// The URL may not be used.
    #[error("the URL of the task service can't be used: {0}")]
    Url(String),
    /// A variable that a run finds in its environment is missing or can't be used.
    #[error("{0} is not usable: {1}")]
    Variable(&'static str, String),
    /// The run's id is no UUID. (The service would break over it and answer with 500, and nobody would know what was done.)
    #[error("the run's id is not a UUID, as the service makes them")]
    Run,
    /// The deadline is not within 100 ms and 60 s.
    #[error("a deadline of {0:?} is not within 100 ms and 60 s")]
    Deadline(Duration),
    /// TLS or the thread can't be set up.
    #[error("the connection to the task service can't be set up")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a [`Paperclip`] is made from.
#[derive(Clone)]
#[must_use = "nothing happens before `connect`"]
pub struct Builder {
    url: String,
    agent: Agent,
    key: ApiKey,
    run: String,
    deadline: Duration,
}

impl Paperclip {
    /// For the service at `url` (without `/api`): `agent`, with its key, in the run that the service has started for it. The run's id
    /// goes with every request: without it the service lets an agent write nothing.
    pub fn builder(url: impl Into<String>, agent: Agent, key: ApiKey, run: impl Into<String>) -> Builder {
        Builder { url: url.into(), agent, key, run: run.into(), deadline: Duration::from_secs(10) }
    }

    /// From what the service gives a run: `PAPERCLIP_API_KEY`, `PAPERCLIP_AGENT_ID`, `PAPERCLIP_COMPANY_ID` and `PAPERCLIP_RUN_ID`. The
    /// URL is the [settings'](PaperclipSettings::api_url), which `PAPERCLIP_API_URL` sets too.
    ///
    /// # Errors
    /// One of them is missing, or can't be used.
    pub fn from_environment(settings: &PaperclipSettings) -> Result<Builder, InvalidPaperclip> {
        Paperclip::from_variables(settings, |name| std::env::var(name))
    }

    fn from_variables(
        settings: &PaperclipSettings,
        get: impl Fn(&str) -> Result<String, VarError>,
    ) -> Result<Builder, InvalidPaperclip> {
        let variable = |name| {
            // The error's own message would show the value.
            get(name).map_err(|error| match error {
                VarError::NotPresent => InvalidPaperclip::Variable(name, "it is not set".into()),
                VarError::NotUnicode(_) => InvalidPaperclip::Variable(name, "it is not valid Unicode".into()),
            })
        };
        let key = ApiKey::new(variable("PAPERCLIP_API_KEY")?)
            .map_err(|error| InvalidPaperclip::Variable("PAPERCLIP_API_KEY", error.to_string()))?;
        let agent =
            Agent::new(variable("PAPERCLIP_AGENT_ID")?, variable("PAPERCLIP_COMPANY_ID")?).map_err(|refused| {
                InvalidPaperclip::Variable("PAPERCLIP_AGENT_ID or PAPERCLIP_COMPANY_ID", refused.reason().to_owned())
            })?;
        Ok(Paperclip::builder(&settings.api_url, agent, key, variable("PAPERCLIP_RUN_ID")?))
    }

    /// In whose name.
    #[must_use]
    pub fn agent(&self) -> &Agent {
        &self.0.agent
    }

    /// In which run.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.0.run
    }

    fn link(&self) -> &Link {
        &self.0.link
    }
}

impl Builder {
    /// How long a call may take, from the call to the end of its last answer. Default: 10 s; from 100 ms to 60 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts the thread. No connection is made yet.
    ///
    /// # Errors
    /// The URL is neither `https` nor, on this very machine (127.0.0.0/8, `[::1]`, `localhost`), `http`; it holds a user, a password, a
    /// query, a fragment, a space or a control character; the run is no UUID; the deadline is out of bounds; the operating system
    /// refuses a thread, or TLS can't be set up.
    pub fn connect(self) -> Result<Paperclip, InvalidPaperclip> {
        let Builder { url, agent, key, run, deadline } = self;
        let base = Base::parse(&url).map_err(|error| InvalidPaperclip::Url(error.to_string()))?;
        let run = Uuid::try_parse(&run).map_err(|_| InvalidPaperclip::Run)?.to_string();
        if !(Duration::from_millis(100)..=Duration::from_secs(60)).contains(&deadline) {
            return Err(InvalidPaperclip::Deadline(deadline));
        }
        let client = |error: Box<dyn std::error::Error + Send + Sync>| InvalidPaperclip::Client(error);
        // Keys are visible ASCII and UUIDs are plain, so this can't fail; if it did, nothing could be asked.
        let mut bearer = HeaderValue::from_str(&key.bearer()).map_err(|error| client(error.into()))?;
        bearer.set_sensitive(true);
        let run_id = HeaderValue::from_str(&run).map_err(|error| client(error.into()))?;
        let headers =
            HeaderMap::from_iter([(AUTHORIZATION, bearer), (HeaderName::from_static("x-paperclip-run-id"), run_id)]);
        let wire = Wire::new(base, RULES, headers).map_err(client)?;
        let link = Link::open(wire, deadline).map_err(|error| client(error.into()))?;
        Ok(Paperclip(Arc::new(Inner { agent, run, link })))
    }
}

impl fmt::Debug for Builder {
    /// Without the URL, which may hold a secret by mistake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Builder { agent, run, deadline, .. } = self;
        let mut shown = f.debug_struct("Builder");
        shown.field("agent", &agent.id()).field("run", run).field("deadline", deadline).finish_non_exhaustive()
    }
}

impl fmt::Debug for Paperclip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paperclip")
            .field("host", &self.0.link.wire().base().host)
            .field("agent", &self.0.agent.id())
            .field("run", &self.0.run)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    const SET: [(&str, &str); 4] = [
        ("PAPERCLIP_API_KEY", "pcp_5ecret"),
        ("PAPERCLIP_AGENT_ID", "a-1"),
        ("PAPERCLIP_COMPANY_ID", "c-1"),
        ("PAPERCLIP_RUN_ID", "00000000-0000-4000-8000-00000000000E"),
    ];

    fn gathered(name: &str, value: Option<Result<&'static str, VarError>>) -> Result<Paperclip, InvalidPaperclip> {
        let get = |asked: &str| match &value {
            Some(value) if asked == name => value.clone().map(str::to_owned),
            _ => SET
                .iter()
                .find(|(set, _)| *set == asked)
                .map(|(_, value)| (*value).to_owned())
                .ok_or(VarError::NotPresent),
        };
        Paperclip::from_variables(&PaperclipSettings::default(), get)?.connect()
    }

    #[test]
    fn a_run_finds_what_it_needs_in_its_environment() {
        let paperclip = gathered("", None).unwrap();
        assert_eq!((paperclip.agent().id(), paperclip.run()), ("a-1", "00000000-0000-4000-8000-00000000000e"));
        assert!(format!("{paperclip:?}").contains("127.0.0.1"), "{paperclip:?}");
    }

    #[test]
    fn what_is_missing_or_wrong_in_it_is_named_and_not_shown() {
        for (name, value) in [
            ("PAPERCLIP_API_KEY", Err(VarError::NotPresent)),
            ("PAPERCLIP_API_KEY", Err(VarError::NotUnicode(OsString::from("5ecret")))),
            ("PAPERCLIP_API_KEY", Ok("5ecret \n")),
            ("PAPERCLIP_AGENT_ID", Ok("")),
            ("PAPERCLIP_COMPANY_ID", Ok("..")),
            ("PAPERCLIP_RUN_ID", Err(VarError::NotPresent)),
        ] {
            let error = gathered(name, Some(value)).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("5ecret"), "{error}");
        }
        assert!(matches!(gathered("PAPERCLIP_RUN_ID", Some(Ok("run-1"))), Err(InvalidPaperclip::Run)));
    }
}
