//! What the gate is built from, in this order of trust: code, environment, the system's file, the user's file, the
//! working directory's file, defaults.
//!
//! An agent that can write a file must not choose its own judge: the file in the working directory may tighten limits and
//! nothing else. A program that means such a file names it, in code or in `PORTCULLIS_CONFIG`.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::authority::{Authority, Device};
use crate::budget::{Cost, Limits};
use crate::gate::{LedgerPlan, Plan, Portcullis, TaskPlan};
use crate::ledger::{Receipts, Seal};
use crate::refused::{Kind, Refused};
use crate::tasks::settings::layer::{self, Layer};

mod near;

pub(crate) use near::explained;

/// How long an authority may take, unless it is configured otherwise.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
/// How long a process on a shared ledger is taken for alive without a word of it, unless it is configured otherwise.
const LEASE: Duration = Duration::from_secs(15);
/// A shorter lease would lapse whenever the network stutters, a longer one would hide every crash.
const LEASES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// A gate that waits longer is not a gate.
const LONGEST_DEADLINE: Duration = Duration::from_secs(3);

/// Configuration that cannot be used. The message says what is wrong, where, and what to write.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    message: String,
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `fn main() -> Result<_, ConfigError>` shows.
        write!(f, "ConfigError: {self}")
    }
}

impl ConfigError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        ConfigError { message: message.into() }
    }

    pub(crate) fn already_installed() -> Self {
        ConfigError::new(
            "a gate is installed already; install yours before the first guarded call, or use it by `with = …` or `gate.scope(…)`",
        )
    }

    pub(crate) fn thread(what: &str, error: std::io::Error) -> Self {
        ConfigError::new(format!("{what} could not be started: {error}"))
    }

    /// What a guarded call answers while the configuration is unusable.
    pub(crate) fn refuse(&self, action: &str) -> Refused {
        Refused::new(Kind::NotConfigured, action, self.message.clone())
    }
}

/// A configuration in code. What it leaves open comes from environment and files.
#[derive(Default)]
#[must_use = "a configuration does nothing until `install` or `build`"]
pub struct Builder {
    namespace: Option<String>,
    authority: Option<Judge>,
    device: Option<Device>,
    ledger: Option<LedgerChoice>,
    deadline: Option<Duration>,
    limits: Option<Limits>,
    receipts: Receipts,
    file: Option<PathBuf>,
    unwinds: bool,
}

/// Who answers.
enum Judge {
    Given(Arc<dyn Authority>),
    /// The embedded one, in the ledger's database.
    Local,
    MachineId,
}

enum LedgerChoice {
    Url(String),
    Given(LedgerPlan),
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

impl Builder {
    /// The authority to ask: `MachineId` (feature `http`), or one of your own.
    pub fn authority(mut self, authority: impl Authority + 'static) -> Self {
        self.authority = Some(Judge::Given(Arc::new(authority)));
        self
    }

    /// The embedded local authority and the ledger in one SQLite file: for development and for one machine. The file is made
    /// if it does not exist. It lies beside the process that it judges: whoever can write it can allow everything.
    pub fn embedded(mut self, path: impl AsRef<Path>) -> Self {
        self.authority = Some(Judge::Local);
        self.ledger = Some(LedgerChoice::Url(format!("sqlite:{}", path.as_ref().display())));
        self
    }

