//! One HTTP exchange, by the rules that hold for every authority that is asked over HTTP.
//!
//! # Invariants
//! 1. Only status 200 with one `application/json` content type, no content encoding and a whole body of at most
//!    64 KiB is an answer.
//! 2. Nothing leads elsewhere: no redirect is followed, no proxy is taken from the environment, and plain HTTP goes to
//!    this machine only.
//! 3. A request is sent a second time only if it went out on a connection that had served before, and that broke
//!    before the head of a response; the second time is on a connection of its own, and is the last.
//! 4. No message holds a URL, a header's value or a part of a body.
//!
//! The deadline is the desk's: it drops the future.

use std::error::Error as StdError;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};
use tower_layer::layer_fn;
use tower_service::Service;

use super::{Fault, FaultKind};

/// The longest body that is read.
const MAX_BODY: usize = 64 * 1024;

/// How long a connection may lie idle before it is not used again.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// A base URL that may be used: see [`Base::parse`].
#[derive(Clone, Debug)]
pub(super) struct Base(Url);

/// Why a base URL may not be used. Says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidBase(&'static str);

impl Base {
    /// HTTPS anywhere, plain HTTP on this machine; no user, password, query or fragment.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidBase> {
        // The URL parser would drop tabs and line breaks and trim spaces: refused rather than repaired.
        if text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return Err(InvalidBase("it holds a space or a control character"));
        }
        let url = Url::parse(text).map_err(|_| InvalidBase("it is not a URL such as https://machineid.io"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidBase("it holds a user name or a password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidBase("it holds a query or a fragment"));
        }
        match (url.scheme(), url.host_str()) {
            ("https", Some(_)) => Ok(Base(url)),
            ("http", Some(host)) if is_this_machine(host) => Ok(Base(url)),
            ("http", Some(_)) => Err(InvalidBase(
                "plain HTTP would send the key in the clear: use https (http is for 127.0.0.0/8, [::1] and localhost)",
            )),
            _ => Err(InvalidBase("it is neither https nor http, or names no host")),
        }
    }

    /// The URL of `path`, which starts with a slash.
    pub(super) fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path().trim_end_matches('/')));
        url
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || host.strip_prefix('[').and_then(|host| host.strip_suffix(']')?.parse().ok()) == Some(Ipv6Addr::LOCALHOST)
}

/// The HTTP client, with its kept-alive connections.
#[derive(Debug)]
pub(super) struct Wire {
    kept: Client,
    /// Keeps no connection, for invariant 3.
    fresh: Client,
    retries: AtomicU64,
}

tokio::task_local! {
    /// Set while a request is under way: whether a connection was begun for it.
    static DIALED: Arc<AtomicBool>;
}

/// A response that came whole.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// The body, if it is JSON by invariant 1, which is for the caller to insist on.
    pub(super) json: Result<Vec<u8>, Fault>,
}

impl Wire {
    /// `headers` go with every request.
    pub(super) fn new(headers: HeaderMap) -> Result<Self, reqwest::Error> {
        Ok(Wire {
            kept: strict(headers.clone()).pool_max_idle_per_host(2).build()?,
            fresh: strict(headers).pool_max_idle_per_host(0).build()?,
            retries: AtomicU64::new(0),
        })
    }

    /// How often invariant 3 was made use of.
    #[cfg_attr(not(test), expect(dead_code, reason = "for `doctor` and metrics to come"))]
    pub(super) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Posts a JSON body.
    pub(super) async fn post(&self, url: &Url, body: String) -> Result<Reply, Fault> {
        let dialed = Arc::new(AtomicBool::new(false));
        let request = |client: &Client, body: String| client.post(url.clone()).body(body).send();
        let first = DIALED.scope(Arc::clone(&dialed), request(&self.kept, body.clone())).await;
        let response = match first {
            Ok(response) => response,
            Err(error) if !dialed.load(Ordering::Relaxed) && broke_before_the_head(&error) => {
                self.retries.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(target: "portcullis", "a kept-alive connection was closed: asking once more on a new one");
                request(&self.fresh, body).await.map_err(unanswered)?
            }
            Err(error) => return Err(unanswered(error)),
        };
        Ok(Reply { status: response.status(), json: json_body(response).await })
    }
}

