//! What can be asked of the service.

use serde_json::{Value, json};

use super::answer::{Approval, Colleague, Comment, Created, Issue};
use super::failure::Failure;
use super::link::{Ask, Pending, Speaker, Success};
use super::{Move, Paperclip};
use crate::refused::{Kind, Refused};
use crate::tasks::admission::{NewTask, Request, segment};
use crate::tasks::lifecycle::TaskState;
use crate::tasks::name::is_blank;

/// The longest id that is sent.
const MAX_ID: usize = 200;

/// `/api/issues/ID` and what follows.
fn path(issue: &str, what: &str) -> Result<String, Refused> {
    if issue.len() > MAX_ID {
        let why = format!("the issue's id is longer than {MAX_ID} bytes");
        return Err(Refused::new(Kind::InvalidArgument, "paperclip", why));
    }
    Ok(format!("/api/issues/{}{what}", segment("the issue's id", issue)?))
}

fn words(what: &str, text: &str) -> Result<(), Refused> {
    if is_blank(text) {
        return Err(Refused::new(Kind::InvalidArgument, "paperclip", format!("{what} is blank")));
    }
    Ok(())
}

impl Paperclip {
    /// Reads an issue, by its id or its short name.
    ///
    /// # Errors
    /// [`Failure::NotFound`], [`Failure::Denied`], [`Failure::NoAnswer`].
    pub fn issue(&self, id: &str) -> Pending<Issue> {
        self.link().begin(path(id, ""), |speaker, path| async move { speaker.issue(Ask::get(path)).await })
    }

    /// Takes an issue that is in `todo`: assigns it to this agent, locks it for this run, and moves it to `in_progress`, all at once or
    /// not at all. Asked again by the run that holds it, it is the same yes.
    ///
    /// # Errors
    /// [`Failure::NotMine`] if somebody else has it, or it is not in `todo`; [`Failure::Rule`] if another issue blocks it; and as
    /// [`issue`](Paperclip::issue).
    pub fn checkout(&self, id: &str) -> Pending<Issue> {
        self.transition(id, Move::new(TaskState::Todo, TaskState::InProgress))
    }

    /// Moves an issue, if the table of states has such a way and the issue is where the caller takes it to be. A move to `in_progress`
    /// is a [checkout](Paperclip::checkout) from that state. An issue that is there already stays as it is, and that is a success: so a
    /// move whose answer was lost can be asked for again.
    ///
    /// The service compares the state itself for a checkout. For every other move it is read first: between the two somebody with the
    /// right to do so (a person, mostly; other runs are kept out by the lock) may still move it.
    ///
    /// # Errors
    /// [`Failure::Refused`] before anything is sent; [`Failure::Elsewhere`]; [`Failure::Rule`] if the service wants more to be said;
    /// [`Failure::NotMine`] if another run has it; and as [`issue`](Paperclip::issue).
    pub fn transition(&self, id: &str, wanted: Move) -> Pending<Issue> {
        let prepared = wanted.check(id).and_then(|()| Ok((path(id, "")?, path(id, "/checkout")?)));
        let (agent, run) = (self.agent().id().to_owned(), self.run().to_owned());
        self.link().begin(prepared, |speaker, (issue, checkout)| async move {
            if wanted.is_checkout() {
                let body = json!({"agentId": agent, "expectedStatuses": [wanted.from]});
                let answered = speaker.ask(Ask::post(checkout, Some(body))).await;
                return taken(&ruled(wanted.to, answered)?, &agent, &run);
            }
            let now = speaker.issue(Ask::get(issue.clone())).await?;
            if now.state == wanted.to {
                return Ok(now);
            }
            if now.state != wanted.from {
                return Err(Failure::Elsewhere { expected: wanted.from, found: now.state });
            }
            let success = ruled(wanted.to, speaker.ask(Ask::patch(issue, wanted.body(&agent))).await)?;
            let moved: Issue = success.read()?;
            if moved.state == wanted.to {
                Ok(moved)
            } else {
                Err(success.unusable(format!("the issue is in {} and not in {}", moved.state, wanted.to)))
            }
        })
    }

    /// Writes a comment.
    ///
    /// # Errors
    /// [`Failure::Denied`] if this run may not speak there; and as [`issue`](Paperclip::issue).
    pub fn comment(&self, id: &str, text: &str) -> Pending<Comment> {
        let path = words("the comment", text).and_then(|()| path(id, "/comments"));
        let body = json!({"body": text});
        self.link().begin(path, |speaker, path| async move { speaker.ask(Ask::post(path, Some(body))).await?.read() })
    }

    /// Gives an issue back: it loses its assignee and its lock, and goes from `in_progress` back to `todo`; in another state it stays
    /// there. This is the service's own act and no way of the table: it says that this run does not do the work, not what became of it.
    ///
    /// # Errors
    /// [`Failure::NotMine`] if another run has it; and as [`issue`](Paperclip::issue).
    pub fn release(&self, id: &str) -> Pending<Issue> {
        self.link().begin(path(id, "/release"), |speaker, path| async move {
            let success = speaker.ask(Ask::post(path, None)).await?;
            let issue: Issue = success.read()?;
            match (&issue.assignee, &issue.run) {
                (None, None) => Ok(issue),
                _ => Err(success.unusable("the issue is still held")),
            }
        })
    }

