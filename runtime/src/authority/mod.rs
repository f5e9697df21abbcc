//! What answers at a boundary.
//!
//! An [`Authority`] gives one answer to one [`Question`]. Everything that must hold for *every* provider is kept
//! out of the providers and in the desk (`desk`): one absolute deadline kept by a second thread too, a panic in a provider is a
//! [`Fault`], the device is registered before the first question, no answer is cached, and a refusal has its
//! consequence whether or not the caller still waits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use crate::boundary::Boundary;

#[cfg(feature = "http")]
mod answer;
pub(crate) mod desk;
mod device;
#[cfg(feature = "sqlite")]
mod local;
#[cfg(feature = "http")]
mod machineid;
mod org_key;
mod watchdog;

pub use device::{Device, InvalidDevice};
#[cfg(feature = "sqlite")]
pub use local::{Acted, KnownDevice, Local};
#[cfg(feature = "http")]
pub use machineid::{InvalidMachineId, MachineId};
pub use org_key::{InvalidOrgKey, OrgKey};

/// What a provider's methods return: a boxed future, so that the trait is object-safe.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something outside the guarded code that may say yes or no.
///
/// # What a provider need not do
/// Keep the deadline, catch its own panics, retry, cache, or end the process: the core does the first two, forbids
/// the next two, and does the last. If the future is dropped (the deadline passed), the answer no longer matters.
///
/// # Runtime
/// The futures are polled on portcullis' own I/O thread, inside a current-thread tokio runtime with I/O and time
/// enabled. Blocking there delays every other question of this process; use `tokio::task::spawn_blocking`
/// for blocking work (32 at a time). A guarded call made in there would wait for itself, until the deadline.
///
/// # Examples
/// An authority that allows during working hours:
/// ```
/// use portcullis::authority::{Answering, Authority, DecisionId, Denial, Device, Grant, Question, Registration, Verdict};
///
/// #[derive(Debug)]
/// struct WorkingHours { hour: fn() -> u8 }
///
/// impl Authority for WorkingHours {
///     fn name(&self) -> &str { "working-hours" }
///
///     fn register<'a>(&'a self, _device: &'a Device) -> Answering<'a, Registration> {
///         Box::pin(async { Registration::Accepted })
///     }
///
///     fn decide<'a>(&'a self, question: &'a Question) -> Answering<'a, Verdict> {
///         Box::pin(async move {
///             let hour = (self.hour)();
///             if (9..17).contains(&hour) {
///                 match DecisionId::new(format!("hour-{hour}-{}", question.boundary)) {
///                     Some(id) => Verdict::Allow(Grant::new(id)),
///                     None => Verdict::Deny(Denial::new("NO_DECISION_ID")),
///                 }
///             } else {
///                 Verdict::Deny(Denial::new("CLOSED"))
///             }
///         })
///     }
/// }
/// ```
pub trait Authority: Send + Sync + fmt::Debug {
    /// A short name for messages and audit records, such as `machineid`.
    fn name(&self) -> &str;

    /// Makes the device known. Asked once per process before its first question, and again while it fails.
    fn register<'a>(&'a self, device: &'a Device) -> Answering<'a, Registration>;

    /// Answers one question, from scratch: nothing may be remembered from an earlier yes.
    fn decide<'a>(&'a self, question: &'a Question) -> Answering<'a, Verdict>;
}

/// What is asked at a boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Question {
    /// Where in the work.
    pub boundary: Boundary,
    /// Who asks.
    pub device: Device,
    /// What would be done, such as `orders.refund`.
    pub action: String,
    /// What would be touched; the action unless the attribute says `resource = …`.
    pub resource: String,
    /// With [`Boundary::BeforeFanOut`]: how many, if known.
    pub width: Option<u64>,
    /// When an answer comes too late. The core enforces it; a provider may use it to give up cleanly.
    pub deadline: Instant,
}

/// An authority's answer.
#[derive(Debug)]
#[must_use = "only `Allow` lets the body run"]
pub enum Verdict {
    /// Yes, and here is the decision.
    Allow(Grant),
    /// No.
    Deny(Denial),
    /// No usable answer.
    Fault(Fault),
}

/// An authority's answer to a registration.
#[derive(Debug)]
#[must_use = "only `Accepted` lets questions be asked"]
pub enum Registration {
    /// The device is known (now or before).
    Accepted,
    /// The device may not take part: revoked, over the plan's limit.
    Refused(Denial),
    /// No usable answer.
    Fault(Fault),
}

/// The authority's own name for one decision: 1 to 200 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionId(String);

impl DecisionId {
    /// `None` if `id` is blank, longer than 200 bytes or holds anything but printable ASCII.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        let printable = id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        (printable && !id.trim().is_empty() && id.len() <= 200).then_some(DecisionId(id))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An explicit allow.
///
/// There are two ways to get one: the core's parser of an authority's answer, and [`Grant::new`], which asks for the
/// decision's id. There is none from a `bool`.
#[derive(Clone, Debug)]
pub struct Grant {
    decision: Option<DecisionId>,
    device: Option<String>,
}

impl Grant {
    /// The allow that the decision `id` stands for.
    #[must_use]
    pub fn new(id: DecisionId) -> Self {
        Grant { decision: Some(id), device: None }
    }

    /// Says for which device the allow was given. The core turns an allow for another device into a fault.
    #[must_use]
    pub fn for_device(mut self, device: impl Into<String>) -> Self {
        self.device = Some(device.into());
        self
    }

    /// For the core's parsers alone: MachineID's `request_id` may be null.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "only the HTTP providers parse answers"))]
    pub(crate) fn parsed(decision: Option<DecisionId>) -> Self {
        Grant { decision, device: None }
    }

    /// The authority's own name for the decision, if it gave one.
    #[must_use]
    pub fn decision(&self) -> Option<&DecisionId> {
        self.decision.as_ref()
    }

    /// The device that the allow speaks of, if it says.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }
}

/// An explicit no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    code: String,
    decision: Option<DecisionId>,
}

impl Denial {
    /// A no with the authority's own code, such as `DEVICE_REVOKED`.
    #[must_use]
    pub fn new(code: impl Into<String>) -> Self {
        Denial { code: code.into(), decision: None }
    }

    /// Adds the authority's own name for the decision.
    #[must_use]
    pub fn with_decision(mut self, id: Option<DecisionId>) -> Self {
        self.decision = id;
        self
    }

    /// The authority's own code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The authority's own name for the decision, if it gave one.
    #[must_use]
    pub fn decision(&self) -> Option<&DecisionId> {
        self.decision.as_ref()
    }
}

/// No usable answer. As much a refusal as a denial is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    kind: FaultKind,
    detail: String,
}

/// Why there is no usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// No connection, or it broke.
    Unreachable,
    /// Nothing complete before the deadline.
    Timeout,
    /// Something that is not a well-formed answer, or contradicts itself. Also a panic in a provider.
    Malformed,
    /// The authority cannot be asked as configured.
    NotConfigured,
}

impl Fault {
    /// A fault; `detail` is shown to people and must hold no secret and no part of a response body.
    #[must_use]
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Fault { kind, detail: detail.into() }
    }

    /// Why there is no usable answer.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// The same for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}
