//! Records in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::tree::{Place, Tree};
use super::{Known, Links, Node, Nodes, Proposal, decide, decide_again, finished, name};
use crate::refused::{Kind, Refused};

/// Remembers every task, and refuses those that loop. Share it by reference: a check and the record that follows it are one step.
///
/// It forgets nothing, finished tasks included, as long as it lives (about 200 bytes a task, and the names).
///
/// ```
/// use portcullis::tasks::loops::{Detector, Proposal};
///
/// let tasks = Detector::new(10);
/// tasks.admit(&Proposal::new("plan", "agent-1", "plan"))?;
/// assert_eq!(tasks.admit(&Proposal::new("build", "agent-1", "build").parent("plan"))?, 1);
///
/// let again = tasks.admit(&Proposal::new("build-2", "agent-1", "build").parent("build")).unwrap_err();
/// assert_eq!(again.code(), "loop_identity");
///
/// tasks.complete("build")?;
/// let again = tasks.admit(&Proposal::new("build", "agent-1", "build").parent("plan")).unwrap_err();
/// assert_eq!(again.code(), "loop_reprocess");
/// # Ok::<(), portcullis::Refused>(())
/// ```
#[derive(Debug)]
pub struct Detector {
    max_depth: u64,
    records: Mutex<Records>,
}

impl Default for Detector {
    fn default() -> Self {
        Detector::new(Detector::MAX_DEPTH)
    }
}

impl Detector {
    /// How deep the tree of tasks may be, unless it is said otherwise. A task without a parent has depth 0.
    pub const MAX_DEPTH: u64 = 10;

    /// No task yet; none deeper than `max_depth`.
    #[must_use]
    pub fn new(max_depth: u64) -> Self {
        Detector { max_depth, records: Mutex::default() }
    }

    pub(crate) fn max_depth(&self) -> u64 {
        self.max_depth
    }

    /// Asks whether the task may come into being, and how deep it would be. Takes nothing: the answer holds until somebody else's
    /// task is recorded. To create the task, [`admit`](Detector::admit) it.
    ///
    /// # Errors
    /// As [`decide`].
    pub fn check(&self, proposal: &Proposal<'_>) -> Result<u64, Refused> {
        decide(&*self.lock(), proposal, self.max_depth)
    }

    /// Checks and records in one step, and says how deep the task is.
    ///
    /// # Errors
    /// As [`decide`]. Nothing is recorded then.
    pub fn admit(&self, proposal: &Proposal<'_>) -> Result<u64, Refused> {
        let mut records = self.lock();
        let depth = decide(&*records, proposal, self.max_depth)?;
        records.add(proposal, depth);
        Ok(depth)
    }

    /// Asks whether a task that is on record may go on, where it is proposed now. One that is not is refused.
    pub(crate) fn resume(&self, proposal: &Proposal<'_>) -> Result<Node, Refused> {
        let (_, known) = decide_again(&*self.lock(), proposal, self.max_depth)?;
        known.node.ok_or_else(|| Refused::new(Kind::UnknownTask, proposal.id, "it is not on record"))
    }

    /// Records a task that exists already, however deep it is. The same record twice is the same as once.
    ///
    /// # Errors
    /// `loop_invalid`, `loop_unknown_parent`, `loop_unknown_creator`, `loop_cycle` for a task that comes from itself;
    /// `loop_reprocess` if it is finished; `already_started` if there is another record of this id. Nothing is recorded then.
    pub fn register(&self, proposal: &Proposal<'_>) -> Result<(), Refused> {
        let mut records = self.lock();
        let Links { depth, .. } = Links::of(&*records, proposal, None)?;
        let Known { node, finished: done } = records.find(proposal.id)?;
        if done {
            return Err(finished(proposal.id));
        }
        match node {
            None => {
                records.add(proposal, depth);
                Ok(())
            }
            Some(node) if node == proposal.node(depth) => Ok(()),
            Some(_) => {
                let id = proposal.id;
                Err(Refused::new(Kind::AlreadyStarted, id, format!("Task {id} is on record, and not like this"))
                    .advise("a record is not overwritten: give other work another id"))
            }
        }
    }

    /// Remembers that `id` is finished. It need not be on record, and may be finished already.
    ///
    /// # Errors
    /// `loop_invalid` if it is no name.
    pub fn complete(&self, id: &str) -> Result<(), Refused> {
        name("task id", id)?;
        self.lock().entry(id).finished = true;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        // Records are added whole, last of all.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Records {
    by_id: HashMap<Box<str>, Entry>,
    tree: Tree,
}

#[derive(Debug, Default)]
struct Entry {
    record: Option<(Node, Place)>,
    finished: bool,
}

impl Records {
    fn entry(&mut self, id: &str) -> &mut Entry {
        if !self.by_id.contains_key(id) {
            self.by_id.insert(id.into(), Entry::default());
        }
        self.by_id.entry(id.into()).or_default()
    }

    fn place(&self, id: &str) -> Option<Place> {
        self.by_id.get(id)?.record.as_ref().map(|(_, place)| *place)
    }

    fn add(&mut self, proposal: &Proposal<'_>, depth: u64) {
        let links = [proposal.parent, proposal.creator].map(|link| link.and_then(|id| self.place(id)));
        let place = self.tree.add(links);
        self.entry(proposal.id).record = Some((proposal.node(depth), place));
    }
}

impl Nodes for Records {
    fn find(&self, id: &str) -> Result<Known, Refused> {
        let Some(Entry { record, finished }) = self.by_id.get(id) else { return Ok(Known::default()) };
        Ok(Known { node: record.as_ref().map(|(node, _)| node.clone()), finished: *finished })
    }

    fn is_ancestor(&self, ancestor: &str, of: &str) -> Result<bool, Refused> {
        let (Some(ancestor), Some(of)) = (self.place(ancestor), self.place(of)) else { return Ok(false) };
        Ok(self.tree.reaches(of, ancestor))
    }
}

#[cfg(test)]
mod tests;