    /// The identity that asks.
    pub fn device(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// Where claims are kept: `sqlite:PATH`, or `postgres://USER@HOST/DATABASE` (feature `postgres`). Default: a file in the
    /// user's state directory.
    pub fn ledger(mut self, url: impl Into<String>) -> Self {
        self.ledger = Some(LedgerChoice::Url(url.into()));
        self
    }

    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "for `testing`"))]
    pub(crate) fn ledger_from(mut self, plan: LedgerPlan) -> Self {
        self.ledger = Some(LedgerChoice::Given(plan));
        self
    }

    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "for `testing`"))]
    pub(crate) fn unwinding(mut self) -> Self {
        self.unwinds = true;
        self
    }

    /// The namespace of every claim, instead of the package name of the crate in which the guarded function stands.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// How large a receipt may be, in bytes, after the [`seal`](Self::seal): default 1 MiB. What is larger is committed without its
    /// receipt: the first caller gets its result and a warning is logged, and retries are refused as `receipt_too_large`.
    pub fn max_receipt(mut self, bytes: usize) -> Self {
        self.receipts.max = bytes;
        self
    }

    /// Redacts or encrypts receipts before they are stored.
    pub fn seal(mut self, seal: impl Seal) -> Self {
        self.receipts.seal = Some(Arc::new(seal));
        self
    }

    /// How long the authority may take, from the question to the parsed answer: default 2 s, at most 3 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The limits of every [`scope`](crate::scope()): each guarded call in it is one step on its account.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// A configuration file, trusted like the environment.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Makes the gate and installs it as the process's.
    ///
    /// # Errors
    /// The configuration is unusable, or a gate is installed already.
    pub fn install(self) -> Result<Portcullis, ConfigError> {
        self.build()?.install()
    }

    /// Makes the gate without installing it: for `with = …` and [`Portcullis::scope`].
    ///
    /// # Errors
    /// The configuration is unusable. That no authority is configured is no error here: boundaries will be refused as
    /// `not_configured`, while `#[once]` and `#[budgeted]` need none.
    pub fn build(self) -> Result<Portcullis, ConfigError> {
        let Builder { namespace, authority, device, ledger, deadline, limits, receipts, file, unwinds } = self;
        // A testing gate must not depend on the machine that it runs on.
        let found = if unwinds { Found::default() } else { Found::gather(file.as_deref())? };

        let deadline = deadline.map_or_else(|| found.deadline(), Ok)?;
        if deadline.is_zero() || deadline > LONGEST_DEADLINE {
            return Err(ConfigError::new(format!(
                "a deadline of {} is refused: it must be over 0 and at most {}",
                humantime::format_duration(deadline),
                humantime::format_duration(LONGEST_DEADLINE)
            )));
        }
        let deadline = found.tightening.deadline()?.map_or(deadline, |tighter| deadline.min(tighter));
        let limits = limits.map_or_else(|| found.limits(), Ok)?.tightened_by(found.tightening.limits.to_limits()?);

        let tasks = if unwinds { TaskPlan::default() } else { TaskPlan::of(found.task_layers())? };

        let ledger = match ledger {
            Some(choice) => choice,
            None => LedgerChoice::Url(match found.first(|settings| settings.ledger.clone()) {
                Some(url) => url,
                None => default_ledger()?,
            }),
        };
        let authority = match authority {
            Some(judge) => Some(judge),
            None => found.judge()?,
        };
        let authority = match authority {
            None => Err("no authority is configured, and without one nobody can say yes".to_owned()),
            Some(judge) => {
                let default_device = judge.default_device();
                let authority = judge.meet(&found, &ledger)?;
                Ok((authority, device.map_or_else(|| found.device(default_device), Ok)?))
            }
        };
        let ledger: LedgerPlan = match ledger {
            LedgerChoice::Given(plan) => plan,
            LedgerChoice::Url(url) => {
                let lease = found.lease()?;
                Box::new(move || crate::ledger::open(&url, lease))
            }
        };
        let namespace = namespace.or_else(|| found.first(|settings| settings.namespace.clone()));
        Portcullis::build(Plan { namespace, authority, ledger, receipts, deadline, limits, tasks, unwinds })
    }
}

fn default_ledger() -> Result<String, ConfigError> {
    #[cfg(feature = "sqlite")]
    return crate::ledger::default_path().map(|path| format!("sqlite:{}", path.display())).ok_or_else(|| {
        ConfigError::new("this user has no state directory for the ledger; name a file: PORTCULLIS_LEDGER=sqlite:PATH")
    });
    #[cfg(not(feature = "sqlite"))]
    // Opening it says which feature is missing.
    Ok("sqlite:".into())
}

