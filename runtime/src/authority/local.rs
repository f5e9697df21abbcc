//! The embedded authority: devices, revocations and the switch that stops everybody, in the ledger's own database.
//!
//! # Invariants
//! 1. Only a device that is in the table and not revoked, while the switch is off, is allowed.
//! 2. Whatever can't be read is a fault, never an allow.
//! 3. A revoked device stays revoked until a person restores it: registering changes nothing about that.
//! 4. Every act of a person is an event, in the same transaction.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rusqlite::{Connection, params};
use serde::Serialize;

use super::{Answering, Authority, Denial, Device, Fault, FaultKind, Question, Registration, Verdict};
use crate::refused::Refused;
use crate::sqlite::{Place, Trouble, TroubleKind, time};
use book::{Book, fault, revoked, set_revoked};

mod book;

/// The embedded authority: who may, in the ledger's own database.
///
/// For development, and for one machine whose operator wants a switch. A device is registered on first use and is then
/// allowed until a person revokes it (`portcullis device revoke`) or stops everybody (`portcullis halt on`).
///
/// # What it is not
/// It shares a file with the process it judges: whoever runs as the same user can write to it, and an agent that can
/// write files can acquit itself. Where that matters, ask an authority on another machine.
///
/// # Cancel safety
/// A question or registration whose future is dropped has no effect beyond a device that may have been registered.
///
/// # Examples
/// ```no_run
/// use portcullis::authority::{Device, Local};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let local = Local::open("/var/lib/shop/ledger.sqlite");
/// local.revoke(&Device::parse("shop:prod:worker:i-1")?, "ops@example.org")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Local(Arc<Book>);

/// A device as the embedded authority knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KnownDevice {
    /// `service:env:role:instance`.
    pub id: String,
    /// It is refused at every boundary.
    pub revoked: bool,
    /// When it was first seen.
    #[serde(serialize_with = "rfc3339")]
    pub registered_at: SystemTime,
    /// When it was registered, revoked or restored.
    #[serde(serialize_with = "rfc3339")]
    pub changed_at: SystemTime,
}

fn rfc3339<S: serde::Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*at))
}

/// What became of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the device may not exist"]
pub enum Acted {
    /// It is done.
    Done,
    /// It was so already; nothing was written.
    Already,
    /// There is no such device.
    UnknownDevice,
}

impl Local {
    /// The authority in the database at `path`. Reads nothing: the file is opened, and made, at the first question or act.
    #[must_use]
    pub fn open(path: impl Into<PathBuf>) -> Self {
        Local(Arc::new(Book::new(Place::File(path.into()))))
    }

    /// The authority in the ledger at `sqlite:PATH`.
    ///
    /// # Errors
    /// [`Kind::LedgerUnavailable`](crate::Kind::LedgerUnavailable) if `url` is no such URL.
    pub fn from_url(url: &str) -> Result<Self, Refused> {
        match Place::from_url(url) {
            Ok(Place::File(path)) => Ok(Local::open(path)),
            Ok(Place::Memory) => Err(Trouble::new(TroubleKind::Unsuitable, "an authority in memory knows nobody")
                .refuse("authority", "the URL can't be used")),
            Err(trouble) => Err(trouble.refuse("authority", "the URL can't be used")),
        }
    }

    /// Every device, by name.
    ///
    /// # Errors
    /// [`Kind::LedgerUnavailable`](crate::Kind::LedgerUnavailable) if the database can't be read.
    pub fn devices(&self) -> Result<Vec<KnownDevice>, Refused> {
        let until = Instant::now() + book::PATIENCE;
        let read = self.0.read(until, |connection| {
            let mut statement =
                connection.prepare("SELECT id, revoked, registered_ms, changed_ms FROM device ORDER BY id")?;
            let devices = statement.query_map([], |row| {
                Ok(KnownDevice {
                    id: row.get(0)?,
                    revoked: row.get(1)?,
                    registered_at: time(row.get(2)?),
                    changed_at: time(row.get(3)?),
                })
            })?;
            Ok(devices.collect::<Result<_, _>>()?)
        });
        read.map_err(|trouble| self.0.refuse(&trouble))
    }

    /// Makes a device known, in the name of `actor`. One that was revoked stays revoked.
    ///
    /// # Errors
    /// [`Kind::LedgerUnavailable`](crate::Kind::LedgerUnavailable) if the database can't be written. If the commit itself
    /// failed, the act may have been done.
    pub fn register_as(&self, device: &Device, actor: &str) -> Result<Acted, Refused> {
        self.0.register(device, actor).map_err(|trouble| self.0.refuse(&trouble)).map(|(_, acted)| acted)
    }

