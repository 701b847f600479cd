//! The audit trail: the records, and the chain that shows whether any of them was changed, deleted, inserted, reordered or
//! cut off. Pure: records in, verdict out.
//!
//! Not here: the check of a chain (audit/verify.rs), signatures (`beds::notary`).

mod verify;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use beds_core::Outcome;
use beds_core::digest::hex;
use beds_core::{Event, EventId};

use crate::record_keys::Seen;

pub use verify::{Fault, Verifier};

/// One act: its actor, its operation, its record and its outcome. Names of fields, never values. A node of a later release
/// may write more members: the text is hashed as a whole, so nothing can be added to it afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// The event that this is about.
    pub about: EventId,
    /// The root of the event's chain, where it is not the event itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_id: Option<EventId>,
    /// Of the record itself, below the event that it is about.
    pub depth: u32,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actor: String,
    /// Where the caller is; empty where the transport does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    pub template: String,
    /// An operation on records, or an operator's act: `replay`, `discard`.
    pub operation: String,
    /// The named fetch, where it is one. The release before called it `object`.
    #[serde(default, alias = "object", skip_serializing_if = "Option::is_none")]
    pub fetch: Option<String>,
    /// Of an operator's act: the event that is replayed or discarded; where the letter is no event, its queue and id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The hash of the record's id: [`crate::record_keys::RecordKeys::hash`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The records of the answer, where it may be more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// Rows of the answer that are none of these: they had no id, or stood beyond the hashes that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unnamed: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    pub rows: u32,
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The node that did it.
    pub node: String,
    /// Of the message, where there was one: [`beds_core::digest::digest`]. Of a read, and of an answer that was given again, a text
    /// of its own follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Nothing was done now: an earlier event with the same key had done it, and its answer was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_of: Option<EventId>,
    /// Acts that have no record of their own: refusals of unknown callers at the same address since its last record, or
    /// records that found no room ([`AuditRecord::DROP`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<u64>,
}

impl AuditRecord {
    /// The operation of a record that says how many others found no room on a node.
    pub const DROP: &str = "drop";

    /// The hashes under which the record is found. One that tells of others is found under the name of its operation, and those
    /// of the releases before, which name no key, under none.
    pub fn touched(&self) -> Vec<String> {
        let is_drop = self.operation == Self::DROP && self.template.is_empty();
        let drop = is_drop.then(|| Self::DROP.to_owned());
        let unnamed = self.unnamed.map(|_| Self::unnamed_of(&self.template));
        let one = self.record.iter().filter(|hash| hash.contains('.')).cloned();
        let seen = self.seen.iter().flat_map(Seen::named);
        drop.into_iter().chain(unnamed).chain(one).chain(seen).collect()
    }

    /// Under this, acts of a template are found that handed out rows without a hash.
    pub fn unnamed_of(template: &str) -> String {
        format!("unnamed.{template}")
    }

    pub fn id(&self) -> EventId {
        self.about.record(self.outcome, self.digest.as_deref())
    }

    /// The ids that records about an event can have, which workers had as messages with these digests.
    pub fn ids<'d>(about: &str, digests: impl IntoIterator<Item = &'d &'d str>) -> Vec<EventId> {
        let about = EventId(about.to_owned());
        // The outcome is a part of the id and is not known here, so each one is tried.
        let outcomes = [Outcome::Ok, Outcome::Failed, Outcome::Unknown];
        let digests = std::iter::once(None).chain(digests.into_iter().map(|digest| Some(*digest)));
        digests.flat_map(|digest| outcomes.map(|outcome| about.record(outcome, digest))).collect()
    }

    /// The record of an event before it is worked on.
    pub fn of(event: &Event, node: &str, at: Timestamp) -> Self {
        let address =
            event.origin.as_ref().map(|origin| origin.address.clone()).unwrap_or_default();
        Self {
            root_id: (event.root_id != event.event_id).then(|| event.root_id.clone()),
            depth: event.depth + 1,
            at,
            address,
            template: event.template.clone(),
            fetch: event.name().map(str::to_owned),
            ..Self::of_act(
                event.event_id.clone(),
                &event.actor.subject,
                event.operation.as_str(),
                Outcome::Ok,
                node,
            )
        }
    }

    /// An act of which no more is known.
    pub fn of_act(
        about: EventId,
        actor: &str,
        operation: &str,
        outcome: Outcome,
        node: &str,
    ) -> Self {
        Self {
            about,
            root_id: None,
            depth: 1,
            at: Timestamp::now(),
            actor: actor.to_owned(),
            address: String::new(),
            template: String::new(),
            operation: operation.to_owned(),
            fetch: None,
            target: None,
            record: None,
            seen: None,
            unnamed: None,
            fields: Vec::new(),
            rows: 0,
            outcome,
            code: None,
            node: node.to_owned(),
            digest: None,
            repeat_of: None,
            unrecorded: None,
        }
    }
}

