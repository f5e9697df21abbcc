//! MachineID: an authority that is asked over HTTP.

use std::fmt;
use std::sync::atomic::AtomicBool;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};

use super::{Answering, Authority, Device, Fault, FaultKind, OrgKey, Question, Registration, Verdict, answer};
use crate::wire::{Base, Outgoing, Rules, Trouble, TroubleKind, Wire};

const RULES: Rules = Rules {
    who: "the authority",
    max_body: 64 * 1024,
    // The only other status whose body is looked at is the one that gives the reason of a refusal.
    reads: |status| matches!(status, StatusCode::OK | StatusCode::FORBIDDEN),
};

/// A status, and the body if it is one that is read.
struct Reply {
    status: StatusCode,
    json: Result<Vec<u8>, Fault>,
}

/// The [MachineID](https://machineid.io) authority, or another server that speaks its API.
///
/// It hears the device and nothing else: neither the boundary nor the action.
///
/// # What counts as a yes
/// `"allowed": true`, the JSON boolean, once, in an object, in a whole JSON body of at most 64 KiB with nothing after
/// it, uncompressed, with status 200; `code` absent or `ALLOW`; `deviceId` absent or ours. Anything else is a denial
/// or a [`Fault`]. Redirects are not followed, proxies in the environment not used, nothing is cached, and nothing
/// is asked a second time, with one exception: a kept-alive connection turned out to be closed before anything came back.
///
/// # Certificates
/// The platform's roots and the platform's verifier decide. On Linux the environment may name other roots in
/// `SSL_CERT_FILE` and `SSL_CERT_DIR`: it is trusted as far as it is trusted with the base URL.
///
/// # What dropping does
/// A dropped question's connection is closed. The server may have seen the question; asking changes nothing there.
pub struct MachineId {
    wire: Wire,
    register: Uri,
    validate: Uri,
}

/// Why a [`MachineId`] can't be made. Says nothing of the URL, which may hold a secret by mistake.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMachineId {
    /// The base URL may not be used.
    #[error("the base URL of MachineID can't be used: {0}")]
    BaseUrl(String),
    /// TLS can't be set up, such as when the platform's root certificates can't be read.
    #[error("the connection to MachineID can't be set up")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl MachineId {
    /// Where MachineID itself answers.
    pub const BASE_URL: &'static str = "https://machineid.io";

    /// Speaks to the server at `base_url`, such as `https://machineid.io`, in the name of `key`'s organisation.
    ///
    /// No connection is made yet.
    ///
    /// # Errors
    /// The URL is neither `https` nor, on this very machine (127.0.0.0/8, `[::1]`, `localhost`), `http`; it holds a
    /// user, a password, a query, a fragment, a space or a control character; or the HTTP client can't be made.
    pub fn new(base_url: impl AsRef<str>, key: OrgKey) -> Result<Self, InvalidMachineId> {
        let base = Base::parse(base_url.as_ref()).map_err(|error| InvalidMachineId::BaseUrl(error.to_string()))?;
        // A key is visible ASCII, so this can't fail; if it did, nothing could be asked.
        let mut value =
            HeaderValue::from_str(key.expose()).map_err(|error| InvalidMachineId::Client(Box::new(error)))?;
        value.set_sensitive(true);
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-org-key"), value)]);
        let (register, validate) = (base.target("/api/v1/devices/register"), base.target("/api/v1/devices/validate"));
        let wire = Wire::new(base, RULES, headers).map_err(InvalidMachineId::Client)?;
        Ok(MachineId { wire, register, validate })
    }

    async fn send(&self, target: &Uri, device: &Device) -> Result<Reply, Fault> {
        // A device id needs no escaping: it is letters, digits and `._-:`.
        let body = format!(r#"{{"deviceId":"{device}"}}"#);
        // Asking changes nothing there.
        let outgoing = Outgoing { method: Method::POST, target: target.clone(), body, repeats: true };
        let reply = self.wire.exchange(outgoing, &AtomicBool::new(false)).await?;
        Ok(Reply { status: reply.status, json: reply.json.map_err(Fault::from) })
    }

    async fn ask(&self, device: &Device) -> Verdict {
        match self.send(&self.validate, device).await {
            Ok(Reply { status: StatusCode::OK, json: Ok(body) }) => answer::verdict(&body, device),
            Ok(Reply { status: StatusCode::OK, json: Err(fault) }) | Err(fault) => Verdict::Fault(fault),
            Ok(Reply { status, json: _ }) => Verdict::Fault(not_an_answer(status)),
        }
    }

    async fn make_known(&self, device: &Device) -> Registration {
        match self.send(&self.register, device).await {
            Ok(Reply { status: StatusCode::OK, json: Ok(body) }) => answer::registration(&body, device),
            Ok(Reply { status: StatusCode::OK, json: Err(fault) }) | Err(fault) => Registration::Fault(fault),
            // The documented form of "the plan's limit is reached", beside the one with status 200.
            Ok(Reply { status: StatusCode::FORBIDDEN, json: Ok(body) }) => match answer::registration_refused(&body) {
                Some(denial) => Registration::Refused(denial),
                None => Registration::Fault(not_an_answer(StatusCode::FORBIDDEN)),
            },
            Ok(Reply { status, json: _ }) => Registration::Fault(not_an_answer(status)),
        }
    }
}

impl From<Trouble> for Fault {
    fn from(Trouble { kind, detail }: Trouble) -> Self {
        let kind = match kind {
            TroubleKind::Unreachable => FaultKind::Unreachable,
            TroubleKind::Malformed => FaultKind::Malformed,
            TroubleKind::NotConfigured => FaultKind::NotConfigured,
        };
        Fault::new(kind, detail)
    }
}

fn not_an_answer(status: StatusCode) -> Fault {
    let code = status.as_u16();
    let detail = match code {
        401 | 403 => format!("status {code}, only 200 is an answer: is the organisation's key right?"),
        404 | 405 => format!("status {code}, only 200 is an answer: is the base URL right?"),
        300..=399 => format!("status {code}: redirects are not followed"),
        _ => format!("status {code}, only 200 is an answer"),
    };
    Fault::new(FaultKind::Malformed, detail)
}

impl Authority for MachineId {
    fn name(&self) -> &str {
        "machineid"
    }

    fn register<'a>(&'a self, device: &'a Device) -> Answering<'a, Registration> {
        Box::pin(self.make_known(device))
    }

    fn decide<'a>(&'a self, question: &'a Question) -> Answering<'a, Verdict> {
        Box::pin(self.ask(&question.device))
    }
}

impl fmt::Debug for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MachineId").field("host", &self.wire.base().host).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
