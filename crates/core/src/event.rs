//! The event: the form of every request on the wire, with its lineage, its caller and its deadline.
//! The envelope is a public interface (docs/wire.md): a program in any language may publish one to `beds.events`.
//!
//! Not here: the work on it (attempt.rs), keys and digests of other things (digest.rs).

mod limits;

use std::sync::{Arc, LazyLock};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::actor::{Actor, Claim};
use crate::digest::{hash_parts, hex};
use crate::fields::{MAX_VALUES, values_in};
use crate::text::{quote, what_is_wrong};
use crate::traceparent::is_traceparent;
use crate::{BedsError, ErrorKind, EventId, Fields, Operation, Payload, Query, Result, Select};

/// The version of the envelope that this crate writes and reads.
pub const ENVELOPE_VERSION: u8 = 1;

/// The longest idempotency key, in bytes.
pub const MAX_KEY_BYTES: usize = 255;

/// The longest id of an event, in bytes.
pub const MAX_ID_BYTES: usize = 128;

/// The most levels below a root: an event that causes itself ends here.
pub const MAX_LINEAGE_DEPTH: u32 = 1_000;
/// The longest name of a template or a named fetch, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// One event. Self-contained: a dead letter explains itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// The version of the envelope: [`ENVELOPE_VERSION`].
    pub v: u8,
    pub event_id: EventId,
    /// The event that caused this one; empty for a root.
    #[serde(default)]
    pub parent_id: EventId,
    /// The root of the chain; a root names itself.
    pub root_id: EventId,
    /// Levels from the root.
    #[serde(default)]
    pub depth: u32,
    pub template: String,
    pub operation: Operation,
    /// The named fetch, for a `fetch` that is not by id.
    #[serde(default)]
    pub fetch: Option<String>,
    /// The job, for a `job`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The act of a template of BEDS's own, within this node. It never travels.
    #[serde(skip)]
    pub act: Option<&'static str>,
    /// The name of `fetch` in the release before. It is read for this release, and none after [`Event::from_slice`].
    #[serde(default, rename = "object", skip_serializing)]
    pub fetch_before: Option<String>,
    /// The record's id, for `fetch`, `update` and `delete`.
    #[serde(default)]
    pub id: Option<String>,
    /// The fields of a write, or the arguments of a read (`limit` and `after` among them).
    #[serde(default)]
    pub params: Fields,
    /// The values in `params` are texts that stand for values of the declared types, as in a CSV file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub text: bool,
    #[serde(default)]
    pub actor: Arc<Actor>,
    /// The caller's idempotency key; without one a write is once per event id.
    #[serde(default)]
    pub key: Option<String>,
    pub issued_at: Timestamp,
    /// After this no requester waits for the answer: work that has not begun does not begin any more.
    pub deadline: Timestamp,
    /// How the event came into BEDS; none where a client published it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The dead event that this one repeats: the two take effect once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<EventId>,
}

