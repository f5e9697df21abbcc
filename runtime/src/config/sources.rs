//! Every source below the code, in the order of their trust.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::judge::Judge;
use super::settings::{DeviceParts, LimitSettings, MachineIdSettings, Settings, duration, variable};
use super::{ConfigError, DEADLINE};
use crate::authority::Device;
use crate::budget::Limits;
use crate::tasks::settings::layer::Layer;

/// How long a process on a shared ledger is taken for alive without a word of it, unless it is configured otherwise.
const LEASE: Duration = Duration::from_secs(15);
/// A shorter lease would lapse whenever the network stutters, a longer one would hide every crash.
const LEASES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// What one file says of tasks.
pub(crate) fn task_layer(path: &Path) -> Result<Layer, ConfigError> {
    Settings::from_file(path).map(|settings| settings.tasks())
}

/// What every source says of tasks: the most trusted first, and what may only lower limits.
pub(crate) struct TaskLayers {
    pub(crate) trusted: Vec<Layer>,
    pub(crate) tightening: Vec<(String, Layer)>,
}

pub(crate) fn task_layers() -> Result<TaskLayers, ConfigError> {
    Found::gather(None).map(|found| found.task_layers())
}

/// Every source below the code, the most trusted first; and what may only tighten.
#[derive(Default)]
pub(super) struct Found {
    pub(super) trusted: Vec<Settings>,
    pub(super) tightening: Settings,
}

impl Found {
    pub(super) fn gather(named_in_code: Option<&Path>) -> Result<Self, ConfigError> {
        let mut trusted = Vec::new();
        if let Some(path) = named_in_code {
            trusted.push(Settings::from_file(path)?);
        }
        trusted.push(Settings::from_environment()?);
        if let Some(path) = variable("PORTCULLIS_CONFIG")? {
            trusted.push(Settings::from_file(Path::new(&path))?);
        }
        trusted.extend(Settings::from_file_if_there(Path::new("/etc/portcullis/portcullis.toml"))?);
        if let Some(path) = user_file() {
            trusted.extend(Settings::from_file_if_there(&path)?);
        }
        let here = Path::new("portcullis.toml");
        let tightening = Settings::from_file_if_there(here)?.unwrap_or_default();
        let Settings {
            namespace,
            authority,
            ledger,
            deadline: _,
            lease,
            device,
            machineid,
            limits: _,
            // What of tasks it may say is for their own room to judge.
            lifecycle: _,
            budget: _,
            paperclip: _,
            memory_hooks: _,
        } = &tightening;
        if namespace.is_some()
            || authority.is_some()
            || ledger.is_some()
            || lease.is_some()
            || *device != DeviceParts::default()
            || *machineid != MachineIdSettings::default()
        {
            return Err(ConfigError::new(
                "portcullis.toml in the working directory may only tighten `deadline` and `[limits]`: whoever can write there \
                 must not choose the judge; if you mean it, name the file in PORTCULLIS_CONFIG or `Builder::file`",
            ));
        }
        Ok(Found { trusted, tightening })
    }

    pub(super) fn task_layers(&self) -> TaskLayers {
        TaskLayers {
            trusted: self.trusted.iter().map(Settings::tasks).collect(),
            tightening: vec![("portcullis.toml".into(), self.tightening.tasks())],
        }
    }

    pub(super) fn first<T>(&self, pick: impl Fn(&Settings) -> Option<T>) -> Option<T> {
        self.trusted.iter().find_map(pick)
    }

    pub(super) fn deadline(&self) -> Result<Duration, ConfigError> {
        for settings in &self.trusted {
            if let Some(deadline) = settings.deadline()? {
                return Ok(deadline);
            }
        }
        Ok(DEADLINE)
    }

    pub(super) fn lease(&self) -> Result<Duration, ConfigError> {
        let Some(text) = self.first(|settings| settings.lease.clone()) else { return Ok(LEASE) };
        let lease = duration("lease", &text)?;
        if LEASES.contains(&lease) {
            return Ok(lease);
        }
        Err(ConfigError::new(format!(
            "a lease of {} is refused: it must be at least {} and at most {}",
            humantime::format_duration(lease),
            humantime::format_duration(*LEASES.start()),
            humantime::format_duration(*LEASES.end())
        )))
    }

    pub(super) fn limits(&self) -> Result<Limits, ConfigError> {
        let first = |pick: fn(&LimitSettings) -> bool| {
            self.trusted
                .iter()
                .map(|settings| &settings.limits)
                .find(|limits| pick(limits))
                .cloned()
                .unwrap_or_default()
        };
        LimitSettings {
            max_steps: first(|limits| limits.max_steps.is_some()).max_steps,
            max_depth: first(|limits| limits.max_depth.is_some()).max_depth,
            max_duration: first(|limits| limits.max_duration.is_some()).max_duration,
            max_cost: first(|limits| limits.max_cost.is_some()).max_cost,
        }
        .to_limits()
    }

    pub(super) fn judge(&self) -> Result<Option<Judge>, ConfigError> {
        match self.first(|settings| settings.authority.clone()).as_deref() {
            None => Ok(None),
            Some("machineid") => Ok(Some(Judge::MachineId)),
            Some("local") => Ok(Some(Judge::Local)),
            Some(other) => {
                Err(ConfigError::new(format!("authority {other:?} is unknown: it is `machineid` or `local`")))
            }
        }
    }

    pub(super) fn device(&self, default: DeviceParts) -> Result<Device, ConfigError> {
        let part = |name: &str, pick: fn(&DeviceParts) -> &Option<String>| {
            self.first(|settings| pick(&settings.device).clone()).or_else(|| pick(&default).clone()).ok_or_else(|| {
                ConfigError::new(format!(
                    "the device's id is incomplete: set SERVICE_NAME, ENVIRONMENT, SERVICE_ROLE and INSTANCE_ID ({name} is missing); \
                     there are no defaults, because strangers must not become one device"
                ))
            })
        };
        Device::new(
            &part("SERVICE_NAME", |device| &device.service)?,
            &part("ENVIRONMENT", |device| &device.environment)?,
            &part("SERVICE_ROLE", |device| &device.role)?,
            &part("INSTANCE_ID", |device| &device.instance)?,
        )
        .map_err(|error| ConfigError::new(error.to_string()))
    }
}

fn user_file() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "portcullis").map(|dirs| dirs.config_dir().join("portcullis.toml"))
}
