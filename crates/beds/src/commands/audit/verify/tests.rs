//! An acknowledgement against the faults that it is about.
//!
//! Not here: the chains themselves, which are tested in `core::audit`.

use beds_core::EventId;
use beds_core::Outcome;
use beds_trail::audit::AuditRecord;
use jiff::ToSpan;

use super::*;

fn grow(head: &mut Head, to: u64, actor: &str) -> Vec<SealedRecord> {
    let records = (head.seq + 1..=to).map(|seq| {
        let about = EventId(format!("{actor}.{seq}"));
        let record = AuditRecord::of_act(about, actor, "replay", Outcome::Ok, "ms");
        let text = serde_json::to_string(&record).unwrap();
        head.seal(&record, &text)
    });
    records.collect()
}

#[test]
fn a_place_that_no_chain_has_ends_the_walk() {
    for (number, expected) in [
        (json!(7), Some(7)),
        (json!(7.5), Some(8)),
        (json!(1e300), None),
        (json!(u64::MAX), None),
        (json!("1"), None),
        (Value::Null, None),
    ] {
        assert_eq!(place(&number), expected, "{number}");
    }
}

#[test]
fn a_word_about_a_restore_covers_nothing_that_was_written_after_it() {
    let word_at = Timestamp::now();
    let sign = |head: &Head, hours: i64| SignedHead {
        head: head.clone(),
        at: word_at.checked_add(hours.hours()).unwrap(),
        public_key: String::new(),
        signature: String::new(),
    };
    // Signed at 10 and 30; a restore leaves 10 records. Then the word is given, and the node goes on to 25 and signs that.
    let mut head = Head::start("ms");
    let kept = grow(&mut head, 10, "ana");
    let (restored, at_10) = (head.clone(), sign(&head, -2));
    grow(&mut head, 30, "ana");
    let at_30 = sign(&head, -1);
    let mut head = restored;
    let fresh = grow(&mut head, 25, "bea");
    let signed = [at_10, at_30, sign(&head, 1)];
    let gap = SignedGap {
        chain: "ms".into(),
        from: 11,
        to: 30,
        reason: "restored".into(),
        by: "uid 0".into(),
        at: word_at,
        public_key: String::new(),
        signature: String::new(),
    };
    let open = |records: &[SealedRecord]| {
        let heads: Vec<Head> = signed.iter().map(|one| one.head.clone()).collect();
        let mut verifier = Verifier::new("ms", &heads);
        let mut faults: Vec<Fault> =
            records.iter().flat_map(|record| verifier.take(record)).collect();
        faults.extend(verifier.finish().err());
        faults.iter().filter(|fault| !covers(&gap, fault, &signed)).count()
    };
    let chain = |fresh: &[SealedRecord]| [&kept[..], fresh].concat();
    assert_eq!(open(&chain(&fresh)), 0, "as the node wrote it");
    let mut changed = fresh.clone();
    changed[5].record = changed[5].record.replace("bea", "eve");
    assert!(open(&chain(&changed)) > 0, "a record was changed");
    assert!(open(&chain(&fresh[..8])) > 0, "the end was cut off");
    let mut removed = fresh;
    removed.drain(3..6);
    assert!(open(&chain(&removed)) > 0, "records were removed");
    let mut head = Head { chain: "ms".into(), seq: 10, hash: kept[9].hash.clone() };
    assert!(open(&chain(&grow(&mut head, 25, "eve"))) > 0, "all were written anew");
}
