//! Attacks on a chain. Each must be found, and located.

use super::*;

const LENGTH: u64 = 2_000;
/// A head is signed after so many records.
const SIGNED_EVERY: u64 = 100;

fn record(number: u64) -> AuditRecord {
    AuditRecord {
        about: EventId(format!("ms.test.{number:032x}")),
        event_id: EventId(format!("ms.test.a{number:031x}")),
        root_id: EventId(format!("ms.test.{number:032x}")),
        depth: 1,
        at: Timestamp::from_microsecond(1_700_000_000_000_000 + i64::try_from(number).unwrap()).unwrap(),
        actor: format!("ana{}", number % 7),
        address: "127.0.0.1".into(),
        template: "Users".into(),
        operation: if number.is_multiple_of(3) { "create".into() } else { "fetch".into() },
        object: None,
        record: Some(format!("{number:x}")),
        fields: vec!["email".into(), "name".into()],
        rows: 1,
        outcome: Outcome::Ok,
        code: None,
        node: "ms".into(),
    }
}

fn chain() -> (Vec<SealedRecord>, Vec<Head>) {
    let mut head = Head::start("ms");
    let mut heads = Vec::new();
    let records = (1..=LENGTH)
        .map(|number| {
            let sealed = head.seal(record(number));
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
        verifier.take(record)?;
    }
    verifier.finish()
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
    let mut dice = Dice(0x5eed_cafe);
    for attack in 0..300 {
        let mut records = original.clone();
        let at = dice.below(LENGTH - 2) as usize;
        let (name, expected) = match attack % 8 {
            0 => {
                records[at].record = records[at].record.replace("\"actor\":\"ana", "\"actor\":\"bob");
                ("change", at as u64 + 1)
            }
            1 => {
                records.remove(at);
                ("delete", at as u64 + 1)
            }
            2 => {
                let copy = records[dice.below(LENGTH) as usize].clone();
                records.insert(at, copy);
                ("insert", at as u64 + 1)
            }
            3 => {
                records.swap(at, at + 1);
                ("swap", at as u64 + 1)
            }
            4 => {
                let keep = at.min(LENGTH as usize - 1);
                records.truncate(keep);
                ("cut the tail", keep as u64 + 1)
            }
            5 => {
                records[at].actor = "bob".into();
                ("change a copy", at as u64 + 1)
            }
            6 => {
                records[at].hash = "0".repeat(64);
                ("change a hash", at as u64 + 1)
            }
            _ => {
                // Everything from here on is made anew, with hashes that fit each other.
                let changed = AuditRecord { rows: 7, ..records[at].open().unwrap() };
                let mut head = match at {
                    0 => Head::start("ms"),
                    _ => Head { chain: "ms".into(), seq: at as u64, hash: records[at - 1].hash.clone() },
                };
                records[at] = head.seal(changed);
                for place in records.iter_mut().skip(at + 1) {
                    *place = head.seal(place.open().unwrap());
                }
                ("rewrite", (at as u64 / SIGNED_EVERY) * SIGNED_EVERY + 1)
            }
        };
        let fault = verify(&records, &heads).expect_err(name);
        // An inserted copy of the record that stands there anyway is seen one place further on.
        let is_there = fault.seq == expected || (name == "insert" && fault.seq == expected + 1);
        assert!(is_there, "attack {attack} ({name}) at {at}: expected {expected}, found {fault}");
    }
}
