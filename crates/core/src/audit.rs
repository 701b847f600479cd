//! The audit trail: what a record says, and the chain that shows whether any record was changed, deleted, inserted,
//! reordered or cut off. Pure: records in, verdict out. Signing heads is the binary's.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::event::hex;
use crate::lineage::Outcome;
use crate::{Event, EventId};

/// Who did what to which record, and with what outcome. Names of fields, never values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord {
    /// The event that this is about: each event has one record.
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
    /// An operation on records, or what an operator did: `replay`, `discard`.
    pub operation: String,
    /// The named fetch, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// A keyed hash of the record's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    pub rows: u32,
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The node that did it.
    pub node: String,
}

impl AuditRecord {
    /// One for each event and outcome: what failed at first and succeeded when it was handed out again has two records.
    pub fn id(&self) -> EventId {
        self.about.child(self.outcome.as_str())
    }

    /// The ids that records about an event can have.
    pub fn ids(about: &str) -> [EventId; 2] {
        [Outcome::Ok, Outcome::Failed].map(|outcome| EventId(about.to_owned()).child(outcome.as_str()))
    }

    /// What is known of an event before it is worked on.
    pub fn of(event: &Event, node: &str, at: Timestamp) -> Self {
        let address = event.origin.as_ref().map(|origin| origin.address.clone()).unwrap_or_default();
        Self {
            root_id: (event.root_id != event.event_id).then(|| event.root_id.clone()),
            depth: event.depth + 1,
            at,
            address,
            template: event.template.clone(),
            object: event.object.clone(),
            ..Self::of_act(event.event_id.clone(), &event.actor.subject, event.operation.as_str(), Outcome::Ok, node)
        }
    }

    /// What somebody did, of which no more is known.
    pub fn of_act(about: EventId, actor: &str, operation: &str, outcome: Outcome, node: &str) -> Self {
        Self {
            about,
            root_id: None,
            depth: 1,
            at: Timestamp::now(),
            actor: actor.to_owned(),
            address: String::new(),
            template: String::new(),
            operation: operation.to_owned(),
            object: None,
            record: None,
            fields: Vec::new(),
            rows: 0,
            outcome,
            code: None,
            node: node.to_owned(),
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
    /// Copies out of the record, for searches.
    pub at: Timestamp,
    pub actor: String,
    pub template: String,
    pub outcome: Outcome,
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
    /// What the record says; none where the text is not one.
    pub fn open(&self) -> Option<AuditRecord> {
        serde_json::from_str(&self.record).ok()
    }

    /// True where the copies say what the record says.
    fn is_faithful(&self) -> bool {
        self.open().is_some_and(|record| {
            self.id == record.id()
                && self.at == record.at
                && self.actor == record.actor
                && self.template == record.template
                && self.outcome == record.outcome
        })
    }
}

/// What is stored of one message: records that follow each other in a chain.
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
    pub since: Timestamp,
    pub until: Timestamp,
    pub records: Vec<SealedRecord>,
}

impl SealedBatch {
    /// Puts records at the end of a chain. Each comes with the text that it was read from. None where there are none.
    pub fn new(id: EventId, head: &mut Head, records: &[(AuditRecord, String)]) -> Option<Self> {
        let first = head.seq + 1;
        let records: Vec<SealedRecord> = records.iter().map(|(record, text)| head.seal(record, text)).collect();
        let times = || records.iter().map(|record| record.at);
        let (since, until) = (times().min()?, times().max()?);
        Some(Self { id, chain: head.chain.clone(), first, last: head.seq, since, until, records })
    }

    /// True where what stands around the records says what they say.
    fn is_faithful(&self) -> bool {
        let times = || self.records.iter().map(|record| record.at);
        let places = (self.records.first().map(|record| record.seq), self.records.last().map(|record| record.seq));
        places == (Some(self.first), Some(self.last))
            && (times().min(), times().max()) == (Some(self.since), Some(self.until))
    }
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