/// A record in its place in a chain. The chain is that of the node that wrote it to the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedRecord {
    /// [`AuditRecord::id`], so that a store keeps one of each.
    #[serde(rename = "_id")]
    pub id: EventId,
    /// Copies out of the record, for searches. The time is in the form of [`time_text`].
    pub at: String,
    pub actor: String,
    pub template: String,
    pub outcome: Outcome,
    /// [`AuditRecord::touched`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touched: Vec<String>,
    pub chain: String,
    /// From 1, without gaps.
    pub seq: u64,
    /// The hash of the record before; empty for the first.
    pub prev_hash: String,
    pub hash: String,
    /// The [`AuditRecord`] as JSON, to the letter as it was hashed: no store and no library can write it in another way.
    pub record: String,
}

impl SealedRecord {
    /// The record itself; none where the text is not one.
    pub fn open(&self) -> Option<AuditRecord> {
        serde_json::from_str(&self.record).ok()
    }

    /// True where the copies match the record.
    pub fn is_faithful(&self) -> bool {
        self.open().is_some_and(|record| {
            self.id == record.id()
                && self.at == time_text(record.at)
                && self.actor == record.actor
                && self.template == record.template
                && self.outcome == record.outcome
                && self.touched == record.touched()
        })
    }
}

/// The stored form of one message: records that follow each other in a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedBatch {
    /// The id of the message.
    #[serde(rename = "_id")]
    pub id: EventId,
    pub chain: String,
    /// The places of the first and the last record. No two batches of a chain have the same.
    pub first: u64,
    pub last: u64,
    /// The times of the earliest and the latest record, for searches.
    pub since: String,
    pub until: String,
    pub records: Vec<SealedRecord>,
}

impl SealedBatch {
    /// Puts records at the end of a chain. Each comes with the text that it was read from. None where there are none.
    pub fn new(id: EventId, head: &mut Head, records: &[(AuditRecord, String)]) -> Option<Self> {
        let first = head.seq + 1;
        let records: Vec<SealedRecord> =
            records.iter().map(|(record, text)| head.seal(record, text)).collect();
        let times = || records.iter().map(|record| &record.at);
        let (since, until) = (times().min()?.clone(), times().max()?.clone());
        Some(Self { id, chain: head.chain.clone(), first, last: head.seq, since, until, records })
    }

    /// Whether the batch's copies (`first`, `last`, `since`, `until`) match its records.
    fn is_faithful(&self) -> bool {
        let times = || self.records.iter().map(|record| &record.at);
        let places = (
            self.records.first().map(|record| record.seq),
            self.records.last().map(|record| record.seq),
        );
        places == (Some(self.first), Some(self.last))
            && (times().min(), times().max()) == (Some(&self.since), Some(&self.until))
    }
}

/// A time as text that is in order where the times are: in UTC and with six digits behind the second.
pub fn time_text(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// The end of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub chain: String,
    pub seq: u64,
    pub hash: String,
}

impl Head {
    /// The head of a chain without records.
    pub fn start(chain: &str) -> Self {
        Self { chain: chain.to_owned(), seq: 0, hash: String::new() }
    }

    /// Puts a record at the end of the chain. `text` is the record as it was written.
    pub fn seal(&mut self, record: &AuditRecord, text: &str) -> SealedRecord {
        let prev_hash = std::mem::take(&mut self.hash);
        self.seq += 1;
        self.hash = hash(&self.chain, self.seq, &prev_hash, text);
        SealedRecord {
            id: record.id(),
            at: time_text(record.at),
            actor: record.actor.clone(),
            template: record.template.clone(),
            outcome: record.outcome,
            touched: record.touched(),
            chain: self.chain.clone(),
            seq: self.seq,
            prev_hash,
            hash: self.hash.clone(),
            record: text.to_owned(),
        }
    }

    /// The text that is signed.
    pub fn message(&self, at: Timestamp) -> String {
        format!("beds audit head\n{}\n{}\n{}\n{at}", self.chain, self.seq, self.hash)
    }
}

fn hash(chain: &str, seq: u64, prev_hash: &str, record: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{chain}\n{seq}\n{prev_hash}\n").as_bytes());
    hash.update(record.as_bytes());
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests;
