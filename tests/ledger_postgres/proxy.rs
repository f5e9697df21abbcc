//! A stretch of network that breaks when it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

/// Between a ledger and its server. Lives until the test's process ends.
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
    /// The server's.
    to: Arc<AtomicU16>,
}

#[derive(Default)]
struct State {
    /// The server's answer that is not to arrive.
    swallow: Option<&'static str>,
    swallowed: usize,
}

impl Proxy {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (own, state) = (listener.local_addr().unwrap().port(), Arc::<Mutex<State>>::default());
        let (shared, to) = (state.clone(), Arc::new(AtomicU16::new(port)));
        let target = to.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // The server may be starting.
                let Ok(server) = TcpStream::connect(("127.0.0.1", target.load(Ordering::SeqCst))) else { continue };
                let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || forward(from_client, to_server, |_| true));
                let shared = shared.clone();
                std::thread::spawn(move || forward(server, client, |answer| shared.lock().unwrap().passes(answer)));
            }
        });
        Proxy { port: own, state, to }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whoever connects from now on reaches another server.
    pub fn turn_to(&self, port: u16) {
        self.to.store(port, Ordering::SeqCst);
    }

    /// The next `answer` of the server (such as `COMMIT`) is swallowed, and the connection on which it came is cut.
    pub fn swallow(&self, answer: &'static str) {
        self.state.lock().unwrap().swallow = Some(answer);
    }

    pub fn swallowed(&self) -> usize {
        self.state.lock().unwrap().swallowed
    }
}

impl State {
    fn passes(&mut self, answer: &[u8]) -> bool {
        let Some(end) = self.swallow else { return true };
        // As the protocol's `CommandComplete` has it.
        let tag = format!("{end}\0");
        let is_it = answer.windows(tag.len()).any(|window| window == tag.as_bytes());
        if is_it {
            self.swallow = None;
            self.swallowed += 1;
        }
        !is_it
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 65536];
    loop {
        match from.read(&mut buffer) {
            Ok(count @ 1..) if passes(&buffer[..count]) && to.write_all(&buffer[..count]).is_ok() => {}
            Ok(_) | Err(_) => break,
        }
    }
    for stream in [&from, &to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