    /// Refuses the device at every boundary from now on. One that is not known yet is revoked beforehand.
    ///
    /// # Errors
    /// As [`register_as`](Self::register_as).
    pub fn revoke(&self, device: &Device, actor: &str) -> Result<Acted, Refused> {
        self.act("device_revoked", actor, Some(device), |connection, now| match revoked(connection, device)? {
            Some(true) => Ok(Acted::Already),
            Some(false) => set_revoked(connection, device, true, now),
            None => {
                connection.execute(
                    "INSERT INTO device(id, revoked, registered_ms, changed_ms) VALUES(?1, 1, ?2, ?2)",
                    params![device.as_str(), now],
                )?;
                Ok(Acted::Done)
            }
        })
    }

    /// Takes a revocation back.
    ///
    /// # Errors
    /// As [`register_as`](Self::register_as).
    pub fn restore(&self, device: &Device, actor: &str) -> Result<Acted, Refused> {
        self.act("device_restored", actor, Some(device), |connection, now| match revoked(connection, device)? {
            Some(true) => set_revoked(connection, device, false, now),
            Some(false) => Ok(Acted::Already),
            None => Ok(Acted::UnknownDevice),
        })
    }

    /// Forgets the device: it is refused as unknown until it registers again, which every process does when it starts. To
    /// keep a device out, [`revoke`](Self::revoke) it.
    ///
    /// # Errors
    /// As [`register_as`](Self::register_as).
    pub fn remove(&self, device: &Device, actor: &str) -> Result<Acted, Refused> {
        self.act("device_removed", actor, Some(device), |connection, _| {
            match connection.execute("DELETE FROM device WHERE id = ?1", [device.as_str()])? {
                0 => Ok(Acted::UnknownDevice),
                _ => Ok(Acted::Done),
            }
        })
    }

    /// Stops every device at its next boundary, or lets them go on.
    ///
    /// # Errors
    /// As [`register_as`](Self::register_as).
    pub fn halt(&self, on: bool, actor: &str) -> Result<Acted, Refused> {
        let kind = if on { "halt_on" } else { "halt_off" };
        self.act(kind, actor, None, |connection, now| {
            let sql = "UPDATE halt SET engaged = ?1, changed_ms = ?2 WHERE engaged <> ?1";
            match connection.execute(sql, params![on, now])? {
                0 => Ok(Acted::Already),
                _ => Ok(Acted::Done),
            }
        })
    }

    /// Is everybody stopped?
    ///
    /// # Errors
    /// [`Kind::LedgerUnavailable`](crate::Kind::LedgerUnavailable) if the database can't be read.
    pub fn halted(&self) -> Result<bool, Refused> {
        let until = Instant::now() + book::PATIENCE;
        let read = self
            .0
            .read(until, |connection| Ok(connection.query_row("SELECT engaged FROM halt", [], |row| row.get(0))?));
        read.map_err(|trouble| self.0.refuse(&trouble))
    }

    fn act(
        &self,
        kind: &str,
        actor: &str,
        device: Option<&Device>,
        body: impl FnOnce(&Connection, i64) -> Result<Acted, Trouble>,
    ) -> Result<Acted, Refused> {
        self.0.act(kind, actor, device, body).map_err(|trouble| self.0.refuse(&trouble))
    }
}

/// Off the I/O thread where there is a runtime to take it, else right here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime
            .spawn_blocking(work)
            .await
            .map_err(|_| Fault::new(FaultKind::Malformed, "the local authority panicked or was shut down")),
        Err(_) => Ok(work()),
    }
}

impl Authority for Local {
    fn name(&self) -> &str {
        "local"
    }

    fn register<'a>(&'a self, device: &'a Device) -> Answering<'a, Registration> {
        let (inner, device) = (self.0.clone(), device.clone());
        Box::pin(async move {
            match blocking(move || inner.register(&device, device.as_str())).await {
                Ok(Ok((false, _))) => Registration::Accepted,
                Ok(Ok((true, _))) => Registration::Refused(Denial::new("DEVICE_REVOKED")),
                Ok(Err(trouble)) => Registration::Fault(fault(&trouble)),
                Err(fault) => Registration::Fault(fault),
            }
        })
    }

    fn decide<'a>(&'a self, question: &'a Question) -> Answering<'a, Verdict> {
        let (inner, question) = (self.0.clone(), question.clone());
        Box::pin(async move { blocking(move || inner.decide(&question)).await.unwrap_or_else(Verdict::Fault) })
    }
}

#[cfg(test)]
mod tests;
