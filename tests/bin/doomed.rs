//! A process whose device is revoked, in one of the situations in which a careless gate can be survived.
//!
//! `doomed SITUATION DIRECTORY`. Whatever it manages to do after the denial it writes to files in the directory: `effect` if the guarded body
//! ran, `survived` if anything else did.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use portcullis::__private::{Call, Entered, Site};
use portcullis::authority::{
    Acted, Answering, Authority, DecisionId, Denial, Device, Grant, Local, Question, Registration, Verdict,
};
use portcullis::permit::BeforeSideEffect;
use portcullis::{OnRefusal, Portcullis, Refused, boundary, budgeted, once};

static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
static DENIED: Door = Door(Mutex::new(false), Condvar::new());

/// Opens once.
struct Door(Mutex<bool>, Condvar);

impl Door {
    fn open(&self) {
        *self.0.lock().expect("nobody panics here") = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        drop(self.1.wait_while(self.0.lock().expect("nobody panics here"), |open| !*open).expect("nobody panics here"));
    }
}

fn leave(name: &str) {
    let directory = DIRECTORY.get().expect("the directory is set first");
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.join(name))
        .and_then(|mut file| file.write_all(b"x"))
        .expect("a file is written");
}

#[boundary(before_side_effect)]
fn effect() {
    leave("effect");
}

#[boundary(before_side_effect)]
async fn effect_async() {
    leave("effect");
}

static SITE: Site<BeforeSideEffect> = Site::named("doomed", "by.hand").permit(OnRefusal::Exit, OnRefusal::Exit);

