//! Who helps when work does not go on: four tiers.
//!
//! | tier | who | how |
//! | --- | --- | --- |
//! | 1 | the agent itself | tries again, later each time: [`Retries`] |
//! | 2 | a peer | a message in its [`Queue`] |
//! | 3 | the lead agent | an issue in the [task service](TaskService) |
//! | 4 | a person | a request for a decision, there too |
//!
//! No tier leads to the next by itself. An agent that is idle may call for help. **A denial is neither tried again nor
//! escalated**: a no is an answer, and looking for somebody who says yes is the way around the gate
//! ([`is_denial`]).

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::refused::{Kind, Refused};
use crate::tasks::admission::{Admission, Agent, NewTask, Request};
use crate::tasks::name::is_blank;

mod queue;
mod retry;

pub use queue::{Delivery, InProcess, Message, Queue, Queued};
pub use retry::{Backoff, Next, Retries};

/// `true` if somebody who may has said no: the authority, the organisation's halt, the gate itself.
#[must_use]
pub const fn is_denial(kind: Kind) -> bool {
    matches!(kind, Kind::Denied | Kind::ApprovalRequired | Kind::Halted | Kind::NotAdmitted | Kind::Idle)
}

/// The refusal at the bottom of an error, if there is one.
fn refusal<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Refused> {
    let mut level = Some(error);
    while let Some(error) = level {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        level = error.source();
    }
    None
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are four")]
pub enum Tier {
    /// The agent itself.
    Oneself = 1,
    /// Another agent.
    Peer = 2,
    /// The lead agent.
    Lead = 3,
    /// A person.
    Person = 4,
}

impl TryFrom<i64> for Tier {
    type Error = Refused;

    fn try_from(number: i64) -> Result<Self, Refused> {
        match number {
            1 => Ok(Tier::Oneself),
            2 => Ok(Tier::Peer),
            3 => Ok(Tier::Lead),
            4 => Ok(Tier::Person),
            _ => Err(Refused::new(Kind::InvalidArgument, "escalate", format!("Invalid escalation tier: {number}"))
                .advise("there are four: oneself, a peer, the lead agent, a person")),
        }
    }
}

/// A call for help.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    task: String,
    reason: String,
    details: Map<String, Value>,
    sender: String,
    target: Option<String>,
    parent: Option<String>,
    goal: Option<String>,
    recommended: Option<String>,
}

impl Call {
    /// For help with a task, and why.
    ///
    /// # Errors
    /// `invalid_argument` if the task's id is no [name](crate::tasks::check_name), or there is no reason.
    pub fn new(task: impl Into<String>, reason: impl Into<String>) -> Result<Self, Refused> {
        let (task, reason) = (task.into(), reason.into());
        let invalid = |why: String| Err(Refused::new(Kind::InvalidArgument, "escalate", why));
        if let Err(flaw) = crate::tasks::check_name(&task) {
            return invalid(format!("the task's id {task:?} is no name: {flaw}"));
        }
        if is_blank(&reason) {
            return invalid(format!("no reason is given for escalating task {task}"));
        }
        Ok(Call {
            task,
            reason,
            details: Map::new(),
            sender: "unknown".into(),
            target: None,
            parent: None,
            goal: None,
            recommended: None,
        })
    }

    /// Because a guarded call was refused.
    ///
    /// # Errors
    /// The refusal again, if it is a [denial](is_denial): that is nothing to be helped with.
    pub fn because(task: impl Into<String>, refused: Refused) -> Result<Self, Refused> {
        if is_denial(refused.kind()) {
            return Err(refused);
        }
        Call::new(task, refused.to_string()).map(|call| call.detail("code", refused.code()))
    }

