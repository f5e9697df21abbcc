//! The disk: how many flushes it gives, and who asks for them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Fewer flushes a second than this, and the disk is busy with something else.
pub const ENOUGH: f64 = 3_000.0;

/// Flushes a second of 4 KiB written in place.
pub fn probe(directory: &Path) -> f64 {
    let path = directory.join("probe");
    let file = File::create(&path).expect("a file");
    file.write_all_at(&[1; 4096], 0).and_then(|()| file.sync_all()).expect("it is written");
    let begun = Instant::now();
    let mut flushes = 0_u32;
    while begun.elapsed() < Duration::from_millis(150) {
        file.write_all_at(&[flushes as u8; 4096], 0).and_then(|()| file.sync_data()).expect("it is written");
        flushes += 1;
    }
    let rate = f64::from(flushes) / begun.elapsed().as_secs_f64();
    std::fs::remove_file(path).expect("it is removed");
    rate
}

/// How often which files were flushed.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    pub log: u64,
    pub database: u64,
    pub other: u64,
}

static COUNTS: AtomicBool = AtomicBool::new(false);
static LOG: AtomicU64 = AtomicU64::new(0);
static DATABASE: AtomicU64 = AtomicU64::new(0);
static OTHER: AtomicU64 = AtomicU64::new(0);

pub fn counting(work: &dyn Fn()) -> Counted {
    for count in [&LOG, &DATABASE, &OTHER] {
        count.store(0, Ordering::SeqCst);
    }
    COUNTS.store(true, Ordering::SeqCst);
    work();
    COUNTS.store(false, Ordering::SeqCst);
    Counted {
        log: LOG.load(Ordering::SeqCst),
        database: DATABASE.load(Ordering::SeqCst),
        other: OTHER.load(Ordering::SeqCst),
    }
}

fn count(fd: i32) {
    if COUNTS.load(Ordering::Relaxed) {
        let name = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        let name = name.to_string_lossy();
        let which = if name.ends_with("-wal") {
            &LOG
        } else if name.ends_with(".sqlite") {
            &DATABASE
        } else {
            &OTHER
        };
        which.fetch_add(1, Ordering::Relaxed);
    }
}

/// In the place of the C library's: SQLite is linked into this program, and its calls end here.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: i32) -> i32 {
    count(fd);
    // SAFETY: the system call itself, with the caller's argument.
    unsafe { libc::syscall(libc::SYS_fdatasync, fd) as i32 }
}

/// As [`fdatasync`].
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: i32) -> i32 {
    count(fd);
    // SAFETY: the system call itself, with the caller's argument.
    unsafe { libc::syscall(libc::SYS_fsync, fd) as i32 }
}

/// Keeps the functions above in the program, and shows that they are called.
pub fn is_counting(directory: &Path) -> bool {
    let file = File::create(directory.join("counted")).expect("a file");
    let counted = counting(&|| {
        file.sync_data().expect("a flush");
    });
    let _ = file.as_raw_fd();
    counted.other == 1
}
