//! The outside world, on loopback: a mail server that keeps nothing, and a payment provider without money. They print a line of
//! JSON for each mail that they take and each refund that they make, and for nothing else: so effects are counted where they
//! arrive.
//!
//! ```sh
//! cargo run -p portcullis-mcp-server-example --bin stand_ins
//! ```

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let (smtp, payments) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let addresses = json!({
        "SMTP": smtp.local_addr()?.to_string(),
        "PAYMENTS": format!("http://{}", payments.local_addr()?),
    });
    println!("{addresses}");
    thread::spawn(move || serve(&smtp, take_mail));
    let refunds = Refunds::default();
    serve(&payments, move |stream| pay(stream, &refunds))
}

fn serve(
    listener: &TcpListener,
    converse: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
) -> io::Result<()> {
    for stream in listener.incoming() {
        let (stream, converse) = (stream?, converse.clone());
        // A client that hangs up in the middle of a sentence is its own business.
        thread::spawn(move || converse(stream));
    }
    Ok(())
}

/// One conversation of SMTP (RFC 5321). A mailbox named `full` takes nothing.
fn take_mail(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut to = Vec::new();
    say(&mut stream, "220 stand-in")?;
    while let Some(line) = read_line(&mut stream)? {
        let (verb, rest) = line.split_at_checked(4).unwrap_or_default();
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" | "MAIL" | "NOOP" => say(&mut stream, "250 fine")?,
            "RCPT" if rest.contains("<full@") => say(&mut stream, "552 this mailbox is full")?,
            "RCPT" => {
                to.push(rest.trim_start_matches(" TO:").trim_matches(['<', '>']).to_owned());
                say(&mut stream, "250 fine")?;
            }
            "DATA" if to.is_empty() => say(&mut stream, "503 to whom?")?,
            "DATA" => {
                say(&mut stream, "354 go on, end with a dot")?;
                let mut subject = Value::Null;
                while let Some(line) = read_line(&mut stream)?.filter(|line| line != ".") {
                    if let Some(text) = line.strip_prefix("Subject: ") {
                        subject = text.into();
                    }
                }
                println!("{}", json!({ "mail": { "to": std::mem::take(&mut to), "subject": subject } }));
                say(&mut stream, "250 taken")?;
            }
            "RSET" => {
                to.clear();
                say(&mut stream, "250 fine")?;
            }
            "QUIT" => return say(&mut stream, "221 bye"),
            _ => say(&mut stream, "502 what?")?,
        }
    }
    Ok(())
}

/// The answer of each idempotency key.
type Refunds = Arc<Mutex<HashMap<String, String>>>;

/// One connection of HTTP/1.1: `POST /refunds`, deduplicated by `idempotency-key`.
fn pay(stream: TcpStream, refunds: &Refunds) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_line(&mut stream)? {
        let (mut length, mut key) = (0, String::new());
        while let Some(header) = read_line(&mut stream)?.filter(|line| !line.is_empty()) {
            match header.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value)) {
                Some((name, value)) if name == "content-length" => length = value.parse().unwrap_or(0),
                Some((name, value)) if name == "idempotency-key" => key = value.to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let (status, body) = match (request.starts_with("POST /refunds "), serde_json::from_slice::<Value>(&body)) {
            (true, Ok(refund)) if refund["cents"] != 0 => ("200 OK", refunded(refunds, key, &refund)),
            (true, _) => ("422 Unprocessable Content", "\"there is nothing to pay back\"".to_owned()),
            (false, _) => ("404 Not Found", "\"only POST /refunds\"".to_owned()),
        };
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.get_mut().write_all((head + &body).as_bytes())?;
    }
    Ok(())
}

fn refunded(refunds: &Refunds, key: String, refund: &Value) -> String {
    let mut refunds = refunds.lock().unwrap_or_else(PoisonError::into_inner);
    let number = refunds.len() + 1;
    let answer = refunds.entry(key).or_insert_with(|| {
        println!("{}", json!({ "refund": refund }));
        json!({ "id": format!("re_{number}"), "cents": refund["cents"] }).to_string()
    });
    answer.clone()
}

fn say(stream: &mut BufReader<TcpStream>, line: &str) -> io::Result<()> {
    stream.get_mut().write_all(format!("{line}\r\n").as_bytes())
}

/// A line without its end; `None` once the client has gone.
fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    let read = stream.read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}
