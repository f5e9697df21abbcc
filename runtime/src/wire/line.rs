//! One connection: made, asked on, and closed by being dropped.
//!
//! The question that uses a connection also drives it, so that there is no other task to wake, and none that is left
//! behind. One that lies idle is not driven: that the server has closed it is seen when it is next taken.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::rt::ReadBufCursor;
use hyper::{Request, Response};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};

use super::{Base, Rules, Trouble, TroubleKind, malformed, too_long};

/// The longest head that is read.
const MAX_HEAD: usize = 64 * 1024;

/// How long an address is tried before the next one is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// A connection, with what is needed to ask on it.
pub(super) struct Line {
    sender: SendRequest<Body>,
    rules: Rules,
    /// `None` once it has come to its end: what waits for it then learns so.
    connection: Option<Pin<Box<Connection<Socket, Body>>>>,
    /// How many bytes came back so far.
    heard: Arc<AtomicU64>,
}

/// How an exchange broke.
pub(super) enum Broken {
    /// Nothing was sent.
    Unsent,
    /// Something may have been sent, and nothing came back.
    Unheard(Trouble),
    /// Something came back.
    Heard(Trouble),
}

/// The platform's root certificates, verified by the platform's rules.
pub(super) fn tls() -> Result<TlsConnector, rustls::Error> {
    let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Line {
    /// Makes a connection.
    pub(super) async fn dial(base: &Base, tls: Option<&TlsConnector>, rules: Rules) -> Result<Self, Trouble> {
        let who = rules.who;
        let unreachable = |detail: String| Trouble::new(TroubleKind::Unreachable, detail);
        let addresses = resolve(base).await.map_err(|_| unreachable(format!("the name of {who} can't be resolved")))?;
        let stream = connect(addresses).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => unreachable(format!("the connection to {who} was refused")),
            _ => unreachable(format!("no connection to {who} can be made")),
        })?;
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(tls) => {
                let name = ServerName::try_from(base.host.clone()).map_err(|_| {
                    let detail = format!("the host of {who} is not a name that TLS knows");
                    Trouble::new(TroubleKind::NotConfigured, detail)
                })?;
                let shaken = tls.connect(name, stream).await;
                Stream::Tls(Box::new(shaken.map_err(|error| tls_trouble(&error, who))?))
            }
        };
        let heard = Arc::new(AtomicU64::new(0));
        let socket = Socket { stream, scratch: Box::new([0; 8192]), heard: Arc::clone(&heard) };
        let made = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(socket).await;
        let (sender, connection) = made.map_err(|_| unreachable(format!("the connection to {who} broke at once")))?;
        Ok(Line { sender, rules, connection: Some(Box::pin(connection)), heard })
    }

    /// Sees whether the server has closed it in the meantime, or said something unasked.
    pub(super) async fn ready(&mut self) -> Result<(), Broken> {
        let Line { sender, connection, .. } = self;
        drive(connection, sender.ready()).await.map_err(|_| Broken::Unsent)
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, Broken> {
        let Line { sender, connection, heard, rules } = self;
        let before = heard.load(Ordering::Relaxed);
        let response = drive(connection, sender.try_send_request(request)).await;
        response.map_err(|mut error| {
            if error.take_message().is_some() {
                return Broken::Unsent;
            }
            let trouble = if error.error().is_parse() {
                malformed("what came back is not HTTP")
            } else {
                let detail = format!("the connection to {} broke before it answered", rules.who);
                Trouble::new(TroubleKind::Unreachable, detail)
            };
            if heard.load(Ordering::Relaxed) == before { Broken::Unheard(trouble) } else { Broken::Heard(trouble) }
        })
    }

    /// Reads a body to its end.
    pub(super) async fn read(&mut self, incoming: &mut Incoming) -> Result<Vec<u8>, Trouble> {
        let longest = self.rules.max_body;
        let mut body = Vec::new();
        loop {
            let frame = poll_fn(|cx| hyper::body::Body::poll_frame(Pin::new(&mut *incoming), cx));
            match drive(&mut self.connection, frame).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if body.len() + data.len() > longest => return Err(too_long(longest)),
                    Ok(data) => body.extend_from_slice(&data),
                    // Trailers decide nothing.
                    Err(_) => {}
                },
                Some(Err(_)) => return Err(malformed("the connection broke in the middle of the answer")),
                None => return Ok(body),
            }
        }
    }
}

