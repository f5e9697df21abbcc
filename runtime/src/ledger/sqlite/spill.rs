//! What has happened and the ledger could not record, in a file beside it (`…-spill`), for whoever can write to it next.
//!
//! The file has its full size from the beginning, so that a full disk does not refuse it. Records follow each other; what comes
//! after the last one that is whole is nothing. Each names its epoch and its attempt, so it is brought in like any late
//! settlement, by whichever process comes first, and as often as it may happen.
//!
//! # Invariants
//! 1. What [`append`](Spill::append) has taken is on disk.
//! 2. It is emptied only after what it held was committed and flushed, and only if nothing was added meanwhile.
//! 3. A claim is given up as in doubt only after looking here: who dies has written before.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::{Attempt, Digest, Kept, Receipt, SettleRequest, Settlement};
use crate::sqlite::{Database, SideFile, Trouble};

/// How much it holds.
const SIZE: u64 = 1 << 20;

/// How long another process is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

const MAGIC: [u8; 4] = *b"pcsp";

/// Magic, length of what follows it, checksum.
const HEADER: usize = 24;

/// The open file.
#[derive(Debug)]
pub(super) struct Spill {
    file: File,
    path: PathBuf,
    side: Arc<SideFile>,
    /// A record belongs to one ledger, whatever lies at the path.
    ledger: Uuid,
}

/// A record.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    digest: [u8; 32],
    epoch: u64,
    attempt: [u8; 16],
    outcome: Outcome,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Outcome {
    Committed { receipt: String, sealed: bool },
    Failed { error: String, sealed: bool },
    Unencodable,
    TooLarge,
    Unsealed,
}

/// Is it something that only this process knows? That a claim is in doubt shows by the death of its owner.
pub(super) fn is_worth(settlement: &Settlement) -> bool {
    match settlement {
        // (Only a person commits without a receipt, and not by a settlement.)
        Settlement::Committed(receipt) => *receipt != Receipt::Absent,
        Settlement::Failed(_) => true,
        Settlement::InDoubt(_) | Settlement::Overdue | Settlement::Released(_) => false,
    }
}

fn outcome_of(settlement: &Settlement) -> Option<Outcome> {
    Some(match settlement {
        Settlement::Committed(Receipt::Kept(kept)) => {
            Outcome::Committed { receipt: kept.text.clone(), sealed: kept.sealed }
        }
        Settlement::Committed(Receipt::Unencodable) => Outcome::Unencodable,
        Settlement::Committed(Receipt::TooLarge) => Outcome::TooLarge,
        Settlement::Committed(Receipt::Unsealed) => Outcome::Unsealed,
        Settlement::Failed(kept) => Outcome::Failed { error: kept.text.clone(), sealed: kept.sealed },
        Settlement::Committed(Receipt::Absent)
        | Settlement::InDoubt(_)
        | Settlement::Overdue
        | Settlement::Released(_) => return None,
    })
}

impl Record {
    fn of(request: &SettleRequest) -> Option<Self> {
        let outcome = outcome_of(&request.settlement)?;
        let attempt = *request.attempt.0.as_bytes();
        Some(Record { digest: request.digest.0, epoch: request.epoch, attempt, outcome })
    }

    fn into_request(self) -> SettleRequest {
        let settlement = match self.outcome {
            Outcome::Committed { receipt, sealed } => {
                Settlement::Committed(Receipt::Kept(Kept { text: receipt, sealed }))
            }
            Outcome::Failed { error, sealed } => Settlement::Failed(Kept { text: error, sealed }),
            Outcome::Unencodable => Settlement::Committed(Receipt::Unencodable),
            Outcome::TooLarge => Settlement::Committed(Receipt::TooLarge),
            Outcome::Unsealed => Settlement::Committed(Receipt::Unsealed),
        };
        let (digest, attempt) = (Digest(self.digest), Attempt(Uuid::from_bytes(self.attempt)));
        SettleRequest { digest, epoch: self.epoch, attempt, settlement, lazy: false }
    }
}

