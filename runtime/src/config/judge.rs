//! Who answers.

use std::env;
use std::path::Path;
use std::sync::Arc;

use super::settings::DeviceParts;
use super::sources::Found;
use super::{ConfigError, LedgerChoice};
use crate::authority::Authority;

/// Who answers.
pub(super) enum Judge {
    Given(Arc<dyn Authority>),
    /// The embedded one, in the ledger's database.
    Local,
    MachineId,
}

impl Judge {
    /// The embedded authority knows one machine only: there a stranger can't be confused with anybody.
    pub(super) fn default_device(&self) -> DeviceParts {
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

    pub(super) fn meet(self, found: &Found, ledger: &LedgerChoice) -> Result<Arc<dyn Authority>, ConfigError> {
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

/// The program's file name, as far as a device's id can hold it.
fn program_name() -> String {
    let path = env::current_exe().ok();
    let stem = path.as_deref().and_then(Path::file_stem).and_then(|stem| stem.to_str()).unwrap_or("program");
    stem.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).take(64).collect()
}
