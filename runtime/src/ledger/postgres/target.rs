//! Which server and which database: what a URL says.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::trouble::{Trouble, TroubleKind};

/// How long one attempt to connect may take.
pub(super) const CONNECT: Duration = Duration::from_secs(3);

/// A database, and how to reach it.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) config: Config,
    /// Certificates to trust besides the platform's.
    pub(super) roots: Option<PathBuf>,
    shown: String,
}

impl Target {
    /// Reads `postgres://…`: everything that libpq's URLs may say, as far as it makes sense here.
    pub(super) fn from_url(url: &str) -> Result<Self, Trouble> {
        let unusable = |what: &str| Trouble::new(TroubleKind::Unsuitable, what);
        let (mut plain, mut roots, mut mode) = (url.to_owned(), None, None);
        if let Some((before, query)) = url.split_once('?') {
            let mut kept = Vec::new();
            for pair in query.split('&') {
                match pair.split_once('=') {
                    // What the library below does not know.
                    Some(("sslrootcert", path)) => {
                        let path = percent_encoding::percent_decode_str(path).decode_utf8();
                        roots =
                            Some(PathBuf::from(path.map_err(|_| unusable("its `sslrootcert` is not UTF-8"))?.as_ref()));
                    }
                    Some(("sslmode", "disable")) => mode = Some(SslMode::Disable),
                    Some(("sslmode", "verify-full" | "require")) => mode = Some(SslMode::Require),
                    Some(("sslmode", other)) => {
                        return Err(unusable(&format!(
                            "sslmode={other} is refused: it is `verify-full` (the same as `require`: a certificate is always checked) or `disable`"
                        )));
                    }
                    Some(_) | None => kept.push(pair),
                }
            }
            plain = if kept.is_empty() { before.to_owned() } else { format!("{before}?{}", kept.join("&")) };
        }
        // The library's own message may quote the URL, and the URL may hold a password.
        let mut config: Config =
            plain.parse().map_err(|_| unusable("it is not a URL such as `postgres://USER@HOST:5432/DATABASE`"))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(unusable(
                "it names no host; a socket's directory is named as `postgres:///DATABASE?host=/run/postgresql`",
            ));
        }
        let is_near = config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
            && config.get_hosts().iter().all(|host| match host {
                Host::Tcp(name) => {
                    name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
                }
                Host::Unix(_) => true,
            });
        // Never what a server without TLS likes best.
        config.ssl_mode(mode.unwrap_or(if is_near { SslMode::Disable } else { SslMode::Require }));
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name("portcullis");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        config
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        let shown = shown(&config);
        Ok(Target { config, roots, shown })
    }

    /// For messages: without user and password.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }
}

fn shown(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(i, host)| {
            let port = ports.get(i).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => path.display().to_string(),
            }
        })
        .collect();
    format!("postgres://{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_url_holds_no_password() {
        let target = Target::from_url("postgres://pay:secret@db.example:6432/shop").unwrap();
        assert_eq!(target.shown(), "postgres://db.example:6432/shop");
        assert!(!format!("{target:?}").contains("secret"));
        let trouble = Target::from_url("postgres://pay:secret@db.example:port/shop").unwrap_err();
        assert!(!trouble.to_string().contains("secret"), "{trouble}");
    }

    #[test]
    fn another_machine_is_reached_by_tls_unless_the_url_says_otherwise() {
        let mode = |url: &str| Target::from_url(url).unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgres://pay@db.example/shop"), SslMode::Require);
        assert_eq!(mode("postgres://pay@db.example/shop?sslmode=verify-full"), SslMode::Require);
        assert_eq!(mode("postgres://pay@db.example/shop?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://pay@localhost/shop"), SslMode::Disable);
        assert_eq!(mode("postgres://pay@127.0.0.1,db.example/shop"), SslMode::Require);
        assert_eq!(mode("postgres:///shop?host=/run/postgresql"), SslMode::Disable);
        assert_eq!(mode("postgres:///shop?host=/run/postgresql&sslmode=require"), SslMode::Require);
        for refused in ["prefer", "allow", "verify-ca"] {
            let url = format!("postgres://pay@db.example/shop?sslmode={refused}");
            assert!(Target::from_url(&url).unwrap_err().to_string().contains("verify-full"), "{refused}");
        }
    }

    #[test]
    fn a_url_without_a_host_is_refused() {
        for url in ["postgres:///shop", "postgres://", "postgres://pay@db.example/shop?colour=red"] {
            assert!(Target::from_url(url).is_err(), "{url}");
        }
    }
}
