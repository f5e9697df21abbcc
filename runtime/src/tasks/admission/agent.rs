//! An agent, as the task service knows it.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;

use super::{Asleep, Idle, NewTask};
use crate::refused::{Kind, Refused};
use crate::tasks::check_name;

/// A request to a task service, as data. Sent by `POST`, with JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Request {
    /// From the root of the service. Ids in it are escaped.
    pub path: String,
    /// What is sent.
    pub body: Value,
}

impl Request {
    pub(in crate::tasks) fn new(path: String, body: Value) -> Self {
        Request { path, body }
    }
}

/// An agent: its id, the company for which it works, and whether it is idle.
///
/// ```
/// use portcullis::tasks::admission::{Admission, Agent, NewTask};
///
/// let agent = Agent::new("agent-1", "co-1")?;
/// let admission = Admission::new("end-user", "login page is slow", "reduce load time by 40%", "benchmark test suite");
/// let request = agent.create(&NewTask::new("Optimize login", "performance", admission))?;
/// assert_eq!(request.path, "/api/companies/co-1/issues");
///
/// let refused = agent.create(&NewTask::new("Tidy up", "chore", Admission::default())).unwrap_err();
/// assert_eq!(refused.code(), "not_admitted");
/// # Ok::<(), portcullis::Refused>(())
/// ```
#[derive(Clone, Debug)]
pub struct Agent {
    id: String,
    company: String,
    idle: Idle,
    idle_timeout: Duration,
}

impl Agent {
    /// An agent that is awake.
    ///
    /// # Errors
    /// `invalid_argument` if one of the two is no [name](check_name), or can't stand in a path.
    pub fn new(id: impl Into<String>, company: impl Into<String>) -> Result<Self, Refused> {
        let (id, company) = (id.into(), company.into());
        check_name(&id).map_err(|flaw| {
            Refused::new(Kind::InvalidArgument, "agent", format!("the agent's id {id:?} is no name: {flaw}"))
        })?;
        segment("the company's id", &company)?;
        Ok(Agent { id, company, idle: Idle::new(), idle_timeout: Duration::from_secs(30) })
    }

    /// For how long it is to be left alone when it goes idle. Default: 30 s.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// The request that creates a task: admitted, and not while idle.
    ///
    /// # Errors
    /// `not_admitted`, and then `idle`.
    pub fn create(&self, task: &NewTask) -> Result<Request, Refused> {
        task.admitted()?;
        self.idle.may_start("create_task", &task.title)?;
        self.request(task)
    }

    /// The same for a call for help, which an idle agent may make too.
    ///
    /// # Errors
    /// `not_admitted`.
    pub fn call_for_help(&self, task: &NewTask) -> Result<Request, Refused> {
        task.admitted()?;
        self.request(task)
    }

    fn request(&self, task: &NewTask) -> Result<Request, Refused> {
        Ok(Request::new(self.company_path("issues")?, task.body(&self.id)))
    }

    pub(in crate::tasks) fn company_path(&self, what: &str) -> Result<String, Refused> {
        Ok(format!("/api/companies/{}/{what}", segment("the company's id", &self.company)?))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is idle, to hand to what starts work for it.
    #[must_use]
    pub fn idle(&self) -> &Idle {
        &self.idle
    }

    /// Goes idle, because there is no work for it.
    pub fn sleep(&self) -> Asleep {
        self.idle.sleep();
        tracing::info!(agent = %self.id, timeout = ?self.idle_timeout, "an agent goes idle: there is no work for it");
        Asleep::new(&self.id, self.idle_timeout)
    }

    /// Wakes up.
    pub fn wake(&self) {
        self.idle.wake();
        tracing::info!(agent = %self.id, "an agent wakes up");
    }
}

const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An id as one segment of a path, which leads nowhere else. Escaping does not help against `..`.
pub(in crate::tasks) fn segment(what: &str, id: &str) -> Result<String, Refused> {
    let invalid = |why: &str| {
        Refused::new(Kind::InvalidArgument, "task service", format!("{what} {id:?} can't stand in a path: {why}"))
    };
    check_name(id).map_err(|flaw| invalid(&flaw.to_string()))?;
    if id.bytes().all(|byte| byte == b'.') {
        return Err(invalid("it leads to another place"));
    }
    Ok(utf8_percent_encode(id, PLAIN).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::admission::Admission;

    #[test]
    fn an_id_cannot_lead_to_another_endpoint() {
        let task = NewTask::new("t", "k", Admission::new("a", "b", "c", "d"));
        let agent = Agent::new("a", "../agents/x?y#z").unwrap();
        assert_eq!(agent.create(&task).unwrap().path, "/api/companies/..%2Fagents%2Fx%3Fy%23z/issues");
        for company in ["..", ".", "", "a\n"] {
            assert_eq!(Agent::new("a", company).unwrap_err().kind(), Kind::InvalidArgument, "{company:?}");
        }
    }

    #[test]
    fn a_title_cannot_write_another_line() {
        let agent = Agent::new("a", "co").unwrap();
        let refused = agent.create(&NewTask::new("t\nOK: all", "k", Admission::default())).unwrap_err();
        assert!(!refused.to_string().contains('\n'), "{refused}");
    }
}