impl Spill {
    /// The one beside this database. `None` in memory, and where there is no room for it any more.
    pub(super) fn of(database: &Database) -> Option<Self> {
        let side = database.side()?.clone();
        let mut path = database.file()?.path().as_os_str().to_owned();
        path.push("-spill");
        let path = PathBuf::from(path);
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let spill = file.map(|file| Spill { file, path, side, ledger: database.ledger });
        match spill.and_then(|spill| spill.grow().map(|()| spill)) {
            Ok(spill) => Some(spill),
            Err(error) => {
                tracing::warn!(%error, "there is no file for results that the ledger can't record");
                None
            }
        }
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Takes all its room on the disk, if it has not yet.
    fn grow(&self) -> io::Result<()> {
        if self.file.metadata()?.len() >= SIZE {
            return Ok(());
        }
        let _alone = self.alone()?;
        let length = self.file.metadata()?.len();
        // Written, and not only allocated: then writing over it takes no more room.
        let zeros = vec![0; usize::try_from(SIZE.saturating_sub(length)).unwrap_or_default()];
        self.file.write_all_at(&zeros, length)?;
        self.file.sync_all()
    }

    fn alone(&self) -> io::Result<crate::sqlite::Spilling<'_>> {
        self.side.spilling(Instant::now() + PATIENCE).ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    /// Is there anything in it? One read.
    pub(super) fn is_used(&self) -> bool {
        let mut magic = [0; 4];
        self.file.read_exact_at(&mut magic, 0).is_ok() && magic == MAGIC
    }

    /// What is in it, and where that ends.
    pub(super) fn read(&self) -> Result<(Vec<SettleRequest>, u64), Trouble> {
        let whole = || {
            let mut bytes = vec![0; self.file.metadata()?.len().min(SIZE) as usize];
            self.file.read_exact_at(&mut bytes, 0).map(|()| bytes)
        };
        let bytes = whole().map_err(|error| Trouble::io("its spill can't be read", error))?;
        let (mut requests, mut end) = (Vec::new(), 0);
        while let Some((record, next)) = self.record_at(&bytes, end) {
            requests.push(record.into_request());
            end = next;
        }
        Ok((requests, end as u64))
    }

    fn record_at(&self, bytes: &[u8], at: usize) -> Option<(Record, usize)> {
        let header = bytes.get(at..at + HEADER)?;
        let length = u32::from_le_bytes(header[4..8].try_into().ok()?);
        let end = (at + HEADER).checked_add(usize::try_from(length).ok()?)?;
        let content = bytes.get(at + HEADER..end)?;
        let is_whole = header[..4] == MAGIC && header[8..] == self.sum(content);
        is_whole.then(|| serde_json::from_slice(content).ok().map(|record| (record, end))).flatten()
    }

    fn sum(&self, content: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.ledger.as_bytes()).update(content);
        let mut sum = [0; 16];
        sum.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        sum
    }

    /// Adds what it has room for, and says which of them those are: they are on disk then.
    pub(super) fn append(&self, requests: &[&SettleRequest]) -> io::Result<Vec<bool>> {
        let _alone = self.alone()?;
        let (_, begin) = self.read().map_err(io::Error::other)?;
        let (mut bytes, mut taken) = (Vec::new(), Vec::with_capacity(requests.len()));
        for request in requests {
            let content = Record::of(request).and_then(|record| serde_json::to_vec(&record).ok());
            // The end is marked by a header of zeros: behind it may lie what was there before.
            let room = SIZE.saturating_sub(begin + (bytes.len() + 2 * HEADER) as u64);
            let fitting = content.filter(|content| content.len() as u64 <= room);
            taken.push(fitting.is_some());
            if let Some(content) = fitting {
                bytes.extend_from_slice(&MAGIC);
                bytes.extend_from_slice(&(content.len() as u32).to_le_bytes());
                bytes.extend_from_slice(&self.sum(&content));
                bytes.extend_from_slice(&content);
            }
        }
        bytes.extend_from_slice(&[0; HEADER]);
        self.file.write_all_at(&bytes, begin)?;
        self.file.sync_data()?;
        Ok(taken)
    }

