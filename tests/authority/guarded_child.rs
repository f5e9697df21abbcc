//! The process that the hostile answers must end. Careless on purpose: it ignores every error that it is given.
//!
//! Usage: `guarded-child MODE FILE`; the effect is a line in FILE. Everything else comes from the environment.

use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use portcullis::boundary;

#[boundary(before_side_effect)]
fn effect(file: &str) {
    happen(file);
}

#[boundary(before_side_effect)]
async fn async_effect(file: &str) {
    happen(file);
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
        loop {
            std::thread::park();
        }
    }
    libc::EAI_NONAME
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mode, file) = (arguments.next().expect("MODE"), arguments.next().expect("FILE"));
    // What a careless program does with a gate that could not be set up: it goes on.
    let gate = portcullis::Portcullis::builder().install();
    drop(gate);
    let guarded = std::panic::catch_unwind(|| match mode.as_str() {
        "once" => effect(&file),
        "twice" => {
            effect(&file);
            effect(&file);
        }
        "cancelled" => {
            {
                let mut future = pin!(async_effect(&file));
                let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            }
            // Nobody waits for the answer any more. It must end this process all the same.
            std::thread::sleep(Duration::from_secs(8));
        }
        other => panic!("no such mode: {other}"),
    });
    drop(guarded);
}
