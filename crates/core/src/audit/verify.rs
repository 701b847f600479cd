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
    /// The record before the next one is gone, and its hash with it.
    is_torn: bool,
}

impl<'h> Verifier<'h> {
    pub fn new(chain: &str, signed: &'h [Head]) -> Self {
        let mut signed: Vec<&Head> = signed.iter().filter(|head| head.chain == chain).collect();
        signed.sort_by_key(|head| head.seq);
        Self { head: Head::start(chain), signed, next: 0, is_torn: false }
    }

    /// Takes the next record, and goes on behind it as it stands, so that one fault does not hide the next.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn take(&mut self, sealed: &SealedRecord) -> Result<(), Fault> {
        let seq = self.head.seq + 1;
        let fault = |what| Fault { chain: self.head.chain.clone(), seq, what };
        if sealed.chain != self.head.chain {
            return Err(fault("it belongs to another chain"));
        }
        if sealed.seq < seq {
            return Err(fault("a record stands twice or was inserted here"));
        }
        let before = if sealed.seq == seq && !self.is_torn { &self.head.hash } else { &sealed.prev_hash };
        let is_same = sealed.prev_hash == *before
            && sealed.hash == hash(&self.head.chain, sealed.seq, before, &sealed.record)
            && sealed.is_faithful();
        let found = match (sealed.seq > seq, is_same) {
            (true, _) => Err(fault("the record is missing")),
            (false, false) => Err(fault("the record is not the one that was written")),
            (false, true) => Ok(()),
        };
        self.head = Head { chain: sealed.chain.clone(), seq: sealed.seq, hash: sealed.hash.clone() };
        self.is_torn = false;
        let signed = self.compare_with_signed();
        found.and(signed)
    }

    /// Compares the end with the heads that were signed up to here.
    fn compare_with_signed(&mut self) -> Result<(), Fault> {
        while let Some(signed) = self.signed.get(self.next).filter(|signed| signed.seq <= self.head.seq) {
            let from = self.next.checked_sub(1).map_or(1, |last| self.signed[last].seq + 1);
            self.next += 1;
            if signed.seq == self.head.seq && signed.hash != self.head.hash {
                let what = "from here on records were rewritten: the chain does not fit its signed head";
                return Err(Fault { chain: self.head.chain.clone(), seq: from, what });
            }
        }
        Ok(())
    }

    /// Takes the next batch with all its records. Answers everything that is wrong with it, in order.
    pub fn take_batch(&mut self, batch: &SealedBatch) -> Vec<Fault> {
        let first = self.head.seq + 1;
        let mut faults: Vec<Fault> = batch.records.iter().filter_map(|record| self.take(record).err()).collect();
        let fault = |seq, what| Fault { chain: self.head.chain.clone(), seq, what };
        if self.head.seq < batch.last {
            faults.push(fault(self.head.seq + 1, "the record is missing"));
            (self.head.seq, self.is_torn) = (batch.last, true);
        }
        if faults.is_empty() && (batch.chain != self.head.chain || !batch.is_faithful()) {
            faults.push(fault(first, "the document in which the record stands is not the one that was written"));
        }
        faults
    }

    /// The place behind the last record.
    pub fn next_seq(&self) -> u64 {
        self.head.seq + 1
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
