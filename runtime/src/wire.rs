//! One HTTP exchange, by the rules that hold for everything that is asked over HTTP.
//!
//! # Invariants
//! 1. A body is read only where [`Rules::reads`] says so, and only with one `application/json` content type, no content
//!    encoding, and whole, within [`Rules::max_body`].
//! 2. Nothing leads elsewhere: there is no code that follows a redirect or asks a proxy, and plain HTTP goes to this
//!    machine only.
//! 3. A request is sent a second time only if [asking twice changes nothing](Outgoing::repeats), it went out on a connection
//!    that had served before, and that broke before the first byte came back; the second time is on a new connection, and
//!    is the last. What may not be asked twice goes out on a new connection at once, so that one which the server has just
//!    closed never leaves it in doubt.
//! 4. A connection is kept only after a whole answer. One whose request is dropped is closed with it.
//! 5. No message holds a URL, a header's value or a part of a body.
//!
//! The deadline is the caller's: it drops the future.
//!
//! This stands on hyper and not on a client above it, because of 3: a client's pool does not say whether a connection
//! was used before, nor whether anything came back on it. It is also a third of the time per request.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};

use line::{Body, Broken, Line};

mod line;

/// How long a connection may lie idle and still be used.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// How many connections are kept.
const MAX_KEPT: usize = 2;

/// What holds for every exchange with one server.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// Who is at the other end, for messages, such as `the authority`.
    pub(crate) who: &'static str,
    /// The longest body that is read.
    pub(crate) max_body: usize,
    /// Whether the body that comes with this status is read.
    pub(crate) reads: fn(StatusCode) -> bool,
}

/// Why there is no usable answer.
#[derive(Debug)]
pub(crate) struct Trouble {
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "for authorities"))]
    pub(crate) kind: TroubleKind,
    /// For people.
    pub(crate) detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    /// No connection, or it broke.
    Unreachable,
    /// What came back is no answer.
    Malformed,
    /// The server can't be asked under that name.
    NotConfigured,
}

impl Trouble {
    fn new(kind: TroubleKind, detail: impl Into<String>) -> Self {
        Trouble { kind, detail: detail.into() }
    }
}

/// What is sent.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) target: Uri,
    /// JSON. Empty: none.
    pub(crate) body: String,
    /// Whether asking twice changes nothing, so that it may go out again although the server may have got it.
    pub(crate) repeats: bool,
}

/// A server that may be asked: see [`Base::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) tls: bool,
    /// In lower case; an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Of the path, without a slash at its end.
    prefix: String,
}

/// Why a base URL may not be used. Says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidBase(&'static str);

impl Base {
    /// HTTPS anywhere, plain HTTP on this machine; no user, password, query or fragment.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidBase> {
        if text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return Err(InvalidBase("it holds a space or a control character"));
        }
        if text.contains(['?', '#']) {
            return Err(InvalidBase("it holds a query or a fragment"));
        }
        if text.contains('@') {
            return Err(InvalidBase("it holds a user name or a password"));
        }
        let no_url = InvalidBase("it is not a URL such as https://example.com");
        let uri: Uri = text.parse().map_err(|_| no_url)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(no_url) };
        let host = authority.host().to_ascii_lowercase();
        let tls = match scheme {
            "https" => true,
            "http" if is_this_machine(&host) => false,
            "http" => {
                return Err(InvalidBase(
                    "plain HTTP would send the key in the clear: use https (http is for 127.0.0.0/8, [::1] and localhost)",
                ));
            }
            _ => return Err(InvalidBase("it is neither https nor http")),
        };
        let written = authority.as_str()[authority.host().len()..].strip_prefix(':');
        let port = match (written, tls) {
            (Some(port), _) => port.parse().map_err(|_| InvalidBase("its port is not a number from 0 to 65535"))?,
            (None, true) => 443,
            (None, false) => 80,
        };
        let host = match host.strip_prefix('[') {
            Some(address) => address.trim_end_matches(']').to_owned(),
            None => host,
        };
        if host.is_empty() {
            return Err(no_url);
        }
        Ok(Base { tls, host, port, prefix: uri.path().trim_end_matches('/').to_owned() })
    }

    /// The target of a request for `path`, which starts with a slash.
    pub(crate) fn target(&self, path: &str) -> Uri {
        // The prefix came out of a URI, and ours are plain: this can't fail, and if it did the server would not know it.
        format!("{}{path}", self.prefix).parse().unwrap_or_default()
    }

    /// For the `host` header.
    fn authority(&self) -> String {
        let Base { tls, host, port, .. } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let default = if *tls { 443 } else { 80 };
        if *port == default { host } else { format!("{host}:{port}") }
    }
}

