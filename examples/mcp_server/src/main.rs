//! An MCP server on standard input and output whose tools change the world: they write files, send mail and pay money back.
//!
//! Each of them asks an authority first, happens once however often the model repeats itself, and has a budget. What is refused
//! arrives at the model as a tool error that says what to do. `README.md` says how to connect a client.

mod failure;
mod tools;

use std::error::Error;

use portcullis::boundary;
use rmcp::ServiceExt as _;
use rmcp::transport::stdio;

/// May this process serve anybody at all? If not, it ends here, before it says a word to the client.
#[boundary(startup)]
async fn start() {}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Standard output belongs to the protocol.
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    start().await;
    let server = tools::Office::from_env()?.serve(stdio()).await?;
    server.waiting().await?;
    // The client has gone: what is still running may settle.
    portcullis::drain(std::time::Duration::from_secs(5)).await;
    Ok(())
}
