//! Attacks on a chain. Each must be found, and located.
//!
//! Not here: attacks on a stored trail (`beds/tests/it/attacks.rs`).

use super::*;

const LENGTH: u64 = 100_000;
const ATTACKS: u64 = 1_000;
/// A head is signed after so many records.
const SIGNED_EVERY: u64 = 100;

fn record(number: u64) -> AuditRecord {
    AuditRecord {
        about: EventId(format!("ms.test.{number:032x}")),
        root_id: None,
        depth: 1,
        at: Timestamp::from_microsecond(1_700_000_000_000_000 + i64::try_from(number).unwrap())
            .unwrap(),
        actor: format!("ana{}", number % 7),
        address: "127.0.0.1".into(),
        template: "Users".into(),
        operation: if number.is_multiple_of(3) { "create".into() } else { "fetch".into() },
        fetch: None,
        target: None,
        record: Some(format!("k.{number:x}")),
        seen: None,
        unnamed: None,
        fields: vec!["email".into(), "name".into()],
        rows: 1,
        outcome: Outcome::Ok,
        code: None,
        node: "ms".into(),
        digest: Some(format!("{number:016x}")),
        repeat_of: None,
        unrecorded: None,
    }
}

/// Records as the release before wrote them: a named fetch was their `object`.
const OF_RELEASE_BEFORE: [&str; 2] = [
    r#"{"about":"ms.test.1","depth":1,"at":"2026-11-23T10:00:00Z","actor":"ana","address":"127.0.0.1","template":"Flights","operation":"fetch","object":"route","fields":["origin"],"rows":3,"outcome":"ok","node":"ms","digest":"00ff"}"#,
    r#"{"about":"ms.test.2","root_id":"ms.test.1","depth":2,"at":"2026-11-23T10:00:01Z","actor":"bob","template":"Users","operation":"discard","object":"ms.test.3","rows":0,"outcome":"ok","node":"ms"}"#,
];

#[test]
fn a_chain_of_the_release_before_holds() {
    let mut head = Head::start("ms");
    let read = |text: &str| serde_json::from_str::<AuditRecord>(text).unwrap();
    let records: Vec<SealedRecord> =
        OF_RELEASE_BEFORE.iter().map(|text| head.seal(&read(text), text)).collect();
    // The hash that the release before signed.
    assert_eq!(head.hash, "5d09836dfa073ffb29d3972a0db6776accadec20b8bda62730a069206c907fa2");
    assert_eq!(verify(&records, &[head.clone()]).unwrap(), head);
    assert_eq!(records[0].open().unwrap().fetch.as_deref(), Some("route"));
    // A record of this release goes on with it.
    let next = AuditRecord { fetch: Some("day".into()), ..record(1) };
    let next = seal(&mut head, &next);
    assert!(
        next.record.contains(r#""fetch":"day""#) && !next.record.contains("object"),
        "{}",
        next.record
    );
    assert_eq!(verify(&[records, vec![next]].concat(), &[head.clone()]).unwrap(), head);
}

fn first(faults: Vec<Fault>) -> Result<(), Fault> {
    faults.into_iter().next().map_or(Ok(()), Err)
}

fn seal(head: &mut Head, record: &AuditRecord) -> SealedRecord {
    head.seal(record, &serde_json::to_string(record).unwrap())
}

fn chain() -> (Vec<SealedRecord>, Vec<Head>) {
    let mut head = Head::start("ms");
    let mut heads = Vec::new();
    let records = (1..=LENGTH)
        .map(|number| {
            let sealed = seal(&mut head, &record(number));
            if number.is_multiple_of(SIGNED_EVERY) {
                heads.push(head.clone());
            }
            sealed
        })
        .collect();
    (records, heads)
}

fn verify(records: &[SealedRecord], heads: &[Head]) -> Result<Head, Fault> {
    let mut verifier = Verifier::new("ms", heads);
    for record in records {
        first(verifier.take(record))?;
    }
    verifier.finish()
}

/// Verifiers that have taken the first 0, 1,000, 2,000, … records of a chain: the records before an attack are hashed once
/// for all attacks.
const MARK: usize = 1_000;

fn marks<'h>(records: &[SealedRecord], heads: &'h [Head]) -> Vec<Verifier<'h>> {
    let mut verifier = Verifier::new("ms", heads);
    let mut marks = vec![verifier.clone()];
    for (number, record) in records.iter().enumerate() {
        first(verifier.take(record)).unwrap();
        if (number + 1).is_multiple_of(MARK) {
            marks.push(verifier.clone());
        }
    }
    marks
}

