//! [`DeadLetter`]: a message that could not be worked on, as a person sees it.
//!
//! Not here: how the queue is gone through (`dead_letters.rs`), rights on dead letters, which are the caller's.

use std::sync::Arc;

use beds_core::rights::may_see;
use beds_core::template::Field;
use beds_core::{Actor, Event, Fields, ReportStream, Templates, config};
use lapin::message::BasicGetMessage;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;

use crate::marks::{ACTOR, Marks};
use crate::topology::{DEAD, EVENTS, LOGS, is_data_queue};

/// A message that could not be worked on.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub id: String,
    /// Why, in a word: `malformed`, `refused`, `panic`, `records`, or `delivery_limit`.
    pub reason: String,
    /// The error's code and text; empty where RabbitMQ itself gave up.
    pub detail: String,
    /// The queue that it was in.
    pub queue: String,
    /// The event, if it is one. Once it was looked at, without its parameters: [`DeadLetter::shown`] has them.
    pub event: Option<Event>,
    pub bytes: usize,
    /// The caller whom a node had proved, where the event does not name it.
    pub(super) actor: Option<Actor>,
    pub(super) body: Vec<u8>,
    /// A node has sealed it.
    is_proved: bool,
}

impl DeadLetter {
    pub(super) fn read(message: BasicGetMessage, marks: &Marks) -> Self {
        let is_proved = is_proved(&message, marks);
        let properties = &message.delivery.properties;
        let headers = properties.headers().as_ref();
        // Where RabbitMQ itself gave the message up, the other headers are those of its publisher, and may be false.
        let death = headers.and_then(last_death);
        let told = |own: &str, of_death: Option<&str>| match death {
            Some(death) => {
                of_death.and_then(|name| death.inner().get(name)).and_then(text).unwrap_or_default()
            }
            None => headers
                .and_then(|headers| headers.inner().get(own))
                .and_then(text)
                .unwrap_or_default(),
        };
        let event = Event::from_slice(&message.delivery.data).ok();
        let id = properties
            .message_id()
            .as_ref()
            .map(|id| id.as_str().to_owned())
            .filter(|id| !id.is_empty());
        Self {
            id: id
                .or_else(|| event.as_ref().map(|event| event.event_id.0.clone()))
                .unwrap_or_default(),
            reason: told("beds-reason", Some("reason")),
            // RabbitMQ tells none. A member of that name is its publisher's.
            detail: told("beds-detail", None),
            queue: told("beds-queue", Some("queue")),
            actor: headers
                .and_then(|headers| headers.inner().get(ACTOR))
                .and_then(text)
                .and_then(|text| serde_json::from_str(&text).ok()),
            event,
            is_proved,
            bytes: message.delivery.data.len(),
            body: message.delivery.data,
        }
    }

    /// True where it was in a queue of BEDS's, and is a proved event or batch of records.
    pub(super) fn can_be_sent(&self) -> bool {
        let is_known = is_data_queue(&self.queue) && self.queue != DEAD;
        is_known && self.is_proved && (self.is_of_records() || self.event.is_some())
    }

    /// True for a batch of reports, given up by a node or by RabbitMQ.
    pub(super) fn is_of_records(&self) -> bool {
        ReportStream::ALL.into_iter().any(|stream| stream.as_str() == self.queue)
    }

    /// True for a write that may have taken effect so long ago that no inbox remembers it.
    pub fn is_forgotten(&self, inbox: config::Inbox) -> bool {
        let event =
            self.event.as_ref().filter(|event| event.operation.is_write() && !self.is_of_records());
        event.is_some_and(|event| inbox.may_have_forgotten(event.first_issued_at()))
    }

    /// Template and operation of the event; `-` where it is none.
    pub fn what(&self) -> String {
        self.event.as_ref().map_or_else(
            || "-".to_owned(),
            |event| format!("{}.{}", event.template, event.operation),
        )
    }

    /// The event without its key and without the values of fields that the template calls sensitive, or that `reader` may not read;
    /// of an unknown template, without any.
    pub fn shown(&self, templates: &Templates, reader: &Actor) -> Option<Event> {
        let mut event = Event::from_slice(&self.body).ok()?;
        let template = templates.get(&event.template).ok();
        let is_shown = |name: &str| {
            template.is_some_and(|template| {
                !template.fields.get(name).is_some_and(|field| field.sensitive)
                    && may_see(template, reader, name)
            })
        };
        if template.is_none_or(|template| !is_shown(&template.id)) {
            event.id = event.id.map(|_| "(not shown)".to_owned());
        }
        for (name, value) in event.params.iter_mut() {
            if !is_shown(name) {
                *value = Value::from("(not shown)");
            }
        }
        event.key = None;
        event.actor = self.actor.clone().map_or(event.actor, Arc::new);
        if self.is_of_records() {
            event.params = Fields::new();
        }
        Some(event)
    }

    /// The code and text of the error. The DBA's own text may quote a value, so it is left out where the template has sensitive
    /// fields, and where the template is unknown.
    pub fn detail_shown(&self, templates: &Templates) -> String {
        let Some(event) = &self.event else { return self.detail.clone() };
        let template = templates.get(&event.template).ok();
        let is_secret = |field: &Field| field.sensitive || field.read.is_some();
        if template.is_some_and(|template| !template.fields.values().any(is_secret)) {
            return self.detail.clone();
        }
        self.detail.split(' ').next().unwrap_or_default().to_owned()
    }

    /// The code of the error, or the reason where there is none: the common part of letters of one cause.
    pub fn cause(&self) -> String {
        match self.detail.split(' ').next() {
            Some(code) if code.starts_with("BEDS-") => format!("{} {code}", self.reason),
            _ => self.reason.clone(),
        }
    }
}

/// True for a letter that a node has sealed: when it made a dead letter of it, or before, where RabbitMQ itself gave it up.
fn is_proved(message: &BasicGetMessage, marks: &Marks) -> bool {
    let of = &message.delivery;
    let death = of.properties.headers().as_ref().and_then(last_death);
    let is_sealed =
        |exchange: &str, key: &str| marks.is_sealed(exchange, key, &of.properties, &of.data);
    let sealed = match death {
        None => is_sealed(DEAD, of.routing_key.as_str()),
        Some(death) => {
            let key = routing_key(death).unwrap_or_default();
            is_sealed(EVENTS, &key) || is_sealed(LOGS, &key)
        }
    };
    sealed || !marks.seal.needs_proof()
}

/// The newest entry of `x-death`. RabbitMQ puts it in front of a publisher's own entries, or counts it into an entry of the
/// same queue and reason, whose other members stay (tried on 3.10.8).
fn last_death(headers: &FieldTable) -> Option<&FieldTable> {
    match headers.inner().get("x-death")? {
        AMQPValue::FieldArray(deaths) => match deaths.as_slice().first()? {
            AMQPValue::FieldTable(death) => Some(death),
            _ => None,
        },
        _ => None,
    }
}

/// The key under which a dead letter was published.
fn routing_key(death: &FieldTable) -> Option<String> {
    match death.inner().get("routing-keys")? {
        AMQPValue::FieldArray(keys) => text(keys.as_slice().first()?),
        _ => None,
    }
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}