impl Judge {
    /// The embedded authority knows one machine only: there a stranger can't be confused with anybody.
    fn default_device(&self) -> DeviceParts {
        match self {
            Judge::Local => DeviceParts {
                service: Some(program_name()),
                environment: Some("local".into()),
                role: Some("worker".into()),
                instance: Some("1".into()),
            },
            Judge::Given(_) | Judge::MachineId => DeviceParts::default(),
        }
    }

    fn meet(self, found: &Found, ledger: &LedgerChoice) -> Result<Arc<dyn Authority>, ConfigError> {
        match self {
            Judge::Given(authority) => Ok(authority),
            Judge::Local => local(ledger),
            Judge::MachineId => machineid(found),
        }
    }
}

#[cfg(feature = "sqlite")]
fn local(ledger: &LedgerChoice) -> Result<Arc<dyn Authority>, ConfigError> {
    let LedgerChoice::Url(url) = ledger else {
        return Err(ConfigError::new("the embedded authority lives in the ledger's file, and this ledger has none"));
    };
    let path = url.strip_prefix("sqlite:").ok_or_else(|| {
        ConfigError::new(format!("the embedded authority lives in a SQLite ledger, and the ledger is {}", shown(url)))
    })?;
    Ok(Arc::new(crate::authority::Local::open(path)))
}

/// A database's URL may hold a password.
#[cfg(feature = "sqlite")]
fn shown(url: &str) -> &str {
    url.split_once(':').map_or("something else", |(scheme, _)| scheme)
}

#[cfg(not(feature = "sqlite"))]
fn local(_: &LedgerChoice) -> Result<Arc<dyn Authority>, ConfigError> {
    Err(ConfigError::new("the embedded authority needs portcullis' feature `sqlite`"))
}

#[cfg(feature = "http")]
fn machineid(found: &Found) -> Result<Arc<dyn Authority>, ConfigError> {
    use crate::authority::{MachineId, OrgKey};
    let key = found.first(|settings| settings.machineid.org_key.clone()).ok_or_else(|| {
        ConfigError::new("the authority is MachineID, and there is no key for it; set MACHINEID_ORG_KEY=org_…")
    })?;
    let key = OrgKey::new(key).map_err(|error| ConfigError::new(format!("MACHINEID_ORG_KEY: {error}")))?;
    let base = found.first(|settings| settings.machineid.base_url.clone());
    let base = base.as_deref().unwrap_or(MachineId::BASE_URL);
    let machineid =
        MachineId::new(base, key).map_err(|error| ConfigError::new(format!("MACHINEID_BASE_URL: {error}")))?;
    Ok(Arc::new(machineid))
}

#[cfg(not(feature = "http"))]
fn machineid(_: &Found) -> Result<Arc<dyn Authority>, ConfigError> {
    Err(ConfigError::new("the authority MachineID needs portcullis' feature `http`"))
}

/// One source of settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    namespace: Option<String>,
    authority: Option<String>,
    ledger: Option<String>,
    deadline: Option<String>,
    lease: Option<String>,
    device: DeviceParts,
    machineid: MachineIdSettings,
    limits: LimitSettings,
    // The sections of tasks. A section is read by `tasks::settings`.
    #[serde(deserialize_with = "layer::section")]
    lifecycle: Option<layer::Lifecycle>,
    #[serde(deserialize_with = "layer::section")]
    budget: Option<layer::Budget>,
    #[serde(deserialize_with = "layer::section")]
    paperclip: Option<layer::Paperclip>,
    #[serde(deserialize_with = "layer::section")]
    memory_hooks: Option<layer::Memory>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DeviceParts {
    service: Option<String>,
    environment: Option<String>,
    role: Option<String>,
    instance: Option<String>,
}

