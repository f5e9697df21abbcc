//! Nobody is asked.

use std::fs::File;
use std::process::Command;

use lettre::Transport;
use object_store::ObjectStoreExt;
use redis::Commands;

use crate::Done;

pub fn std_file() -> Done {
    std::fs::write("a", "b")?; //~ std::fs::write
    File::create_new("a")?; //~ std::fs::File::create_new
    File::options().append(true).open("a")?; //~ std::fs::OpenOptions::open
    Ok(())
}

pub fn std_process() -> Done {
    Command::new("true").status()?; //~ std::process::Command::status
    Ok(())
}

pub fn std_socket() -> Done {
    std::net::TcpStream::connect("127.0.0.1:1")?; //~ std::net::TcpStream::connect
    Ok(())
}

pub async fn tokio() -> Done {
    tokio::fs::write("a", "b").await?; //~ tokio::fs::write
    tokio::process::Command::new("true").spawn()?; //~ tokio::process::Command::spawn
    Ok(())
}

pub async fn async_process() -> Done {
    async_process::Command::new("true").output().await?; //~ async_process::Command::output
    Ok(())
}

pub fn fs_err() -> Done {
    fs_err::remove_dir_all("a")?; //~ fs_err::remove_dir_all
    Ok(())
}

pub fn duct() -> Done {
    duct::cmd!("true").run()?; //~ duct::Expression::run
    Ok(())
}

pub async fn reqwest() -> Done {
    reqwest::Client::new().post("http://127.0.0.1:1").body("a").send().await?; //~ reqwest::RequestBuilder::send
    Ok(())
}

pub fn ureq() -> Done {
    ureq::post("http://127.0.0.1:1").send("a")?; //~ ureq::RequestBuilder::send
    Ok(())
}

type Legacy = hyper_util::client::legacy::Client<
    hyper_util::client::legacy::connect::HttpConnector,
    http_body_util::Empty<std::collections::VecDeque<u8>>,
>;

pub async fn hyper_util(client: Legacy) -> Done {
    client.get("http://127.0.0.1:1".parse()?).await?; //~ hyper_util::client::legacy::Client::get
    Ok(())
}

pub fn rusqlite(db: &rusqlite::Connection) -> Done {
    db.execute("DELETE FROM a", [])?; //~ rusqlite::Connection::execute
    db.prepare("INSERT INTO a VALUES (1)")?.insert([])?; //~ rusqlite::Statement::insert
    Ok(())
}

pub async fn tokio_postgres(db: &tokio_postgres::Client) -> Done {
    db.batch_execute("DELETE FROM a").await?; //~ tokio_postgres::Client::batch_execute
    Ok(())
}

pub async fn sqlx(db: &sqlx::AnyPool) -> Done {
    sqlx::query("DELETE FROM a").execute(db).await?; //~ sqlx::query::Query::execute
    Ok(())
}

pub fn redis(db: &mut redis::Connection) -> Done {
    let _: () = db.set("a", "b")?; //~ redis::Commands::set
    redis::cmd("FLUSHALL").exec(db)?; //~ redis::Cmd::exec
    Ok(())
}

pub fn lettre(mail: &lettre::address::Envelope) -> Done {
    lettre::SendmailTransport::new().send_raw(mail, b"a")?; //~ lettre::Transport::send_raw
    Ok(())
}

pub async fn object_store(store: &dyn object_store::ObjectStore) -> Done {
    store.put(&"a".into(), "b".into()).await?; //~ object_store::ObjectStoreExt::put
    Ok(())
}

pub async fn aws(queue: &aws_sdk_sqs::Client) -> Done {
    let message = queue.send_message().queue_url("a").message_body("b");
    message.send().await?; //~ aws_sdk_sqs::operation::send_message::builders::SendMessageFluentBuilder::send
    Ok(())
}

pub async fn async_openai(request: async_openai::types::embeddings::CreateEmbeddingRequest) -> Done {
    async_openai::Client::new().embeddings().create(request).await?; //~ async_openai::Embeddings::create
    Ok(())
}

macro_rules! hidden {
    ($path:expr) => {
        std::fs::remove_file($path) //~ std::fs::remove_file
    };
}

pub fn in_disguise() -> Done {
    use std::fs::write as note;
    hidden!("a")?;
    note("a", "b")?; //~ std::fs::write
    ["a"].iter().try_for_each(std::fs::create_dir)?; //~ std::fs::create_dir
    Ok(())
}