/// Waits for `future` while keeping the connection going.
async fn drive<F: Future>(connection: &mut Option<Pin<Box<Connection<Socket, Body>>>>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        // Twice, because polling the future may be what the connection waits for.
        for _ in 0..2 {
            if connection.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
                *connection = None;
            }
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    })
    .await
}

async fn resolve(base: &Base) -> io::Result<Vec<SocketAddr>> {
    if base.host == "localhost" {
        // Whatever a hosts file says: plain HTTP to this name must not leave the machine.
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(both.map(|ip| SocketAddr::new(ip, base.port)).to_vec());
    }
    match base.host.parse() {
        Ok(ip) => Ok(vec![SocketAddr::new(ip, base.port)]),
        Err(_) => Ok(tokio::net::lookup_host((base.host.as_str(), base.port)).await?.collect()),
    }
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// The first of the addresses that answers. One that is silent does not hold up the next one.
async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut under_way: Vec<Attempt> = Vec::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let mut next = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        loop {
            let mut made = None;
            under_way.retain_mut(|attempt| match attempt.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(Ok(stream)) => {
                    made = Some(stream);
                    false
                }
                Poll::Ready(Err(error)) => {
                    last = error;
                    false
                }
            });
            if let Some(stream) = made {
                return Poll::Ready(Ok(stream));
            }
            if !under_way.is_empty() {
                ready!(next.as_mut().poll(cx));
            }
            match waiting.next() {
                Some(address) => {
                    under_way.push(Box::pin(attempt(address)));
                    next.as_mut().reset(Instant::now() + STAGGER);
                }
                None if under_way.is_empty() => {
                    return Poll::Ready(Err(std::mem::replace(&mut last, io::ErrorKind::Other.into())));
                }
                None => return Poll::Pending,
            }
        }
    })
    .await
}

async fn attempt(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.connect(address).await
}

fn tls_trouble(error: &io::Error, who: &str) -> Trouble {
    let detail = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => format!("the certificate of {who} is not accepted"),
        Some(_) => format!("what answers at the address of {who} does not speak TLS as it should"),
        None => format!("the connection to {who} broke in the TLS handshake"),
    };
    Trouble::new(TroubleKind::Unreachable, detail)
}

/// A request's body: one piece, or none.
pub(super) struct Body(Option<Bytes>);

impl From<String> for Body {
    fn from(text: String) -> Self {
        Body((!text.is_empty()).then(|| Bytes::from(text)))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream as hyper wants it, which counts what comes back.
struct Socket {
    stream: Stream,
    /// hyper's buffers can't be lent without `unsafe`; what comes back is short.
    scratch: Box<[u8; 8192]>,
    heard: Arc<AtomicU64>,
}

impl Socket {
    fn writer(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        Pin::new(match &mut self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream,
        })
    }
}

impl hyper::rt::Read for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut out: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Socket { stream, scratch, heard } = &mut *self;
        let room = out.remaining().min(scratch.len());
        let mut buffer = ReadBuf::new(&mut scratch[..room]);
        ready!(match stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
        })?;
        heard.fetch_add(buffer.filled().len() as u64, Ordering::Relaxed);
        out.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writer().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writer().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// An address at which nobody listens, and one at which somebody does.
    fn addresses() -> (SocketAddr, SocketAddr, TcpListener) {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (closed, listener.local_addr().unwrap(), listener)
    }

    #[test]
    fn an_address_that_refuses_does_not_hide_one_that_answers() {
        let (closed, open, _listener) = addresses();
        for order in [vec![closed, open], vec![open, closed], vec![closed, closed, open]] {
            assert_eq!(block_on(connect(order)).unwrap().peer_addr().unwrap(), open);
        }
    }

    #[test]
    fn where_no_address_answers_there_is_an_error() {
        let (closed, ..) = addresses();
        assert_eq!(block_on(connect(vec![closed, closed])).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(block_on(connect(Vec::new())).is_err());
    }

    #[test]
    fn localhost_is_this_machine_whatever_is_said_elsewhere() {
        let base = Base::parse("http://localhost:8080").unwrap();
        let addresses = block_on(resolve(&base)).unwrap();
        assert!(!addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()));
    }
}
