//! The end of the process, where nothing can catch it.
//!
//! In this order, and each step for a reason:
//! 1. the halted flag, so that no other gate lets anything start;
//! 2. a thread that was made beforehand is woken: it ends the process 50 ms later, whatever the steps below run into;
//! 3. one line on standard error, formatted on the stack and written without blocking. Not through `eprintln!`: with a dead
//!    reader that panics, and a panic can be caught; with a full pipe it blocks, and other threads go on;
//! 4. the audit record, in what is left of the 50 ms;
//! 5. `_exit`. Not `exit` (runs `atexit` handlers, which may sleep), not `abort` (a SIGABRT handler that does not return
//!    keeps the process alive), not a panic.

use std::fmt::{self, Write};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;

use crate::refused::Kind;

/// What a process ends with when it was refused: `EX_NOPERM` of `sysexits.h`, so that a supervisor can be told not
/// to start it again.
pub const EXIT_CODE: i32 = 77;

/// How long the end may take from its first step to its last.
const GRACE: Duration = Duration::from_millis(50);

/// Why the process ends: the content of the one line.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) kind: Kind,
    /// The boundary's name; `-` where it was not a boundary that refused.
    pub(crate) boundary: &'static str,
    pub(crate) action: String,
    pub(crate) device: String,
    /// The authority's own code, or what went wrong.
    pub(crate) code: String,
    /// The authority's own name for the decision; empty if it gave none.
    pub(crate) request_id: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "portcullis: refused, process ends: code={} boundary={}", self.kind, self.boundary)?;
        for (name, value, longest) in [
            ("action", &self.action, 100),
            ("device", &self.device, 120),
            ("request", &self.request_id, 60),
            ("reason", &self.code, 500),
        ] {
            write!(f, " {name}=")?;
            match value.as_str() {
                "" => f.write_char('-')?,
                value => {
                    for c in value.chars().take(longest) {
                        f.write_char(if c.is_control() { '?' } else { c })?;
                    }
                }
            }
        }
        f.write_char('\n')
    }
}

type Witness = Box<dyn Fn(&Notice, Instant) + Send + Sync>;

static HALTED: AtomicBool = AtomicBool::new(false);
static REAPER: OnceCell<Reaper> = OnceCell::new();
static WITNESS: OnceCell<Witness> = OnceCell::new();

struct Reaper {
    thread: Thread,
    /// Threads do not survive a fork; a child must not wait for one.
    pid: u32,
}

/// Makes the second thread. A gate that could not have it must not open.
pub(crate) fn arm() -> std::io::Result<()> {
    let made = || {
        let thread = thread::Builder::new().name("portcullis-end".into()).stack_size(64 * 1024).spawn(|| {
            while !halted() {
                thread::park();
            }
            thread::sleep(GRACE);
            os::exit_now()
        })?;
        Ok(Reaper { thread: thread.thread().clone(), pid: process::id() })
    };
    REAPER.get_or_try_init(made).map(drop)
}

/// Names who writes the audit record. The first one stays.
pub(crate) fn set_witness(witness: impl Fn(&Notice, Instant) + Send + Sync + 'static) {
    // A second gate in one process: its denials are witnessed by the first one's ledger.
    let _ = WITNESS.set(Box::new(witness));
}

/// `true` once the process is ending. Every gate checks it.
pub(crate) fn halted() -> bool {
    HALTED.load(Ordering::Acquire)
}

/// Ends the process.
pub(crate) fn end(notice: &Notice) -> ! {
    let began = Instant::now();
    let others_end = HALTED.swap(true, Ordering::AcqRel);
    let reaper = REAPER.get().filter(|reaper| reaper.pid == process::id());
    if let Some(reaper) = reaper {
        reaper.thread.unpark();
        if others_end {
            // The thread that came first writes the line; this one only must not go on.
            loop {
                thread::park();
            }
        }
    }

    let mut line = Line::new();
    // A line that is too long is cut, which is the only way in which this can fail.
    let _ = write!(line, "{notice}");
    os::write_stderr_without_blocking(line.finish());

    if let (Some(_), Some(witness)) = (reaper, WITNESS.get()) {
        // The reaper bounds whatever this does; a panic in it must not become an unwinding that somebody catches.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| witness(notice, began + GRACE)));
    }
    os::exit_now()
}

/// Room for the advice to somebody who has configured nothing. A pipe that polls as writable takes this much at once on
/// Linux; where it takes less, the reaper bounds the wait.
const LINE: usize = 1024;

/// One line on the stack.
struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Line {
    const fn new() -> Self {
        Line { bytes: [0; LINE], len: 0 }
    }

    /// Always ends in a line break, also when it was cut.
    fn finish(&mut self) -> &[u8] {
        let last = self.len.min(self.bytes.len() - 1);
        if last == 0 || self.bytes[last - 1] != b'\n' {
            self.bytes[last] = b'\n';
            self.len = last + 1;
        }
        &self.bytes[..self.len]
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - self.len;
        let mut fits = text.len().min(room);
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        self.bytes[self.len..self.len + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// The few lines that no safe interface offers.
#[cfg(unix)]
#[allow(unsafe_code)]
mod os {
    use std::mem::MaybeUninit;
    use std::ptr;

    use super::EXIT_CODE;

    /// One `write` if standard error can take it now, else nothing.
    pub(super) fn write_stderr_without_blocking(line: &[u8]) {
        block_sigpipe();
        let mut stderr = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
        // SAFETY: `stderr` is one valid pollfd, and the count says one.
        let ready = unsafe { libc::poll(&raw mut stderr, 1, 0) };
        if ready == 1 && stderr.revents & libc::POLLOUT != 0 {
            // SAFETY: the pointer and the length are those of one live slice. A pipe that is writable takes
            // PIPE_BUF bytes at once; if another thread fills it in between, the reaper ends the wait.
            let _ = unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
        }
    }

    /// A dead reader of standard error must not end us by signal, nor run a handler that may never return.
    fn block_sigpipe() {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigemptyset` initialises the set that the other two read; a null pointer for the old mask is allowed.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE);
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
        }
    }

    pub(super) fn exit_now() -> ! {
        // SAFETY: `_exit` has no preconditions, and does not return.
        unsafe { libc::_exit(EXIT_CODE) }
    }
}

#[cfg(not(unix))]
compile_error!("portcullis ends a process at the operating-system level, and so far it does that on Unix only");

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        Notice {
            kind: Kind::Denied,
            boundary: "before_cost",
            action: "llm.call\nforged line".into(),
            device: "pay:prod:worker:1".into(),
            code: "DEVICE_REVOKED".into(),
            request_id: String::new(),
        }
    }

    #[test]
    fn the_line_says_all_on_one_line() {
        let mut line = Line::new();
        write!(line, "{}", notice()).unwrap();
        assert_eq!(
            std::str::from_utf8(line.finish()).unwrap(),
            "portcullis: refused, process ends: code=denied boundary=before_cost action=llm.call?forged line \
             device=pay:prod:worker:1 request=- reason=DEVICE_REVOKED\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_and_still_ends() {
        let mut line = Line::new();
        let long = Notice {
            action: "\u{e4}".repeat(600),
            device: "\u{e4}".repeat(600),
            code: "\u{e4}".repeat(600),
            ..notice()
        };
        assert!(write!(line, "{long}").is_err());
        let bytes = line.finish();
        assert!(bytes.len() <= LINE && bytes.ends_with(b"\n"));
        assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1);
    }
}
