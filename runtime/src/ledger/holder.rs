//! Which process holds a claim, as a store remembers it.

use crate::clock::when;

/// The row of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OwnerId(pub(crate) i64);

/// Who holds a claim.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) id: OwnerId,
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) program: String,
    pub(crate) since_ms: i64,
    pub(crate) alive: bool,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)?;
        if !self.alive {
            write!(f, " (running since {}, now ended)", when(self.since_ms))?;
        }
        Ok(())
    }
}

/// This machine's name.
pub(crate) fn host() -> String {
    nix::unistd::gethostname().map_or_else(|_| "unknown host".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// This program's file name.
pub(crate) fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