/// What the attribute would expand to, but that the body is polled by itself.
async fn body_without_its_call() {
    let mut call = Call::new(&SITE);
    call.bind(async |_entered: Entered<'_, BeforeSideEffect>| leave("effect")).await;
}

/// Passes once, so that the ledger is open.
#[boundary(before_cost)]
#[once(action = "warm.up", key = "key")]
fn warm_up(key: &str) -> Result<(), Refused> {
    Ok(())
}

#[once(action = "claimed.effect", key = "key")]
fn claimed_effect(key: &str) -> Result<(), Refused> {
    leave("effect");
    Ok(())
}

#[boundary(before_side_effect, on_deny = "return")]
fn refused_and_returned() -> Result<(), Refused> {
    leave("effect");
    Ok(())
}

#[budgeted(max_steps = 1, on_exceed = "exit")]
fn one_step() {
    leave("step");
}

/// Allows what costs, denies the rest; slowly if asked to.
#[derive(Debug)]
struct Denying {
    after: Duration,
}

impl Authority for Denying {
    fn name(&self) -> &str {
        "denying"
    }
    fn register<'a>(&'a self, _: &'a Device) -> Answering<'a, Registration> {
        Box::pin(async { Registration::Accepted })
    }
    fn decide<'a>(&'a self, question: &'a Question) -> Answering<'a, Verdict> {
        Box::pin(async move {
            if question.boundary == portcullis::Boundary::BeforeCost {
                return Verdict::Allow(Grant::new(DecisionId::new("warm-up").expect("it is printable")));
            }
            tokio::time::sleep(self.after).await;
            DENIED.open();
            Verdict::Deny(Denial::new("DEVICE_REVOKED"))
        })
    }
}

extern "C" fn sleeps() {
    thread::sleep(Duration::from_secs(30));
}

extern "C" fn never_returns(_: libc::c_int) {
    loop {
        thread::sleep(Duration::from_secs(30));
    }
}

struct EffectOnDrop;

impl Drop for EffectOnDrop {
    fn drop(&mut self) {
        effect();
        leave("survived");
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let situation = arguments.next().expect("a situation");
    let directory = PathBuf::from(arguments.next().expect("a directory"));
    DIRECTORY.set(directory.clone()).expect("it is set once");
    install(&situation, &directory);
    // What a process that ends properly would run.
    panic::set_hook(Box::new(|_| leave("panicked")));

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    match situation.as_str() {
        "plain" => effect(),
        "catch_unwind" => drop(panic::catch_unwind(effect)),
        "thread" => drop(thread::spawn(effect).join()),
        "spawned_task" => drop(runtime.block_on(async { tokio::spawn(effect_async()).await })),
        "body_polled_by_hand" => runtime.block_on(body_without_its_call()),
        "drop_while_unwinding" => {
            drop(panic::catch_unwind(|| {
                let _effect = EffectOnDrop;
                // Without the hook, which is there to see a panic of the gate's.
                panic::resume_unwind(Box::new("unwinding"));
            }));
        }
        "dropped_future" => {
            runtime.block_on(async {
                // The caller gives up at once; the denial comes 300 ms later.
                let given_up = tokio::time::timeout(Duration::from_millis(30), effect_async()).await;
                assert!(given_up.is_err());
                tokio::time::sleep(Duration::from_secs(20)).await;
            });
        }
        "atexit_sleeps" => {
            // SAFETY: `sleeps` is a function that `atexit` may call.
            unsafe { libc::atexit(sleeps) };
            effect();
        }
        "signal_handlers_never_return" => {
            for signal in [libc::SIGPIPE, libc::SIGABRT, libc::SIGTERM, libc::SIGSEGV] {
                // SAFETY: the handler has the type that `signal` asks for.
                unsafe { libc::signal(signal, never_returns as *const () as libc::sighandler_t) };
            }
            wait_for_the_parent();
            effect();
        }
        "stderr_reader_dead" => {
            // SAFETY: the default disposition, under which a write to a dead pipe kills the writer.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            wait_for_the_parent();
            effect();
        }
        "stderr_closed" => {
            // SAFETY: nothing else in this process holds the descriptor as an object.
            unsafe { libc::close(libc::STDERR_FILENO) };
            effect();
        }
        "stderr_full" => {
            fill_stderr();
            effect();
        }
        "busy_threads" => {
            for _ in 0..64 {
                thread::spawn(|| {
                    let stop = AtomicBool::new(false);
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            effect();
        }
        "ledger_hangs" => {
            warm_up("k").expect("the warm-up is allowed");
            let locked = rusqlite::Connection::open(directory.join("ledger.db")).expect("the ledger opens");
            locked.execute_batch("BEGIN IMMEDIATE").expect("the ledger is locked");
            effect();
        }
        "claim_granted_while_ending" => {
            warm_up("k").expect("the warm-up is allowed");
            let locked = rusqlite::Connection::open(directory.join("ledger.db")).expect("the ledger opens");
            locked.execute_batch("BEGIN IMMEDIATE").expect("the ledger is locked");
            // Waits for the ledger, and so does the audit record of the end, for what is left of its 50 ms.
            thread::spawn(|| claimed_effect("k"));
            thread::spawn(move || {
                DENIED.wait();
                // Time itself is what is tested: the claim is granted after the denial and before the end.
                thread::sleep(Duration::from_millis(15));
                locked.execute_batch("ROLLBACK").expect("the ledger is unlocked");
                thread::sleep(Duration::from_secs(30));
            });
            thread::sleep(Duration::from_millis(200));
            effect();
        }
        "refusals_are_audited" => {
            warm_up("k").expect("the warm-up is allowed");
            refused_and_returned().expect_err("it is denied");
            assert_eq!(portcullis::drain(Duration::from_secs(5)).wait(), portcullis::Drained::All);
            return;
        }
        "audited" => {
            warm_up("k").expect("the warm-up is allowed");
            effect();
        }
        "forked" => {
            // SAFETY: the child calls the gate, which is what is tested, and `_exit`.
            match unsafe { libc::fork() } {
                0 => {
                    effect();
                    leave("survived");
                    // SAFETY: no preconditions.
                    unsafe { libc::_exit(0) }
                }
                child => {
                    let mut status = 0;
                    // SAFETY: `status` is a valid place for the child's status.
                    unsafe { libc::waitpid(child, &raw mut status, 0) };
                    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
                    println!("child {code:?}");
                    return;
                }
            }
        }
        "budget" => {
            one_step();
            drop(panic::catch_unwind(one_step));
        }
        "not_configured" => effect(),
        other => panic!("no such situation: {other}"),
    }
    leave("survived");
}

fn install(situation: &str, directory: &Path) {
    let ledger = directory.join("ledger.db");
    let device = Device::parse("doomed:test:worker:1").expect("it is a device");
    let builder = Portcullis::builder().device(device.clone());
    let builder = match situation {
        // From the environment, which the test has emptied.
        "not_configured" => return,
        "dropped_future" => builder.authority(Denying { after: Duration::from_millis(300) }),
        "claim_granted_while_ending" | "ledger_hangs" | "audited" | "refusals_are_audited" => {
            builder.authority(Denying { after: Duration::ZERO }).ledger(format!("sqlite:{}", ledger.display()))
        }
        "forked" | "budget" | "body_polled_by_hand" => builder.embedded(&ledger),
        _ => {
            let local = Local::open(&ledger);
            assert_eq!(local.register_as(&device, "test").expect("it is registered"), Acted::Done);
            assert_eq!(local.revoke(&device, "test").expect("it is revoked"), Acted::Done);
            builder.embedded(&ledger)
        }
    };
    builder.install().expect("the gate opens");
}

fn wait_for_the_parent() {
    println!("ready");
    std::io::stdout().flush().expect("stdout works");
    std::io::stdin().read_exact(&mut [0]).expect("the parent says go on");
}

/// Until the pipe takes nothing more, and then makes it block again.
fn fill_stderr() {
    let fd = std::io::stderr().as_raw_fd();
    // SAFETY: plain calls on a descriptor that is open; the buffer outlives the write.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK);
        while libc::write(fd, [b'.'; 4096].as_ptr().cast(), 4096) > 0 {}
        while libc::write(fd, [b'.'; 1].as_ptr().cast(), 1) > 0 {}
        libc::fcntl(fd, libc::F_SETFL, flags);
    }
}
