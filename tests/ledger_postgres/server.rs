//! A database of its own for each test, and the server that holds them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_tests::postgres::Server;
use tempfile::TempDir;

/// One server for all tests that need nothing special of it, or the one in `DATABASE_URL`.
fn shared() -> Option<String> {
    static SHARED: OnceLock<Option<Server>> = OnceLock::new();
    if let Ok(url) = std::env::var("DATABASE_URL") {
        let base = url.split_once('?').map_or(url.as_str(), |(base, _)| base);
        let authority = base.split_once("://").map_or(0, |(scheme, _)| scheme.len() + 3);
        let end = base[authority..].find('/').map_or(base.len(), |slash| authority + slash);
        return Some(base[..end].to_owned());
    }
    SHARED.get_or_init(|| Server::start(&[], |_| {})).as_ref().map(Server::url)
}

/// A database of its own, on the server at `url` (without a database).
pub fn new_database(url: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("portcullis_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
    super::sql(&format!("{url}/postgres"), &format!("CREATE DATABASE {name}"));
    format!("{url}/{name}")
}

/// A database and a file of effects, for one test.
pub struct Room {
    pub dir: TempDir,
    pub url: String,
}

impl Room {
    /// `None`, said aloud, where there is no server.
    pub fn new() -> Option<Self> {
        shared().map(|server| Room::on(&server))
    }

    /// On the server at `url`.
    pub fn on(url: &str) -> Self {
        Room { dir: tempfile::tempdir().unwrap(), url: new_database(url) }
    }
}
