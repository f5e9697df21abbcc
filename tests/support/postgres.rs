//! A PostgreSQL server that the tests start, and that ends with them.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server, and who ends it.
#[derive(Debug)]
pub struct Server {
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
    // SAFETY: `geteuid` has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

/// Makes a path the server's own.
pub fn give_to_the_server(path: &Path) {
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
    pub fn start(settings: &[&str], prepare: impl FnOnce(&Path)) -> Option<Self> {
        let Some(bin) = binaries() else {
            let what = "there is no PostgreSQL server (`apt install postgresql`, or name one in DATABASE_URL): the tests of \
                        the ledger on PostgreSQL";
            assert!(std::env::var_os("CI").is_none(), "{what} can't be run");
            let _ = writeln!(std::io::stderr(), "\nSKIPPED, {what}");
            return None;
        };
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        give_to_the_server(dir.path());
        let data = dir.path().join("data");
        let init = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync"];
        run(as_its_user(&bin.join("initdb")).args(init).arg("-D").arg(&data));
        prepare(&data);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut options = format!("-k '' -p {port} -c listen_addresses=127.0.0.1 -c max_connections=200 -c fsync=off");
        for setting in settings {
            options.push_str(&format!(" -c {setting}"));
        }
        let dir = dir.keep();
        let warden = warden(&bin, &dir);
        let server = Server { bin, dir, port, warden };
        run(server.control("start").arg("-o").arg(options));
        Some(server)
    }

    fn control(&self, what: &str) -> Command {
        let mut command = as_its_user(&self.bin.join("pg_ctl"));
        // What it starts must not hold this process's pipes.
        command.arg("-w").arg("-D").arg(self.dir.join("data")).arg("-l").arg(self.dir.join("log")).arg(what);
        command
    }

    /// As if the machine had lost its power for a moment.
    pub fn restart(&self) {
        run(self.control("restart").args(["-m", "immediate"]));
    }

    /// On loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Without a database.
    pub fn url(&self) -> String {
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
