//! Why a question was refused, for people.

use super::super::{Denial, Fault, FaultKind};
use crate::refused::{Kind, Refused};

/// A refusal on its way to people.
pub(super) struct Reason {
    pub(super) kind: Kind,
    /// The authority's own code, or what went wrong.
    pub(super) code: String,
    pub(super) request_id: String,
    advice: &'static str,
}

impl Reason {
    fn new(kind: Kind, code: impl Into<String>, advice: &'static str) -> Self {
        Reason { kind, code: code.into(), request_id: String::new(), advice }
    }

    pub(super) fn denied(denial: &Denial) -> Self {
        // A provider may be somebody's own: what it calls a code is shown as one printable word or two.
        let code: String = denial.code().chars().filter(|c| !c.is_control()).take(80).collect();
        let code = if code.trim().is_empty() { "DENIED".to_owned() } else { code };
        let advice = "asking again will not change it: have the device allowed at the authority first";
        let request_id = denial.decision().map_or_else(String::new, |id| id.as_str().to_owned());
        Reason { request_id, ..Reason::new(Kind::Denied, code, advice) }
    }

    pub(super) fn fault(fault: Fault) -> Self {
        let (kind, advice) = match fault.kind {
            FaultKind::Unreachable => {
                (Kind::AuthorityUnreachable, "check the authority's address and that it can be reached from here")
            }
            FaultKind::Timeout => {
                (Kind::AuthorityTimeout, "check the way to the authority; the deadline can be set, up to 3 s")
            }
            FaultKind::Malformed => (Kind::AuthorityMalformed, "check what really answers at the authority's address"),
            FaultKind::NotConfigured => (Kind::NotConfigured, "complete the authority's configuration"),
        };
        Reason::new(kind, fault.detail, advice)
    }

    pub(super) fn halted() -> Self {
        Reason::new(Kind::Halted, "this process is ending", "nothing more can be started in it")
    }

    pub(super) fn forked() -> Self {
        let advice = "set up a gate of its own in the child, or do not fork";
        Reason::new(Kind::Forked, "this process is a fork of the one whose gate it is", advice)
    }

    pub(super) fn refused(&self, action: &str, authority: &str, boundary: &str, device: &str) -> Refused {
        let why = match self.kind {
            Kind::Denied if self.request_id.is_empty() => {
                format!("`{authority}` said no to {device} at {boundary}: {}", self.code)
            }
            Kind::Denied => {
                format!("`{authority}` said no to {device} at {boundary}: {} (request {})", self.code, self.request_id)
            }
            _ => format!("no usable answer at {boundary}: {}", self.code),
        };
        Refused::new(self.kind, action, why).advise(self.advice)
    }
}