/// Where a gateway had an event from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The caller's address, without the port.
    pub address: String,
    /// The caller's W3C `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Event {
    /// A root event, issued now.
    pub fn root(
        event_id: EventId,
        template: &str,
        operation: Operation,
        patience: SignedDuration,
    ) -> Self {
        let issued_at = Timestamp::now();
        Self {
            v: ENVELOPE_VERSION,
            root_id: event_id.clone(),
            event_id,
            parent_id: EventId::default(),
            depth: 0,
            template: template.to_owned(),
            operation,
            fetch: None,
            job: None,
            act: None,
            fetch_before: None,
            id: None,
            params: Fields::new(),
            text: false,
            actor: Arc::default(),
            key: None,
            issued_at,
            deadline: issued_at.checked_add(patience).unwrap_or(Timestamp::MAX),
            origin: None,
            replay_of: None,
        }
    }

    /// The event of a create or an update with this payload.
    pub fn with_payload(mut self, payload: &Payload) -> Self {
        self.id = payload.id.clone().filter(|_| self.operation == Operation::Update);
        self.params = payload.fields.clone();
        self.text = payload.is_text;
        self
    }

    /// The event of a read.
    pub fn with_query(mut self, query: &Query) -> Self {
        match &query.select {
            Select::ById(id) => self.id = Some(id.clone()),
            Select::Named(name) => self.fetch = Some(name.clone()),
            Select::List => {}
        }
        self.params = query.params.clone();
        self
    }

    /// The event of a delete.
    pub fn with_id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Reads an envelope as it came from the wire and checks the rules that every reader relies on.
    pub fn from_slice(body: &[u8]) -> Result<Self> {
        // Counts before it parses: a value in memory takes some dozen times its bytes.
        if values_in(body) > MAX_VALUES {
            let text = format!("the event holds more than {MAX_VALUES} values");
            return Err(BedsError::new(ErrorKind::BadEvent, text));
        }
        let mut event: Self = serde_json::from_slice(body).map_err(|e| {
            BedsError::new(
                ErrorKind::BadEvent,
                format!("not an event envelope: {}", what_is_wrong(&e)),
            )
        })?;
        if event.v != ENVELOPE_VERSION {
            let text = format!(
                "envelope version {} is not supported; send version {ENVELOPE_VERSION}",
                event.v
            );
            return Err(BedsError::new(ErrorKind::BadEvent, text));
        }
        event.take_name_before()?;
        event.check_lengths()?;
        if event.depth > MAX_LINEAGE_DEPTH {
            let text = format!("depth is at most {MAX_LINEAGE_DEPTH}; does an event cause itself?");
            return Err(BedsError::new(ErrorKind::BadEvent, text));
        }
        if let Some(origin) = &mut event.origin {
            // As W3C asks: a text that is none is left out.
            origin.traceparent = origin.traceparent.take().filter(|trace| is_traceparent(trace));
        }
        if (event.depth == 0) != event.parent_id.0.is_empty() {
            return Err(BedsError::new(
                ErrorKind::BadEvent,
                "a root has depth 0 and no parent_id; all others have both",
            ));
        }
        if let Some(key) = &event.key {
            check_key(key)?;
        }
        Ok(event)
    }

    /// True for an envelope that this release cannot read because it is of a later version.
    pub fn is_of_later_release(body: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Versioned {
            v: u8,
        }
        serde_json::from_slice::<Versioned>(body)
            .is_ok_and(|envelope| envelope.v > ENVELOPE_VERSION)
    }

    /// Reads the named fetch under its name of the release before.
    fn take_name_before(&mut self) -> Result<()> {
        match (&self.fetch, self.fetch_before.take()) {
            (Some(name), Some(before)) if *name != before => {
                let text = "`fetch` and `object` are one member under two names, and differ; send `fetch` alone";
                Err(BedsError::new(ErrorKind::BadEvent, text).with_field("fetch"))
            }
            (None, before) => {
                self.fetch = before;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The named fetch that is asked for, if one is.
    pub fn fetch_name(&self) -> Option<&str> {
        self.fetch.as_deref().filter(|_| self.operation == Operation::Fetch)
    }

    /// The name of the thing that is asked for, beside the operation: of a fetch, a job or an act.
    pub fn name(&self) -> Option<&str> {
        match self.operation {
            Operation::Job => self.job.as_deref(),
            Operation::Update => self.act,
            _ => self.fetch_name(),
        }
    }

    /// The id of the record that is asked for; none where the operation is not on one record.
    pub fn record_id(&self) -> Option<&str> {
        self.id.as_deref().filter(|_| self.is_of_one())
    }

    /// True where the operation is on one record that the event names.
    fn is_of_one(&self) -> bool {
        match self.operation {
            Operation::Fetch => self.fetch.is_none(),
            Operation::Update => self.act.is_none(),
            Operation::Delete => true,
            Operation::Create | Operation::List | Operation::Job => false,
        }
    }

    /// The fields that the operation takes: a delete takes none.
    pub fn fields(&self) -> &Fields {
        static NONE: LazyLock<Fields> = LazyLock::new(Fields::new);
        if self.operation == Operation::Delete { &NONE } else { &self.params }
    }

    /// Checks the arguments, as far as they do not depend on the template.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownField`] for a name that BEDS fills itself; [`ErrorKind::BadEvent`] where an operation on one record has no id; [`ErrorKind::ValueOutOfRange`] for a number that is
    /// not exact.
    pub fn check_arguments(&self) -> Result<()> {
        if let Some(name) = self.params.keys().find(|name| is_proved(name)) {
            let text =
                format!("{} is filled from the proved caller, and cannot be sent", quote(name));
            return Err(BedsError::new(ErrorKind::UnknownField, text).with_field(name.as_str()));
        }
        self.params.check_exact()?;
        if self.is_of_one() && self.id.is_none() {
            return Err(BedsError::new(ErrorKind::BadEvent, "the event has no id").with_field("id"));
        }
        Ok(())
    }

    /// The time that is left until the deadline; zero once it has passed.
    pub fn remaining(&self) -> std::time::Duration {
        let left = self.deadline.duration_since(Timestamp::now());
        std::time::Duration::try_from(left).unwrap_or_default()
    }

    /// When the write happened at the earliest whose effect this event may find in an inbox: the event's own time, or that in
    /// the id of the event that it repeats. None where that cannot be told.
    pub fn first_issued_at(&self) -> Option<Timestamp> {
        match &self.replay_of {
            None => Some(self.issued_at),
            Some(first) => first.issued_at().map(|at| at.min(self.issued_at)),
        }
    }

    /// The key under which a write takes effect once, in hexadecimal.
    ///
    /// A caller's key counts for that caller, template and operation only, so that no caller can ask for another's answer.
    pub fn inbox_key(&self) -> String {
        let mut hash = Sha256::new();
        match &self.key {
            // The first word keeps ids and callers' keys
            // apart; a replay has the id of its dead event.
            None => hash_parts(
                &mut hash,
                &["event", &self.replay_of.as_ref().unwrap_or(&self.event_id).0],
            ),
            Some(key) => {
                hash_parts(
                    &mut hash,
                    &["key", &self.actor.subject, &self.template, self.operation.as_str(), key],
                );
            }
        }
        hex(&hash.finalize())
    }

    /// Makes the event's id a key of its actor's. The id of a client's event is the client's choice: without this, that of another
    /// caller's event would get its answer.
    pub fn bind_to_actor(&mut self) {
        if self.operation.is_write() && self.key.is_none() {
            let id = &self.event_id.0;
            let key = if check_key(id).is_ok() { id.clone() } else { hex(&Sha256::digest(id)) };
            self.key = Some(key);
        }
    }

    /// The request itself as a digest in hexadecimal: the same key with another fingerprint is a mistake of the caller's.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash_parts(
            &mut hash,
            &[&self.template, self.operation.as_str(), self.id.as_deref().unwrap_or("")],
        );
        // Of operations that had a fingerprint before tickets, it stays as it was.
        if let Some(job) = &self.job {
            hash_parts(&mut hash, &["job", job]);
        }
        self.params.digest_into(&mut hash);
        // All claims, and not those alone that an object takes: these change with the catalog, and a redelivered write would run twice.
        // Without any, the fingerprint is that of each release before.
        if !self.actor.claims.is_empty() {
            hash_parts(&mut hash, &["claims"]);
        }
        for (name, claim) in &self.actor.claims {
            match claim {
                Claim::Text(text) => hash_parts(&mut hash, &[name, "text", text]),
                Claim::Whole(number) => {
                    hash_parts(&mut hash, &[name, "whole", &number.to_string()])
                }
            }
        }
        hex(&hash.finalize())
    }
}

/// The beginning of the name of a parameter that takes a claim.
pub const CLAIM: &str = "claim_";

/// True for the name of a parameter that is filled from proved facts alone (docs/dba.md).
pub fn is_proved(name: &str) -> bool {
    matches!(name, "actor" | "event_id" | "beds_roles") || name.starts_with(CLAIM)
}

/// Checks an idempotency key: 1 to 255 printable ASCII characters.
pub fn check_key(key: &str) -> Result<()> {
    let fits =
        (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|b| (0x20..0x7f).contains(&b));
    if fits {
        return Ok(());
    }
    let text = format!("an idempotency key has 1 to {MAX_KEY_BYTES} printable ASCII characters");
    Err(BedsError::new(ErrorKind::BadHeader, text).with_field("Idempotency-Key"))
}

#[cfg(test)]
mod tests;
