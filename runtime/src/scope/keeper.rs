//! Accounts that are kept on a ledger: what a call owes it before its body may start.
//!
//! The account in memory has decided already. What is put on record here is that it was let through, so that no death of the process
//! gives it back.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::budget::Cost;
use crate::ledger::tasks::{ChargeTask, TaskAnswer, TaskKey, TaskRequest};
use crate::ledger::{Store, Ticket};
use crate::refused::{Kind, Refused};

/// Where an account is on record.
pub(crate) struct Keeper {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) task: TaskKey,
    pub(crate) id: String,
}

impl Keeper {
    fn charge(&self, steps: i64, micros: i64) -> ChargeTask {
        ChargeTask { task: self.task, id: self.id.clone(), steps, micros }
    }

    /// Books money that nobody waits for: it is spent, or was not needed.
    pub(super) fn book(&self, micros: i64) {
        if micros != 0 {
            drop(self.store.task(TaskRequest::Charge(vec![self.charge(0, micros)])));
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("id", &self.id).field("task", &self.task).finish_non_exhaustive()
    }
}

/// What has to be on record before a body starts. Mostly nothing.
#[derive(Default)]
#[must_use = "a body must not start before it is paid"]
pub(crate) struct Owed(Vec<(Arc<Keeper>, i64, i64)>);

impl Owed {
    pub(crate) fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn step(&mut self, keeper: &Arc<Keeper>) {
        self.0.push((Arc::clone(keeper), 1, 0));
    }

    pub(super) fn money(&mut self, keeper: &Arc<Keeper>, cost: Cost) {
        let micros = signed(cost.micros());
        match self.0.iter_mut().find(|(known, ..)| Arc::ptr_eq(known, keeper)) {
            Some((_, _, held)) => *held = held.saturating_add(micros),
            None => self.0.push((Arc::clone(keeper), 0, micros)),
        }
    }

    /// One request for each ledger, which is nearly always one.
    pub(crate) fn pay(self, action: &str) -> Payment {
        let mut requests: Vec<(Arc<dyn Store>, Vec<ChargeTask>)> = Vec::new();
        for (keeper, steps, micros) in self.0 {
            let charge = keeper.charge(steps, micros);
            match requests.iter_mut().find(|(store, _)| Arc::ptr_eq(store, &keeper.store)) {
                Some((_, charges)) => charges.push(charge),
                None => requests.push((Arc::clone(&keeper.store), vec![charge])),
            }
        }
        let tickets = requests.into_iter().map(|(store, charges)| store.task(TaskRequest::Charge(charges))).collect();
        Payment { tickets, action: action.to_owned() }
    }
}

pub(super) fn signed(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// What is being put on record.
#[must_use = "a body must not start before it is paid"]
pub(crate) struct Payment {
    tickets: Vec<Ticket<TaskAnswer>>,
    action: String,
}

impl Payment {
    pub(crate) fn wait(mut self) -> Result<(), Refused> {
        std::mem::take(&mut self.tickets).into_iter().try_for_each(|ticket| self.heard(ticket.wait()))
    }

    fn heard(&self, answer: Option<TaskAnswer>) -> Result<(), Refused> {
        match answer {
            Some(TaskAnswer::Charged) => Ok(()),
            Some(TaskAnswer::Refused(refused)) => Err(refused),
            Some(TaskAnswer::Entered(_) | TaskAnswer::Changed(_)) | None => {
                let why = "the ledger has stopped without an answer, so the step is not known to be counted";
                Err(Refused::new(Kind::LedgerUnavailable, &*self.action, why)
                    .advise("the body has not run; the log says why the ledger stopped"))
            }
        }
    }
}

impl Future for Payment {
    type Output = Result<(), Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(ticket) = self.tickets.last_mut() {
            let answer = ready!(Pin::new(ticket).poll(cx));
            self.tickets.pop();
            self.heard(answer)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payment")
    }
}
