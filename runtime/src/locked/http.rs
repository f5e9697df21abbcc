//! A `reqwest` client that sends only with a permit.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Client, IntoUrl, Method, Request, RequestBuilder, Response};
use serde::Serialize;

use crate::permit::{BeforeSideEffect, Kind, Permit};

/// A [`reqwest::Client`] that builds requests freely and sends them only with a permit.
///
/// `reqwest::Client` is `Clone`, so a [`Locked`](super::Locked) one could be cloned out of its lock. This one never hands it out.
///
/// ```no_run
/// use portcullis::{HttpClient, Refused, boundary};
///
/// #[derive(Debug, thiserror::Error)]
/// enum Error {
///     #[error(transparent)]
///     Refused(#[from] Refused),
///     #[error(transparent)]
///     Http(#[from] reqwest::Error),
/// }
///
/// #[boundary(before_side_effect, on_deny = "return", permit = permit)]
/// async fn refund(http: &HttpClient, order: &str) -> Result<(), Error> {
///     let response = http.post(format!("https://pay.example/refunds/{order}")).send(&permit).await?;
///     response.error_for_status()?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct HttpClient<K: Kind = BeforeSideEffect> {
    client: Client,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> HttpClient<K> {
    /// Locks `client`. Clones of it that were made before are not locked.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        HttpClient { client, kind: PhantomData }
    }

    /// Begins a request.
    pub fn request(&self, method: Method, url: impl IntoUrl) -> HttpRequest<K> {
        HttpRequest { request: self.client.request(method, url), kind: PhantomData }
    }

    /// Sends a request that was built elsewhere.
    ///
    /// # Errors
    /// Those of [`reqwest::Client::execute`].
    pub async fn execute(&self, request: Request, _permit: &Permit<'_, K>) -> Result<Response, reqwest::Error> {
        self.client.execute(request).await
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $method:ident;)*) => {
        impl<K: Kind> HttpClient<K> {$(
            $(#[$doc])*
            pub fn $name(&self, url: impl IntoUrl) -> HttpRequest<K> {
                self.request(Method::$method, url)
            }
        )*}
    };
}

methods! {
    /// Begins a `GET`.
    get = GET;
    /// Begins a `HEAD`.
    head = HEAD;
    /// Begins a `POST`.
    post = POST;
    /// Begins a `PUT`.
    put = PUT;
    /// Begins a `PATCH`.
    patch = PATCH;
    /// Begins a `DELETE`.
    delete = DELETE;
}

impl<K: Kind> fmt::Debug for HttpClient<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpClient({})", K::BOUNDARY)
    }
}

/// A request that is being built; made by [`HttpClient`].
#[must_use = "a request does nothing until it is sent"]
pub struct HttpRequest<K: Kind = BeforeSideEffect> {
    request: RequestBuilder,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> HttpRequest<K> {
    fn with(self, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Self {
        HttpRequest { request: change(self.request), kind: PhantomData }
    }

    /// Adds a header.
    pub fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.with(|request| request.header(name, value))
    }

    /// Adds headers.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.with(|request| request.headers(headers))
    }

    /// Adds `Authorization: Bearer …`.
    pub fn bearer_auth(self, token: impl fmt::Display) -> Self {
        self.with(|request| request.bearer_auth(token))
    }

    /// Adds `Authorization: Basic …`.
    pub fn basic_auth(self, user: impl fmt::Display, password: Option<impl fmt::Display>) -> Self {
        self.with(|request| request.basic_auth(user, password))
    }

    /// Sets the body.
    pub fn body(self, body: impl Into<Body>) -> Self {
        self.with(|request| request.body(body))
    }

    /// Sets the body to `value` as JSON, and the content type.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        self.with(|request| request.json(value))
    }

    /// Bounds the time until the response is read.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|request| request.timeout(timeout))
    }

    /// Sends it.
    ///
    /// # Errors
    /// Those of [`reqwest::RequestBuilder::send`], also for what went wrong while it was built.
    ///
    /// # Cancel safety
    /// Dropping the future gives up waiting; whether the request has gone out is unknown.
    pub async fn send(self, _permit: &Permit<'_, K>) -> Result<Response, reqwest::Error> {
        self.request.send().await
    }
}

impl<K: Kind> fmt::Debug for HttpRequest<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its headers may hold secrets.
        f.debug_struct("HttpRequest").finish_non_exhaustive()
    }
}
