//! [`Verifier`]: reads a chain record by record and names the first thing that is wrong with it.

use std::fmt;

use super::{Head, SealedBatch, SealedRecord, hash};

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

    /// True where the last signed head is at the place or behind it.
    pub fn is_signed(&self, seq: u64) -> bool {
        self.signed.last().is_some_and(|last| last.seq >= seq)
    }

    /// The fault of a record that should have been covered by a signed head long ago.
    pub fn uncovered(&self, seq: u64) -> Fault {
        let what = "no signed head covers the record, which is older than two signing intervals";
        Fault { chain: self.head.chain.clone(), seq, what }
    }

    /// The fault of a record that could wait for its signed head for as long as its author likes.
    pub fn of_the_future(&self, seq: u64) -> Fault {
        let what = "no signed head covers the record, and it is of a time that has not come";
        Fault { chain: self.head.chain.clone(), seq, what }
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
