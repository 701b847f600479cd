//! [`Marks`]: the proof that goes with each message of a node: its login, which RabbitMQ compares with that of the connection, and
//! its seal, which covers the message and its place. The seal is the property `app_id`: it says that a node has made the message, and a
//! header would cost each message a table.
//!
//! Not here: the keys (crate auth), the decision on a message without proof (crate broker).

use std::sync::Arc;

use beds_core::gate::SEAL_BEGINS;
use beds_core::{Place, Seal};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::topology::{EVENTS, LATER, WAITING};

/// The header with the caller whom a node has proved, as JSON, where the body does not name it.
pub(crate) const ACTOR: &str = "beds-actor";

/// The marks of a node.
#[derive(Clone)]
pub(crate) struct Marks {
    pub(crate) seal: Arc<dyn Seal>,
    login: ShortString,
}

impl Marks {
    pub(crate) fn new(seal: Arc<dyn Seal>, login: &str) -> Self {
        Self { seal, login: login.into() }
    }

    /// The properties with the login. RabbitMQ closes the channel of a node that names another one.
    pub(crate) fn login(&self, properties: BasicProperties) -> BasicProperties {
        properties.with_user_id(self.login.clone())
    }

    /// The properties with both marks.
    pub(crate) fn mark(
        &self,
        exchange: &str,
        key: &str,
        properties: BasicProperties,
        body: &[u8],
    ) -> BasicProperties {
        let seal = self.seal.seal(&place(exchange, key, &properties), body);
        self.login(match seal {
            Some(seal) => properties.with_app_id(seal.into()),
            None => properties,
        })
    }

    /// True where a node has sealed a message with these properties for this place.
    pub(crate) fn is_sealed(
        &self,
        exchange: &str,
        key: &str,
        properties: &BasicProperties,
        body: &[u8],
    ) -> bool {
        let seal = seal_of(properties);
        seal.is_some_and(|seal| self.seal.is_sealed(&place(exchange, key, properties), body, seal))
    }
}

/// The seal of a message, good or bad.
pub(crate) fn seal_of(properties: &BasicProperties) -> Option<&str> {
    let text = properties.app_id().as_ref()?.as_str();
    text.starts_with(SEAL_BEGINS).then_some(text)
}

/// The text in a header.
pub(crate) fn text<'h>(headers: &'h FieldTable, name: &str) -> Option<&'h str> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}

fn place<'m>(exchange: &'m str, key: &'m str, properties: &'m BasicProperties) -> Place<'m> {
    let of = |text: &'m Option<ShortString>| text.as_ref().map_or("", |text| text.as_str());
    let actor = properties.headers().as_ref().and_then(|headers| text(headers, ACTOR));
    Place {
        // RabbitMQ brings a message that waits back to the exchange of requests.
        exchange: if matches!(exchange, WAITING | LATER) { EVENTS } else { exchange },
        routing_key: key,
        reply_to: of(properties.reply_to()),
        correlation_id: of(properties.correlation_id()),
        actor: actor.unwrap_or_default(),
    }
}
