//! May this task come into being, or is it a loop?
//!
//! # Rules
//! 1. A parent that is named must be known.
//! 2. Depth comes from the parent's record. A caller may raise it and never lower it.
//! 3. What is on record is not overwritten by something else.
//! 4. No task is its own ancestor, over parents and creators; a task's own id counts. Every walk ends.
//! 5. A task that is on record and not finished is not created again.
//! 6. A finished task is not created again, however long ago it was finished.
//! 7. Ids, agents and kinds are [names](crate::tasks::check_name).
//! 8. A creator that is named must be known.
//!
//! Refusals come in this order: invalid, own parent, unknown parent, depth, own creator, unknown creator, cycle, identity,
//! reprocess, already there.
//!
//! # Why the check of a new task costs the same at any depth
//! A record can come into being only when the parent and the creator that it names are on record already, and is never
//! changed (rules 1, 3 and 8). So every ancestor of a record is itself on record, and was there before it. A *new* id is on
//! no record, hence nobody's ancestor, hence can't close a cycle: there is nothing to walk. What it needs of its
//! ancestors, their number, is in its parent's record (rule 2).
//!
//! An id that *is* on record will be refused in any case (rules 5 and 6). Only what that refusal is called depends on
//! whether it is an ancestor, and only then somebody looks: [`Nodes::is_ancestor`].

use crate::refused::{Kind, Refused};
use crate::tasks::check_name;

mod detector;
mod tree;

pub use detector::Detector;

/// A task that is to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal<'a> {
    id: &'a str,
    agent: &'a str,
    kind: &'a str,
    parent: Option<&'a str>,
    creator: Option<&'a str>,
    depth: u64,
}

impl<'a> Proposal<'a> {
    /// The task `id`, of this kind, for this agent.
    #[must_use]
    pub const fn new(id: &'a str, agent: &'a str, kind: &'a str) -> Self {
        Proposal { id, agent, kind, parent: None, creator: None, depth: 0 }
    }

    /// The task of which it is a part.
    #[must_use]
    pub const fn parent(mut self, id: &'a str) -> Self {
        self.parent = Some(id);
        self
    }

    /// The task in whose course it is created.
    #[must_use]
    pub const fn creator(mut self, id: &'a str) -> Self {
        self.creator = Some(id);
        self
    }

    /// It is at least this deep, whatever its parent's record says.
    #[must_use]
    pub const fn depth(mut self, at_least: u64) -> Self {
        self.depth = at_least;
        self
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &'a str {
        self.id
    }

    /// The record that it makes, at the depth that [`decide`] has answered.
    #[must_use]
    pub fn node(&self, depth: u64) -> Node {
        let &Proposal { agent, kind, parent, creator, .. } = self;
        Node { parent: parent.map(Into::into), creator: creator.map(Into::into), ..Node::new(agent, kind, depth) }
    }
}

/// What is on record of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// Who works on it.
    pub agent: String,
    /// What kind of work it is.
    pub kind: String,
    /// The task of which it is a part.
    pub parent: Option<String>,
    /// The task in whose course it was created.
    pub creator: Option<String>,
    /// How many ancestors it has over parents.
    pub depth: u64,
}

impl Node {
    /// A record. `depth` is that of the parent and one, or more.
    #[must_use]
    pub fn new(agent: impl Into<String>, kind: impl Into<String>, depth: u64) -> Self {
        Node { agent: agent.into(), kind: kind.into(), parent: None, creator: None, depth }
    }
}

/// What is known of an id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Known {
    /// Its record. An id may be finished without one.
    pub node: Option<Node>,
    /// It was finished.
    pub finished: bool,
}

impl Known {
    /// What is known.
    #[must_use]
    pub fn new(node: Option<Node>, finished: bool) -> Self {
        Known { node, finished }
    }
}

/// Where records are looked up: a [`Detector`]'s memory, or a ledger.
///
/// Whoever implements it keeps rules 1, 3 and 8 for what it holds, and makes sure that nothing comes between the decision and its
/// own record of the new task.
pub trait Nodes {
    /// What is known of `id`.
    ///
    /// # Errors
    /// It can't be looked up. Then nothing is allowed.
    fn find(&self, id: &str) -> Result<Known, Refused>;

    /// `true` if the record `ancestor` is `of` itself, or is reached from it over parents and creators. Asked only about ids that
    /// have a record, and only to name a refusal.
    ///
    /// # Errors
    /// It can't be looked up.
    fn is_ancestor(&self, ancestor: &str, of: &str) -> Result<bool, Refused>;
}

/// Decides from what `nodes` knows whether the proposed task may come into being, and how deep it is then. Records nothing.
///
/// # Errors
/// `loop_invalid`, `loop_unknown_parent`, `loop_depth`, `loop_unknown_creator`, `loop_cycle`, `loop_identity` (also for an id that
/// is on record and not finished), `loop_reprocess`; and what `nodes` fails with.
pub fn decide(nodes: &impl Nodes, proposal: &Proposal<'_>, max_depth: u64) -> Result<u64, Refused> {
    let (depth, own) = decide_again(nodes, proposal, max_depth)?;
    if own.node.is_some() {
        let id = proposal.id;
        return Err(Refused::new(Kind::LoopIdentity, id, format!("Task {id} exists and is not finished"))
            .advise("a task is created once: give other work another id"));
    }
    Ok(depth)
}

