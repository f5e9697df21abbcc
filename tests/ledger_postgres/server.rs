//! A PostgreSQL server that the tests start, and that ends with them.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// A server, and who ends it.
pub(super) struct Server {
    bin: PathBuf,
    dir: PathBuf,
    port: u16,
    /// Ends the server and removes its files as soon as its standard input is closed: when this is dropped, and also when
    /// this process ends in any other way.
    warden: Child,
}

/// The directory of `postgres`, `initdb` and `pg_ctl`.
fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("postgres"));
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = on_path.chain(debian.map(|version| version.path().join("bin/postgres")));
    let binary = found.filter_map(|path| path.canonicalize().ok()).find(|path| path.is_file())?;
    let dir = binary.parent()?;
    dir.join("initdb").is_file().then(|| dir.to_owned())
}

fn is_root() -> bool {
    // Whose a new file is.
    tempfile::tempfile().and_then(|file| file.metadata()).is_ok_and(|file| file.uid() == 0)
}

/// Makes a path the server's own.
pub(super) fn give_to_the_server(path: &Path) {
    if is_root() {
        run(Command::new("chown").arg("postgres").arg(path));
    }
}

/// The server refuses to run as root.
fn as_its_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    command
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Server {
    /// A server with `settings`, such as `ssl=on`; `prepare` sees its directory before it starts. `None`, said aloud, where
    /// there is no PostgreSQL.
    pub(super) fn start(settings: &[&str], prepare: impl FnOnce(&Path)) -> Option<Self> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Server::start_in(&parent, settings, prepare)
    }

    /// The same, with its data in `parent`.
    pub(super) fn start_in(parent: &Path, settings: &[&str], prepare: impl FnOnce(&Path)) -> Option<Self> {
        let Some(bin) = binaries() else {
            let what = "there is no PostgreSQL server (`apt install postgresql`, or name one in DATABASE_URL): the tests of \
                        the ledger on PostgreSQL";
            assert!(std::env::var_os("CI").is_none(), "{what} can't be run");
            let _ = writeln!(std::io::stderr(), "\nSKIPPED, {what}");
            return None;
        };
        let dir = tempfile::tempdir_in(parent).unwrap();
        give_to_the_server(dir.path());
        let data = dir.path().join("data");
        let init = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync"];
        run(as_its_user(&bin.join("initdb")).args(init).arg("-D").arg(&data));
        prepare(&data);
        Some(Server::begin(bin, dir, settings))
    }

    /// A copy that follows this one, and can take its place.
    pub(super) fn standby(&self) -> Self {
        let dir = tempfile::tempdir_in(self.dir.parent().unwrap()).unwrap();
        give_to_the_server(dir.path());
        let mut copy = as_its_user(&self.bin.join("pg_basebackup"));
        copy.args([
            "--host=127.0.0.1",
            "--username=postgres",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        ]);
        run(copy.arg(format!("--port={}", self.port)).arg("-D").arg(dir.path().join("data")));
        Server::begin(self.bin.clone(), dir, &[])
    }

    fn begin(bin: PathBuf, dir: TempDir, settings: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut options = format!("-k '' -p {port} -c listen_addresses=127.0.0.1 -c max_connections=200 -c fsync=off");
        for setting in settings {
            options.push_str(&format!(" -c {setting}"));
        }
        let dir = dir.keep();
        let warden = warden(&bin, &dir);
        let server = Server { bin, dir, port, warden };
        run(server.control("start").arg("-o").arg(options));
        server
    }

    /// Makes a standby the one that is written to.
    pub(super) fn promote(&self) {
        run(&mut self.control("promote"));
    }

    fn control(&self, what: &str) -> Command {
        let mut command = as_its_user(&self.bin.join("pg_ctl"));
        // What it starts must not hold this process's pipes.
        command.arg("-w").arg("-D").arg(self.dir.join("data")).arg("-l").arg(self.dir.join("log")).arg(what);
        command
    }

    /// As if the machine had lost its power for a moment.
    pub(super) fn restart(&self) {
        run(self.control("restart").args(["-m", "immediate"]));
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}", self.port)
    }
}

/// Outlives this process by a moment.
fn warden(bin: &Path, dir: &Path) -> Child {
    let script = "trap '' INT TERM; cat > /dev/null; \"$0\" \"$@\" > /dev/null 2>&1; rm -rf \"$DIR\"";
    let stop = as_its_user(&bin.join("pg_ctl"));
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(stop.get_program()).args(stop.get_args());
    command.args(["-m", "immediate", "stop", "-D"]).arg(dir.join("data")).env("DIR", dir);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.warden.stdin.take());
        let _ = self.warden.wait();
    }
}

/// Does something beside the ledger: the first column of every row, `-` for NULL.
#[track_caller]
pub(super) fn sql(url: &str, statements: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let messages = client.simple_query(statements).await.unwrap_or_else(|error| panic!("{statements}: {error:?}"));
        drop(client);
        let _ = driver.await;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("-").to_owned()),
            _ => None,
        });
        rows.collect()
    })
}

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
pub(super) fn new_database(url: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("portcullis_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
    sql(&format!("{url}/postgres"), &format!("CREATE DATABASE {name}"));
    format!("{url}/{name}")
}

/// A database and a file of effects, for one test.
pub(super) struct Room {
    pub(super) dir: TempDir,
    pub(super) url: String,
}

impl Room {
    /// `None`, said aloud, where there is no server.
    pub(super) fn new() -> Option<Self> {
        shared().map(|server| Room::on(&server))
    }

    /// As the tests of both stores get one.
    pub(super) fn ready() -> Option<Self> {
        Room::new()
    }

    /// On the server at `url`.
    pub(super) fn on(url: &str) -> Self {
        Room { dir: tempfile::tempdir().unwrap(), url: new_database(url) }
    }
}
