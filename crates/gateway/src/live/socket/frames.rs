//! The messages of `beds.v1`. Each is one JSON object; an answer has the `id` of its question.
//!
//! Not here: the work on them (session.rs).

use std::collections::BTreeMap;

use beds_core::text::what_is_wrong;
use beds_core::{BedsError, ErrorKind, Result};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Codes with which a connection is closed (docs/live.md).
pub(super) mod code {
    /// The node stops.
    pub(in super::super) const STOPPING: u16 = 1001;
    /// The caller said nothing for too long.
    pub(in super::super) const SILENT: u16 = 4000;
    /// No credential, or one that is not accepted any more.
    pub(in super::super) const CREDENTIAL: u16 = 4001;
    /// The caller does not take its messages.
    pub(in super::super) const SLOW: u16 = 4008;
    /// No place is free.
    pub(in super::super) const TRY_LATER: u16 = 4013;
}

/// The longest `id`, in bytes.
const MOST_ID_BYTES: usize = 64;

/// A message of the caller: exactly one of the verbs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Inbound<'m> {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) auth: Option<Auth>,
    #[serde(default, borrow)]
    pub(super) request: Option<Requested<'m>>,
    #[serde(default)]
    pub(super) subscribe: Option<Subscribe>,
    #[serde(default)]
    pub(super) watch: Option<Watch>,
    /// The `id` of a subscription or a watch.
    #[serde(default)]
    pub(super) stop: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    pub(super) token: String,
}

/// A request, as over HTTP.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Requested<'m> {
    pub(super) method: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default, borrow)]
    pub(super) body: Option<&'m RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscribe {
    pub(super) template: String,
    /// The id of a record.
    #[serde(default)]
    pub(super) record: Option<String>,
    /// A cursor.
    #[serde(default)]
    pub(super) after: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Watch {
    /// The id of a ticket.
    pub(super) ticket: String,
}

impl<'m> Inbound<'m> {
    /// # Errors
    /// [`ErrorKind::MalformedBody`], with the mistake.
    pub(super) fn read(text: &'m str) -> Result<Self> {
        let bad = |text: String| BedsError::new(ErrorKind::MalformedBody, text);
        let read: Self = serde_json::from_str(text)
            .map_err(|e| bad(format!("the message is not usable: {}", what_is_wrong(&e))))?;
        let verbs = [
            read.auth.is_some(),
            read.request.is_some(),
            read.subscribe.is_some(),
            read.watch.is_some(),
            read.stop.is_some(),
        ];
        if verbs.into_iter().filter(|is_there| *is_there).count() != 1 {
            let text = "a message has exactly one of: auth, request, subscribe, watch, stop";
            return Err(bad(text.to_owned()));
        }
        let has_id = read.id.as_ref().is_some_and(|id| (1..=MOST_ID_BYTES).contains(&id.len()));
        if read.auth.is_none() && !has_id {
            return Err(bad(format!("`id` is a text of 1 to {MOST_ID_BYTES} bytes")));
        }
        Ok(read)
    }
}

/// The caller is known.
pub(super) fn known(subject: &str) -> String {
    json!({"auth": {"subject": subject}}).to_string()
}

/// A message about the thing with this `id`.
pub(super) fn told(id: &str, name: &str, value: &Value) -> String {
    json!({"id": id, name: value}).to_string()
}

/// A change, whose text is written already.
pub(super) fn change(id: &str, cursor: &str, change: &[u8]) -> String {
    let change = String::from_utf8_lossy(change);
    format!("{{\"id\":{},\"cursor\":\"{cursor}\",\"change\":{change}}}", json!(id))
}

/// The answer to a request. `body` is JSON.
pub(super) fn answer(id: &str, status: u16, headers: &Value, body: &str) -> String {
    format!("{{\"id\":{},\"status\":{status},\"headers\":{headers},\"body\":{body}}}", json!(id))
}

/// An error as the answer to a message. `id` is null where the message has none that can be read.
pub(super) fn problem(id: Option<&str>, error: &BedsError) -> String {
    let (status, code) = (error.kind.status(), error.code());
    let problem = json!({"status": status, "code": code, "title": error.kind.title(), "detail": error.message});
    json!({"id": id, "problem": problem}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_one_verb_and_an_id_and_nothing_else() {
        for good in [
            r#"{"auth":{"token":"x"}}"#,
            r#"{"id":"1","request":{"method":"GET","path":"/v1/templates"}}"#,
            r#"{"id":"1","subscribe":{"template":"T","record":"7","after":"c"}}"#,
            r#"{"id":"1","watch":{"ticket":"t"}}"#,
            r#"{"id":"2","stop":"1"}"#,
        ] {
            assert!(Inbound::read(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"id":"1"}"#,
            r#"{"id":"","stop":"1"}"#,
            r#"{"stop":"1"}"#,
            r#"{"id":7,"stop":"1"}"#,
            r#"{"id":"1","stop":"1","watch":{"ticket":"t"}}"#,
            r#"{"id":"1","subscribe":{"template":"T","template":"U"}}"#,
            r#"{"id":"1","subscribe":{"template":"T","actor":"U"}}"#,
            r#"{"id":"1","other":{}}"#,
        ] {
            assert_eq!(
                Inbound::read(bad).err().map(|e| e.kind),
                Some(ErrorKind::MalformedBody),
                "{bad}"
            );
        }
        let long = format!(r#"{{"id":"{}","stop":"1"}}"#, "x".repeat(65));
        assert!(Inbound::read(&long).is_err());
    }

    #[test]
    fn what_is_told_is_json_whatever_the_id() {
        for text in [change("\"", "0-1", b"{}"), answer("\"\n", 200, &json!({}), "null")] {
            assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
        }
    }
}
