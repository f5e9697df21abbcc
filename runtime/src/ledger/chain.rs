//! Events: one hash chain per owner.
//!
//! Each event's hash covers the one before it, so that a line that was changed or taken out of the middle shows.

/// What happened.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) at_ms: i64,
    pub(crate) kind: &'a str,
    pub(crate) actor: &'a str,
    pub(crate) action: &'a str,
    /// The claim that it is about.
    pub(crate) digest: Option<&'a [u8; 32]>,
    pub(crate) epoch: Option<i64>,
    /// One JSON object.
    pub(crate) detail: &'a str,
}

/// The hash of the event `seq` of `owner`; `previous` is that of the one before it, or zeros.
pub(crate) fn link(previous: &[u8; 32], owner: i64, seq: i64, entry: &Entry<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("portcullis 2026 event chain v1");
    hasher.update(previous);
    for number in [owner, seq, entry.at_ms, entry.epoch.unwrap_or(-1)] {
        hasher.update(&number.to_be_bytes());
    }
    let digest: &[u8] = entry.digest.map_or(&[], |digest| digest);
    for bytes in
        [entry.kind.as_bytes(), entry.actor.as_bytes(), entry.action.as_bytes(), digest, entry.detail.as_bytes()]
    {
        hasher.update(&(bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    }
    *hasher.finalize().as_bytes()
}

/// What has been checked of the chains, each from its beginning, one owner's after the other's.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    owner: i64,
    seq: i64,
    hash: [u8; 32],
}

impl Checked {
    /// The owner and the number of the last event.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "SQLite reads them all at once"))]
    pub(crate) fn last(&self) -> (i64, i64) {
        (self.owner, self.seq)
    }

    /// Is this event what was once appended after the one before it?
    pub(crate) fn follows(&mut self, owner: i64, seq: i64, entry: &Entry<'_>, hash: &[u8; 32]) -> bool {
        let (expected, previous) = if self.owner == owner { (self.seq + 1, self.hash) } else { (1, [0; 32]) };
        *self = Checked { owner, seq, hash: *hash };
        seq == expected && *hash == link(&previous, owner, seq, entry)
    }
}
