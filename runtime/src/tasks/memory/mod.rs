//! What is remembered of a task: a lesson when it is done, a blocked pathway when it is blocked.
//!
//! [`Memory`] is a [hook](Hook) that runs when a change has been made. A record that can't be written does not undo the
//! change: whoever made it is told in [`Committed::missed`](crate::tasks::lifecycle::Committed::missed).

use std::error::Error as StdError;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use crate::tasks::lifecycle::{Change, Hook, TaskState};
use crate::tasks::settings::MemorySettings;

/// One thing that is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum Record {
    /// A task was done.
    #[serde(rename = "LESSON")]
    Lesson {
        /// What was done.
        description: String,
        /// How it ended.
        outcome: String,
        /// What is common to all.
        #[serde(flatten)]
        about: About,
    },
    /// A task was blocked.
    #[serde(rename = "BLOCKED_PATHWAY")]
    BlockedPathway {
        /// What was to be done.
        description: String,
        /// What blocks it.
        blocker: String,
        /// What was tried instead.
        #[serde(skip_serializing_if = "Option::is_none")]
        workaround_attempted: Option<String>,
        /// What is common to all.
        #[serde(flatten)]
        about: About,
    },
}

/// What every record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct About {
    /// Which task.
    pub task_id: String,
    /// In whose memory it is: the note `agent_id`, else the settings' default.
    pub agent_id: String,
    /// Who changed the task's state.
    pub actor: String,
    /// For what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mission_id: Option<String>,
    /// Under which words it is found again.
    pub tags: Vec<String>,
    /// When.
    #[serde(serialize_with = "crate::tasks::moment")]
    pub at: SystemTime,
}

/// Where records go.
pub trait Store: Send + Sync {
    /// Keeps one record.
    ///
    /// # Errors
    /// It is not kept.
    fn keep(&self, record: &Record) -> io::Result<()>;
}

impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn keep(&self, record: &Record) -> io::Result<()> {
        (**self).keep(record)
    }
}

/// A file with one record a line, as JSON. Several processes may append to one file.
#[derive(Debug)]
pub struct JsonLines {
    file: Mutex<Appending>,
}

#[derive(Debug)]
struct Appending {
    file: File,
    /// The last write failed, perhaps in the middle of a line.
    torn: bool,
}

impl JsonLines {
    /// Appends to this file, and makes it if there is none.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(JsonLines { file: Mutex::new(Appending { file, torn: false }) })
    }
}

impl Store for JsonLines {
    fn keep(&self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let mut appending = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if appending.torn {
            line.insert(0, b'\n');
        }
        // One write for one line, so that the lines of two processes do not mix.
        let written = appending.file.write_all(&line);
        appending.torn = written.is_err();
        written
    }
}

/// Remembers what became of tasks: add it to a [`Lifecycle`](crate::tasks::lifecycle::Lifecycle) as a hook.
///
/// From the change's notes it takes `description`, `outcome`, `blocker`, `workaround_attempted`, `agent_id`, `mission_id` and
/// `tags`.
///
/// ```
/// use portcullis::tasks::lifecycle::{By, Lifecycle, TaskState};
/// use portcullis::tasks::memory::{JsonLines, Memory};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("memory.jsonl");
/// let task = Lifecycle::new("order-17")?.hook(Memory::new(JsonLines::open(&path)?));
/// let _ = task.transition(TaskState::InProgress, "agent-7")?;
/// let _ = task.transition(TaskState::Blocked, By::actor("agent-7").note("blocker", "no access to the ledger"))?;
/// assert!(std::fs::read_to_string(&path)?.starts_with(r#"{"type":"BLOCKED_PATHWAY","#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Memory {
    store: Box<dyn Store>,
    settings: MemorySettings,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Memory {
    /// Keeps records in `store`.
    pub fn new(store: impl Store + 'static) -> Self {
        Memory::with_settings(store, MemorySettings::default())
    }

    /// The same, by settings.
    pub fn with_settings(store: impl Store + 'static, settings: MemorySettings) -> Self {
        Memory { store: Box::new(store), settings }
    }

    /// What is to be remembered of a change; mostly nothing.
    fn record(&self, task: &str, change: &Change) -> Option<Record> {
        let settings = &self.settings;
        let note = |name: &str| change.notes.get(name).and_then(Value::as_str).map(str::to_owned);
        let mut tags = settings.memory_tags.clone();
        match change.notes.get("tags") {
            Some(Value::String(tag)) => tags.push(tag.clone()),
            Some(Value::Array(more)) => tags.extend(more.iter().filter_map(Value::as_str).map(str::to_owned)),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {}
        }
        let actor = &change.actor;
        let about = About {
            task_id: task.into(),
            agent_id: note("agent_id").unwrap_or_else(|| settings.default_agent_id.clone()),
            actor: actor.clone(),
            mission_id: note("mission_id"),
            tags,
            at: change.at,
        };
        let description = note("description");
        match change.to {
            TaskState::Done if settings.enabled && settings.lesson_on_done => Some(Record::Lesson {
                description: description.unwrap_or_else(|| format!("Task {task} completed by {actor}")),
                outcome: note("outcome").unwrap_or_else(|| "Task reached DONE state successfully.".into()),
                about,
            }),
            TaskState::Blocked if settings.enabled && settings.blocked_pathway_on_blocked => {
                Some(Record::BlockedPathway {
                    description: description.unwrap_or_else(|| format!("Task {task} blocked during {actor}")),
                    blocker: note("blocker").unwrap_or_else(|| "Unknown blocker — task transitioned to BLOCKED".into()),
                    workaround_attempted: note("workaround_attempted"),
                    about,
                })
            }
            TaskState::Done
            | TaskState::Blocked
            | TaskState::Backlog
            | TaskState::Todo
            | TaskState::InProgress
            | TaskState::InReview
            | TaskState::Cancelled => None,
        }
    }
}

impl Hook for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn after(&self, task: &str, change: &Change) -> Result<(), Box<dyn StdError + Send + Sync>> {
        match self.record(task, change) {
            Some(record) => Ok(self.store.keep(&record)?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