/// A small generator with a fixed seed (xorshift64), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn an_untouched_chain_holds() {
    let (records, heads) = chain();
    let head = verify(&records, &heads).unwrap();
    assert_eq!(head.seq, LENGTH);
    let text = serde_json::to_string(&records[0]).unwrap();
    assert_eq!(serde_json::from_str::<SealedRecord>(&text).unwrap(), records[0]);
}

#[test]
fn every_attack_is_found_and_located() {
    let (original, heads) = chain();
    let marks = marks(&original, &heads);
    let mut dice = Dice(0x5eed_cafe);
    for attack in 0..ATTACKS {
        let place = dice.below(LENGTH - 2) as usize;
        // As much of the chain as it takes to come from the mark before the place to the signed head behind it.
        let start = place / MARK * MARK;
        let end = original.len().min(place + 2 * SIGNED_EVERY as usize);
        let mut records = original[start..end].to_vec();
        let at = place - start;
        let (name, expected) = match attack % 8 {
            0 => {
                records[at].record =
                    records[at].record.replace("\"actor\":\"ana", "\"actor\":\"bob");
                ("change", place as u64 + 1)
            }
            1 => {
                records.remove(at);
                ("delete", place as u64 + 1)
            }
            2 => {
                let copy = original[dice.below(LENGTH) as usize].clone();
                records.insert(at, copy);
                ("insert", place as u64 + 1)
            }
            3 => {
                records.swap(at, at + 1);
                ("swap", place as u64 + 1)
            }
            4 => {
                records.truncate(at);
                ("cut the tail", place as u64 + 1)
            }
            // Hides it from a search for its record.
            5 if attack % 16 == 5 => {
                records[at].touched.clear();
                ("change a copy", place as u64 + 1)
            }
            5 => {
                records[at].actor = "bob".into();
                ("change a copy", place as u64 + 1)
            }
            6 => {
                records[at].hash = "0".repeat(64);
                ("change a hash", place as u64 + 1)
            }
            _ => {
                // Everything from here on is made anew, with hashes that fit each other.
                let changed = AuditRecord { rows: 7, ..records[at].open().unwrap() };
                let mut head = match place {
                    0 => Head::start("ms"),
                    _ => Head {
                        chain: "ms".into(),
                        seq: place as u64,
                        hash: original[place - 1].hash.clone(),
                    },
                };
                records[at] = seal(&mut head, &changed);
                for record in records.iter_mut().skip(at + 1) {
                    *record = seal(&mut head, &record.open().unwrap());
                }
                ("rewrite", (place as u64 / SIGNED_EVERY) * SIGNED_EVERY + 1)
            }
        };
        let mut verifier = marks[start / MARK].clone();
        let taken = records.iter().try_for_each(|record| first(verifier.take(record)));
        let fault = taken.and_then(|()| verifier.finish()).expect_err(name);
        // An inserted copy of the record that stands there anyway is seen one place further on.
        let is_there = fault.seq == expected || (name == "insert" && fault.seq == expected + 1);
        assert!(
            is_there,
            "attack {attack} ({name}) at {place}: expected {expected}, found {fault}"
        );
    }
}

const BATCH: u64 = 10;

/// A short chain as it is stored, ten records a document.
fn batches() -> Vec<SealedBatch> {
    let mut head = Head::start("ms");
    let batch = |number: u64| {
        let records = (1..=BATCH).map(|place| record(number * BATCH + place));
        let records: Vec<_> = records
            .map(|record| (record.clone(), serde_json::to_string(&record).unwrap()))
            .collect();
        SealedBatch::new(EventId(format!("ms.test.batch{number}")), &mut head, &records).unwrap()
    };
    (0..5).map(batch).collect()
}

/// The head, or the first fault.
fn verify_batches(batches: &[SealedBatch]) -> Result<Head, Fault> {
    let signed = [Head {
        chain: "ms".into(),
        seq: 5 * BATCH,
        hash: self::batches()[4].records[9].hash.clone(),
    }];
    let mut verifier = Verifier::new("ms", &signed);
    let mut faults: Vec<Fault> =
        batches.iter().flat_map(|batch| verifier.take_batch(batch)).collect();
    match (faults.is_empty(), verifier.finish()) {
        (true, end) => end,
        (false, _) => Err(faults.remove(0)),
    }
}

#[test]
fn a_fault_says_how_far_it_reaches() {
    let (records, heads) = chain();
    let found = |records: &[SealedRecord]| verify(records, &heads[..3]).unwrap_err();
    let mut deleted = records[..300].to_vec();
    deleted.drain(120..140);
    assert_eq!((found(&deleted).seq, found(&deleted).to), (121, 140));
    assert_eq!((found(&records[..250]).seq, found(&records[..250]).to), (251, 300));
    // Made anew behind a place of which is known that it changed: the fault reaches to the head that does not fit.
    let mut head = Head { chain: "ms".into(), seq: 150, hash: records[149].hash.clone() };
    let mut rewritten = records[..150].to_vec();
    rewritten.extend(
        records[150..300]
            .iter()
            .map(|record| seal(&mut head, &AuditRecord { rows: 7, ..record.open().unwrap() })),
    );
    assert_eq!((found(&rewritten).seq, found(&rewritten).to), (101, 200));
}

