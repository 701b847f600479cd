//! [`Verifier`]: reads a chain record by record and names everything that is wrong with it.
//!
//! Not here: reading the records (`beds::commands::audit::verify`).

use std::fmt;

use super::{Head, SealedBatch, SealedRecord, hash};

const MISSING: &str = "the record is missing";

/// A thing that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub chain: String,
    /// The place of the first bad or missing record.
    pub seq: u64,
    /// The first and the last place that it puts in doubt: between them, nothing is known to be right.
    pub from: u64,
    pub to: u64,
    /// The hash of the signed head at `to` that the chain does not fit, where that is the fault.
    pub head: Option<String>,
    pub what: &'static str,
}

impl Fault {
    /// [`Fault::to`] of a fault that has no end.
    pub const OPEN: u64 = u64::MAX;

    fn of_one(chain: &str, seq: u64, what: &'static str) -> Self {
        Self { chain: chain.to_owned(), seq, from: seq, to: seq, head: None, what }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chain {}, record {}: {}", self.chain, self.seq, self.what)?;
        match (self.from, self.to) {
            (from, to) if from >= to => Ok(()),
            (_, Fault::OPEN) => write!(f, " (and all behind it)"),
            (from, to) => write!(f, " (in doubt: {from} to {to})"),
        }
    }
}

/// Checks one chain, record by record in the order of `seq`, against heads that were signed while it grew.
#[derive(Debug, Clone)]
pub struct Verifier<'h> {
    head: Head,
    /// Heads of this chain whose signature holds, by `seq`.
    signed: Vec<&'h Head>,
    next: usize,
    /// The record before the next one is gone, and its hash with it.
    is_torn: bool,
}

impl<'h> Verifier<'h> {
    pub fn new(chain: &str, signed: &'h [Head]) -> Self {
        let mut signed: Vec<&Head> = signed.iter().filter(|head| head.chain == chain).collect();
        signed.sort_by_key(|head| head.seq);
        Self { head: Head::start(chain), signed, next: 0, is_torn: false }
    }

    /// Takes the next record, and goes on behind it as it stands. Answers everything that is wrong with it: a gap in front of a
    /// record hides no change of the record itself.
    pub fn take(&mut self, sealed: &SealedRecord) -> Vec<Fault> {
        let seq = self.head.seq + 1;
        let fault = |seq, what| Fault::of_one(&self.head.chain, seq, what);
        if sealed.chain != self.head.chain {
            return vec![fault(seq, "it belongs to another chain")];
        }
        if sealed.seq < seq {
            return vec![fault(seq, "a record stands twice or was inserted here")];
        }
        let mut faults = Vec::new();
        if sealed.seq > seq {
            faults.push(Fault { to: sealed.seq - 1, ..fault(seq, MISSING) });
        }
        // Behind a gap the hash before is unknown: the
        // record is checked against its own copy of it.
        let before =
            if sealed.seq == seq && !self.is_torn { &self.head.hash } else { &sealed.prev_hash };
        let is_same = sealed.prev_hash == *before
            && sealed.hash == hash(&self.head.chain, sealed.seq, before, &sealed.record)
            && sealed.is_faithful();
        if !is_same {
            faults.push(fault(sealed.seq, "the record is not the one that was written"));
        }
        self.head =
            Head { chain: sealed.chain.clone(), seq: sealed.seq, hash: sealed.hash.clone() };
        self.is_torn = false;
        faults.extend(self.compare_with_signed().err());
        faults
    }

    /// Compares the end with the heads that were signed up to here.
    fn compare_with_signed(&mut self) -> Result<(), Fault> {
        while let Some(signed) =
            self.signed.get(self.next).filter(|signed| signed.seq <= self.head.seq)
        {
            // Two nodes can have signed the same place.
            let from = self.behind_signed().min(signed.seq);
            self.next += 1;
            // A head within a gap has no record to compare with, and the gap is told already.
            if signed.seq == self.head.seq && signed.hash != self.head.hash {
                let what =
                    "from here on records were rewritten: the chain does not fit its signed head";
                let head = Some(signed.hash.clone());
                return Err(Fault {
                    to: signed.seq,
                    head,
                    ..Fault::of_one(&self.head.chain, from, what)
                });
            }
        }
        Ok(())
    }

    /// The place behind the last signed head that was compared.
    fn behind_signed(&self) -> u64 {
        self.next.checked_sub(1).map_or(1, |last| self.signed[last].seq + 1)
    }

    /// Takes the next batch with all its records. Answers everything that is wrong with it, in order.
    pub fn take_batch(&mut self, batch: &SealedBatch) -> Vec<Fault> {
        let first = self.head.seq + 1;
        let mut faults: Vec<Fault> =
            batch.records.iter().flat_map(|record| self.take(record)).collect();
        let fault = |seq, to, what| Fault { to, ..Fault::of_one(&self.head.chain, seq, what) };
        if self.head.seq < batch.last {
            faults.push(fault(self.head.seq + 1, batch.last, MISSING));
            // Goes on behind the places that the batch claims; the hash there is unknown.
            (self.head.seq, self.is_torn) = (batch.last, true);
        }
        // A changed record makes its document another one too: that is told once.
        let is_new = faults.iter().all(|fault| fault.what == MISSING);
        if is_new && (batch.chain != self.head.chain || !batch.is_faithful()) {
            faults.push(fault(
                first,
                self.head.seq,
                "the document in which the record stands is not the one that was written",
            ));
        }
        faults
    }

    /// The fault of a next record that has not the form of one.
    pub fn unreadable(&self) -> Fault {
        self.open(self.head.seq + 1, "the record is not the one that was written")
    }

    /// True where the last signed head is at the place or behind it.
    pub fn is_signed(&self, seq: u64) -> bool {
        self.signed.last().is_some_and(|last| last.seq >= seq)
    }

    /// The fault of a record that should have been covered by a signed head long ago.
    pub fn uncovered(&self, seq: u64) -> Fault {
        self.open(
            seq,
            "no signed head covers the record, which is older than two signing intervals",
        )
    }

    /// The fault of a record that could wait for its signed head for as long as its author likes.
    pub fn of_the_future(&self, seq: u64) -> Fault {
        self.open(seq, "no signed head covers the record, and it is of a time that has not come")
    }

    /// The fault of a record that stands beside the chain.
    pub fn inserted(&self) -> Fault {
        self.open(0, "a record was inserted that has no place in the chain")
    }

    /// The fault of a head whose signature is not that of its key.
    pub fn forged_head(&self, seq: u64) -> Fault {
        self.open(seq, "the signature of the head at this place does not hold")
    }

    /// No more records: is the chain as long as its signed heads say?
    pub fn finish(self) -> Result<Head, Fault> {
        if self.next >= self.signed.len() {
            return Ok(self.head);
        }
        let last = self.signed.last().map_or(0, |last| last.seq);
        let what = "the chain was cut off here: a signed head is further on";
        // In doubt not only from the end on: when the node has written on behind it, no head shows any more where it was.
        let from = self.behind_signed();
        Err(Fault { from, to: last, ..Fault::of_one(&self.head.chain, self.head.seq + 1, what) })
    }

    /// A fault that says nothing good of all that comes behind it.
    fn open(&self, seq: u64, what: &'static str) -> Fault {
        Fault { to: Fault::OPEN, ..Fault::of_one(&self.head.chain, seq, what) }
    }
}
