//! What tasks may use and how deep they may go, from environment and files.
//!
//! Files have the sections `lifecycle`, `budget`, `paperclip` and `memory_hooks`, in TOML or (feature `yaml`) in YAML:
//!
//! ```yaml
//! lifecycle:
//!   max_depth: 10
//! budget:
//!   max_steps: 50
//!   max_duration_seconds: 1800
//! ```
//!
//! What is not there has its default. What is there must be right: an unknown key, a limit that is no whole number, or a file that was
//! named and is missing is an error. In order of trust: the environment, the file that `PORTCULLIS_CONFIG` names,
//! `/etc/portcullis/portcullis.toml`, the user's `portcullis.toml`, `/etc/exec-kernel.yml`, `~/.exec-kernel.yml`, the defaults.
//! `portcullis.toml` and `.exec-kernel.yml` in the working directory may lower limits, and nothing else: whoever can write there must not
//! choose what it is measured by.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::budget::Limits;
use crate::config::{self, ConfigError, TaskLayers};
use crate::tasks::loops::Detector;

pub(crate) mod layer;
#[cfg(feature = "yaml")]
mod yaml;

use layer::Layer;

/// Every setting, with its default where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Settings {
    /// The tree of tasks.
    pub lifecycle: LifecycleSettings,
    /// What a task may use.
    pub budget: BudgetSettings,
    /// The task service.
    pub paperclip: PaperclipSettings,
    /// What is remembered of a task.
    pub memory_hooks: MemorySettings,
}

/// The section `lifecycle`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LifecycleSettings {
    /// How deep the tree of tasks may be. Default: 10.
    pub max_depth: u64,
    /// How many finished tasks are to be remembered, at least. All are: it is read so that files which have it can be read.
    pub max_heap_size: u64,
}

/// The section `budget`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BudgetSettings {
    /// Default: 50.
    pub max_steps: u64,
    /// Default: 10.
    pub max_depth: u64,
    /// In seconds. Default: 1800.
    #[serde(rename = "max_duration_seconds", serialize_with = "layer::seconds")]
    pub max_duration: Duration,
}

/// The section `paperclip`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PaperclipSettings {
    /// Where the task service listens. Default: port 3100 of this machine.
    pub api_url: String,
}

/// The section `memory_hooks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemorySettings {
    /// Whether anything is remembered. Default: yes.
    pub enabled: bool,
    /// Whether a lesson is recorded when a task is done. Default: yes.
    pub lesson_on_done: bool,
    /// Whether a blocked pathway is recorded when a task is blocked. Default: yes.
    pub blocked_pathway_on_blocked: bool,
    /// Where. Default: nowhere, until the program says where.
    pub memory_store_path: Option<PathBuf>,
    /// In whose name, where nobody else is named. Default: `kernel`.
    pub default_agent_id: String,
    /// What every record is tagged with. Default: `kernel`, `lifecycle`.
    pub memory_tags: Vec<String>,
}

impl Default for LifecycleSettings {
    fn default() -> Self {
        LifecycleSettings { max_depth: Detector::MAX_DEPTH, max_heap_size: 1000 }
    }
}

impl Default for BudgetSettings {
    fn default() -> Self {
        BudgetSettings { max_steps: 50, max_depth: 10, max_duration: Duration::from_secs(1800) }
    }
}

impl Default for PaperclipSettings {
    fn default() -> Self {
        PaperclipSettings { api_url: "http://127.0.0.1:3100".into() }
    }
}

impl Default for MemorySettings {
    fn default() -> Self {
        MemorySettings {
            enabled: true,
            lesson_on_done: true,
            blocked_pathway_on_blocked: true,
            memory_store_path: None,
            default_agent_id: "kernel".into(),
            memory_tags: vec!["kernel".into(), "lifecycle".into()],
        }
    }
}

impl BudgetSettings {
    /// What every limit lowers.
    const fn unlimited() -> Self {
        BudgetSettings { max_steps: u64::MAX, max_depth: u64::MAX, max_duration: Duration::MAX }
    }

    /// As the limits of an account.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits::new().steps(self.max_steps).depth(self.max_depth).duration(self.max_duration)
    }
}

impl Settings {
    /// From environment and files, in the order of trust.
    ///
    /// # Errors
    /// A file can't be read, or says what can't be.
    pub fn gather() -> Result<Self, ConfigError> {
        Settings::of(config::task_layers()?).map(|(settings, _)| settings)
    }

    /// From these layers and the other program's files; and how far the working directory's files lower the limits of a task, whoever
    /// states them.
    pub(crate) fn of(mut found: TaskLayers) -> Result<(Self, Limits), ConfigError> {
        let here = Path::new(".exec-kernel.yml");
        for path in [Some(PathBuf::from("/etc/exec-kernel.yml")), in_home(".exec-kernel.yml")].into_iter().flatten() {
            // Whoever works in the home directory can write there: then it counts as the working directory.
            if !is_same(&path, here) {
                found.trusted.extend(Layer::from_file_if_there(&path)?);
            }
        }
        if let Some(layer) = Layer::from_file_if_there(here)? {
            found.tightening.push((here.display().to_string(), layer));
        }
        let mut settings = Settings::default();
        // The most trusted last, so that its word stands.
        for layer in found.trusted.iter().rev() {
            layer.apply_to(&mut settings);
        }
        let mut lowered = BudgetSettings::unlimited();
        for (file, layer) in &found.tightening {
            layer.tighten(&mut settings, file)?;
            layer.lower(&mut lowered);
        }
        Ok((settings, lowered.limits()))
    }

    /// From one file, over the defaults: TOML, or YAML where its name ends in `.yml` or `.yaml`.
    ///
    /// # Errors
    /// It can't be read, or says what can't be. A file that is missing is an error: it was named on purpose.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        config::task_layer(path.as_ref()).map(|layer| layer.over_defaults())
    }

    /// From the text of a file such as `.exec-kernel.yml`, over the defaults. It is read as YAML 1.2: `010`, `1_000` and `30:00` are no
    /// numbers, `yes` is no truth value, and a key that is given twice is an error.
    ///
    /// # Errors
    /// It says what can't be.
    ///
    /// ```
    /// use portcullis::tasks::settings::Settings;
    ///
    /// let settings = Settings::from_yaml("budget: {max_steps: 20}")?;
    /// assert_eq!((settings.budget.max_steps, settings.budget.max_depth), (20, 10));
    ///
    /// let error = Settings::from_yaml("budget: {max_step: 20}").unwrap_err();
    /// assert_eq!(error.to_string(), "budget: unknown key `max_step`; did you mean `max_steps`?");
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    #[cfg(feature = "yaml")]
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        Layer::from_yaml(text).map(|layer| layer.over_defaults()).map_err(ConfigError::new)
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn in_home(name: &str) -> Option<PathBuf> {
    directories::BaseDirs::new().map(|dirs| dirs.home_dir().join(name))
}
