//! One source of settings: a file, or the environment.

use std::env;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use super::explained;
use crate::budget::{Cost, Limits};
use crate::tasks::settings::layer::{self, Layer};

/// One source of settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    pub(super) namespace: Option<String>,
    pub(super) authority: Option<String>,
    pub(super) ledger: Option<String>,
    pub(super) deadline: Option<String>,
    pub(super) lease: Option<String>,
    pub(super) device: DeviceParts,
    pub(super) machineid: MachineIdSettings,
    pub(super) limits: LimitSettings,
    // The sections of tasks. A section is read by `tasks::settings`.
    #[serde(deserialize_with = "layer::section")]
    pub(super) lifecycle: Option<layer::Lifecycle>,
    #[serde(deserialize_with = "layer::section")]
    pub(super) budget: Option<layer::Budget>,
    #[serde(deserialize_with = "layer::section")]
    pub(super) paperclip: Option<layer::Paperclip>,
    #[serde(deserialize_with = "layer::section")]
    pub(super) memory_hooks: Option<layer::Memory>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DeviceParts {
    pub(super) service: Option<String>,
    pub(super) environment: Option<String>,
    pub(super) role: Option<String>,
    pub(super) instance: Option<String>,
}

#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MachineIdSettings {
    pub(super) org_key: Option<String>,
    pub(super) base_url: Option<String>,
}

impl fmt::Debug for MachineIdSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key.
        f.debug_struct("MachineIdSettings").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitSettings {
    pub(super) max_steps: Option<u64>,
    pub(super) max_depth: Option<u64>,
    pub(super) max_duration: Option<String>,
    pub(super) max_cost: Option<String>,
}

impl LimitSettings {
    pub(super) fn to_limits(&self) -> Result<Limits, ConfigError> {
        let mut limits = Limits::new();
        if let Some(steps) = self.max_steps {
            limits = limits.steps(steps);
        }
        if let Some(depth) = self.max_depth {
            limits = limits.depth(depth);
        }
        if let Some(text) = &self.max_duration {
            limits = limits.duration(duration("max_duration", text)?);
        }
        if let Some(text) = &self.max_cost {
            limits = limits.cost(text.parse::<Cost>().map_err(|error| ConfigError::new(format!("max_cost: {error}")))?);
        }
        Ok(limits)
    }
}

impl Settings {
    pub(super) fn deadline(&self) -> Result<Option<Duration>, ConfigError> {
        self.deadline.as_deref().map(|text| duration("deadline", text)).transpose()
    }

    pub(super) fn from_environment() -> Result<Self, ConfigError> {
        let number = |name: &str| -> Result<Option<u64>, ConfigError> {
            let parse = |text: String| {
                text.parse().map_err(|_| ConfigError::new(format!("{name}={text:?} is not a whole number from 0")))
            };
            variable(name)?.map(parse).transpose()
        };
        Ok(Settings {
            namespace: variable("PORTCULLIS_NAMESPACE")?,
            authority: variable("PORTCULLIS_AUTHORITY")?,
            ledger: variable("PORTCULLIS_LEDGER")?,
            deadline: variable("PORTCULLIS_DEADLINE")?,
            lease: variable("PORTCULLIS_LEASE")?,
            device: DeviceParts {
                service: variable("SERVICE_NAME")?,
                environment: variable("ENVIRONMENT")?,
                role: variable("SERVICE_ROLE")?,
                instance: variable("INSTANCE_ID")?,
            },
            machineid: MachineIdSettings {
                org_key: variable("MACHINEID_ORG_KEY")?,
                base_url: variable("MACHINEID_BASE_URL")?,
            },
            limits: LimitSettings {
                max_steps: number("PORTCULLIS_MAX_STEPS")?,
                max_depth: number("PORTCULLIS_MAX_DEPTH")?,
                max_duration: variable("PORTCULLIS_MAX_DURATION")?,
                max_cost: variable("PORTCULLIS_MAX_COST")?,
            },
            lifecycle: Some(layer::Lifecycle { max_depth: number("PORTCULLIS_LOOP_MAX_DEPTH")?, max_heap_size: None }),
            budget: Some(layer::Budget {
                max_steps: number("PORTCULLIS_TASK_MAX_STEPS")?,
                max_depth: number("PORTCULLIS_TASK_MAX_DEPTH")?,
                max_duration: variable("PORTCULLIS_TASK_MAX_DURATION")?
                    .map(|text| duration("PORTCULLIS_TASK_MAX_DURATION", &text))
                    .transpose()?,
            }),
            paperclip: Some(layer::Paperclip { api_url: variable("PAPERCLIP_API_URL")? }),
            memory_hooks: None,
        })
    }

    pub(super) fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let unusable = |what: String| ConfigError::new(format!("{}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
        if path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml") {
            // In YAML there are the sections of tasks alone.
            let Layer { lifecycle, budget, paperclip, memory_hooks } = Layer::from_yaml(&text).map_err(unusable)?;
            return Ok(Settings { lifecycle, budget, paperclip, memory_hooks, ..Settings::default() });
        }
        // The messages alone: an error's own text would quote the line, and the line may hold the key.
        let parsed = toml::Deserializer::parse(&text).map_err(|error| unusable(error.message().to_owned()))?;
        serde_path_to_error::deserialize(parsed).map_err(|error| unusable(explained(&error, error.inner().message())))
    }

    pub(super) fn tasks(&self) -> Layer {
        let Settings { lifecycle, budget, paperclip, memory_hooks, .. } = self.clone();
        Layer { lifecycle, budget, paperclip, memory_hooks }
    }

    pub(super) fn from_file_if_there(path: &Path) -> Result<Option<Self>, ConfigError> {
        // Anything but its absence is an error: a file that can't be looked at may say something.
        match path.try_exists() {
            Ok(false) => Ok(None),
            Ok(true) | Err(_) => Settings::from_file(path).map(Some),
        }
    }
}

/// Absent and empty are the same; text that is not Unicode is an error.
pub(super) fn variable(name: &str) -> Result<Option<String>, ConfigError> {
    match env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(ConfigError::new(format!("{name} is not valid Unicode"))),
    }
}

pub(super) fn duration(name: &str, text: &str) -> Result<Duration, ConfigError> {
    humantime::parse_duration(text).map_err(|error| {
        ConfigError::new(format!("{name} = {text:?} is not a duration such as \"2s\" or \"30m\": {error}"))
    })
}