    /// Adds something that helps to help. It never changes who escalates what, and why.
    #[must_use]
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.details.insert(name.into(), value.into());
        self
    }

    /// Who calls.
    #[must_use]
    pub fn sender(mut self, agent: impl Into<String>) -> Self {
        self.sender = agent.into();
        self
    }

    /// Which peer is asked.
    #[must_use]
    pub fn target(mut self, agent: impl Into<String>) -> Self {
        self.target = Some(agent.into());
        self
    }

    /// The issue under which the lead agent's is filed.
    #[must_use]
    pub fn parent(mut self, issue: impl Into<String>) -> Self {
        self.parent = Some(issue.into());
        self
    }

    /// The goal that it serves.
    #[must_use]
    pub fn goal(mut self, goal: impl Into<String>) -> Self {
        self.goal = Some(goal.into());
        self
    }

    /// What a person is advised to do.
    #[must_use]
    pub fn recommend(mut self, action: impl Into<String>) -> Self {
        self.recommended = Some(action.into());
        self
    }

    fn message(&self) -> Result<Message, Refused> {
        let target = self.target.clone().ok_or_else(|| {
            Refused::new(Kind::InvalidArgument, "escalate", "target_agent_id is required for Tier 2 escalation")
        })?;
        let mut payload = self.details.clone();
        for (name, value) in [("escalated_task_id", &self.task), ("reason", &self.reason), ("sender", &self.sender)] {
            payload.insert(name.into(), value.as_str().into());
        }
        Ok(Message::new(&self.sender, target, "escalate", Value::Object(payload)))
    }

    fn issue(&self, lead: &str) -> NewTask {
        let Call { task, reason, .. } = self;
        let admission =
            Admission::new("CEO", reason, "Strategic decision to unblock work", "Issue resolved or reassigned")
                .origin("escalation", format!("Task {task} escalated via Tier 3 protocol"));
        let title: String = reason.chars().take(80).collect();
        let mut issue = NewTask::new(format!("[Escalation] {title}"), "escalation", admission).assignee(lead);
        issue.parent_id.clone_from(&self.parent);
        issue.goal_id.clone_from(&self.goal);
        issue.description(format!(
            "## Automated Escalation (Tier 3 — CEO)\n\n**Source task:** `{task}`\n**Reason:** {reason}\n\n### Details\n\
             ```json\n{}\n```\n\n---\n*This issue was automatically created by the escalation protocol after Tier 1-2 options were \
             exhausted or the blocker requires a strategic decision.*\n\n**Action required:** Review, make a strategic decision, \
             and assign back.",
            self.details()
        ))
    }

    fn approval(&self, agent: &Agent) -> Result<Request, Refused> {
        let Call { task, reason, .. } = self;
        let risks = self.details.get("risks").cloned();
        let body = json!({
            "type": "request_board_approval",
            "requestedByAgentId": agent.id(),
            "payload": {
                "title": format!("Board Decision Required: {reason}"),
                "summary": format!(
                    "Tier 4 escalation triggered from task `{task}`.\n\n**Reason:** {reason}\n**Details:**\n```json\n{}\n```\n\n\
                     This escalation has propagated through all four tiers of the protocol and requires human intervention.",
                    self.details()
                ),
                "recommendedAction":
                    self.recommended.as_deref().unwrap_or("Review the escalation and make a decision."),
                "risks": risks.unwrap_or_else(|| json!(["No decision may cause indefinite blocking of related work."])),
                "task_id": task,
            },
        });
        Ok(Request::new(agent.company_path("approvals")?, body))
    }

    fn details(&self) -> String {
        Value::Object(self.details.clone()).to_string()
    }
}

/// That somebody calls for help, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Notice {
    /// Who calls.
    pub sender: String,
    /// Who is asked: 1 to 4.
    pub escalation_tier: u8,
    /// For which task.
    pub task_id: String,
    /// Why.
    pub reason: String,
    /// Nothing: details are for who is asked.
    pub details: Map<String, Value>,
    /// Which peer is asked.
    pub target_agent_id: Option<String>,
}

/// Who hears of every call for help. Must not make the caller wait: an implementation that talks to a network hands the notice to a
/// thread or a task of its own.
pub trait Watcher: Send + Sync {
    /// Takes note. What goes wrong in it changes nothing.
    fn notice(&self, notice: &Notice);
}

/// A task service, as far as calls for help need it. It sends what it is given and waits for the answer.
pub trait TaskService: Send + Sync {
    /// Creates a task, as [`Agent::call_for_help`] asks for it.
    ///
    /// # Errors
    /// It is not known to have been created.
    fn create(&self, task: &NewTask) -> Result<Value, Refused>;

    /// Asks a person for a decision.
    ///
    /// # Errors
    /// It is not known to have been asked for.
    fn request_approval(&self, request: &Request) -> Result<Value, Refused>;
}

