//! TLS, against a server with a certificate of its own making.

use std::os::unix::fs::PermissionsExt;

use super::*;
use server::Server;

/// A server whose certificate is for `name`, and that certificate.
fn server(name: &str) -> Option<(Server, tempfile::NamedTempFile)> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let root = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(root.path(), &certificate).unwrap();
    let server = Server::start(&["ssl=on"], |data| {
        for (name, text) in [("server.crt", &certificate), ("server.key", &key)] {
            let path = data.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            server::give_to_the_server(&path);
        }
    })?;
    Some((server, root))
}

fn gate(url: &str, query: &str) -> Portcullis {
    Portcullis::builder().ledger(format!("{url}?{query}")).namespace("tests").build().unwrap()
}

#[test]
fn a_certificate_that_is_trusted_by_name_encrypts_every_connection() {
    let Some((server, root)) = server("localhost") else { return };
    let room = Room::on(&server.url());
    let url = room.url.replace("127.0.0.1", "localhost");
    let trusting = gate(&url, &format!("sslmode=verify-full&sslrootcert={}", root.path().display()));
    assert_eq!(run(&trusting, &room, "k").unwrap(), "receipt of k");
    let ssl =
        "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'portcullis'";
    assert_eq!(room.sql(ssl), ["t"]);

    // Without being told to trust it: no word of the claim is sent.
    let message = refused(run(&gate(&url, "sslmode=require"), &room, "other"), Kind::LedgerUnavailable).to_string();
    assert!(message.contains("certificate"), "{message}");
    assert_eq!(room.state("other"), "absent");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let Some((server, root)) = server("db.example") else { return };
    let room = Room::on(&server.url());
    let url = room.url.replace("127.0.0.1", "localhost");
    let query = format!("sslmode=verify-full&sslrootcert={}", root.path().display());
    let message = refused(run(&gate(&url, &query), &room, "k"), Kind::LedgerUnavailable).to_string();
    assert!(message.contains("certificate"), "{message}");
    assert!(room.effects().is_empty());
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let Some(server) = Server::start(&[], |_| {}) else { return };
    let room = Room::on(&server.url());
    refused(run(&gate(&room.url, "sslmode=require"), &room, "k"), Kind::LedgerUnavailable);
    assert!(room.effects().is_empty());
}
