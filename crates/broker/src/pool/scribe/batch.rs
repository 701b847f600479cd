//! [`Batch`]: the records of one message, and the document that they become. Audit records get their place in the chain
//! here, because only their writer knows which came before.
//!
//! Not here: when and how often a batch is stored (scribe.rs).

use std::collections::HashSet;

use beds_core::{BedsError, ErrorKind, Event, Fields, Payload, ReportStream, Result};
use beds_trail::audit::{AuditRecord, Head, SealedBatch};
use beds_trail::span::to_millis;
use serde_json::{Value, json};

pub(super) struct Batch {
    /// Without its parameters.
    event: Event,
    records: Records,
}

enum Records {
    /// Documents of their own, by their own ids.
    Loose(Payload),
    /// Lineage: one document for all of them, under the id of the batch.
    Together(Payload),
    /// Audit: the same, but its place in the chain is not known yet.
    Chained(Vec<(AuditRecord, String)>),
    /// The signed end of an audit chain: one document, once as any write.
    Head(Payload),
}

impl Batch {
    /// Reads a message of a lane.
    pub(super) fn read(stream: ReportStream, mut event: Event) -> Result<Self> {
        let is_head = stream == ReportStream::Audit && event.template == ReportStream::AUDIT_HEADS;
        if !is_head && event.template != stream.template() {
            return Err(BedsError::new(ErrorKind::BadEvent, "not a batch of this queue"));
        }
        let mut fields = std::mem::take(&mut event.params);
        let records = match stream {
            ReportStream::Log | ReportStream::Metrics => Records::Loose(payload(fields)),
            ReportStream::Lineage => {
                fields.insert("_id".to_owned(), event.event_id.0.as_str().into());
                fields.insert("at".to_owned(), json!(to_millis(event.issued_at)));
                Records::Together(payload(fields))
            }
            ReportStream::Audit if is_head => Records::Head(payload(fields)),
            ReportStream::Audit => Records::Chained(chained(&mut fields)?),
        };
        let mut batch = Self { event, records };
        // No record is known to be stored yet: this only
        // takes out second copies within the batch.
        batch.forget(HashSet::new());
        Ok(batch)
    }

    pub(super) fn event(&self) -> &Event {
        &self.event
    }

    /// The ids of the records; none where each is a document, whose id the store knows by itself.
    pub(super) fn ids(&self) -> Option<Value> {
        match &self.records {
            Records::Loose(_) | Records::Head(_) => None,
            Records::Together(payload) => {
                Some(of(payload).iter().map(|record| record["_id"].clone()).collect())
            }
            Records::Chained(records) => {
                Some(records.iter().map(|(record, _)| json!(record.id())).collect())
            }
        }
    }

    /// Leaves out the records with these ids, and those that stand in the batch twice: a batch that came twice, or an event
    /// that was worked on twice.
    pub(super) fn forget(&mut self, mut known: HashSet<String>) {
        match &mut self.records {
            Records::Loose(_) | Records::Head(_) => {}
            Records::Together(payload) => {
                if let Some(Value::Array(records)) = payload.fields.get_mut("records") {
                    records.retain(|record| {
                        record["_id"].as_str().is_none_or(|id| known.insert(id.to_owned()))
                    });
                }
            }
            Records::Chained(records) => records.retain(|(record, _)| known.insert(record.id().0)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match &self.records {
            Records::Loose(payload) | Records::Together(payload) => of(payload).is_empty(),
            Records::Chained(records) => records.is_empty(),
            Records::Head(_) => false,
        }
    }

    /// For fail points: true where the batch tells of a create. Readings of tests themselves are no place to die at.
    #[cfg_attr(not(feature = "failpoints"), expect(dead_code, reason = "only fail points call it"))]
    pub(super) fn is_of_creates(&self) -> bool {
        matches!(&self.records, Records::Chained(records) if records.iter().any(|(record, _)| record.operation == "create"))
    }

    /// The stored form of a batch; none where it depends on the end of the chain: [`Batch::sealed`].
    pub(super) fn payload(&self) -> Option<&Payload> {
        match &self.records {
            Records::Loose(payload) | Records::Together(payload) | Records::Head(payload) => {
                Some(payload)
            }
            Records::Chained(_) => None,
        }
    }

    /// The stored form of audit records, which get their places at the end of a chain.
    pub(super) fn sealed(&self, head: &mut Head) -> Payload {
        let records = match &self.records {
            Records::Chained(records) => records.as_slice(),
            Records::Loose(_) | Records::Together(_) | Records::Head(_) => &[],
        };
        let sealed = SealedBatch::new(self.event.event_id.clone(), head, records);
        let fields = match json!(sealed) {
            Value::Object(fields) => fields.into_iter().collect(),
            _ => Fields::new(),
        };
        payload(fields)
    }
}

fn payload(fields: Fields) -> Payload {
    Payload { id: None, fields, is_text: false }
}

fn of(payload: &Payload) -> &[Value] {
    payload.fields.get("records").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn chained(fields: &mut Fields) -> Result<Vec<(AuditRecord, String)>> {
    let broken =
        |e| BedsError::new(ErrorKind::BadEvent, "not a list of audit records").with_source(e);
    let Some(Value::Array(texts)) = fields.remove("records") else { return Ok(Vec::new()) };
    let read = |text: Value| {
        let text = match text {
            Value::String(text) => text,
            _ => String::new(),
        };
        Ok((serde_json::from_str(&text).map_err(broken)?, text))
    };
    texts.into_iter().map(read).collect()
}
