//! An authority of which every byte and every pause is under control: a listener on loopback and no HTTP library.
//!
//! Scripts run once per connection. A thread per connection, which ends when its client does.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto};

/// A server that is under way. It lives as long as the process.
#[derive(Clone, Debug)]
pub struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Runs `script` for each connection.
    pub fn start(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Server {
        Server::speaking(None, script)
    }

    fn speaking(tls: Option<Arc<ServerConfig>>, script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, script) = (Arc::clone(&connections), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let (script, tls) = (Arc::clone(&script), tls.clone());
                thread::spawn(move || {
                    let channel: Box<dyn Channel> = match (tls, stream.try_clone()) {
                        (None, Ok(plain)) => Box::new(plain),
                        (Some(tls), Ok(plain)) => match ServerConnection::new(tls) {
                            Ok(session) => Box::new(StreamOwned::new(session, plain)),
                            Err(_) => return,
                        },
                        (_, Err(_)) => return,
                    };
                    script(&mut Connection { channel, stream, number, served: 0 });
                });
            }
        });
        Server { address, connections }
    }

    /// A server that registers every device, and runs `answer` for every question.
    pub fn judge(answer: impl Fn(&mut Connection) + Send + Sync + 'static) -> Server {
        Server::start(judging(answer))
    }

    /// The same over TLS, with the certificate and the key in these PEM files.
    pub fn judge_over_tls(
        certificate: &Path,
        key: &Path,
        answer: impl Fn(&mut Connection) + Send + Sync + 'static,
    ) -> Server {
        let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate that fits the key");
        Server::speaking(Some(Arc::new(config)), judging(answer))
    }

    /// `http://127.0.0.1:PORT`.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn judging(
    answer: impl Fn(&mut Connection) + Send + Sync + 'static,
) -> impl Fn(&mut Connection) + Send + Sync + 'static {
    move |connection| {
        while let Some(request) = connection.request() {
            if request.path().ends_with("/register") {
                connection.send(json(r#"{"status":"ok","handler":"devices/register"}"#));
            } else {
                answer(connection);
            }
        }
    }
}

/// What bytes go through: the stream itself, or TLS over it.
trait Channel: Read + Write {}

impl<T: Read + Write> Channel for T {}

/// One connection, as its script sees it.
pub struct Connection {
    channel: Box<dyn Channel>,
    stream: TcpStream,
    /// How many connections there were before this one.
    pub number: usize,
    /// How many requests were read from it before the last one.
    pub served: usize,
}

/// A request, head and body, as it came.
#[derive(Clone, Debug)]
pub struct Request(pub String);

impl Request {
    /// `/api/v1/devices/validate`.
    pub fn path(&self) -> &str {
        self.0.split(' ').nth(1).unwrap_or_default()
    }

    fn content_length(&self) -> usize {
        let lower = self.0.to_ascii_lowercase();
        let value = lower.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }
}

impl Connection {
    /// Reads one whole request. `None`: the client has gone.
    pub fn request(&mut self) -> Option<Request> {
        let mut text = Vec::new();
        self.read_until(&mut text, |text| text.ends_with(b"\r\n\r\n"))?;
        let length = Request(String::from_utf8_lossy(&text).into_owned()).content_length();
        let whole = text.len() + length;
        self.read_until(&mut text, |text| text.len() == whole)?;
        self.served += 1;
        Some(Request(String::from_utf8(text).ok()?))
    }

    fn read_until(&mut self, text: &mut Vec<u8>, done: impl Fn(&[u8]) -> bool) -> Option<()> {
        let mut byte = [0];
        while !done(text) {
            match self.channel.read(&mut byte) {
                Ok(1) => text.push(byte[0]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return None,
            }
        }
        Some(())
    }

    /// Writes all of it.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A client that does not want to hear it is what the tests are about.
        let _ = self.channel.write_all(bytes.as_ref()).and_then(|()| self.channel.flush());
    }

    /// Writes `bytes` again and again, as fast as they are taken, until the client has gone.
    pub fn send_for_ever(&mut self, bytes: impl AsRef<[u8]>) {
        while self.channel.write_all(bytes.as_ref()).is_ok() {}
    }

    /// Writes in pieces of `size`, with a pause before each.
    pub fn drip(&mut self, bytes: impl AsRef<[u8]>, size: usize, pause: Duration) {
        for piece in bytes.as_ref().chunks(size) {
            thread::sleep(pause);
            if self.channel.write_all(piece).and_then(|()| self.channel.flush()).is_err() {
                return;
            }
        }
    }

    /// Does nothing for a while: the very thing that is tested.
    pub fn pause(&self, pause: Duration) {
        thread::sleep(pause);
    }

    /// Says nothing until the client has gone.
    pub fn hang(&mut self) {
        let mut rest = Vec::new();
        let _ = self.channel.read_to_end(&mut rest);
    }

    /// No more is written; the client sees the end of the stream.
    pub fn close(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Waits for the first bytes and leaves them unread, so that closing resets the connection.
    pub fn leave_unread(&mut self) {
        let _ = self.stream.peek(&mut [0; 16]);
    }
}

/// A plain answer: status 200, one JSON body, its length.
pub fn json(body: impl AsRef<[u8]>) -> Vec<u8> {
    answer("200 OK", "content-type: application/json\r\n", body)
}

/// An answer with this status, these header lines, and this body with its length.
pub fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One chunk of a chunked body.
pub fn chunk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}