/// `host` as a URL has it.
fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host == "[::1]" || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// The kept-alive connections to one server, and what goes with every request.
pub(crate) struct Wire {
    base: Base,
    rules: Rules,
    tls: Option<tokio_rustls::TlsConnector>,
    headers: HeaderMap,
    /// Youngest last.
    kept: Mutex<Vec<Kept>>,
    retries: AtomicU64,
}

/// A connection that gave a whole answer.
struct Kept {
    line: Line,
    since: Instant,
}

/// The head of a response, and its body if it is one that is read.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// By invariant 1.
    pub(crate) json: Result<Vec<u8>, Trouble>,
}

impl Wire {
    /// `headers` go with every request.
    pub(crate) fn new(
        base: Base,
        rules: Rules,
        mut headers: HeaderMap,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        headers.insert(header::HOST, HeaderValue::try_from(base.authority())?);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let agent = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        let tls = base.tls.then(line::tls).transpose()?;
        Ok(Wire { base, rules, tls, headers, kept: Mutex::default(), retries: AtomicU64::new(0) })
    }

    /// Who is asked.
    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    /// How often invariant 3 was made use of.
    #[cfg_attr(not(test), expect(dead_code, reason = "for `doctor` and metrics to come"))]
    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Sends a request, and waits for its answer. `sent` is set before the first byte of it may leave: as long as it is
    /// not, the server has nothing of it.
    pub(crate) async fn exchange(&self, outgoing: Outgoing, sent: &AtomicBool) -> Result<Reply, Trouble> {
        if let Some(line) = outgoing.repeats.then(|| self.take_kept()).flatten() {
            match self.exchange_on(line, outgoing.clone(), sent).await {
                Err(Broken::Unsent) => {}
                Err(Broken::Unheard(_)) => {
                    self.retries.fetch_add(1, Ordering::Relaxed);
                }
                Err(Broken::Heard(trouble)) => return Err(trouble),
                Ok(reply) => return Ok(reply),
            }
        }
        let line = Line::dial(&self.base, self.tls.as_ref(), self.rules).await?;
        self.exchange_on(line, outgoing, sent).await.map_err(|broken| match broken {
            Broken::Unsent => {
                sent.store(false, Ordering::Relaxed);
                let detail = format!("the connection to {} broke at once", self.rules.who);
                Trouble::new(TroubleKind::Unreachable, detail)
            }
            Broken::Unheard(trouble) | Broken::Heard(trouble) => trouble,
        })
    }

    async fn exchange_on(&self, mut line: Line, outgoing: Outgoing, sent: &AtomicBool) -> Result<Reply, Broken> {
        let Outgoing { method, target, body, repeats: _ } = outgoing;
        let has_body = !body.is_empty();
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = target;
        request.headers_mut().clone_from(&self.headers);
        if has_body {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        line.ready().await?;
        sent.store(true, Ordering::Relaxed);
        let (head, mut incoming) = line.send(request).await?.into_parts();
        let json = if (self.rules.reads)(head.status) {
            match is_json_at_most(self.rules.max_body, &head.headers) {
                Ok(()) => line.read(&mut incoming).await,
                Err(trouble) => Err(trouble),
            }
        } else {
            Err(malformed("the body was not read"))
        };
        if json.is_ok() {
            self.keep(line);
        }
        Ok(Reply { status: head.status, json })
    }

    fn take_kept(&self) -> Option<Line> {
        let mut kept = self.kept();
        // Old ones are closed, whether or not one is wanted.
        let old = kept.iter().take_while(|kept| kept.since.elapsed() > MAX_IDLE).count();
        kept.drain(..old);
        kept.pop().map(|kept| kept.line)
    }

    fn keep(&self, line: Line) {
        let mut kept = self.kept();
        if kept.len() == MAX_KEPT {
            kept.remove(0);
        }
        kept.push(Kept { line, since: Instant::now() });
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("host", &self.base.host).finish_non_exhaustive()
    }
}

fn malformed(detail: impl Into<String>) -> Trouble {
    Trouble::new(TroubleKind::Malformed, detail)
}

fn too_long(longest: usize) -> Trouble {
    malformed(format!("the answer is longer than {} KiB", longest / 1024))
}

/// Invariant 1, as far as the headers say.
fn is_json_at_most(longest: usize, headers: &HeaderMap) -> Result<(), Trouble> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(malformed("the answer is compressed, which was not asked for"));
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (Some(one), None) if is_json(one) => {}
        _ => return Err(malformed("the answer's content type is not application/json")),
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > longest as u64) {
        return Err(too_long(longest));
    }
    Ok(())
}

