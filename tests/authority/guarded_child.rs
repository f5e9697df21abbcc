//! The process that the hostile answers must end. Careless on purpose: it ignores every error that it is given.
//!
//! Usage: `guarded-child MODE FILE`; the effect is a line in FILE. Everything else comes from the environment.

use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use portcullis::authority::{Answering, Authority, Denial, Device, Question, Registration, Verdict};
use portcullis::{Portcullis, boundary};

#[boundary(before_side_effect)]
fn effect(file: &str) {
    happen(file);
}

#[boundary(before_side_effect)]
async fn async_effect(file: &str) {
    happen(file);
}

#[boundary(before_side_effect, with = gate)]
async fn effect_through(gate: &Portcullis, file: &str) {
    happen(file);
}

/// A provider, and a subscriber to `tracing`, that misbehave.
#[derive(Clone, Copy, Debug)]
enum Rogue {
    /// Never gives the thread back.
    Blocks,
    Panics,
    /// Never answers.
    Sleeps,
    /// Denies, and blocks whoever tells of it.
    Denies,
}

impl Rogue {
    fn of(mode: &str) -> Option<Rogue> {
        match mode {
            "blocking-provider" => Some(Rogue::Blocks),
            "panicking-provider" => Some(Rogue::Panics),
            "sleeping-provider" => Some(Rogue::Sleeps),
            "blocking-subscriber" => Some(Rogue::Denies),
            _ => None,
        }
    }
}

fn block() -> ! {
    loop {
        std::thread::park();
    }
}

impl Authority for Rogue {
    fn name(&self) -> &str {
        "rogue"
    }

    fn register<'a>(&'a self, _: &'a Device) -> Answering<'a, Registration> {
        Box::pin(async { Registration::Accepted })
    }

    fn decide<'a>(&'a self, _: &'a Question) -> Answering<'a, Verdict> {
        Box::pin(async {
            match self {
                Rogue::Blocks => block(),
                Rogue::Panics => panic!("in a provider"),
                Rogue::Sleeps => std::future::pending().await,
                Rogue::Denies => Verdict::Deny(Denial::new("NO")),
            }
        })
    }
}

impl tracing::Subscriber for Rogue {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        block()
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// Asks, and stops waiting before there is an answer.
fn ask_and_go_away(effect: impl Future<Output = ()>) {
    let mut effect = pin!(effect);
    let _ = effect.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

fn happen(file: &str) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).expect("the effect's file");
    file.write_all(b"effect\n").expect("the effect");
}

/// A resolver that never answers for this one name, and knows no other. It takes the place of the C library's, which
/// a test can't make hang.
///
/// # Safety
/// The name is a C string or null, by the contract of `getaddrinfo`; nothing else is touched.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getaddrinfo(
    node: *const std::ffi::c_char,
    _service: *const std::ffi::c_char,
    _hints: *const libc::addrinfo,
    _answer: *mut *mut libc::addrinfo,
) -> std::ffi::c_int {
    // SAFETY: see above; null is looked at first.
    let hangs = !node.is_null() && unsafe { std::ffi::CStr::from_ptr(node) } == c"hangs.invalid";
    if hangs {
        block();
    }
    libc::EAI_NONAME
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mode, file) = (arguments.next().expect("MODE"), arguments.next().expect("FILE"));
    // What a careless program does with a gate that could not be set up: it goes on.
    let gate = match Rogue::of(&mode) {
        Some(rogue) => {
            if matches!(rogue, Rogue::Denies) {
                let _ = tracing::subscriber::set_global_default(rogue);
            }
            let device = Device::parse("pay:prod:worker:i-1").expect("a device");
            Portcullis::builder().authority(rogue).device(device).install()
        }
        None if mode == "gate-dropped" => Portcullis::builder().build(),
        None => Portcullis::builder().install(),
    };
    let guarded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match mode.as_str() {
        "once" => effect(&file),
        "twice" => {
            effect(&file);
            effect(&file);
        }
        "cancelled" => {
            ask_and_go_away(async_effect(&file));
            // Nobody waits for the answer any more. It must end this process all the same.
            std::thread::sleep(Duration::from_secs(8));
        }
        "gate-dropped" => {
            if let Ok(gate) = gate {
                ask_and_go_away(effect_through(&gate, &file));
                drop(gate);
                std::thread::sleep(Duration::from_secs(8));
            }
        }
        mode if Rogue::of(mode).is_some() => effect(&file),
        other => panic!("no such mode: {other}"),
    }));
    drop(guarded);
}
