//! The book that the embedded authority judges by: its tables, read and written.
//!
//! The invariants are those of [`local`](super).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

use super::super::{DecisionId, Denial, Device, Fault, FaultKind, Grant, Question, Verdict};
use super::Acted;
use crate::refused::Refused;
use crate::sqlite::{ChainEntry, Create, Database, Failure, Flush, Place, Trouble, TroubleKind, append, now_ms, retry};

/// How long an act of a person waits for a lock.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long a question waits for one, deadline or not: reads are microseconds, and this is somebody else's thread.
const READ_PATIENCE: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Book {
    place: Place,
    /// Two connections, so that a question never waits for an act.
    questions: Mutex<Option<Database>>,
    acts: Mutex<Option<Database>>,
    pid: u32,
}

pub(super) fn revoked(connection: &Connection, device: &Device) -> Result<Option<bool>, Trouble> {
    Ok(connection
        .prepare_cached("SELECT revoked FROM device WHERE id = ?1")?
        .query_row([device.as_str()], |row| row.get(0))
        .optional()?)
}

pub(super) fn set_revoked(connection: &Connection, device: &Device, revoked: bool, now: i64) -> Result<Acted, Trouble> {
    let sql = "UPDATE device SET revoked = ?2, changed_ms = ?3 WHERE id = ?1";
    connection.execute(sql, params![device.as_str(), revoked, now])?;
    Ok(Acted::Done)
}

/// Where one device stands, all of it from one snapshot.
struct Standing {
    halted: bool,
    /// `None`: not known.
    revoked: Option<bool>,
}

impl Book {
    pub(super) fn new(place: Place) -> Self {
        Book { place, questions: Mutex::new(None), acts: Mutex::new(None), pid: std::process::id() }
    }

    pub(super) fn refuse(&self, trouble: &Trouble) -> Refused {
        trouble.refuse("authority", &format!("the local authority at {} can't be used", self.place.shown()))
    }

    fn check_process(&self) -> Result<(), Trouble> {
        if self.pid == std::process::id() {
            return Ok(());
        }
        Err(Trouble::new(TroubleKind::Forked, "this process is a fork of the one that opened it"))
    }

    pub(super) fn read<T>(
        &self,
        until: Instant,
        body: impl Fn(&Connection) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        self.check_process()?;
        let mut slot = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        let database = opened(&mut slot, &self.place, until)?;
        retry(until, || body(database.connection()?))
    }

    fn write<T>(
        &self,
        body: impl FnOnce(&Connection, crate::sqlite::OwnerId) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        self.check_process()?;
        let until = Instant::now() + PATIENCE;
        let mut slot = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        let database = opened(&mut slot, &self.place, until)?;
        let owner = database.enrol(until)?;
        database.write(until, Flush::Disk, |connection| body(connection, owner)).map_err(Failure::trouble)
    }

    pub(super) fn act(
        &self,
        kind: &str,
        actor: &str,
        device: Option<&Device>,
        body: impl FnOnce(&Connection, i64) -> Result<Acted, Trouble>,
    ) -> Result<Acted, Trouble> {
        self.write(|connection, owner| {
            let now = now_ms();
            let acted = body(connection, now)?;
            match acted {
                // Invariant 4.
                Acted::Done => {
                    let detail = json!({ "device": device.map(Device::as_str) }).to_string();
                    let entry =
                        ChainEntry { at_ms: now, kind, actor, action: "", digest: None, epoch: None, detail: &detail };
                    append(connection, owner, &entry)?;
                }
                Acted::Already | Acted::UnknownDevice => {}
            }
            Ok(acted)
        })
    }

    /// Makes the device known, and says whether it is revoked.
    pub(super) fn register(&self, device: &Device, actor: &str) -> Result<(bool, Acted), Trouble> {
        // Most registrations are of devices that are known: these need no write.
        if let Some(revoked) = self.read(Instant::now() + PATIENCE, |connection| revoked(connection, device))? {
            return Ok((revoked, Acted::Already));
        }
        let mut found = true;
        let acted = self.act("device_registered", actor, Some(device), |connection, now| {
            let sql = "INSERT INTO device(id, revoked, registered_ms, changed_ms) VALUES(?1, 0, ?2, ?2)
                       ON CONFLICT(id) DO NOTHING";
            let added = connection.execute(sql, params![device.as_str(), now])?;
            // Invariant 3: somebody may have been faster.
            found = match revoked(connection, device)? {
                Some(revoked) => revoked,
                None => {
                    return Err(Trouble::new(TroubleKind::Statement, "a device that was just registered is not there"));
                }
            };
            Ok(if added == 0 { Acted::Already } else { Acted::Done })
        })?;
        Ok((found, acted))
    }

    fn standing(&self, device: &Device, until: Instant) -> Result<Standing, Trouble> {
        self.read(until, |connection| {
            let sql = "SELECT engaged, (SELECT revoked FROM device WHERE id = ?1) FROM halt";
            Ok(connection
                .prepare_cached(sql)?
                .query_row([device.as_str()], |row| Ok(Standing { halted: row.get(0)?, revoked: row.get(1)? }))?)
        })
    }

    pub(super) fn decide(&self, question: &Question) -> Verdict {
        let until = question.deadline.min(Instant::now() + READ_PATIENCE);
        let standing = match self.standing(&question.device, until) {
            Ok(standing) => standing,
            // Invariant 2.
            Err(trouble) => return Verdict::Fault(fault(&trouble)),
        };
        let Some(id) = DecisionId::new(format!("local-{}", uuid::Uuid::now_v7())) else {
            return Verdict::Fault(Fault::new(FaultKind::Malformed, "no decision id could be made"));
        };
        let no = |code| Verdict::Deny(Denial::new(code).with_decision(Some(id.clone())));
        // Invariant 1.
        match standing {
            Standing { halted: true, revoked: _ } => no("HALTED"),
            Standing { halted: false, revoked: None } => no("DEVICE_UNKNOWN"),
            Standing { halted: false, revoked: Some(true) } => no("DEVICE_REVOKED"),
            Standing { halted: false, revoked: Some(false) } => {
                Verdict::Allow(Grant::new(id).for_device(question.device.as_str()))
            }
        }
    }
}

pub(super) fn fault(trouble: &Trouble) -> Fault {
    let kind = match trouble.kind() {
        TroubleKind::Busy => FaultKind::Timeout,
        TroubleKind::Corrupt | TroubleKind::Statement | TroubleKind::Newer => FaultKind::Malformed,
        TroubleKind::Full
        | TroubleKind::ReadOnly
        | TroubleKind::Unsuitable
        | TroubleKind::Missing
        | TroubleKind::Replaced
        | TroubleKind::RolledBack
        | TroubleKind::Forked
        | TroubleKind::Io
        | TroubleKind::Closed => FaultKind::Unreachable,
    };
    Fault::new(kind, format!("the local authority's database: {trouble}"))
}

/// The database in `slot`, opened if it is not, and anew if another file lies at its path now.
fn opened<'a>(slot: &'a mut Option<Database>, place: &Place, until: Instant) -> Result<&'a mut Database, Trouble> {
    // A database that was exchanged must not go on answering for the new one.
    let stale = slot.as_ref().is_some_and(|database| database.is_closed() || database.still_there().is_err());
    if stale {
        *slot = None;
    }
    match slot {
        Some(database) => Ok(database),
        None => Ok(slot.insert(Database::open(place, Create::Yes, until)?)),
    }
}
