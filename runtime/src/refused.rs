//! The typed reason why a body did not run.

use std::error::Error as StdError;
use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)*) => {
        /// Why a body did not run (or, for [`Unsettled`](Kind::Unsettled), why its result is not on record).
        ///
        /// Each kind has a stable [`code`](Kind::code): log it, alert on it, match on it across versions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Kind {$(
            $(#[$doc])*
            $variant,
        )*}

        impl Kind {
            /// Every kind there is.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The stable name, such as `in_doubt`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {$(Kind::$variant => $code,)*}
            }
        }
    };
}

kinds! {
    /// The authority said no.
    Denied = "denied",
    /// A person must approve first.
    ApprovalRequired = "approval_required",
    /// No connection to the authority, or it broke before an answer.
    AuthorityUnreachable = "authority_unreachable",
    /// No answer before the deadline.
    AuthorityTimeout = "authority_timeout",
    /// An answer that is not well-formed, contradicts itself, or speaks of another device.
    AuthorityMalformed = "authority_malformed",
    /// No authority, device or ledger is configured, or the configuration is wrong.
    NotConfigured = "not_configured",
    /// This process is ending, or draining.
    Halted = "halted",
    /// The process is a fork of the one that was set up.
    Forked = "forked",
    /// The same call is running elsewhere, right now.
    InFlight = "in_flight",
    /// An earlier start's outcome is unknown. The effect may have happened.
    InDoubt = "in_doubt",
    /// The same key was used with another payload.
    KeyConflict = "key_conflict",
    /// The key is empty, too long, or not something that can be a key.
    InvalidKey = "invalid_key",
    /// Two places in the code use one defaulted action name.
    ActionAmbiguous = "action_ambiguous",
    /// The effect happened; its receipt is no longer kept.
    ReceiptExpired = "receipt_expired",
    /// The effect happened; its receipt can't be read as this return type.
    ReceiptUnreadable = "receipt_unreadable",
    /// The effect happened; its receipt was too large to keep.
    ReceiptTooLarge = "receipt_too_large",
    /// The call is already running further up in this very call chain.
    Reentrant = "reentrant",
    /// The attempt was outdated by a newer one; its result was kept as evidence.
    Fenced = "fenced",
    /// The ledger can't be reached, opened, read or written. The body did not run.
    LedgerUnavailable = "ledger_unavailable",
    /// The ledger is an older copy of itself.
    LedgerRolledBack = "ledger_rolled_back",
    /// The body ran and its result could not be recorded. [`Refused::value`] carries the result.
    Unsettled = "unsettled",
    /// The account has no steps left.
    BudgetSteps = "budget_steps",
    /// Guarded calls are nested too deep.
    BudgetDepth = "budget_depth",
    /// The account's time is used up.
    BudgetDuration = "budget_duration",
    /// The account's money is used up, or would be.
    BudgetCost = "budget_cost",
    /// The tree of tasks is too deep.
    LoopDepth = "loop_depth",
    /// The task would be its own ancestor.
    LoopCycle = "loop_cycle",
    /// An agent gives itself the very kind of task that it is working on.
    LoopIdentity = "loop_identity",
    /// The task is finished and must not be done again.
    LoopReprocess = "loop_reprocess",
    /// The task names a parent that nobody knows.
    LoopUnknownParent = "loop_unknown_parent",
    /// The task names a creator that nobody knows.
    LoopUnknownCreator = "loop_unknown_creator",
    /// The task's identity is empty or malformed.
    LoopInvalid = "loop_invalid",
    /// The lifecycle has no such transition.
    InvalidTransition = "invalid_transition",
    /// Nobody knows this task.
    UnknownTask = "unknown_task",
    /// The task has ended.
    TaskEnded = "task_ended",
    /// The task is running elsewhere.
    TaskRunning = "task_running",
    /// The task was started before.
    AlreadyStarted = "already_started",
    /// An argument is out of its range.
    InvalidArgument = "invalid_argument",
    /// The task was not admitted.
    NotAdmitted = "not_admitted",
    /// The agent is idle and must not start work.
    Idle = "idle",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The typed reason why a guarded body did not run.
///
/// One pointer wide. [`Display`](fmt::Display) says what was refused, why, and what to do, for its own level only;
/// [`source`](StdError::source) has the rest. It never holds a secret, a URL with credentials or a payload.
///
/// ```
/// # fn classify(refused: &portcullis::Refused) -> &'static str {
/// match refused.kind() {
///     portcullis::Kind::InDoubt => "ask a person",
///     portcullis::Kind::InFlight => "try again in a moment",
///     _ => "give up",
/// }
/// # }
/// ```
pub struct Refused(Box<Inner>);

struct Inner {
    kind: Kind,
    action: String,
    why: String,
    advice: &'static str,
    value: Option<serde_json::Value>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Refused {
    /// A refusal of `action`; `why` goes on from "refused `action`: ".
    pub(crate) fn new(kind: Kind, action: impl Into<String>, why: impl Into<String>) -> Self {
        Refused(Box::new(Inner { kind, action: action.into(), why: why.into(), advice: "", value: None, source: None }))
    }

    /// Says what to do about it.
    pub(crate) fn advise(mut self, advice: &'static str) -> Self {
        self.0.advice = advice;
        self
    }

    /// The next level down.
    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The result that could not be put on record.
    pub(crate) fn carrying(mut self, value: Option<serde_json::Value>) -> Self {
        self.0.value = value;
        self
    }

    /// Which refusal it is. Match on this.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The stable name of the refusal, such as `in_doubt`. Log this.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// The action that was refused, such as `orders.refund`.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.0.action
    }

    /// Why, without the action and the advice.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.why
    }

    /// Why, and what to do: for the line with which a process ends.
    pub(crate) fn explanation(&self) -> String {
        match self.0.advice {
            "" => self.0.why.clone(),
            advice => format!("{}; {advice}", self.0.why),
        }
    }

    /// With [`Kind::Unsettled`]: what the body returned, as JSON. The effect happened and only this value knows its result.
    #[must_use]
    pub fn value(&self) -> Option<&serde_json::Value> {
        self.0.value.as_ref()
    }

    /// `true` if the effect may have happened although the call was refused: [`Kind::InDoubt`], [`Kind::InFlight`],
    /// [`Kind::Unsettled`], [`Kind::Fenced`], and the three receipts that can't be given again.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        matches!(
            self.0.kind,
            Kind::InDoubt
                | Kind::InFlight
                | Kind::Unsettled
                | Kind::Fenced
                | Kind::ReceiptExpired
                | Kind::ReceiptUnreadable
                | Kind::ReceiptTooLarge
        )
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused")
            .field("code", &self.code())
            .field("action", &self.0.action)
            .field("reason", &self.0.why)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, action, why, advice, .. } = &*self.0;
        write!(f, "{kind}: refused `{action}`: {why}")?;
        if !advice.is_empty() {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

impl StdError for Refused {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_pointer_wide() {
        assert_eq!(size_of::<Refused>(), size_of::<usize>());
        assert_eq!(size_of::<Result<(), Refused>>(), size_of::<usize>());
    }

    #[test]
    fn codes_are_distinct_and_snake_case() {
        let mut codes: Vec<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        assert!(codes.iter().all(|code| code.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Kind::ALL.len());
    }

    #[test]
    fn the_message_says_what_why_and_what_to_do() {
        let refused = Refused::new(Kind::InFlight, "orders.refund", "it is running in process 7")
            .advise("try again in a moment, or set `wait`");
        assert_eq!(
            refused.to_string(),
            "in_flight: refused `orders.refund`: it is running in process 7; try again in a moment, or set `wait`"
        );
    }
}