#[test]
fn a_word_about_a_chain_that_was_cut_off_covers_it_when_it_has_grown() {
    // Heads at 100 and at 200; a restore leaves 110 records, and the node goes on from there.
    let (records, heads) = chain();
    let place = |records: &[SealedRecord]| {
        let fault = verify(records, &heads[..2]).unwrap_err();
        (fault.from, fault.to)
    };
    assert_eq!(place(&records[..110]), (101, 200));
    let mut head = Head { chain: "ms".into(), seq: 110, hash: records[109].hash.clone() };
    let mut grown = records[..110].to_vec();
    for record in &records[110..250] {
        grown.push(seal(&mut head, &AuditRecord { rows: 7, ..record.open().unwrap() }));
        assert_eq!(place(&grown), (101, 200), "with {} records", grown.len());
    }
}

#[test]
fn a_gap_hides_no_change_of_the_record_behind_it() {
    let (records, heads) = chain();
    let found = |behind: SealedRecord| {
        let mut verifier = Verifier::new("ms", &heads[..1]);
        let rest = records[..50].iter().chain([&behind]);
        rest.flat_map(|record| verifier.take(record))
            .map(|fault| (fault.seq, fault.to))
            .collect::<Vec<_>>()
    };
    assert_eq!(found(records[99].clone()), [(51, 99)], "only the gap");
    let mut edited = records[99].clone();
    edited.record = edited.record.replace("\"rows\":1", "\"rows\":7");
    assert_eq!(found(edited), [(51, 99), (100, 100)]);
    let mut before = Head { chain: "ms".into(), seq: 99, hash: records[98].hash.clone() };
    let made_anew = seal(&mut before, &AuditRecord { rows: 7, ..records[99].open().unwrap() });
    assert_eq!(found(made_anew), [(51, 99), (1, 100)], "it does not fit its signed head");
}

#[test]
fn one_fault_does_not_hide_the_next() {
    let (mut records, heads) = chain();
    records.truncate(1_000);
    let heads = &heads[..10];
    records[10].record = records[10].record.replace("\"actor\":\"ana", "\"actor\":\"bob");
    records.remove(500);
    records[700].actor = "bob".into();
    let mut verifier = Verifier::new("ms", heads);
    let faults: Vec<u64> =
        records.iter().flat_map(|record| verifier.take(record)).map(|f| f.seq).collect();
    assert_eq!(faults, [11, 501, 702]);
    assert_eq!(verifier.finish().unwrap().seq, 1_000, "its end is as it was signed");
}

#[test]
fn what_is_done_to_a_stored_document_is_found_and_located() {
    assert_eq!(verify_batches(&batches()).unwrap().seq, 5 * BATCH);
    let found = |attack: &dyn Fn(&mut Vec<SealedBatch>)| {
        let mut batches = batches();
        attack(&mut batches);
        verify_batches(&batches).unwrap_err().seq
    };
    // Records within the third document, which has those from 21 to 30.
    assert_eq!(found(&|all| drop(all[2].records.remove(0))), 21);
    assert_eq!(found(&|all| drop(all[2].records.remove(4))), 25);
    assert_eq!(found(&|all| drop(all[2].records.pop())), 30);
    assert_eq!(found(&|all| all[2].records.swap(3, 4)), 24);
    assert_eq!(found(&|all| all[2].records[5].at = "2023-11-14T23:13:20+01:00".into()), 26);
    assert_eq!(found(&|all| all[2].records.clear()), 21);
    // The members of the batch around them: a search by time would miss a document whose times were changed.
    assert_eq!(found(&|all| all[2].first = 22), 21);
    assert_eq!(found(&|all| all[2].last = 29), 21);
    assert_eq!(found(&|all| all[2].since = "9".into()), 21);
    assert_eq!(found(&|all| all[2].until = "0".into()), 21);
    assert_eq!(found(&|all| all[2].chain = "other".into()), 21);
    // Whole documents.
    assert_eq!(found(&|all| drop(all.remove(2))), 21);
    assert_eq!(found(&|all| all.swap(2, 3)), 21);
    assert_eq!(found(&|all| all.insert(2, all[1].clone())), 21);
    assert_eq!(found(&|all| all.truncate(3)), 31);
}