    /// Empties it, if it holds no more than was read (invariant 2).
    pub(super) fn empty(&self, end: u64) {
        let emptied = || -> io::Result<()> {
            let _alone = self.alone()?;
            let (_, now) = self.read().map_err(io::Error::other)?;
            if now == end {
                self.file.write_all_at(&[0; HEADER], 0)?;
                self.file.sync_data()?;
            }
            Ok(())
        };
        if let Err(error) = emptied() {
            // It is brought in once more, and changes nothing.
            tracing::debug!(%error, "the ledger's spill is emptied another time");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::sqlite::{Create, Place};

    fn database(dir: &std::path::Path) -> Database {
        let place = Place::File(dir.join("ledger.sqlite"));
        Database::open(&place, Create::Yes, Instant::now() + Duration::from_secs(30)).unwrap()
    }

    fn settlement(n: u8, settlement: Settlement) -> SettleRequest {
        let attempt = Attempt(Uuid::from_bytes([n; 16]));
        SettleRequest { digest: Digest([n; 32]), epoch: n.into(), attempt, settlement, lazy: false }
    }

    fn committed(n: u8, text: &str) -> SettleRequest {
        settlement(n, Settlement::Committed(Receipt::Kept(Kept { text: text.into(), sealed: n.is_multiple_of(2) })))
    }

    #[track_caller]
    fn holds(spill: &Spill, expected: &[&SettleRequest]) -> u64 {
        let (found, end) = spill.read().unwrap();
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        assert_eq!(spill.is_used(), !expected.is_empty());
        end
    }

    #[test]
    fn what_is_added_is_read_again_until_it_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let database = database(dir.path());
        let spill = Spill::of(&database).unwrap();
        let all = [
            committed(1, "\"one\""),
            settlement(2, Settlement::Failed(Kept { text: "{}".into(), sealed: false })),
            settlement(3, Settlement::Committed(Receipt::Unencodable)),
            settlement(4, Settlement::Committed(Receipt::TooLarge)),
            settlement(5, Settlement::Committed(Receipt::Unsealed)),
        ];
        assert!(all.iter().all(|request| is_worth(&request.settlement)));
        holds(&spill, &[]);
        assert_eq!(spill.append(&[&all[0], &all[1]]).unwrap(), [true, true]);
        let early = holds(&spill, &[&all[0], &all[1]]);
        assert_eq!(Spill::of(&database).unwrap().append(&[&all[2], &all[3], &all[4]]).unwrap(), [true; 3]);
        // Something was added meanwhile.
        spill.empty(early);
        let end = holds(&spill, &all.iter().collect::<Vec<_>>());
        spill.empty(end);
        holds(&spill, &[]);
        // What lies behind a new record is not read as one, although it begins where that ends.
        assert_eq!(spill.append(&[&committed(1, "\"two\"")]).unwrap(), [true]);
        holds(&spill, &[&committed(1, "\"two\"")]);
    }

    #[test]
    fn a_record_that_is_not_whole_ends_it_and_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let spill = Spill::of(&database(dir.path())).unwrap();
        let (first, torn) = (committed(1, "\"one\""), committed(2, "\"two\""));
        spill.append(&[&first]).unwrap();
        let end = holds(&spill, &[&first]);
        spill.append(&[&torn]).unwrap();
        let length = holds(&spill, &[&first, &torn]);
        for cut in (end + 1)..length {
            spill.file.write_all_at(&vec![0; usize::try_from(length - cut).unwrap()], cut).unwrap();
            holds(&spill, &[&first]);
            spill.append(&[&torn]).unwrap();
            holds(&spill, &[&first, &torn]);
        }
    }

    #[test]
    fn it_has_its_size_from_the_beginning_and_takes_no_more_than_fits() {
        let dir = tempfile::tempdir().unwrap();
        let spill = Spill::of(&database(dir.path())).unwrap();
        let length = || std::fs::metadata(spill.path()).unwrap().len();
        assert_eq!(length(), SIZE);
        let large = committed(1, &"x".repeat(SIZE as usize / 2));
        assert_eq!(spill.append(&[&large, &large]).unwrap(), [true, false]);
        assert_eq!(spill.append(&[&large, &committed(2, "\"small\"")]).unwrap(), [false, true]);
        holds(&spill, &[&large, &committed(2, "\"small\"")]);
        let medium = committed(3, &"x".repeat(10_000));
        while spill.append(&[&medium]).unwrap()[0] {
            assert_eq!(length(), SIZE);
        }
        assert_eq!(length(), SIZE);
    }

    #[test]
    fn what_another_ledger_could_not_record_is_not_read() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let spill = Spill::of(&database(dir.path())).unwrap();
        spill.append(&[&committed(1, "1")]).unwrap();
        std::fs::copy(spill.path(), other.path().join("ledger.sqlite-spill")).unwrap();
        let stranger = Spill::of(&database(other.path())).unwrap();
        assert_eq!(stranger.read().unwrap().0.len(), 0);
    }
}
