//! What became of a question, for `tracing`.

use tracing::Span;
use tracing::level_filters::LevelFilter;

use super::reason::Reason;
use super::{Case, Conclusion};
use crate::refused::Kind;

/// What is told to `tracing`.
pub(super) enum Event {
    Allowed {
        request_id: String,
    },
    Refused {
        kind: Kind,
        detail: String,
    },
    /// Nobody listens, or there is nothing to say.
    None,
}

impl Event {
    pub(super) fn of(conclusion: &Conclusion) -> Event {
        if LevelFilter::current() < LevelFilter::WARN {
            return Event::None;
        }
        let refused = |reason: Reason| Event::Refused { kind: reason.kind, detail: reason.code };
        match conclusion {
            Conclusion::Allowed(decision) => {
                Event::Allowed { request_id: decision.as_ref().map_or_else(String::new, |id| id.as_str().to_owned()) }
            }
            Conclusion::Denied(denial) => refused(Reason::denied(denial)),
            Conclusion::Fault(fault) => refused(Reason::fault(fault.clone())),
            Conclusion::Halted => Event::None,
        }
    }

    /// The second thread was first.
    pub(super) fn overdue() -> Event {
        let detail = "the deadline passed while the I/O thread was held up by a provider".to_owned();
        Event::Refused { kind: Kind::AuthorityTimeout, detail }
    }

    pub(super) fn emit(self, case: &Case, span: &Span) {
        let (action, boundary, device) = (&*case.ask.action, case.boundary(), case.hall.device.as_str());
        match self {
            Event::Allowed { request_id } => {
                tracing::debug!(target: "portcullis", parent: span, action, boundary, device, request_id, "allowed");
            }
            Event::Refused { kind, detail } => {
                let code = kind.code();
                tracing::warn!(target: "portcullis", parent: span, action, boundary, device, code, detail, "refused");
            }
            Event::None => {}
        }
    }
}