/// The same for a task that may be on record already, and then goes on: that it exists is no objection. Its depth, and what is known of it.
pub(crate) fn decide_again(
    nodes: &impl Nodes,
    proposal: &Proposal<'_>,
    max_depth: u64,
) -> Result<(u64, Known), Refused> {
    let links = Links::of(nodes, proposal, Some(max_depth))?;
    let &Proposal { id, agent, kind, parent, creator, .. } = proposal;
    let own = nodes.find(id)?;
    if own.node.is_some() {
        for link in [parent, creator].into_iter().flatten() {
            if nodes.is_ancestor(id, link)? {
                return Err(traces_back(proposal, link));
            }
        }
    }
    if let Some(parent) = &links.parent
        && (parent.agent == agent && parent.kind == kind)
    {
        return Err(identical(id, agent, kind));
    }
    if own.finished {
        return Err(finished(id));
    }
    Ok((links.depth, own))
}

/// What a proposal hangs on, looked up and found sound.
struct Links {
    parent: Option<Node>,
    depth: u64,
}

impl Links {
    /// The first six refusals. Without `max_depth`, depth is counted and not judged.
    fn of(nodes: &impl Nodes, proposal: &Proposal<'_>, max_depth: Option<u64>) -> Result<Self, Refused> {
        names(proposal)?;
        let &Proposal { id, parent, creator, depth: at_least, .. } = proposal;
        if parent == Some(id) {
            return Err(traces_back(proposal, id));
        }
        let (parent, depth) = match parent {
            None => (None, at_least),
            Some(name) => {
                let node =
                    nodes.find(name)?.node.ok_or_else(|| unknown(Kind::LoopUnknownParent, id, "parent", name))?;
                let depth = node.depth.saturating_add(1).max(at_least);
                (Some(node), depth)
            }
        };
        if let Some(most) = max_depth
            && depth > most
        {
            return Err(too_deep(nodes, proposal, depth, most));
        }
        match creator {
            Some(creator) if creator == id => return Err(traces_back(proposal, id)),
            Some(name) if nodes.find(name)?.node.is_none() => {
                return Err(unknown(Kind::LoopUnknownCreator, id, "creator", name));
            }
            Some(_) | None => {}
        }
        Ok(Links { parent, depth })
    }
}

fn names(proposal: &Proposal<'_>) -> Result<(), Refused> {
    let &Proposal { id, agent, kind, parent, creator, .. } = proposal;
    let given =
        [("task id", Some(id)), ("agent", Some(agent)), ("kind", Some(kind)), ("parent", parent), ("creator", creator)];
    for (what, text) in given {
        let Some(text) = text else { continue };
        name(what, text)?;
    }
    Ok(())
}

fn name(what: &str, text: &str) -> Result<(), Refused> {
    check_name(text).map_err(|flaw| {
        // The text as a literal: it must not be able to write a line of its own.
        Refused::new(Kind::LoopInvalid, "task", format!("the {what} {text:?} is no name: {flaw}"))
            .advise("correct it; it is not repaired for you")
    })
}

#[cold]
fn traces_back(proposal: &Proposal<'_>, link: &str) -> Refused {
    let Proposal { id, agent, .. } = proposal;
    let why = if link == *id {
        format!("Creating task {id} would make it its own ancestor: agent {agent} names it as what it comes from")
    } else {
        format!("Creating task {id} would make it its own ancestor: {link}, which agent {agent} names, comes from {id}")
    };
    Refused::new(Kind::LoopCycle, *id, why).advise("work must not create the work that created it")
}

#[cold]
fn unknown(kind: Kind, id: &str, what: &str, name: &str) -> Refused {
    Refused::new(kind, id, format!("Task {id} names the {what} {name}, which is not on record"))
        .advise("open that one first, or name one that is there")
}

#[cold]
fn finished(id: &str) -> Refused {
    Refused::new(Kind::LoopReprocess, id, format!("Task {id} was finished, and finished tasks are not done again"))
        .advise("give new work a new id")
}

#[cold]
pub(crate) fn identical(id: &str, agent: &str, kind: &str) -> Refused {
    let why =
        format!("Agent {agent} is creating a {kind} task for itself while it works on one: its parent is the same");
    Refused::new(Kind::LoopIdentity, id, why).advise("let it finish, or give the task to another agent")
}

/// How many ancestors a message names.
const SHOWN: usize = 8;

#[cold]
fn too_deep(nodes: &impl Nodes, proposal: &Proposal<'_>, depth: u64, most: u64) -> Refused {
    let Proposal { id, parent, .. } = proposal;
    let mut chain = Vec::new();
    let mut next = parent.map(str::to_owned);
    while let Some(name) = next.take() {
        if chain.len() == SHOWN {
            chain.push("…".into());
            break;
        }
        // What can't be looked up is left out of the message; the refusal stands.
        let Ok(Known { node: Some(node), .. }) = nodes.find(&name) else { break };
        chain.push(format!("{name}({})", node.kind));
        next = node.parent;
    }
    chain.reverse();
    let chain = if chain.is_empty() { String::new() } else { format!(". Chain: {}", chain.join(" -> ")) };
    Refused::new(Kind::LoopDepth, *id, format!("Task depth {depth} exceeds maximum {most}{chain}"))
        .advise("look at what creates tasks for tasks")
}
