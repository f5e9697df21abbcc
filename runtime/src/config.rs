//! What the gate is built from, in this order of trust: code, environment, the system's file, the user's file, the
//! working directory's file, defaults.
//!
//! An agent that can write a file must not choose its own judge: the file in the working directory may tighten limits and
//! nothing else. A program that means such a file names it, in code or in `PORTCULLIS_CONFIG`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::authority::{Authority, Device};
use crate::budget::Limits;
use crate::gate::{LedgerPlan, Plan, Portcullis, TaskPlan};
use crate::ledger::{Receipts, Seal};
use crate::refused::{Kind, Refused};

mod judge;
mod near;
mod settings;
mod sources;

use judge::Judge;
pub(crate) use near::explained;
use sources::Found;
pub(crate) use sources::{TaskLayers, task_layer, task_layers};

/// How long an authority may take, unless it is configured otherwise.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
/// A gate that waits longer is not a gate.
const LONGEST_DEADLINE: Duration = Duration::from_secs(3);

/// Configuration that cannot be used. The message says what is wrong, where, and what to write.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    message: String,
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `fn main() -> Result<_, ConfigError>` shows.
        write!(f, "ConfigError: {self}")
    }
}

impl ConfigError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        ConfigError { message: message.into() }
    }

    pub(crate) fn already_installed() -> Self {
        ConfigError::new(
            "a gate is installed already; install yours before the first guarded call, or use it by `with = …` or `gate.scope(…)`",
        )
    }

    pub(crate) fn thread(what: &str, error: std::io::Error) -> Self {
        ConfigError::new(format!("{what} could not be started: {error}"))
    }

    /// What a guarded call answers while the configuration is unusable.
    pub(crate) fn refuse(&self, action: &str) -> Refused {
        Refused::new(Kind::NotConfigured, action, self.message.clone())
    }
}

/// A configuration in code. What it leaves open comes from environment and files.
#[derive(Default)]
#[must_use = "a configuration does nothing until `install` or `build`"]
pub struct Builder {
    namespace: Option<String>,
    authority: Option<Judge>,
    device: Option<Device>,
    ledger: Option<LedgerChoice>,
    deadline: Option<Duration>,
    limits: Option<Limits>,
    receipts: Receipts,
    file: Option<PathBuf>,
    unwinds: bool,
}

enum LedgerChoice {
    Url(String),
    Given(LedgerPlan),
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

impl Builder {
    /// The authority to ask: `MachineId` (feature `http`), or one of your own.
    pub fn authority(mut self, authority: impl Authority + 'static) -> Self {
        self.authority = Some(Judge::Given(Arc::new(authority)));
        self
    }

    /// The embedded local authority and the ledger in one SQLite file: for development and for one machine. The file is made
    /// if it does not exist. It lies beside the process that it judges: whoever can write it can allow everything.
    pub fn embedded(mut self, path: impl AsRef<Path>) -> Self {
        self.authority = Some(Judge::Local);
        self.ledger = Some(LedgerChoice::Url(format!("sqlite:{}", path.as_ref().display())));
        self
    }

