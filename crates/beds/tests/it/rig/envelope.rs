//! [`envelope`]: an event as a client of AMQP writes it.

use serde_json::{Value, json};

/// An event of a client that is no node: the first of its chain, by no one, and with a deadline far away.
pub(crate) fn envelope(id: &str, template: &str, operation: &str, params: Value) -> Value {
    json!({
        "v": 1, "event_id": id, "root_id": id, "template": template, "operation": operation, "params": params,
        "issued_at": jiff::Timestamp::now().to_string(), "deadline": "2126-11-23T10:00:00Z",
    })
}
