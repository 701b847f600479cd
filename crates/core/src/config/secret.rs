//! [`Url`]: an address with a password in it, which is never printed.
//!
//! Not here: files with secrets (check.rs reads them).

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// The URL of a service. `Debug` shows neither user nor password.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Url(SecretString);

impl Url {
    pub fn new(url: impl Into<String>) -> Self {
        Self(SecretString::from(url.into()))
    }

    /// The whole URL, for the driver that connects with it, and for nothing else.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The user in the URL, decoded; `guest` where there is none, as RabbitMQ takes it.
    pub fn user(&self) -> String {
        let url = self.expose();
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let user = authority
            .rsplit_once('@')
            .map_or("guest", |(login, _)| login.split_once(':').map_or(login, |(user, _)| user));
        decoded(user)
    }

    /// The host and port, which may be printed.
    pub fn address(&self) -> &str {
        let url = self.expose();
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        // The last @ ends the password, which may hold one itself.
        authority.rsplit_once('@').map_or(authority, |(_, address)| address)
    }
}

/// A text with its `%41` read.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|_| *first == b'%');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({})", self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_its_address_and_never_its_password() {
        let url = Url::new("mysql://ana:s3cret%40@db.example:3306/main?x=y");
        assert_eq!(url.address(), "db.example:3306");
        assert_eq!(format!("{url:?}"), "Url(db.example:3306)");
        assert_eq!(url.user(), "ana");
        assert_eq!(Url::new("amqp://a%40b%3a:x@h/v").user(), "a@b:");
        assert_eq!(Url::new("amqp://h:5672/v").user(), "guest");
    }
}