    /// The identity that asks.
    pub fn device(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// Where claims are kept: `sqlite:PATH`, or `postgres://USER@HOST/DATABASE` (feature `postgres`). Default: a file in the
    /// user's state directory.
    pub fn ledger(mut self, url: impl Into<String>) -> Self {
        self.ledger = Some(LedgerChoice::Url(url.into()));
        self
    }

    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "for `testing`"))]
    pub(crate) fn ledger_from(mut self, plan: LedgerPlan) -> Self {
        self.ledger = Some(LedgerChoice::Given(plan));
        self
    }

    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "for `testing`"))]
    pub(crate) fn unwinding(mut self) -> Self {
        self.unwinds = true;
        self
    }

    /// The namespace of every claim, instead of the package name of the crate in which the guarded function stands.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// How large a receipt may be, in bytes, after the [`seal`](Self::seal): default 1 MiB. What is larger is committed without its
    /// receipt: the first caller gets its result and a warning is logged, and retries are refused as `receipt_too_large`.
    pub fn max_receipt(mut self, bytes: usize) -> Self {
        self.receipts.max = bytes;
        self
    }

    /// Redacts or encrypts receipts before they are stored.
    pub fn seal(mut self, seal: impl Seal) -> Self {
        self.receipts.seal = Some(Arc::new(seal));
        self
    }

    /// How long the authority may take, from the question to the parsed answer: default 2 s, at most 3 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The limits of every [`scope`](crate::scope()): each guarded call in it is one step on its account.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// A configuration file, trusted like the environment.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Makes the gate and installs it as the process's.
    ///
    /// # Errors
    /// The configuration is unusable, or a gate is installed already.
    pub fn install(self) -> Result<Portcullis, ConfigError> {
        self.build()?.install()
    }

    /// Makes the gate without installing it: for `with = …` and [`Portcullis::scope`].
    ///
    /// # Errors
    /// The configuration is unusable. That no authority is configured is no error here: boundaries will be refused as
    /// `not_configured`, while `#[once]` and `#[budgeted]` need none.
    pub fn build(self) -> Result<Portcullis, ConfigError> {
        let Builder { namespace, authority, device, ledger, deadline, limits, receipts, file, unwinds } = self;
        // A testing gate must not depend on the machine that it runs on.
        let found = if unwinds { Found::default() } else { Found::gather(file.as_deref())? };

        let deadline = deadline.map_or_else(|| found.deadline(), Ok)?;
        if deadline.is_zero() || deadline > LONGEST_DEADLINE {
            return Err(ConfigError::new(format!(
                "a deadline of {} is refused: it must be over 0 and at most {}",
                humantime::format_duration(deadline),
                humantime::format_duration(LONGEST_DEADLINE)
            )));
        }
        let deadline = found.tightening.deadline()?.map_or(deadline, |tighter| deadline.min(tighter));
        let limits = limits.map_or_else(|| found.limits(), Ok)?.tightened_by(found.tightening.limits.to_limits()?);

        let tasks = if unwinds { TaskPlan::default() } else { TaskPlan::of(found.task_layers())? };

        let ledger = match ledger {
            Some(choice) => choice,
            None => LedgerChoice::Url(match found.first(|settings| settings.ledger.clone()) {
                Some(url) => url,
                None => default_ledger()?,
            }),
        };
        let authority = match authority {
            Some(judge) => Some(judge),
            None => found.judge()?,
        };
        let authority = match authority {
            None => Err("no authority is configured, and without one nobody can say yes".to_owned()),
            Some(judge) => {
                let default_device = judge.default_device();
                let authority = judge.meet(&found, &ledger)?;
                Ok((authority, device.map_or_else(|| found.device(default_device), Ok)?))
            }
        };
        let ledger: LedgerPlan = match ledger {
            LedgerChoice::Given(plan) => plan,
            LedgerChoice::Url(url) => {
                let lease = found.lease()?;
                Box::new(move || crate::ledger::open(&url, lease))
            }
        };
        let namespace = namespace.or_else(|| found.first(|settings| settings.namespace.clone()));
        Portcullis::build(Plan { namespace, authority, ledger, receipts, deadline, limits, tasks, unwinds })
    }
}

fn default_ledger() -> Result<String, ConfigError> {
    #[cfg(feature = "sqlite")]
    return crate::ledger::default_path().map(|path| format!("sqlite:{}", path.display())).ok_or_else(|| {
        ConfigError::new("this user has no state directory for the ledger; name a file: PORTCULLIS_LEDGER=sqlite:PATH")
    });
    #[cfg(not(feature = "sqlite"))]
    // Opening it says which feature is missing.
    Ok("sqlite:".into())
}
