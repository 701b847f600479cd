//! How long the answer takes to the question of who saw a record, out of many audit records that are put in directly.
//!
//! Not here: the writing of audit records by nodes, which the contender that records shows.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use beds_core::EventId;
use beds_core::outcome::Outcome;
use beds_trail::audit::{AuditRecord, Head, SealedBatch};
use beds_trail::record_keys::RecordKeys;
use mongodb::bson::{self, Document, doc};
use mongodb::sync::{Client, Collection};

use crate::options::Beds;

/// The template of the records, and how many of them there are.
const TEMPLATE: &str = "Users";
const RECORDS: u64 = 1_000_000;
/// One act in so many is a list, of so many records.
const LIST_EVERY: u64 = 20;
const LISTED: u64 = 50;
/// Acts in one message of a busy node, and messages in one insert.
const IN_MESSAGE: u64 = 250;
const AT_ONCE: usize = 32;
/// Questions, one after the other.
const QUESTIONS: u64 = 200;
/// The index by which a record is found. It is built behind the inserts, which takes less time.
const INDEX: &str = "audit_touched";

/// Puts so many acts into the trail, and asks who saw some records. Answers the lines of the report.
pub(crate) fn measure(acts: u64, beds: &Beds) -> Result<String> {
    let audit = collection(&beds.folder)?;
    audit.drop_index(INDEX).run().context("dropping the index")?;
    let mut dice = Dice(7);
    fill(acts, &beds.folder, &audit, &mut dice)?;
    crate::note("  building the index");
    let keys = doc! {"records.touched": 1, "until": -1};
    let options = mongodb::options::IndexOptions::builder().name(INDEX.to_owned()).sparse(true);
    let index = mongodb::IndexModel::builder().keys(keys).options(options.build()).build();
    audit.create_index(index).run().context("building the index")?;
    crate::note("  asking");
    let mut times = Vec::new();
    let mut found = 0;
    for _ in 0..QUESTIONS {
        let begun = Instant::now();
        found += ask(beds, dice.below(RECORDS))?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |share: usize| {
        let position = (times.len() * share / 100).min(times.len() - 1);
        times[position].as_secs_f64() * 1000.0
    };
    let (p50, p95, of_each) = (at(50), at(95), found as f64 / QUESTIONS as f64);
    Ok(format!(
        "\n`beds audit subject` out of {acts} acts, {QUESTIONS} records one after the other, {of_each:.1} acts each: p50 {p50:.0} ms, p95 {p95:.0} ms (wanted: at most 200)\n"
    ))
}

fn collection(folder: &Path) -> Result<Collection<Document>> {
    let url = std::fs::read_to_string(folder.join("secrets/logs.dba.url"))?;
    let client = Client::with_uri_str(url.trim())?;
    let database = client.default_database().context("the URL names a database")?;
    Ok(database.collection("audit"))
}

fn fill(acts: u64, folder: &Path, audit: &Collection<Document>, dice: &mut Dice) -> Result<()> {
    let key = std::fs::read_to_string(folder.join("secrets/hash.key"))?;
    let keys = RecordKeys::of(std::iter::once(key.as_str()))
        .map_err(|_| anyhow::anyhow!("secrets/hash.key is no key"))?;
    let mut head = Head::start("bench");
    let mut batches = Vec::new();
    let mut told = Instant::now();
    for first in (0..acts).step_by(IN_MESSAGE as usize) {
        let numbers = first..acts.min(first + IN_MESSAGE);
        let records: Vec<_> =
            numbers.map(|number| act(number, &keys, dice)).collect::<Result<_>>()?;
        let id = EventId::new("bench", "bench");
        let batch = SealedBatch::new(id, &mut head, &records).context("a batch has records")?;
        batches.push(bson::serialize_to_document(&batch)?);
        if batches.len() == AT_ONCE {
            audit.insert_many(std::mem::take(&mut batches)).run()?;
        }
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            crate::note(&format!("  {first} of {acts} acts"));
        }
    }
    if !batches.is_empty() {
        audit.insert_many(batches).run()?;
    }
    Ok(())
}

/// A read of one record, or a list of some.
fn act(number: u64, keys: &RecordKeys, dice: &mut Dice) -> Result<(AuditRecord, String)> {
    let is_list = number.is_multiple_of(LIST_EVERY);
    let operation = if is_list { "list" } else { "fetch" };
    let actor = format!("corp/{}", dice.below(500));
    let about = EventId::new("bench", "bench");
    let mut record = AuditRecord::of_act(about, &actor, operation, Outcome::Ok, "bench");
    record.template = TEMPLATE.to_owned();
    record.address = "10.0.0.1".to_owned();
    record.digest = Some(format!("{:032x}", dice.next()));
    if is_list {
        let ids: Vec<String> = (0..LISTED).map(|_| dice.below(RECORDS).to_string()).collect();
        record.rows = LISTED as u32;
        record.seen = keys.seen(TEMPLATE, &ids);
    } else {
        record.rows = 1;
        record.record = keys.hash(TEMPLATE, &dice.below(RECORDS).to_string());
    }
    let text = serde_json::to_string(&record)?;
    Ok((record, text))
}

/// The command, from its start to its end. Answers how many acts it found.
fn ask(beds: &Beds, id: u64) -> Result<usize> {
    let config = beds.folder.join("beds.toml");
    let mut command = Command::new(&beds.program);
    command.args(["audit", "subject", "--config"]).arg(config).arg(format!("{TEMPLATE}/{id}"));
    let output = command.output().context("starting `beds audit subject`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`beds audit subject` failed: {said}");
    Ok(output.stdout.iter().filter(|byte| **byte == b'\n').count())
}

/// Numbers that are the same in each run (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
