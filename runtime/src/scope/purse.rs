//! Money that is set aside, and money that is spent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::keeper::{Owed, signed};
use super::stack::{Frame, accounts, nearest, thread_is_ending};
use crate::budget::{Account, Cost};
use crate::refused::{Kind, Refused};

/// What a call with `cost = …` has set aside, on every account that limits money.
#[derive(Debug)]
pub(crate) struct Purse {
    amount: Cost,
    accounts: Vec<Arc<Account>>,
    charged: AtomicU64,
    /// Once the body has started, only `charge` can make the call cheaper.
    started: AtomicBool,
    /// What is set aside is on the ledgers of the durable tasks as well.
    recorded: AtomicBool,
}

impl Purse {
    /// What is to be put on record of it.
    pub(crate) fn owe(&self, owed: &mut Owed) {
        for keeper in self.accounts.iter().filter_map(|account| account.keeper()) {
            owed.money(keeper, self.amount);
        }
    }

    /// It is on record.
    pub(crate) fn is_recorded(&self) {
        self.recorded.store(true, Ordering::Relaxed);
    }

    pub(crate) fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Books `cost`, first against what is set aside.
    fn charge(&self, action: &str, cost: Cost) -> Result<(), Refused> {
        if cost.currency() != self.amount.currency() {
            return Err(Refused::new(
                Kind::InvalidArgument,
                action,
                format!("{cost} was charged inside a call that has reserved {}", self.amount),
            )
            .advise("charge in the currency of `cost = …`"));
        }
        let before = self.charged.fetch_add(cost.micros(), Ordering::Relaxed);
        let covered = self.amount.micros().saturating_sub(before).min(cost.micros());
        let beyond = Cost::from_micros_in(cost.micros() - covered, cost);
        if beyond.micros() == 0 {
            return Ok(());
        }
        spend(&self.accounts, action, beyond)
    }
}

impl Drop for Purse {
    fn drop(&mut self) {
        let (reserved, charged) = (self.amount.micros(), *self.charged.get_mut());
        let unused = match (*self.started.get_mut(), charged) {
            (false, _) => reserved,
            // Nobody said what it cost: what was set aside is what it cost.
            (true, 0) => 0,
            (true, charged) => reserved.saturating_sub(charged),
        };
        for account in &self.accounts {
            account.give_back(Cost::from_micros_in(unused, self.amount));
            if *self.recorded.get_mut()
                && let Some(keeper) = account.keeper()
            {
                keeper.book(-signed(unused));
            }
        }
    }
}

/// Sets `cost` aside on every account of the stack, and on `own` ones, which are not in it yet.
pub(crate) fn reserve<'a>(
    action: &str,
    cost: Cost,
    own: impl IntoIterator<Item = &'a Arc<Account>>,
) -> Result<Arc<Purse>, Refused> {
    let mut purse = Purse {
        amount: cost,
        accounts: Vec::new(),
        charged: AtomicU64::new(0),
        started: AtomicBool::new(false),
        recorded: AtomicBool::new(false),
    };
    for account in
        accounts_of_money(action)?.into_iter().chain(own.into_iter().filter(|own| own.limits_money()).cloned())
    {
        // A refusal drops the purse, which gives back what the earlier accounts had set aside.
        account.reserve(action, cost)?;
        purse.accounts.push(account);
    }
    Ok(Arc::new(purse))
}

fn accounts_of_money(action: &str) -> Result<Vec<Arc<Account>>, Refused> {
    accounts(Account::limits_money).ok_or_else(|| thread_is_ending(action))
}

/// The money is gone: every account hears of it, also after one has objected. The first objection is returned.
fn spend(accounts: &[Arc<Account>], action: &str, cost: Cost) -> Result<(), Refused> {
    let mut first_refusal = Ok(());
    for account in accounts {
        let spent = account.spend(action, cost);
        // Of a foreign currency nothing is booked.
        if let Some(keeper) = account.keeper()
            && spent.as_ref().err().is_none_or(|refused| refused.kind() != Kind::InvalidArgument)
        {
            keeper.book(signed(cost.micros()));
        }
        first_refusal = first_refusal.and(spent);
    }
    first_refusal
}

/// Books what something really cost, on every account in whose scope it happens.
///
/// Inside a call with `cost = …` it is booked against what that call has set aside; the rest of the reservation is given back
/// when the call ends. Money beyond the reservation counts as well, also where it does not fit: it is spent.
///
/// # Errors
/// `budget_cost` if an account is now over its limit: stop spending. `invalid_argument` for another currency.
///
/// ```
/// # fn answer() -> Result<(), portcullis::Refused> {
/// portcullis::charge(portcullis::Cost::from_micros(1_250, "USD"))?;
/// # Ok(())
/// # }
/// # answer().unwrap();
/// ```
pub fn charge(cost: Cost) -> Result<(), Refused> {
    const ACTION: &str = "portcullis::charge";
    let purse = |frame: &Frame| match frame {
        Frame::Call(call) => call.purse().cloned(),
        Frame::Scope(_) | Frame::Gate(_) => None,
    };
    let purse = nearest(purse).ok_or_else(|| thread_is_ending(ACTION))?;
    match purse {
        Some(purse) => purse.charge(ACTION, cost),
        None => spend(&accounts_of_money(ACTION)?, ACTION, cost),
    }
}