/// Invariant 2, and what keeps connections quick and short-lived.
fn strict(mut headers: HeaderMap) -> ClientBuilder {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Client::builder()
        .default_headers(headers)
        .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .retry(reqwest::retry::never())
        .http1_only()
        // Whatever a hosts file says: plain HTTP to this name must not leave the machine.
        .resolve_to_addrs(
            "localhost",
            &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(|ip| SocketAddr::new(ip, 0)),
        )
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(10))
        .pool_idle_timeout(MAX_IDLE)
        .connector_layer(layer_fn(Dialing))
}

/// Tells the request that a connection is begun for it.
#[derive(Clone)]
struct Dialing<S>(S);

impl<S: Service<R>, R> Service<R> for Dialing<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, destination: R) -> S::Future {
        // Called while the request is polled, unless nobody waits for the connection any more.
        let _ = DIALED.try_with(|dialed| dialed.store(true, Ordering::Relaxed));
        self.0.call(destination)
    }
}

/// `true` if the connection was closed or reset while no head of a response had come.
fn broke_before_the_head(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| {
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
            return hyper.is_incomplete_message() || hyper.is_canceled() || hyper.is_closed();
        }
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        matches!(
            io,
            Some(
                ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
                    | ErrorKind::NotConnected
            )
        )
    })
}

fn causes<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error as &'a (dyn StdError + 'static)), |error: &&'a (dyn StdError + 'static)| {
        let error: &'a (dyn StdError + 'static) = *error;
        error.source()
    })
}

/// Invariant 4: the error's own text has the URL.
fn unanswered(error: reqwest::Error) -> Fault {
    let refused =
        |kind| causes(&error).any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == kind));
    let parse = causes(&error).any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse));
    if parse {
        Fault::new(FaultKind::Malformed, "what came back is not HTTP")
    } else if error.is_dns() {
        Fault::new(FaultKind::Unreachable, "the authority's name can't be resolved")
    } else if refused(ErrorKind::ConnectionRefused) {
        Fault::new(FaultKind::Unreachable, "the connection to the authority was refused")
    } else if error.is_connect() {
        Fault::new(FaultKind::Unreachable, "no connection to the authority, or its certificate was not accepted")
    } else {
        Fault::new(FaultKind::Unreachable, "the connection to the authority broke before it answered")
    }
}

/// Invariant 1, all but the status.
async fn json_body(mut response: Response) -> Result<Vec<u8>, Fault> {
    let malformed = |detail| Err(Fault::new(FaultKind::Malformed, detail));
    let headers = response.headers();
    if headers.contains_key(header::CONTENT_ENCODING) {
        return malformed("the answer is compressed, which was not asked for");
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (Some(one), None) if is_json(one) => {}
        _ => return malformed("the answer's content type is not application/json"),
    }
    if response.content_length().is_some_and(|length| length > MAX_BODY as u64) {
        return malformed("the answer is longer than 64 KiB");
    }
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => {
                return malformed("the answer is longer than 64 KiB");
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(_) => return malformed("the connection broke in the middle of the answer"),
        }
    }
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
            "https://",
        ] {
            let error = Base::parse(base).expect_err(base).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn paths_are_put_behind_the_base() {
        for (base, url) in [
            ("https://machineid.io", "https://machineid.io/api/v1/x"),
            ("https://machineid.io/", "https://machineid.io/api/v1/x"),
            ("https://machineid.io/a/b//", "https://machineid.io/a/b/api/v1/x"),
        ] {
            assert_eq!(Base::parse(base).unwrap().join("/api/v1/x").as_str(), url);
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