/// `application/json`, with or without parameters such as `charset=utf-8`.
fn is_json(value: &HeaderValue) -> bool {
    let Ok(value) = value.to_str() else { return false };
    let essence = value.split_once(';').map_or(value, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_base_urls_may_be_used() {
        for base in [
            "https://machineid.io",
            "https://machineid.io/",
            "https://proxy.example:8443/machineid",
            "http://127.0.0.1:8080",
            "http://127.8.8.8",
            "http://[::1]:8080/",
            "http://localhost:8080",
            "http://LOCALHOST",
        ] {
            assert!(Base::parse(base).is_ok(), "{base}");
        }
        for base in [
            "",
            "machineid.io",
            "//machineid.io",
            "ftp://machineid.io",
            "file:///etc/passwd",
            "unix:/run/x",
            "http://machineid.io",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "http://[::]",
            "http://[::ffff:127.0.0.1]",
            "http://127.0.0.1.evil.example",
            "http://localhost.evil.example",
            "http://localhost@evil.example",
            "https://user@machineid.io",
            "https://user:secret@machineid.io",
            "https://:secret@machineid.io",
            "https://machineid.io/?key=secret",
            "https://machineid.io/#secret",
            "https://machineid.io\n",
            " https://machineid.io",
            "https://machine\tid.io",
            "https://machineid.io:",
            "https://machineid.io:port",
            "https://machineid.io:70000",
            "https://machineid.io\\@evil.example",
            "https://:443",
            "http://[::1",
            "http://127.1",
            "https://",
        ] {
            let error = Base::parse(base).expect_err(base).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn paths_are_put_behind_the_base() {
        for (base, url) in [
            ("https://machineid.io", "/api/v1/x"),
            ("https://machineid.io/", "/api/v1/x"),
            ("https://machineid.io/a/b//", "/a/b/api/v1/x"),
        ] {
            assert_eq!(Base::parse(base).unwrap().target("/api/v1/x"), url);
        }
    }

    #[test]
    fn host_and_port_are_what_the_url_says() {
        for (base, host, port, authority) in [
            ("https://Machineid.IO", "machineid.io", 443, "machineid.io"),
            ("https://machineid.io:443/x", "machineid.io", 443, "machineid.io"),
            ("https://machineid.io:8443", "machineid.io", 8443, "machineid.io:8443"),
            ("http://127.0.0.1", "127.0.0.1", 80, "127.0.0.1"),
            ("http://[::1]:8080/", "::1", 8080, "[::1]:8080"),
        ] {
            let parsed = Base::parse(base).unwrap();
            assert_eq!(
                (parsed.host.as_str(), parsed.port, parsed.authority().as_str()),
                (host, port, authority),
                "{base}"
            );
        }
    }

    #[test]
    fn which_content_types_are_json() {
        for (value, json) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("Application/JSON;charset=UTF-8", true),
            ("text/json", false),
            ("application/jsonx", false),
            ("application/json, text/html", false),
            ("text/html; application/json", false),
            ("", false),
        ] {
            assert_eq!(is_json(&HeaderValue::from_static(value)), json, "{value}");
        }
    }
}
