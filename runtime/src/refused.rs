//! The typed reason why a body did not run.

mod next;

pub use next::Next;

use std::error::Error as StdError;
use std::fmt;

macro_rules! kinds {
    ($($variant:ident = $code:literal,)*) => {
        /// Why a body did not run (or, for [`Unsettled`](Kind::Unsettled), why its result is not on record).
        ///
        /// Each kind has a stable [`code`](Kind::code): log it, alert on it, match on it across versions. Its [`page`](Kind::page) says
        /// what it means, whether the effect may have happened, and what to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Kind {$(
            #[doc = include_str!(concat!("../refusals/", $code, ".md"))]
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

            /// What it means, whether the effect may have happened, and what to do: a few lines of Markdown.
            #[must_use]
            pub const fn page(self) -> &'static str {
                match self {$(Kind::$variant => include_str!(concat!("../refusals/", $code, ".md")),)*}
            }
        }
    };
}

kinds! {
    Denied = "denied",
    ApprovalRequired = "approval_required",
    AuthorityUnreachable = "authority_unreachable",
    AuthorityTimeout = "authority_timeout",
    AuthorityMalformed = "authority_malformed",
    NotConfigured = "not_configured",
    Halted = "halted",
    Forked = "forked",
    InFlight = "in_flight",
    InDoubt = "in_doubt",
    KeyConflict = "key_conflict",
    InvalidKey = "invalid_key",
    ActionAmbiguous = "action_ambiguous",
    ReceiptExpired = "receipt_expired",
    ReceiptUnreadable = "receipt_unreadable",
    ReceiptTooLarge = "receipt_too_large",
    Reentrant = "reentrant",
    Fenced = "fenced",
    LedgerUnavailable = "ledger_unavailable",
    LedgerRolledBack = "ledger_rolled_back",
    Unsettled = "unsettled",
    BudgetSteps = "budget_steps",
    BudgetDepth = "budget_depth",
    BudgetDuration = "budget_duration",
    BudgetCost = "budget_cost",
    LoopDepth = "loop_depth",
    LoopCycle = "loop_cycle",
    LoopIdentity = "loop_identity",
    LoopReprocess = "loop_reprocess",
    LoopUnknownParent = "loop_unknown_parent",
    LoopUnknownCreator = "loop_unknown_creator",
    LoopInvalid = "loop_invalid",
    InvalidTransition = "invalid_transition",
    UnknownTask = "unknown_task",
    TaskEnded = "task_ended",
    TaskRunning = "task_running",
    AlreadyStarted = "already_started",
    InvalidArgument = "invalid_argument",
    NotAdmitted = "not_admitted",
    Idle = "idle",
    TaskServiceUnavailable = "task_service_unavailable",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The typed reason why a guarded body did not run.
///
/// One pointer wide. [`Display`](fmt::Display) says what was refused, why, and what to do, for its own level only;
/// [`source`](StdError::source) has the rest. Neither shows a secret, a URL with credentials or a payload.
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
