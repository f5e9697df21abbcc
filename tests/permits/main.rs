//! What a permit opens, and for how long.

use portcullis::permit::{BeforeCost, BeforeSideEffect};
use portcullis::testing::{self, Gate};
use portcullis::{HttpClient, Locked, Permit, Refused, boundary};
use portcullis_tests::hostile_server::{Server, answer};

#[test]
fn a_permit_takes_no_room() {
    assert_eq!(size_of::<Permit<'_, BeforeCost>>(), 0);
    assert_eq!(size_of::<Locked<u64, BeforeCost>>(), size_of::<u64>());
}

struct Books {
    connection: Locked<rusqlite::Connection, BeforeSideEffect>,
}

impl Books {
    fn new() -> Self {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE book(title TEXT)").unwrap();
        Books { connection: Locked::new(connection) }
    }

    #[boundary(before_side_effect, permit = permit)]
    fn add(&mut self, titles: &[&str]) -> Result<i64, rusqlite::Error> {
        let transaction = self.connection.unlock_mut(&permit).transaction()?;
        for title in titles {
            transaction.execute("INSERT INTO book VALUES (?1)", [title])?;
        }
        transaction.commit()?;
        count(self.connection.unlock(&permit))
    }
}

fn count(connection: &rusqlite::Connection) -> Result<i64, rusqlite::Error> {
    connection.query_row("SELECT count(*) FROM book", [], |row| row.get(0))
}

#[test]
fn a_connection_opens_behind_its_boundary_alone() {
    let mut books = Books::new();
    assert_eq!(Gate::allowing().scope_sync(|| books.add(&["Middlemarch", "Emma"])).unwrap(), 2);
    let ended = testing::catch(|| Gate::denying("NO").scope_sync(|| books.add(&["Ulysses"]))).unwrap_err();
    assert_eq!(ended.code(), "denied");
    assert_eq!(Gate::allowing().scope_sync(|| books.add(&[])).unwrap(), 2, "what was denied was not written");
}

#[test]
fn a_lock_shows_nothing_of_what_it_holds() {
    let locked: Locked<_, BeforeCost> = Locked::new(String::from("the password"));
    assert_eq!(format!("{locked:?}"), "Locked(before_cost)");
}

// Were one of these `Clone`, a body that has a permit once could keep the connection for ever.
static_assertions::assert_not_impl_any!(rusqlite::Connection: Clone);
static_assertions::assert_not_impl_any!(tokio_postgres::Client: Clone);
static_assertions::assert_not_impl_any!(Locked<String, BeforeCost>: Clone);
static_assertions::assert_not_impl_any!(Permit<'static, BeforeCost>: Clone, Default);

#[boundary(before_cost, permit = permit)]
fn clone_out(locked: &Locked<String, BeforeCost>) -> String {
    locked.unlock(&permit).clone()
}

#[test]
fn what_can_be_cloned_can_be_cloned_out() {
    // The documentation says so; if this ever fails, it may say more.
    let locked = Locked::new(String::from("a client that is Clone"));
    assert_eq!(Gate::allowing().scope_sync(|| clone_out(&locked)), "a client that is Clone");
}

#[derive(Debug)]
#[expect(dead_code, reason = "shown by Debug, where a test fails")]
enum HttpError {
    Refused(Refused),
    Http(reqwest::Error),
}

impl From<Refused> for HttpError {
    fn from(refused: Refused) -> Self {
        HttpError::Refused(refused)
    }
}

impl From<reqwest::Error> for HttpError {
    fn from(error: reqwest::Error) -> Self {
        HttpError::Http(error)
    }
}

#[boundary(before_side_effect, on_deny = "return", permit = permit)]
async fn post(http: &HttpClient, url: String) -> Result<String, HttpError> {
    let request = http.post(url).bearer_auth("token").json(&serde_json::json!({ "cents": 500 }));
    Ok(request.send(&permit).await?.text().await?)
}

#[tokio::test]
async fn a_request_is_sent_behind_its_boundary_alone() {
    let server = Server::start(|connection| {
        while let Some(request) = connection.request() {
            connection.send(answer("200 OK", "", request.0.contains(r#"{"cents":500}"#).to_string()));
        }
    });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let http = HttpClient::new(client);

    let denied = Gate::denying("NO").scope(post(&http, server.base())).await.unwrap_err();
    assert!(matches!(denied, HttpError::Refused(refused) if refused.code() == "denied"));
    assert_eq!(server.connections(), 0, "what was denied was not sent");

    assert_eq!(Gate::allowing().scope(post(&http, server.base())).await.unwrap(), "true");
    assert_eq!(server.connections(), 1);
}

async fn in_three_threads(permit: &Permit<'_, BeforeCost>) -> usize {
    std::thread::scope(|threads| {
        let threads: Vec<_> = (0..3).map(|_| threads.spawn(|| permit.boundary())).collect();
        threads.into_iter().map(|thread| thread.join()).filter(Result::is_ok).count()
    })
}

#[boundary(before_cost, permit = permit)]
async fn shared() -> usize {
    std::future::ready(()).await;
    in_three_threads(&permit).await
}

#[tokio::test]
async fn a_permit_reaches_across_awaits_and_into_scoped_threads() {
    assert_eq!(Gate::allowing().scope(shared()).await, 3);
}
