//! The same effects, and somebody is asked. Not one of them may be refused.

use std::fs::File;
use std::pin::Pin;
use std::process::Command;

use lettre::Transport;
use object_store::ObjectStoreExt;
use portcullis::{Refused, boundary, budgeted};
use redis::Commands;

use crate::{Done, Failure};

#[boundary(before_side_effect)]
pub fn std_file() -> Done {
    std::fs::write("a", "b")?;
    File::create_new("a")?;
    File::options().append(true).open("a")?;
    Ok(())
}

#[boundary(before_side_effect)]
pub fn std_process() -> Done {
    Command::new("true").status()?;
    Ok(())
}

#[boundary(before_side_effect)]
pub fn std_socket() -> Done {
    std::net::TcpStream::connect("127.0.0.1:1")?;
    Ok(())
}

#[budgeted(max_steps = 5)]
#[boundary(before_job, before_side_effect)]
pub async fn tokio() -> Done {
    tokio::fs::write("a", "b").await?;
    tokio::process::Command::new("true").spawn()?;
    Ok(())
}

#[boundary(before_side_effect)]
pub async fn async_process() -> Done {
    async_process::Command::new("true").output().await?;
    Ok(())
}

#[boundary(before_side_effect)]
pub fn fs_err() -> Done {
    fs_err::remove_dir_all("a")?;
    Ok(())
}

#[boundary(before_side_effect)]
pub fn duct() -> Done {
    duct::cmd!("true").run()?;
    Ok(())
}

#[boundary(before_side_effect)]
pub async fn reqwest() -> Done {
    reqwest::Client::new().post("http://127.0.0.1:1").body("a").send().await?;
    Ok(())
}

#[boundary(before_side_effect)]
pub fn ureq() -> Done {
    ureq::post("http://127.0.0.1:1").send("a")?;
    Ok(())
}

type Legacy = hyper_util::client::legacy::Client<
    hyper_util::client::legacy::connect::HttpConnector,
    http_body_util::Empty<std::collections::VecDeque<u8>>,
>;

#[boundary(before_side_effect)]
pub async fn hyper_util(client: Legacy) -> Done {
    client.get("http://127.0.0.1:1".parse()?).await?;
    Ok(())
}

#[boundary(before_side_effect)]
pub fn rusqlite(db: &rusqlite::Connection) -> Done {
    db.execute("DELETE FROM a", [])?;
    db.prepare("INSERT INTO a VALUES (1)")?.insert([])?;
    Ok(())
}

#[boundary(before_side_effect)]
pub async fn tokio_postgres(db: &tokio_postgres::Client) -> Done {
    db.batch_execute("DELETE FROM a").await?;
    Ok(())
}

#[boundary(before_side_effect, permit = permit)]
pub async fn sqlx(db: &sqlx::AnyPool) -> Done {
    let _ = &permit;
    sqlx::query("DELETE FROM a").execute(db).await?;
    Ok(())
}

#[boundary(before_side_effect)]
pub fn redis(db: &mut redis::Connection) -> Done {
    let _: () = db.set("a", "b")?;
    redis::cmd("FLUSHALL").exec(db)?;
    Ok(())
}

#[boundary(before_side_effect)]
pub fn lettre(mail: &lettre::address::Envelope) -> Done {
    lettre::SendmailTransport::new().send_raw(mail, b"a")?;
    Ok(())
}

#[boundary(before_side_effect)]
pub async fn object_store(store: &dyn object_store::ObjectStore) -> Done {
    store.put(&"a".into(), "b".into()).await?;
    Ok(())
}

#[boundary(before_side_effect)]
pub async fn aws(queue: &aws_sdk_sqs::Client) -> Done {
    let message = queue.send_message().queue_url("a").message_body("b");
    message.send().await?;
    Ok(())
}

#[boundary(before_cost)]
pub async fn async_openai(request: async_openai::types::embeddings::CreateEmbeddingRequest) -> Done {
    async_openai::Client::new().embeddings().create(request).await?;
    Ok(())
}

macro_rules! hidden {
    ($path:expr) => {
        std::fs::remove_file($path)
    };
}

#[boundary(before_side_effect)]
pub fn in_disguise() -> Done {
    use std::fs::write as note;
    hidden!("a")?;
    note("a", "b")?;
    ["a"].iter().try_for_each(std::fs::create_dir)?;
    Ok(())
}

#[boundary(before_side_effect)]
pub fn boxed(path: String) -> Pin<Box<dyn Future<Output = Done> + Send>> {
    if let Err(error) = std::fs::remove_file(&path) {
        return Box::pin(async { Err(Failure::from(error)) });
    }
    Box::pin(async move { Ok(std::fs::write(path, "b")?) })
}

#[boundary(before_side_effect)]
pub fn opaque(path: String) -> impl Future<Output = Done> + Send {
    let removed = std::fs::remove_file(&path);
    async move {
        removed?;
        Ok(std::fs::write(path, "b")?)
    }
}

pub struct Notes;

impl Notes {
    /// Everything that is written in the body is exempt.
    #[boundary(before_side_effect, on_deny = "return")]
    pub fn keep(&self) -> Result<bool, Refused> {
        fn nested() -> bool {
            std::fs::write("a", "b").is_ok()
        }
        let closure = || std::fs::write("a", "b").is_ok();
        Ok(nested() && closure())
    }
}
