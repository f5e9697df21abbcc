//! The thread that talks to the service, and what each exchange means.
//!
//! # Invariants
//! 1. What writes is sent once, on a connection of its own.
//! 2. One deadline holds from the call to the end of its last answer: queueing, name resolution, connect, TLS, heads and bodies.
//! 3. What was sent and has no usable answer is said to be possible, never to have failed.
//! 4. A call that is under way goes on to its end, whether or not somebody waits for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io, process};

use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

use super::answer;
use super::failure::{Failure, NoAnswer};
use crate::refused::{Kind, Refused};
use crate::ticket::Ticket;
use crate::wire::{Outgoing, Reply, Rules, Wire};

/// An issue comes with its description and its relatives.
const MAX_ANSWER: usize = 1024 * 1024;

pub(super) const RULES: Rules = Rules {
    who: "the task service",
    max_body: MAX_ANSWER,
    // What is refused says why.
    reads: |status| !status.is_informational() && !status.is_redirection() && status != StatusCode::NO_CONTENT,
};

/// The connection to one service.
pub(super) struct Link {
    wire: Arc<Wire>,
    calls: mpsc::UnboundedSender<Call>,
    patience: Duration,
    pid: u32,
}

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What one call speaks through.
#[derive(Clone)]
pub(super) struct Speaker {
    wire: Arc<Wire>,
    patience: Duration,
    deadline: Instant,
}

impl Link {
    pub(super) fn open(wire: Wire, patience: Duration) -> io::Result<Self> {
        // A name resolution that hangs occupies a thread; there is no use in hundreds of those.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build()?;
        let (calls, queue) = mpsc::unbounded_channel();
        thread::Builder::new().name("portcullis-tasks".into()).spawn(move || serve(runtime, queue))?;
        Ok(Link { wire: Arc::new(wire), calls, patience, pid: process::id() })
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Begins a call at once, with what was prepared for it, or is over with the refusal of that.
    pub(super) fn begin<P, T, F>(&self, prepared: Result<P, Refused>, call: impl FnOnce(Speaker, P) -> F) -> Pending<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        match prepared.and_then(|prepared| self.not_forked().map(|()| prepared)) {
            Ok(prepared) => {
                let Link { wire, patience, .. } = self;
                let deadline = Instant::now() + *patience;
                let outcome = call(Speaker { wire: Arc::clone(wire), patience: *patience, deadline }, prepared);
                let (reply, ticket) = Ticket::new();
                let call: Call = Box::pin(async move { reply.send(outcome.await) });
                // If the thread is gone, the call comes back and is dropped, and with it the ticket's reply.
                drop(self.calls.send(call));
                Pending(ticket)
            }
            Err(refused) => Pending(Ticket::ready(Err(refused.into()))),
        }
    }

    fn not_forked(&self) -> Result<(), Refused> {
        if process::id() == self.pid {
            return Ok(());
        }
        let why = "this process is a fork of the one that opened the connection to the task service";
        Err(Refused::new(Kind::Forked, "paperclip", why).advise("open one after the fork"))
    }
}

impl Drop for Link {
    /// Calls under way go on to their end; then the thread ends by itself.
    fn drop(&mut self) {
        if process::id() != self.pid {
            // One more owner each: in a fork, what would lock or wake is never dropped.
            std::mem::forget(Arc::clone(&self.wire));
            std::mem::forget(self.calls.clone());
        }
    }
}

/// The thread.
fn serve(runtime: tokio::runtime::Runtime, mut queue: mpsc::UnboundedReceiver<Call>) {
    runtime.block_on(async move {
        // Every task holds a sender, so the receiver ends with the last of them.
        let (under_way, mut all_done) = mpsc::channel::<()>(1);
        while let Some(call) = queue.recv().await {
            let under_way = under_way.clone();
            tokio::spawn(async move {
                call.await;
                drop(under_way);
            });
        }
        drop(under_way);
        let _ = all_done.recv().await;
    });
    // A name resolution that hangs must not keep the thread.
    runtime.shutdown_background();
}

