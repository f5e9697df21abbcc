//! rmcp's own client, connected in memory.

use std::sync::{Arc, Mutex};

use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::RunningService;
use rmcp::{RoleClient, RoleServer, ServerHandler, ServiceExt as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};

pub(super) struct Client<S: ServerHandler> {
    client: RunningService<RoleClient, ()>,
    server: RunningService<RoleServer, S>,
}

impl<S: ServerHandler> Client<S> {
    pub(super) async fn call(&self, tool: &'static str, arguments: Value) -> CallToolResult {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        let call = CallToolRequestParams::new(tool).with_arguments(arguments);
        self.client.call_tool(call).await.expect("a tool's failure is no failure of the protocol")
    }

    pub(super) async fn close(self) {
        self.client.cancel().await.unwrap();
        self.server.waiting().await.unwrap();
    }
}

async fn between<S: ServerHandler>(server: S, theirs: DuplexStream, ours: DuplexStream) -> Client<S> {
    let (server, client) = tokio::join!(server.serve(theirs), ().serve(ours));
    Client { client: client.unwrap(), server: server.unwrap() }
}

pub(super) async fn connect<S: ServerHandler>(server: S) -> Client<S> {
    let (theirs, ours) = duplex(4096);
    between(server, theirs, ours).await
}

/// Every byte that the server has sent when the client has its list of tools.
pub(super) async fn listed<S: ServerHandler>(server: S) -> String {
    let (theirs, near) = duplex(4096);
    let (far, ours) = duplex(4096);
    let (mut from_server, mut to_server) = split(near);
    let (mut from_client, mut to_client) = split(far);
    let sent = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&sent);
    let answers = tokio::spawn(async move {
        let mut buffer = [0; 1024];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            recorded.lock().unwrap().extend_from_slice(&buffer[..read]);
            to_client.write_all(&buffer[..read]).await.unwrap();
        }
    });
    let requests = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });

    let client = between(server, theirs, ours).await;
    let tools = client.client.list_all_tools().await.unwrap();
    assert_eq!(tools.len(), 1);
    let sent = String::from_utf8(sent.lock().unwrap().clone()).unwrap();
    answers.abort();
    requests.abort();
    sent
}
