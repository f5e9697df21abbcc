//! A denial ends a real process, whatever stands in its way: exit code 77, no trace of the effect, nothing else runs.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Far above what the end takes (50 ms after the answer), far below what any of the obstacles would cost (20 s and more).
const SOON: Duration = Duration::from_secs(8);

fn doomed(situation: &str, directory: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_doomed"))
        .arg(situation)
        .arg(directory)
        .env_clear()
        .env("HOME", directory)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the process starts")
}

struct Ended {
    output: Output,
    directory: tempfile::TempDir,
    took: Duration,
}

impl Ended {
    fn left(&self, name: &str) -> bool {
        self.directory.path().join(name).exists()
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    #[track_caller]
    fn by_a_denial(self) -> Self {
        assert_eq!(self.output.status.code(), Some(77), "{:?}: {}", self.output.status, self.stderr());
        for trace in ["effect", "survived", "panicked"] {
            assert!(!self.left(trace), "{trace}: {}", self.stderr());
        }
        assert!(self.took < SOON, "it took {:?}", self.took);
        self
    }
}

fn run(situation: &str) -> Ended {
    finish(situation, |child| child)
}

/// `meanwhile` may do something to the child before it is waited for.
fn finish(situation: &str, meanwhile: impl FnOnce(Child) -> Child) -> Ended {
    let directory = tempfile::tempdir().expect("a directory");
    let began = Instant::now();
    let child = meanwhile(doomed(situation, directory.path()));
    let output = child.wait_with_output().expect("the process ends");
    Ended { output, directory, took: began.elapsed() }
}

/// Closes the reading end of the child's standard error while the child waits, then lets it go on.
fn with_a_dead_reader(mut child: Child) -> Child {
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("the child says that it is ready");
    drop(child.stderr.take());
    child.stdin.take().expect("it is piped").write_all(b"\n").expect("the child reads");
    child
}

#[test]
fn one_line_and_nothing_else() {
    let ended = run("plain").by_a_denial();
    assert_eq!(
        ended.stderr(),
        "portcullis: refused, process ends: code=denied boundary=before_side_effect action=effect device=doomed:test:worker:1 \
         request=- reason=DEVICE_REVOKED\n"
            .replace("request=-", ended.stderr().split_whitespace().find(|word| word.starts_with("request=")).unwrap_or("request=-"))
    );
}

macro_rules! survives_nothing {
    ($($situation:ident)*) => {$(
        #[test]
        fn $situation() {
            let ended = run(stringify!($situation)).by_a_denial();
            assert!(ended.stderr().starts_with("portcullis: refused, process ends: code=denied "), "{}", ended.stderr());
        }
    )*};
}

survives_nothing!(body_polled_by_hand catch_unwind thread spawned_task drop_while_unwinding dropped_future atexit_sleeps busy_threads ledger_hangs claim_granted_while_ending);

#[test]
fn signal_handlers_never_return() {
    finish("signal_handlers_never_return", with_a_dead_reader).by_a_denial();
}

#[test]
fn the_reader_of_standard_error_is_dead() {
    finish("stderr_reader_dead", with_a_dead_reader).by_a_denial();
}

#[test]
fn standard_error_is_closed() {
    let ended = run("stderr_closed").by_a_denial();
    assert_eq!(ended.stderr(), "");
}

#[test]
fn nobody_reads_a_full_standard_error() {
    // Nothing is read before the process has ended.
    let ended = finish("stderr_full", |mut child| {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait().map(|_| child)));
        receiver.recv_timeout(SOON).expect("it does not hang on its full standard error").expect("it can be waited for")
    });
    let ended = ended.by_a_denial();
    assert!(ended.stderr().bytes().all(|byte| byte == b'.'), "there was no room for the line");
}

#[test]
fn a_forked_child_refuses_instead_of_hanging() {
    let ended = run("forked");
    assert_eq!(ended.output.status.code(), Some(0), "{}", ended.stderr());
    assert_eq!(String::from_utf8_lossy(&ended.output.stdout), "child Some(77)\n");
    assert!(ended.stderr().contains("code=forked"), "{}", ended.stderr());
    assert!(!ended.left("effect") && !ended.left("survived"));
}

#[test]
fn a_budget_can_end_the_process_too() {
    let ended = run("budget").by_a_denial();
    assert!(ended.left("step"));
    assert!(ended.stderr().contains("code=budget_steps boundary=- action=one_step"), "{}", ended.stderr());
}

#[test]
fn nothing_configured_says_what_to_add() {
    let ended = run("not_configured").by_a_denial();
    let stderr = ended.stderr();
    assert!(stderr.contains("code=not_configured"), "{stderr}");
    assert!(stderr.contains("PORTCULLIS_AUTHORITY=machineid") && stderr.contains(".embedded("), "{stderr}");
}

/// How many events of this kind the ledger has.
fn on_record(ended: &Ended, kind: &str) -> i64 {
    let ledger = rusqlite::Connection::open(ended.directory.path().join("ledger.db")).expect("the ledger opens");
    ledger.query_row("SELECT count(*) FROM event WHERE kind = ?1", [kind], |row| row.get(0)).expect("it is read")
}

#[test]
fn the_end_is_on_record() {
    assert_eq!(on_record(&run("audited").by_a_denial(), "ended"), 1);
}

#[test]
fn a_denial_that_is_returned_is_on_record_too() {
    let ended = run("refusals_are_audited");
    assert_eq!(ended.output.status.code(), Some(0), "{}", ended.stderr());
    assert!(!ended.left("effect"));
    assert_eq!(on_record(&ended, "refused"), 1);
}
