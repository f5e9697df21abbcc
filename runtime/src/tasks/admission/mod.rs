//! What a task must say for itself before it is created, and when none is created at all.
//!
//! Every task states who wants it, what it is against, what it will bring, and how that will be seen: the [`Admission`]. What is left
//! blank is not filled in for anybody. An agent that has gone [idle](Idle) starts no work, but may still call for help: an
//! [escalation](crate::tasks::escalation) does not ask whether somebody is idle.
//!
//! A task is created in a task service. Here the request is made, as data; sending it is the business of whoever knows the
//! service.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::refused::{Kind, Refused};
use crate::tasks::name::is_blank;

mod agent;
pub(crate) mod idle;

#[cfg(feature = "paperclip")]
pub(in crate::tasks) use agent::segment;
pub use agent::{Agent, Request};
pub use idle::{Asleep, Idle};

/// Why a task is worth doing. Four fields are required; a field that is blank, or that is no text where it comes from JSON, is
/// missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Admission {
    /// Who wants it.
    #[serde(default, deserialize_with = "text")]
    pub consumer: String,
    /// What it is against.
    #[serde(default, deserialize_with = "text")]
    pub pain_point: String,
    /// What it will bring.
    #[serde(default, deserialize_with = "text")]
    pub expected_value: String,
    /// How that will be seen.
    #[serde(default, deserialize_with = "text")]
    pub validation_path: String,
    /// Where the wish comes from, such as `demand`. May be left out.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub origin_category: String,
    /// What shows that. May be left out.
    #[serde(default, deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub origin_evidence: String,
}

/// What is no text is missing, and not an error of another kind.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) => text,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => String::new(),
    })
}

impl Admission {
    /// The four fields that are required.
    pub fn new(
        consumer: impl Into<String>,
        pain_point: impl Into<String>,
        expected_value: impl Into<String>,
        validation_path: impl Into<String>,
    ) -> Self {
        Admission {
            consumer: consumer.into(),
            pain_point: pain_point.into(),
            expected_value: expected_value.into(),
            validation_path: validation_path.into(),
            ..Admission::default()
        }
    }

    /// Where the wish comes from, and what shows that.
    #[must_use]
    pub fn origin(mut self, category: impl Into<String>, evidence: impl Into<String>) -> Self {
        self.origin_category = category.into();
        self.origin_evidence = evidence.into();
        self
    }

    /// The required fields that are missing, in the order of the schema.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let required = [
            ("consumer", &self.consumer),
            ("pain_point", &self.pain_point),
            ("expected_value", &self.expected_value),
            ("validation_path", &self.validation_path),
        ];
        required.into_iter().filter(|(_, text)| is_blank(text)).map(|(name, _)| name).collect()
    }

    /// `true` if nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing().is_empty()
    }
}

/// A task that was not admitted. The [source](std::error::Error::source) of its refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Cannot create task '{}': admission schema incomplete (missing: {})", shown(.title), .missing.join(", "))]
#[non_exhaustive]
pub struct Incomplete {
    /// The task's title.
    pub title: String,
    /// The fields that are missing, in the order of the schema.
    pub missing: Vec<&'static str>,
}

/// As it is, but for characters that would write another line.
pub(super) fn shown(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, character| {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        shown
    })
}

/// A task that is to be created in a task service.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NewTask {
    /// Its title.
    pub title: String,
    /// What kind of work it is.
    pub task_type: String,
    /// Why it is worth doing.
    pub admission: Admission,
    /// The task of which it is a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// The goal that it serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal_id: Option<String>,
    /// Who is to do it. Default: who creates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignee_agent_id: Option<String>,
    /// What it is about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl NewTask {
    /// A task with a title, of a kind, and why it is worth doing.
    pub fn new(title: impl Into<String>, task_type: impl Into<String>, admission: Admission) -> Self {
        NewTask {
            title: title.into(),
            task_type: task_type.into(),
            admission,
            parent_id: None,
            goal_id: None,
            assignee_agent_id: None,
            description: String::new(),
        }
    }

    /// The task of which it is a part.
    #[must_use]
    pub fn parent(mut self, id: impl Into<String>) -> Self {
        self.parent_id = Some(id.into());
        self
    }

    /// The goal that it serves.
    #[must_use]
    pub fn goal(mut self, id: impl Into<String>) -> Self {
        self.goal_id = Some(id.into());
        self
    }

    /// Who is to do it.
    #[must_use]
    pub fn assignee(mut self, agent: impl Into<String>) -> Self {
        self.assignee_agent_id = Some(agent.into());
        self
    }

    /// What it is about.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// Whether it says what it must.
    ///
    /// # Errors
    /// `not_admitted`, with [`Incomplete`] as its source.
    pub fn admitted(&self) -> Result<(), Refused> {
        let mut missing = self.admission.missing();
        for (name, text) in [("title", &self.title), ("task_type", &self.task_type)] {
            if is_blank(text) {
                missing.push(name);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let incomplete = Incomplete { title: self.title.clone(), missing };
        Err(Refused::new(Kind::NotAdmitted, "create_task", incomplete.to_string())
            .advise("fill in what is missing; blanks do not count")
            .because(incomplete))
    }

    /// The body of the request. The kind goes along: without it nobody could tell later that a task repeats another one.
    fn body(&self, creator: &str) -> Value {
        let admission =
            serde_json::to_string_pretty(&self.admission).unwrap_or_else(|_| unreachable!("it is text alone"));
        let description = format!("{}\n\n---\n### Admission Schema\n```json\n{admission}\n```", self.description);
        let mut body = json!({
            "title": self.title,
            "description": description.trim_start(),
            "status": "todo",
            "assigneeAgentId": self.assignee_agent_id.as_deref().unwrap_or(creator),
            "task_type": self.task_type,
        });
        for (name, id) in [("parentId", &self.parent_id), ("goalId", &self.goal_id)] {
            if let Some(id) = id {
                body[name] = id.as_str().into();
            }
        }
        body
    }
}
