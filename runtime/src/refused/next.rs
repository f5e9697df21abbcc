//! What a caller can do about a refusal: for programs as a word, for language models as sentences.

use super::{Kind, Refused};

/// What a caller can do about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Next {
    /// Wait a moment, and make the same call again. Not for ever: what is refused again and again is for a person.
    Retry,
    /// This call is wrong and will be refused each time. Another one, with other arguments, may be right.
    Correct,
    /// Do not make this call again, nor one to the same end.
    Stop,
    /// A person has to look at it before anything else.
    AskAPerson,
}

impl Next {
    /// The word for it: `retry`, `correct`, `stop` or `ask_a_person`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Next::Retry => "retry",
            Next::Correct => "correct",
            Next::Stop => "stop",
            Next::AskAPerson => "ask_a_person",
        }
    }
}

/// What is said of a kind to somebody who can neither read the code nor change it.
struct Counsel {
    next: Next,
    /// Does the refusal's own reason speak of the call? Else it speaks of the machine (paths, hosts, processes, configuration),
    /// which is for the log.
    reason: bool,
    text: &'static str,
}

const fn counsel(kind: Kind) -> Counsel {
    use Next::{AskAPerson, Correct, Retry, Stop};
    let (next, reason, text) = match kind {
        Kind::Denied => (
            Stop,
            true,
            "Nothing was done. The answer is final: do not call it again, and do not try another way to the same end. Tell the \
             person you work for.",
        ),
        Kind::ApprovalRequired => (
            AskAPerson,
            true,
            "Nothing was done. A person must approve exactly these arguments first: ask for that, then call again with the same \
             arguments.",
        ),
        Kind::AuthorityUnreachable | Kind::AuthorityTimeout | Kind::AuthorityMalformed => (
            Retry,
            false,
            "Nothing was done, because whoever must allow it gave no answer. Wait a moment, then call again with the same \
             arguments. If it is refused again, stop and tell the person you work for.",
        ),
        Kind::LedgerUnavailable => (
            Retry,
            false,
            "Nothing was done, because no record of it could be made. Wait a moment, then call again with the same arguments. If \
             it is refused again, stop and tell the person you work for.",
        ),
        Kind::TaskServiceUnavailable => (
            Retry,
            false,
            "Nothing was done, because the task service can't be reached. Wait a moment, then call again with the same arguments. \
             If it is refused again, stop and tell the person you work for.",
        ),
        Kind::NotConfigured | Kind::Forked | Kind::ActionAmbiguous => (
            AskAPerson,
            false,
            "Nothing was done. The program that runs this tool is set up wrongly, which you can't change from here: do not call it \
             again, and tell the person you work for.",
        ),
        Kind::Halted => (
            Stop,
            false,
            "Nothing was done. The program is being stopped and starts nothing new: do not call it again.",
        ),
        Kind::InFlight => (
            Retry,
            false,
            "The same call is being carried out right now. Wait a moment, then call again with the same arguments: you will get \
             its result.",
        ),
        Kind::InDoubt => (
            AskAPerson,
            false,
            "It may have happened already, and nobody knows yet. Do not call it again, and do not do the same under another name. \
             Tell the person you work for, who has to find out first.",
        ),
        Kind::KeyConflict => (
            Correct,
            false,
            "Nothing was done this time. The same key was used before for a call with other arguments. If you mean that call, \
             repeat its arguments exactly, and you will get its result. If you mean something new, give it a key of its own.",
        ),
        Kind::InvalidKey | Kind::InvalidArgument => {
            (Correct, true, "Nothing was done. An argument can't be used as it is: correct it, and call again.")
        }
        Kind::ReceiptExpired | Kind::ReceiptUnreadable | Kind::ReceiptTooLarge => (
            Stop,
            false,
            "It has happened already, and its result can't be given again. Do not call it again. If you need the result, ask the \
             person you work for.",
        ),
        Kind::Fenced | Kind::Unsettled => (
            AskAPerson,
            false,
            "It has happened, and its result is not on record. Do not call it again. Tell the person you work for.",
        ),
        Kind::LedgerRolledBack => (
            AskAPerson,
            false,
            "It may have happened already: the records of this program are older than what it did. Do not call it again. Tell the \
             person you work for.",
        ),
        Kind::Reentrant => {
            (Stop, true, "Nothing was done, because the call is part of itself: do not call it again from here.")
        }
        Kind::BudgetSteps | Kind::BudgetDepth | Kind::BudgetDuration => (
            Stop,
            true,
            "Nothing was done. What this work may use up is used up: do not call it again, finish with what you have, and tell the \
             person you work for what is left to do.",
        ),
        // The body may have said what it cost, after the fact.
        Kind::BudgetCost => (
            Stop,
            true,
            "What this work may spend is spent: do not call it again, finish with what you have, and tell the person you work for \
             what is left to do.",
        ),
        Kind::LoopDepth | Kind::LoopCycle | Kind::LoopIdentity => (
            Stop,
            true,
            "Nothing was done. This work would make work for itself: do not make this task. Finish the one that you have.",
        ),
        Kind::LoopReprocess | Kind::TaskEnded | Kind::AlreadyStarted => {
            (Stop, true, "The task was started or ended before, and is not taken up again: do not call it again.")
        }
        Kind::LoopUnknownParent
        | Kind::LoopUnknownCreator
        | Kind::LoopInvalid
        | Kind::UnknownTask
        | Kind::NotAdmitted => (
            Correct,
            true,
            "Nothing was done. What was said of the task is wrong or incomplete: correct it, and call again.",
        ),
        Kind::InvalidTransition => (
            Correct,
            true,
            "Nothing was done. The task can't go there from where it is: choose one of the states that are named.",
        ),
        Kind::TaskRunning => (Stop, true, "Somebody else is working on this task: leave it to them."),
        Kind::Idle => (
            Stop,
            true,
            "Nothing was done. You are idle and must not start work of your own accord: wait until you are given some.",
        ),
    };
    Counsel { next, reason, text }
}