    /// Puts a record at the end of the chain. `text` is what the record was read from.
    pub fn seal(&mut self, record: &AuditRecord, text: &str) -> SealedRecord {
        let prev_hash = std::mem::take(&mut self.hash);
        self.seq += 1;
        self.hash = hash(&self.chain, self.seq, &prev_hash, text);
        SealedRecord {
            id: record.id(),
            at: record.at,
            actor: record.actor.clone(),
            template: record.template.clone(),
            outcome: record.outcome,
            chain: self.chain.clone(),
            seq: self.seq,
            prev_hash,
            hash: self.hash.clone(),
            record: text.to_owned(),
        }
    }

    /// What is signed.
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

/// The first thing that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub chain: String,
    /// The place of the first bad or missing record.
    pub seq: u64,
    pub what: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {}, record {}: {}", self.chain, self.seq, self.what)
    }
}

/// Checks one chain, record by record in the order of `seq`, against heads that were signed while it grew.
#[derive(Debug, Clone)]
pub struct Verifier<'h> {
    head: Head,
    /// Heads of this chain whose signature holds, by `seq`.
    signed: Vec<&'h Head>,
    next: usize,
}

impl<'h> Verifier<'h> {
    pub fn new(chain: &str, signed: &'h [Head]) -> Self {
        let mut signed: Vec<&Head> = signed.iter().filter(|head| head.chain == chain).collect();
        signed.sort_by_key(|head| head.seq);
        Self { head: Head::start(chain), signed, next: 0 }
    }

    /// Takes the next record.
    pub fn take(&mut self, sealed: &SealedRecord) -> Result<(), Fault> {
        let seq = self.head.seq + 1;
        let fault = |what| Err(Fault { chain: self.head.chain.clone(), seq, what });
        if sealed.chain != self.head.chain {
            return fault("it belongs to another chain");
        }
        if sealed.seq < seq {
            return fault("a record stands twice or was inserted here");
        }
        if sealed.seq > seq {
            return fault("the record is missing");
        }
        let expected = hash(&self.head.chain, seq, &self.head.hash, &sealed.record);
        let is_same = sealed.prev_hash == self.head.hash && sealed.hash == expected && sealed.is_faithful();
        if !is_same {
            return fault("the record is not the one that was written");
        }
        self.head = Head { chain: self.head.chain.clone(), seq, hash: expected };
        while let Some(signed) = self.signed.get(self.next).filter(|signed| signed.seq == seq) {
            if signed.hash != self.head.hash {
                let from = self.next.checked_sub(1).map_or(1, |last| self.signed[last].seq + 1);
                let what = "from here on records were rewritten: the chain does not fit its signed head";
                return Err(Fault { chain: self.head.chain.clone(), seq: from, what });
            }
            self.next += 1;
        }
        Ok(())
    }

    /// Takes the next batch with all its records.
    pub fn take_batch(&mut self, batch: &SealedBatch) -> Result<(), Fault> {
        let first = self.head.seq + 1;
        batch.records.iter().try_for_each(|record| self.take(record))?;
        let fault = |seq, what| Err(Fault { chain: self.head.chain.clone(), seq, what });
        if self.head.seq < batch.last {
            return fault(self.head.seq + 1, "the record is missing");
        }
        if batch.chain != self.head.chain || !batch.is_faithful() {
            return fault(first, "the document in which the record stands is not the one that was written");
        }
        Ok(())
    }

    /// The fault of a next record that has not the form of one.
    pub fn unreadable(&self) -> Fault {
        Fault {
            chain: self.head.chain.clone(),
            seq: self.head.seq + 1,
            what: "the record is not the one that was written",
        }
    }

    /// The fault of something that stands beside the chain.
    pub fn inserted(&self) -> Fault {
        let what = "something was inserted that has no place in the chain";
        Fault { chain: self.head.chain.clone(), seq: 0, what }
    }

    /// No more records: is the chain as long as its signed heads say?
    pub fn finish(self) -> Result<Head, Fault> {
        match self.signed.get(self.next) {
            None => Ok(self.head),
            Some(_) => {
                let what = "the chain was cut off here: a signed head is further on";
                Err(Fault { chain: self.head.chain, seq: self.head.seq + 1, what })
            }
        }
    }
}

#[cfg(test)]
mod tests;