/// What is asked for, and with what a 2xx is answered.
pub(super) struct Ask {
    pub(super) method: Method,
    /// From the root of the service, with ids escaped.
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

impl Ask {
    pub(super) fn get(path: String) -> Self {
        Ask { method: Method::GET, path, body: None }
    }

    pub(super) fn post(path: String, body: Option<Value>) -> Self {
        Ask { method: Method::POST, path, body }
    }

    pub(super) fn patch(path: String, body: Value) -> Self {
        Ask { method: Method::PATCH, path, body: Some(body) }
    }
}

/// An answer with a 2xx.
pub(super) struct Success {
    status: StatusCode,
    body: Vec<u8>,
    writes: bool,
}

impl Success {
    pub(super) fn is_new(&self) -> bool {
        self.status == StatusCode::CREATED
    }

    /// One object.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        answer::object(&self.body).map_err(|why| self.unusable(why))
    }

    /// A list of objects.
    pub(super) fn read_all<T: DeserializeOwned>(&self) -> Result<Vec<T>, Failure> {
        answer::objects(&self.body).map_err(|why| self.unusable(why))
    }

    /// It is no answer after all (invariant 3).
    pub(super) fn unusable(&self, detail: impl Into<String>) -> Failure {
        no_answer(self.writes, Some(self.status), detail)
    }
}

impl Speaker {
    pub(super) async fn ask(&self, Ask { method, path, body }: Ask) -> Result<Success, Failure> {
        let writes = method != Method::GET;
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let outgoing = Outgoing { method, target: self.wire.base().target(&path), body, repeats: !writes };
        let sent = AtomicBool::new(false);
        let exchange = tokio::time::timeout_at(self.deadline.into(), self.wire.exchange(outgoing, &sent)).await;
        let may_have_happened = writes && sent.load(Ordering::Relaxed);
        let Reply { status, json } = match exchange {
            Err(_) => {
                let detail = format!("no complete answer within {:?}", self.patience);
                return Err(no_answer(may_have_happened, None, detail));
            }
            Ok(Err(trouble)) => return Err(no_answer(may_have_happened, None, trouble.detail)),
            Ok(Ok(reply)) => reply,
        };
        let code = status.as_u16();
        if status.is_success() {
            return match json {
                Ok(body) => Ok(Success { status, body, writes }),
                Err(trouble) => Err(no_answer(writes, Some(status), trouble.detail)),
            };
        }
        let body = json.as_deref().ok();
        Err(match code {
            // Not the service's own words: something else may stand in between.
            400..=499 if body.is_none() => {
                no_answer(writes, Some(status), format!("status {code}, and no JSON with it"))
            }
            401 | 403 => Failure::Denied(answer::said(code, body)),
            404 => Failure::NotFound(answer::said(code, body)),
            409 => Failure::NotMine(Box::new(answer::not_mine(body))),
            400..=499 => Failure::Rejected(answer::said(code, body)),
            300..=399 => no_answer(writes, Some(status), format!("status {code}: redirects are not followed")),
            _ => {
                let said = answer::said(code, body);
                no_answer(writes, Some(status), format!("status {said}"))
            }
        })
    }
}

fn no_answer(may_have_happened: bool, status: Option<StatusCode>, detail: impl Into<String>) -> Failure {
    let status = status.map(|status| status.as_u16());
    Failure::NoAnswer(NoAnswer { may_have_happened, status, detail: detail.into() })
}

/// A call that is under way: its outcome, to be awaited, on any async runtime, or [waited for](Pending::wait).
///
/// The call began when it was made. Dropping this does not take it back: it goes on to its end, and nobody hears of it.
#[must_use = "the call is under way; what became of it is in here"]
pub struct Pending<T>(Ticket<Result<T, Failure>>);

impl<T> Pending<T> {
    /// Blocks this thread until the outcome is there: by the deadline at the latest.
    ///
    /// # Errors
    /// As the call says.
    pub fn wait(self) -> Result<T, Failure> {
        self.0.wait().unwrap_or_else(|| Err(lost()))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(outcome.unwrap_or_else(|| Err(lost())))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

fn lost() -> Failure {
    no_answer(true, None, "the thread that talks to it has ended")
}