impl Kind {
    /// What a caller can do about it.
    #[must_use]
    pub const fn next(self) -> Next {
        counsel(self).next
    }
}

impl Refused {
    /// What the caller can do about it.
    #[must_use]
    pub fn next(&self) -> Next {
        self.kind().next()
    }

    /// The refusal for a language model that has made the call as a tool: what was refused and why, whether it happened all
    /// the same, and what to do next (call again, call otherwise, stop, ask a person).
    ///
    /// It speaks to somebody who can't read the code or change it, so it is not [`Display`](std::fmt::Display): the advice for
    /// developers is left out, and so are reasons that speak of the machine and not of the call. Those belong into the log,
    /// where the features `rmcp` and `rig` write them. A [`value`](Refused::value) that is on no record is in it: the model is
    /// the last one who can keep it.
    ///
    /// ```
    /// # use portcullis::{Refused, budgeted};
    /// #[budgeted(max_steps = 1)]
    /// fn search(query: &str) -> Result<(), Refused> {
    ///     Ok(())
    /// }
    ///
    /// search("cheap flights").unwrap();
    /// let refused = search("cheaper flights").unwrap_err();
    /// assert_eq!(
    ///     refused.for_model(),
    ///     "`search` was refused (budget_steps): the account of the process (no scope is open) is spent: step 2 of at most 1. \
    ///      Nothing was done. What this work may use up is used up: do not call it again, finish with what you have, and tell \
    ///      the person you work for what is left to do."
    /// );
    /// ```
    #[must_use]
    pub fn for_model(&self) -> String {
        let Counsel { reason, text, .. } = counsel(self.kind());
        let because = if reason { format!(": {}", self.reason().trim_end_matches('.')) } else { String::new() };
        let result = self.value().map(|value| format!(" Its result was: {value}")).unwrap_or_default();
        format!("`{}` was refused ({}){because}. {text}{result}", self.action(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer that the page of a kind gives to "Did it happen?".
    fn happened(kind: Kind) -> &'static str {
        let (_, rest) = kind.page().split_once("**Did it happen?** ").expect("every page answers it");
        rest.lines().next().expect("on one line")
    }

    #[test]
    fn what_a_model_is_told_agrees_with_the_page_and_with_may_have_happened() {
        for &kind in Kind::ALL {
            let Counsel { next, text, .. } = counsel(kind);
            let refused = Refused::new(kind, "orders.refund", "why");
            let nothing = text.starts_with("Nothing was done");
            let page = happened(kind);
            let page_says_no = page.starts_with("No.") || page.starts_with("No:") || kind == Kind::KeyConflict;
            assert_eq!(nothing, page_says_no, "{kind}: {page}");
            assert!(!(nothing && refused.may_have_happened()), "{kind}");
            // What may have happened is never to be tried in another way, and again only where the receipt is about to come.
            if refused.may_have_happened() {
                assert!(kind == Kind::InFlight || matches!(next, Next::Stop | Next::AskAPerson), "{kind}: {next:?}");
            }
            match next {
                Next::Retry => assert!(text.contains("call again with the same arguments"), "{kind}"),
                Next::Correct => assert!(!text.contains("do not call it again"), "{kind}"),
                Next::Stop => assert!(!text.contains("call again"), "{kind}"),
                Next::AskAPerson => assert!(text.to_lowercase().contains("person"), "{kind}"),
            }
        }
    }

    #[test]
    fn reasons_that_speak_of_the_machine_are_kept_from_the_model() {
        let refused = Refused::new(Kind::LedgerUnavailable, "mail.send", "/var/lib/shop/ledger.db can't be opened")
            .advise("make room on its disk");
        let said = refused.for_model();
        assert!(said.starts_with("`mail.send` was refused (ledger_unavailable). Nothing was done"), "{said}");
        let refused =
            Refused::new(Kind::InvalidKey, "mail.send", "its key is empty").advise("leave it out with `skip(…)`");
        let said = refused.for_model();
        assert!(said.contains("(invalid_key): its key is empty. ") && !said.contains("skip"), "{said}");
    }

    #[test]
    fn a_result_that_is_on_no_record_is_told() {
        let refused =
            Refused::new(Kind::Unsettled, "mail.send", "why").carrying(Some(serde_json::json!({ "id": "m-1" })));
        assert!(refused.for_model().ends_with(r#"Its result was: {"id":"m-1"}"#), "{}", refused.for_model());
    }
}
