//! What a boundary costs over a kept-alive connection, beside a bare reqwest POST to the same server.
//!
//! Five rounds, in each of which everybody has turns, and the medians of those. The server is a process of its own on
//! loopback with no HTTP library, so that it is the smaller part of what is measured. `1.00` means as fast as the peer; the limits
//! are 0.90 against the multi-thread runtime and 0.50 against the current-thread one. The peer that is spawned on the
//! multi-thread runtime runs beside its own connection and changes no thread at all; it is shown for what the hop costs.
//!
//! `cargo bench -p portcullis-benches --bench boundary`

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use portcullis::authority::{Device, MachineId, OrgKey};
use portcullis::{Portcullis, boundary};

const ROUNDS: usize = 5;
/// In each round everybody has so many turns, so that what else the machine does falls on everybody alike.
const TURNS: u32 = 20;
const CALLS: u32 = 200;
const SERVE: &str = "--serve-for-the-benchmark";

#[boundary(before_side_effect)]
fn guarded(n: u32) -> u32 {
    n
}

#[boundary(before_side_effect)]
async fn guarded_async(n: u32) -> u32 {
    n
}

/// One contestant: makes so many calls.
type Turn<'a> = (&'static str, Box<dyn FnMut(u32) + 'a>);

fn main() {
    if std::env::args().any(|argument| argument == SERVE) {
        serve();
    }
    let mut server = Command::new(std::env::current_exe().expect("this program"))
        .arg(SERVE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server");
    let mut address = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut address).expect("its address");
    let base = format!("http://{}", address.trim());

    let key = OrgKey::new("org_bench").expect("a key");
    Portcullis::builder()
        .authority(MachineId::new(&base, key).expect("MachineID"))
        .device(Device::parse("bench:local:worker:1").expect("a device"))
        .install()
        .expect("a gate");
    race(&base);
    server.kill().expect("the server ends");
    server.wait().expect("the server has ended");
}

fn race(base: &str) {
    let multi = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let current = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let url = format!("{base}/api/v1/devices/validate");
    let peer = || (reqwest::Client::builder().no_proxy().build().expect("a client"), url.clone());

    let (on_multi, on_current, spawned) = (peer(), peer(), peer());
    let mut turns: Vec<Turn<'_>> = vec![
        ("reqwest, multi-thread runtime", Box::new(|calls| multi.block_on(post(&on_multi.0, &on_multi.1, calls)))),
        (
            "reqwest, current-thread runtime",
            Box::new(|calls| current.block_on(post(&on_current.0, &on_current.1, calls))),
        ),
        ("reqwest, multi-thread runtime, spawned on it", {
            Box::new(|calls| {
                let (client, url) = spawned.clone();
                multi.block_on(async {
                    multi.spawn(async move { post(&client, &url, calls).await }).await.expect("posts")
                });
            })
        }),
        ("boundary, sync", {
            Box::new(|calls| {
                for n in 0..calls {
                    black_box(guarded(n));
                }
            })
        }),
        ("boundary, multi-thread runtime", Box::new(|calls| multi.block_on(pass(calls)))),
        ("boundary, current-thread runtime", Box::new(|calls| current.block_on(pass(calls)))),
        ("boundary, multi-thread runtime, spawned on it", {
            Box::new(|calls| {
                multi.block_on(async { multi.spawn(pass(calls)).await.expect("passes") });
            })
        }),
    ];

    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); turns.len()];
    for (_, turn) in &mut turns {
        turn(CALLS);
    }
    for _ in 0..ROUNDS {
        let mut round = vec![Duration::ZERO; turns.len()];
        for _ in 0..TURNS {
            for ((_, turn), time) in turns.iter_mut().zip(&mut round) {
                let began = Instant::now();
                turn(CALLS);
                *time += began.elapsed();
            }
        }
        for (times, time) in times.iter_mut().zip(round) {
            times.push(time / (TURNS * CALLS));
        }
    }
    let medians: Vec<Duration> = times
        .iter_mut()
        .map(|times| {
            times.sort_unstable();
            times[times.len() / 2]
        })
        .collect();

    println!("{:<52}{:>10}   fastest and slowest round", "per call, median of five rounds", "");
    for (((name, _), median), times) in turns.iter().zip(&medians).zip(&times) {
        println!("{name:<52}{:>10}   {} … {}", shown(*median), shown(times[0]), shown(times[times.len() - 1]));
    }
    println!();
    for ours in 3..medians.len() {
        for peer in 0..3 {
            let ratio = medians[peer].as_secs_f64() / medians[ours].as_secs_f64();
            println!("{:<46} is {ratio:.2} × {}", turns[ours].0, turns[peer].0);
        }
    }
}

fn shown(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}

async fn post(client: &reqwest::Client, url: &str, calls: u32) {
    for _ in 0..calls {
        let response = client
            .post(url)
            .header("x-org-key", "org_bench")
            .header("content-type", "application/json")
            .body(r#"{"deviceId":"bench:local:worker:1"}"#)
            .send()
            .await
            .expect("an answer");
        let body = response.bytes().await.expect("a body");
        let answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(answer["allowed"], true);
    }
}

async fn pass(calls: u32) {
    for n in 0..calls {
        black_box(guarded_async(n).await);
    }
}

/// A keep-alive server, one thread per connection, until its standard input ends.
fn serve() -> ! {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    println!("{}", listener.local_addr().expect("bound"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                let mut filled = 0;
                while let Ok(read @ 1..) = stream.read(&mut buffer[filled..]) {
                    filled += read;
                    let request = &buffer[..filled];
                    // Every body is one flat object.
                    if request.ends_with(b"}") {
                        let body = if request.starts_with(b"POST /api/v1/devices/register") {
                            r#"{"status":"ok"}"#
                        } else {
                            r#"{"allowed":true,"code":"ALLOW","request_id":"7b0e9c1a-5b1f-4f43-9a39-8a8c1b0f3a52"}"#
                        };
                        filled = 0;
                        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
                        if stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    std::process::exit(0)
}