    /// Creates an issue, if it is admitted and this agent is not idle. The service looks for an open issue with the same title of the
    /// last two days and, if there is one, answers with that: [`Created::new`] says so.
    ///
    /// # Errors
    /// [`Failure::Refused`] with `not_admitted` or `idle`; [`Failure::Rejected`] if an id is none of the service's; and as
    /// [`issue`](Paperclip::issue). After a failure that [may have happened](Failure::may_have_happened), asking again may find the first
    /// one by its title; [`create_once`](Paperclip::create_once) is sure to.
    pub fn create(&self, task: &NewTask) -> Pending<Created> {
        self.creating(self.agent().create(task))
    }

    /// The same with a key: the service makes one issue for it within seven days, however often it is asked, and whatever the title. It
    /// can be a claim's idempotency key.
    ///
    /// # Errors
    /// As [`create`](Paperclip::create). It may always be asked again with the same key.
    pub fn create_once(&self, key: &str, task: &NewTask) -> Pending<Created> {
        if is_blank(key) || key.len() > 255 || key.trim() != key {
            let why = "a key has 1 to 255 bytes and no blanks around them";
            return self.creating(Err(Refused::new(Kind::InvalidArgument, "paperclip", why)));
        }
        self.creating(self.agent().create(task).map(|mut request| {
            request.body["idempotencyKey"] = key.into();
            request.body["allowDuplicate"] = true.into();
            request
        }))
    }

    fn creating(&self, request: Result<Request, Refused>) -> Pending<Created> {
        self.link()
            .begin(request, |speaker, Request { path, body, .. }| async move { speaker.create(path, body).await })
    }

    /// A call for help: whether or not this agent is idle, and whatever other issues are called. A lead named `auto` is looked up.
    pub(super) fn call_for_help(&self, task: &NewTask) -> Pending<Created> {
        let prepared =
            self.agent().call_for_help(task).and_then(|help| Ok((help, self.agent().company_path("agents")?)));
        self.link().begin(prepared, |speaker, (Request { path, mut body, .. }, agents)| async move {
            if body["assigneeAgentId"] == "auto" {
                body["assigneeAgentId"] = speaker.lead(agents).await?.into();
            }
            // Two calls with one reason are two calls.
            body["allowDuplicate"] = true.into();
            speaker.create(path, body).await
        })
    }

    /// Asks a person to review an issue, by its id. Until they decide, the issue may go to `in_review`, and to `blocked`.
    ///
    /// # Errors
    /// As [`issue`](Paperclip::issue).
    pub fn request_review(&self, issue: &str, title: &str, summary: &str) -> Pending<Approval> {
        let prepared = words("the title", title)
            .and_then(|()| path(issue, ""))
            .and_then(|_| self.agent().company_path("approvals"));
        let body = json!({
            "type": "request_board_approval",
            "requestedByAgentId": self.agent().id(),
            "issueIds": [issue],
            "payload": {"title": title, "summary": summary},
        });
        self.approval(prepared, body)
    }

    pub(super) fn approval(&self, path: Result<String, Refused>, body: Value) -> Pending<Approval> {
        self.link().begin(path, |speaker, path| async move { speaker.ask(Ask::post(path, Some(body))).await?.read() })
    }
}

impl Speaker {
    async fn issue(&self, ask: Ask) -> Result<Issue, Failure> {
        self.ask(ask).await?.read()
    }

    async fn create(&self, path: String, body: Value) -> Result<Created, Failure> {
        let success = self.ask(Ask::post(path, Some(body))).await?;
        let issue: Issue = success.read()?;
        Ok(Created { issue, new: success.is_new() })
    }

    /// The id of the company's lead agent.
    async fn lead(&self, agents: String) -> Result<String, Failure> {
        let agents: Vec<Colleague> = self.ask(Ask::get(agents)).await?.read_all()?;
        let mut leads = agents.into_iter().filter(|agent| agent.role == "ceo" && agent.status != "terminated");
        match (leads.next(), leads.next()) {
            (Some(lead), None) => Ok(lead.id),
            (found, _) => {
                let number = if found.is_some() { "several agents" } else { "no agent" };
                let why = format!("{number} of the company have the role `ceo`");
                Err(Refused::new(Kind::InvalidArgument, "paperclip", why)
                    .advise("name the lead: `Escalation::lead`")
                    .into())
            }
        }
    }
}

/// 422 to a move is one of the service's own rules.
fn ruled(to: TaskState, answered: Result<Success, Failure>) -> Result<Success, Failure> {
    match answered {
        Err(Failure::Rejected(said)) if said.status == 422 => Err(Failure::Rule { to, said }),
        answered => answered,
    }
}

/// A checkout is one only if the answer says that the issue is ours now.
fn taken(success: &Success, agent: &str, run: &str) -> Result<Issue, Failure> {
    let issue: Issue = success.read()?;
    let is = |said: &Option<String>, ours: &str| said.as_deref().is_some_and(|said| said.eq_ignore_ascii_case(ours));
    if issue.state == TaskState::InProgress && is(&issue.assignee, agent) && is(&issue.run, run) {
        Ok(issue)
    } else {
        Err(success.unusable("the answer to the checkout does not say that this run has the issue"))
    }
}
