//! How far a ledger has come, in a file beside it (`…-mark`): an older copy of the ledger has not come as far.
//!
//! # Invariants
//! 1. It never says more than is on disk: it is written when the commit has returned.
//! 2. It is not flushed for itself. A power cut may take some of it, and then the copy must be that much older to be told.
//! 3. It is read before the ledger that is compared with it: others go on meanwhile.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use uuid::Uuid;

use super::{Trouble, TroubleKind};

const MAGIC: [u8; 8] = *b"portmark";

/// Magic, ledger, claims, starts, checksum.
const LENGTH: usize = 48;

/// Two numbers that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The latest row of `claim`.
    pub(crate) claims: i64,
    /// `commit_seq`: processes that have begun to write, and starts of claims that were there before.
    pub(crate) starts: i64,
}

impl Reached {
    pub(super) fn of(connection: &Connection) -> Result<Self, Trouble> {
        let sql = "SELECT (SELECT coalesce(max(id), 0) FROM claim), commit_seq FROM meta";
        let read = |row: &rusqlite::Row<'_>| Ok(Reached { claims: row.get(0)?, starts: row.get(1)? });
        Ok(connection.prepare_cached(sql)?.query_row([], read)?)
    }

    fn and(self, other: Self) -> Self {
        Reached { claims: self.claims.max(other.claims), starts: self.starts.max(other.starts) }
    }
}

/// The open file.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    ledger: Uuid,
    pub(super) reached: Reached,
}

fn beside(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-mark");
    path.into()
}

/// To be called where there is no ledger: was there one?
pub(super) fn check_absent(database: &Path) -> Result<(), Trouble> {
    let path = beside(database);
    match File::open(&path) {
        Ok(file) if read(&file)?.is_some_and(|(_, reached)| reached.claims > 0) => {
            Err(rolled_back("what was in it is gone", &path))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Trouble::io("the mark beside it can't be read", error)),
    }
}

fn rolled_back(what: &str, mark: &Path) -> Trouble {
    let why = format!("{what}, and {} remembers more than is here", mark.display());
    Trouble::new(TroubleKind::RolledBack, why)
}

/// `None`: there is nothing in it yet, or nothing that can be believed.
fn read(file: &File) -> Result<Option<(Uuid, Reached)>, Trouble> {
    let mut bytes = [0; LENGTH];
    // Somebody may be writing it right now.
    for _ in 0..8 {
        let length = file.read_at(&mut bytes, 0).map_err(|e| Trouble::io("the mark beside it can't be read", e))?;
        if length == LENGTH && bytes == encode(part(&bytes, 8), part(&bytes, 24), part(&bytes, 32)) {
            let reached =
                Reached { claims: i64::from_le_bytes(part(&bytes, 24)), starts: i64::from_le_bytes(part(&bytes, 32)) };
            return Ok(Some((Uuid::from_bytes(part(&bytes, 8)), reached)));
        }
    }
    Ok(None)
}

fn part<const N: usize>(bytes: &[u8; LENGTH], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

fn encode(ledger: [u8; 16], claims: [u8; 8], starts: [u8; 8]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..24].copy_from_slice(&ledger);
    bytes[24..32].copy_from_slice(&claims);
    bytes[32..40].copy_from_slice(&starts);
    let sum = blake3::hash(&bytes[..40]);
    bytes[40..].copy_from_slice(&sum.as_bytes()[..8]);
    bytes
}

impl Mark {
    /// The mark beside the ledger at `database` (a canonical path), and whether that has come as far.
    pub(super) fn check(database: &Path, connection: &Connection, ledger: Uuid) -> Result<Self, Trouble> {
        let path = beside(database);
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| Trouble::io("the mark beside it can't be opened", error))?;
        // Invariant 3.
        let marked = read(&file)?;
        let reached = Reached::of(connection)?;
        match marked {
            Some((of, mark)) if of != ledger && mark.claims > 0 => {
                Err(rolled_back("another ledger lies in the place of an older one", &path))
            }
            Some((of, mark)) if of == ledger && reached.and(mark) != reached => {
                Err(rolled_back("it is an older copy of itself", &path))
            }
            Some(_) | None => {
                let mut mark = Mark { file, ledger, reached: Reached::default() };
                mark.advance(reached);
                Ok(mark)
            }
        }
    }

    /// To be called with what a commit that has returned has come to.
    pub(super) fn advance(&mut self, reached: Reached) {
        let reached = self.reached.and(reached);
        if reached == self.reached {
            return;
        }
        // Others write it too, and know of their own starts.
        let known = read(&self.file).ok().flatten().filter(|(of, _)| *of == self.ledger);
        let reached = known.map_or(reached, |(_, known)| reached.and(known));
        self.reached = reached;
        let bytes = encode(*self.ledger.as_bytes(), reached.claims.to_le_bytes(), reached.starts.to_le_bytes());
        if let Err(error) = self.file.write_all_at(&bytes, 0) {
            // Invariant 2.
            tracing::debug!(%error, "the ledger's mark can't be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_process_knows_does_not_take_back_what_another_does() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let path = dir.path().join("mark");
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
            Mark { file, ledger: Uuid::from_bytes([7; 16]), reached: Reached::default() }
        };
        let (mut one, mut other) = (open(), open());
        one.advance(Reached { claims: 3, starts: 9 });
        other.advance(Reached { claims: 5, starts: 1 });
        let both = Reached { claims: 5, starts: 9 };
        assert_eq!(read(&one.file).unwrap(), Some((one.ledger, both)));
        one.advance(Reached { claims: 4, starts: 10 });
        assert_eq!(read(&other.file).unwrap(), Some((one.ledger, Reached { claims: 5, starts: 10 })));
    }

    #[test]
    fn what_can_not_be_believed_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.sqlite-mark");
        for bytes in
            [vec![], vec![0; LENGTH], b"portmark".to_vec(), encode([1; 16], [1; 8], [1; 8])[..LENGTH - 1].to_vec()]
        {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&File::open(&path).unwrap()).unwrap(), None);
        }
    }
}
