//! The ways from a node to its services: the schemes of their URLs, and passwords and records that would travel in plain text.
//!
//! Not here: the gateway's own port (check/combinations.rs).

use std::net::IpAddr;

use crate::config::{Config, Database, Environment};
use crate::{Mistake, Store};

/// An error with a message and a fix where a URL has not one of the schemes that go with a sample of it.
pub(super) fn scheme(url: &str, sample: &str) -> Result<(), (String, &'static str)> {
    let (wanted, _) = sample.split_once("://").unwrap_or_default();
    let given = url.split_once("://").map(|(scheme, _)| scheme);
    match (wanted, given) {
        (_, Some(given)) if given == wanted => Ok(()),
        ("amqp", Some("amqps")) | ("mongodb", Some("mongodb+srv")) => Ok(()),
        ("mysql", Some("mysqls" | "mariadb" | "mariadbs")) => Err((
            "has a scheme that no driver knows".to_owned(),
            "TLS to MariaDB is asked for with ca_file beside the url, or require_ssl=true in it; write ",
        )),
        _ => Err((format!("is not a {wanted}:// URL"), "write ")),
    }
}

/// A warning for each service of a production node that is on another machine and is spoken to in plain text.
pub fn in_plain_text(config: &Config) -> Vec<Mistake> {
    if config.node.environment != Environment::Production {
        return Vec::new();
    }
    let mut open = Vec::new();
    let amqp = config.amqp.url.expose();
    if amqp.starts_with("amqp://") && is_elsewhere(config.amqp.url.address()) {
        open.push(("amqp.url".to_owned(), "write amqps://"));
    }
    for store in Store::ALL {
        let is_open = |(_, database): &(&String, &Database)| match store {
            Store::Rel => is_open_mariadb(database),
            Store::Rec => is_open_mongodb(database),
        };
        let fix = match store {
            Store::Rel => {
                "set ca_file beside the url, or add require_ssl=true to it, and let no other argument switch the look at the certificate off"
            }
            Store::Rec => {
                "add tls=true to the url, and let no other argument switch the look at the certificate off"
            }
        };
        let names = config.databases.of(store).iter().filter(is_open).map(|(name, _)| name);
        open.extend(names.map(|name| (format!("databases.{store}.{name}.url"), fix)));
    }
    let otlp = config.reports.otlp.as_deref().and_then(|url| url.strip_prefix("http://"));
    if otlp.is_some_and(|rest| is_elsewhere(rest.split('/').next().unwrap_or_default())) {
        open.push(("reports.otlp".to_owned(), "write https://"));
    }
    let file = config.file.display().to_string();
    let warning = |(key, fix): (String, &str)| {
        let message = format!(
            "{key}: passwords and records travel to another machine in plain text, or to any that answers"
        );
        Mistake::new(&file, 0, message, fix).as_warning()
    };
    open.into_iter().map(warning).collect()
}

fn is_open_mariadb(database: &Database) -> bool {
    let is_asked = has_argument(database, &["require_ssl=true"]) || database.ca_file.is_some();
    let is_blind = has_argument(database, &["verify_ca=false", "verify_identity=false"]);
    (!is_asked || is_blind) && is_elsewhere(database.url.address())
}

fn is_open_mongodb(database: &Database) -> bool {
    // A name of DNS (`mongodb+srv`) asks for TLS by itself.
    let is_srv = database.url.expose().starts_with("mongodb+srv://");
    let is_asked = has_argument(database, &["tls=true", "ssl=true"])
        || (is_srv && !has_argument(database, &["tls=false", "ssl=false"]));
    let is_blind = ["tlsInsecure=true", "tlsAllowInvalidCertificates=true"];
    (!is_asked || has_argument(database, &is_blind))
        && database.url.address().split(',').any(is_elsewhere)
}

fn has_argument(database: &Database, wanted: &[&str]) -> bool {
    let arguments = database.url.expose().split_once('?').map_or("", |(_, arguments)| arguments);
    arguments.split('&').any(|argument| wanted.iter().any(|it| it.eq_ignore_ascii_case(argument)))
}

/// True where a host and port are not on this machine.
fn is_elsewhere(address: &str) -> bool {
    let host = match address.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => address.rsplit_once(':').map_or(address, |(host, _)| host),
    };
    host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_that_no_driver_knows_is_explained() {
        let of = |url: &str, sample: &str| scheme(url, sample).map_err(|(message, _)| message);
        let [amqp, mongodb, mysql] = ["amqp://h", "mongodb://h", "mysql://h"];
        for (url, sample) in
            [("amqps://h", amqp), (amqp, amqp), ("mongodb+srv://h", mongodb), (mysql, mysql)]
        {
            assert_eq!(of(url, sample), Ok(()), "{url}");
        }
        for (url, sample) in [
            ("mysqls://h", mysql),
            ("mariadb://h", mysql),
            ("amqp+srv://h", amqp),
            ("mongodbs://h", mongodb),
            ("h", mysql),
        ] {
            assert!(of(url, sample).is_err(), "{url}");
        }
        assert!(scheme("mysqls://h", mysql).unwrap_err().1.contains("ca_file"));
    }

    #[test]
    fn a_service_of_another_machine_is_known_by_its_address() {
        for (address, elsewhere) in [
            ("localhost:5672", false),
            ("127.0.0.1:5672", false),
            ("127.3.0.1", false),
            ("[::1]:5672", false),
            ("db.example:3306", true),
            ("10.0.0.1", true),
            ("[2001:db8::1]:1", true),
        ] {
            assert_eq!(is_elsewhere(address), elsewhere, "{address}");
        }
    }
}