#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MachineIdSettings {
    org_key: Option<String>,
    base_url: Option<String>,
}

impl fmt::Debug for MachineIdSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key.
        f.debug_struct("MachineIdSettings").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitSettings {
    max_steps: Option<u64>,
    max_depth: Option<u64>,
    max_duration: Option<String>,
    max_cost: Option<String>,
}

impl LimitSettings {
    fn to_limits(&self) -> Result<Limits, ConfigError> {
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
    fn deadline(&self) -> Result<Option<Duration>, ConfigError> {
        self.deadline.as_deref().map(|text| duration("deadline", text)).transpose()
    }

    fn from_environment() -> Result<Self, ConfigError> {
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

    fn from_file(path: &Path) -> Result<Self, ConfigError> {
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

    fn tasks(&self) -> Layer {
        let Settings { lifecycle, budget, paperclip, memory_hooks, .. } = self.clone();
        Layer { lifecycle, budget, paperclip, memory_hooks }
    }

    fn from_file_if_there(path: &Path) -> Result<Option<Self>, ConfigError> {
        // Anything but its absence is an error: a file that can't be looked at may say something.
        match path.try_exists() {
            Ok(false) => Ok(None),
            Ok(true) | Err(_) => Settings::from_file(path).map(Some),
        }
    }
}

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

/// Absent and empty are the same; text that is not Unicode is an error.
fn variable(name: &str) -> Result<Option<String>, ConfigError> {
    match env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(ConfigError::new(format!("{name} is not valid Unicode"))),
    }
}

fn duration(name: &str, text: &str) -> Result<Duration, ConfigError> {
    humantime::parse_duration(text).map_err(|error| {
        ConfigError::new(format!("{name} = {text:?} is not a duration such as \"2s\" or \"30m\": {error}"))
    })
}

/// Every source below the code, the most trusted first; and what may only tighten.
#[derive(Default)]
struct Found {
    trusted: Vec<Settings>,
    tightening: Settings,
}

impl Found {
    fn gather(named_in_code: Option<&Path>) -> Result<Self, ConfigError> {
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

    fn task_layers(&self) -> TaskLayers {
        TaskLayers {
            trusted: self.trusted.iter().map(Settings::tasks).collect(),
            tightening: vec![("portcullis.toml".into(), self.tightening.tasks())],
        }
    }

    fn first<T>(&self, pick: impl Fn(&Settings) -> Option<T>) -> Option<T> {
        self.trusted.iter().find_map(pick)
    }

    fn deadline(&self) -> Result<Duration, ConfigError> {
        for settings in &self.trusted {
            if let Some(deadline) = settings.deadline()? {
                return Ok(deadline);
            }
        }
        Ok(DEADLINE)
    }

    fn lease(&self) -> Result<Duration, ConfigError> {
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

    fn limits(&self) -> Result<Limits, ConfigError> {
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

    fn judge(&self) -> Result<Option<Judge>, ConfigError> {
        match self.first(|settings| settings.authority.clone()).as_deref() {
            None => Ok(None),
            Some("machineid") => Ok(Some(Judge::MachineId)),
            Some("local") => Ok(Some(Judge::Local)),
            Some(other) => {
                Err(ConfigError::new(format!("authority {other:?} is unknown: it is `machineid` or `local`")))
            }
        }
    }

    fn device(&self, default: DeviceParts) -> Result<Device, ConfigError> {
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

/// The program's file name, as far as a device's id can hold it.
fn program_name() -> String {
    let path = env::current_exe().ok();
    let stem = path.as_deref().and_then(Path::file_stem).and_then(|stem| stem.to_str()).unwrap_or("program");
    stem.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).take(64).collect()
}

fn user_file() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "portcullis").map(|dirs| dirs.config_dir().join("portcullis.toml"))
}