/// What came of a call for help. As JSON it has a `status`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Called {
    /// The agent tries again by itself.
    SelfHealing {
        /// 1.
        tier: u8,
        /// Which task.
        task_id: String,
    },
    /// A peer has the message in its queue.
    PeerEscalated {
        /// 2.
        tier: u8,
        /// What the queue said.
        result: Queued,
    },
    /// The lead agent has an issue.
    #[serde(rename = "ceo_notified")]
    LeadNotified {
        /// 3.
        tier: u8,
        /// What the task service said.
        issue: Value,
    },
    /// A person was asked.
    #[serde(rename = "board_requested")]
    PersonAsked {
        /// 4.
        tier: u8,
        /// What the task service said.
        approval: Value,
    },
    /// Escalation is switched off.
    Skipped {
        /// `disabled`.
        reason: &'static str,
        /// 1 to 4.
        tier: u8,
    },
}

/// Carries calls for help where they belong.
pub struct Escalation {
    enabled: bool,
    agent: Agent,
    lead: String,
    queue: Arc<dyn Queue>,
    tasks: Arc<dyn TaskService>,
    watcher: Option<Arc<dyn Watcher>>,
}

impl fmt::Debug for Escalation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Escalation").field("agent", &self.agent).field("lead", &self.lead).finish_non_exhaustive()
    }
}

impl Escalation {
    /// For `agent`: peers are reached over `queue`, the lead agent and people over `tasks`.
    pub fn new(agent: Agent, queue: Arc<dyn Queue>, tasks: Arc<dyn TaskService>) -> Self {
        Escalation { enabled: true, agent, lead: "auto".into(), queue, tasks, watcher: None }
    }

    /// The lead agent's id. Default: `auto`: who that is, the task service knows, or who implements it.
    #[must_use]
    pub fn lead(mut self, agent: impl Into<String>) -> Self {
        self.lead = agent.into();
        self
    }

    /// Switches calls for help off: they are skipped then, and say so.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Who hears of every call.
    #[must_use]
    pub fn watcher(mut self, watcher: Arc<dyn Watcher>) -> Self {
        self.watcher = Some(watcher);
        self
    }

    /// Calls for help at a tier. What can't be sent is refused before anybody hears of it.
    ///
    /// # Errors
    /// `invalid_argument` without a target at tier 2; what queue or task service fail with.
    pub fn escalate(&self, tier: Tier, call: &Call) -> Result<Called, Refused> {
        let number = tier as u8;
        if !self.enabled {
            return Ok(Called::Skipped { reason: "disabled", tier: number });
        }
        let prepared = self.prepare(tier, call)?;
        if let Some(watcher) = &self.watcher {
            watcher.notice(&Notice {
                sender: call.sender.clone(),
                escalation_tier: number,
                task_id: call.task.clone(),
                reason: call.reason.clone(),
                details: Map::new(),
                target_agent_id: call.target.clone(),
            });
        }
        self.send(prepared)
    }

    /// The same at tiers 2 to 4 without telling the watcher.
    ///
    /// # Errors
    /// As [`escalate`](Escalation::escalate).
    pub fn call(&self, tier: Tier, call: &Call) -> Result<Called, Refused> {
        if !self.enabled {
            return Ok(Called::Skipped { reason: "disabled", tier: tier as u8 });
        }
        self.send(self.prepare(tier, call)?)
    }

    fn prepare(&self, tier: Tier, call: &Call) -> Result<Prepared, Refused> {
        Ok(match tier {
            Tier::Oneself => Prepared::Nothing(call.task.clone()),
            Tier::Peer => Prepared::Message(call.message()?),
            Tier::Lead => {
                let issue = call.issue(&self.lead);
                issue.admitted()?;
                Prepared::Issue(Box::new(issue))
            }
            Tier::Person => Prepared::Approval(call.approval(&self.agent)?),
        })
    }

    fn send(&self, prepared: Prepared) -> Result<Called, Refused> {
        Ok(match prepared {
            Prepared::Nothing(task_id) => Called::SelfHealing { tier: 1, task_id },
            Prepared::Message(message) => Called::PeerEscalated { tier: 2, result: self.queue.enqueue(message)? },
            Prepared::Issue(issue) => Called::LeadNotified { tier: 3, issue: self.tasks.create(&issue)? },
            Prepared::Approval(request) => {
                Called::PersonAsked { tier: 4, approval: self.tasks.request_approval(&request)? }
            }
        })
    }
}

/// What will be sent, checked.
enum Prepared {
    Nothing(String),
    Message(Message),
    Issue(Box<NewTask>),
    Approval(Request),
}

#[cfg(test)]
mod tests;
