//! The cost of tickets: the memory of a large result, a claim beside many old tickets, and reads on a node that has tickets.
//!
//! Not here: the rate of tickets (../tickets.rs).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::sync::{Collection, Database};

use super::{Bench, ask, percentile, spread, until};
use crate::contender::{Contender, Kind};
use crate::http_once;
use crate::measure::{Round, measured};
use crate::process;

/// Rows of a thousand letters: some 50 MB.
const ROWS: usize = 50_000;
const OLD: usize = 100_000;
const CLAIMS: usize = 300;
const CLAIM_ROUNDS: usize = 5;
/// Rounds of reads with and without, in turn.
const ROUNDS: usize = 20;
const MIB: f64 = 1024.0 * 1024.0;

/// Answers the lines of the report.
pub(super) fn measure(bench: &Bench<'_>) -> Result<String> {
    Ok(large(bench)? + &claims(bench)? + &reads(bench)?)
}

fn large(bench: &Bench<'_>) -> Result<String> {
    let (address, running) = bench.node("large", &[])?;
    // Once before, so that what grows once has grown.
    let small = ask(address, "rows", "{\"count\":2000}")?;
    until(address, &small, "done")?;
    http_once::get(address, &format!("{small}/result"))?;
    let pid = running.process.id();
    let before = process::resident_bytes(pid).context("the node has ended")?;
    let (most, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let watch = {
        let (most, stop) = (Arc::clone(&most), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let now = process::resident_bytes(pid).unwrap_or_default();
                most.fetch_max(now, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    };
    let begun = Instant::now();
    let ticket = ask(address, "rows", &format!("{{\"count\":{ROWS}}}"))?;
    until(address, &ticket, "done")?;
    let stored = begun.elapsed();
    let begun = Instant::now();
    let result = http_once::get(address, &format!("{ticket}/result"))?;
    let read = begun.elapsed();
    stop.store(true, Ordering::Relaxed);
    drop(watch.join());
    ensure!(result.status == 200, "{}", result.status);
    let grown = most.load(Ordering::Relaxed).saturating_sub(before) as f64 / MIB;
    drop(running);
    Ok(format!(
        "A result of {:.1} MiB: stored in {:.1} s, read in {:.1} s; the node grew by {grown:.1} MiB (wanted: at most 24)\n",
        result.body.len() as f64 / MIB,
        stored.as_secs_f64(),
        read.as_secs_f64(),
    ))
}

/// The claim itself, as the store's own operation has it, with and without old tickets.
fn claims(bench: &Bench<'_>) -> Result<String> {
    let database = bench.database()?;
    let tickets: Collection<Document> = database.collection("tickets");
    bench.forget("owner", "old")?;
    let claim = claim(&database)?;
    let mut ratios = Vec::new();
    let (mut p99s, mut few) = (Vec::new(), 0.0);
    for _ in 0..CLAIM_ROUNDS {
        let without = claim_all(&database, &claim)?;
        let now = DateTime::now();
        let old: Vec<Document> =
            (0..OLD).map(|number| ticket(number, "old", "done", now)).collect();
        for part in old.chunks(5_000) {
            tickets.insert_many(part).run()?;
        }
        let with = claim_all(&database, &claim)?;
        bench.forget("owner", "old")?;
        ratios.push(with / without);
        p99s.push(with);
        few = without;
    }
    Ok(format!(
        "A claim beside {OLD} old tickets against none, p99 of {CLAIMS}, {CLAIM_ROUNDS} rounds: {} (wanted: at most 1.2); {:.1} ms against {few:.1} ms in the last\n",
        spread(&ratios),
        p99s[p99s.len() - 1],
    ))
}

fn ticket(number: usize, owner: &str, state: &str, now: DateTime) -> Document {
    let name = format!("{owner}{number:08}");
    let later = DateTime::from_millis(now.timestamp_millis() + 86_400_000);
    doc! {
        "_id": &name, "owner": owner, "once": &name, "fingerprint": "f", "place": "Jobs/empty", "order": &name, "template": "Jobs",
        "operation": "job", "job": "empty", "database": if owner == "old" { "rel.main" } else { "rel.bench" }, "state": state,
        "epoch": 0, "turn": number as i64, "lost": 0, "failures": 0,
        "created_at": now, "run_at": now, "start_before": later, "forget_at": later,
    }
}

/// The command of a claim, for tickets of a database that no node has.
fn claim(database: &Database) -> Result<Document> {
    let objects: Collection<Document> = database.collection("beds_objects");
    let object = objects.find_one(doc! {"_id": "ticket_claim"}).run()?.context("ticket_claim")?;
    let mut command = object.get_document("command")?.clone();
    for value in command.iter_mut().map(|(_, value)| value) {
        fill(value);
    }
    command.insert("writeConcern", doc! {"w": "majority", "j": true});
    Ok(command)
}

fn fill(value: &mut Bson) {
    match value {
        Bson::Document(document) => document.iter_mut().for_each(|(_, value)| fill(value)),
        Bson::Array(items) => items.iter_mut().for_each(fill),
        Bson::String(text) => {
            let other = match text.as_str() {
                "$$node" => Bson::from("bench"),
                "$$databases" => Bson::from(vec!["rel.bench"]),
                "$$full" => Bson::Array(Vec::new()),
                "$$lease" => Bson::Int64(30),
                _ => return,
            };
            *value = other;
        }
        _ => {}
    }
}

/// Claims one after the other; answers the 99th of a hundred, in milliseconds.
fn claim_all(database: &Database, claim: &Document) -> Result<f64> {
    let tickets: Collection<Document> = database.collection("tickets");
    let now = DateTime::now();
    let waiting: Vec<Document> = (0..CLAIMS).map(|n| ticket(n, "new", "queued", now)).collect();
    tickets.insert_many(waiting).run()?;
    let mut times = Vec::new();
    for _ in 0..CLAIMS {
        let begun = Instant::now();
        let answer = database.run_command(claim.clone()).run()?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        ensure!(answer.get_document("value").is_ok(), "no ticket was claimed: {answer}");
    }
    tickets.delete_many(doc! {"owner": "new"}).run()?;
    Ok(percentile(&mut times, 99))
}

/// CPU of a node a read, with tickets and without.
fn reads(bench: &Bench<'_>) -> Result<String> {
    // On one vhost, the two would take each other's events.
    let open = bench.settings.services.open_amqp.as_str();
    let (on, with) = bench.node("with", &[])?;
    let keys = [("BEDS__SERVICES__CALGON__IS_LOCAL", "false"), ("BEDS__AMQP__URL", open)];
    let (off, without) = bench.node("without", &keys)?;
    let with_tickets = Contender::beds(Kind::Beds, on, with.process.id(), with.idle_bytes);
    let none = Contender::beds(Kind::Beds, off, without.process.id(), without.idle_bytes);
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        // The two take turns at being first.
        let (of_with, of_none) = match round % 2 {
            0 => {
                let of_with = read(bench, &with_tickets)?;
                (of_with, read(bench, &none)?)
            }
            _ => {
                let of_none = read(bench, &none)?;
                (read(bench, &with_tickets)?, of_none)
            }
        };
        let each = |round: &Round| round.cpu as f64 / round.outcome.good.max(1) as f64;
        ratios.push(each(&of_none) / each(&of_with));
    }
    Ok(format!(
        "CPU of the node a read, without tickets / with them, {ROUNDS} rounds: {} (wanted: at least 0.98)\n",
        spread(&ratios)
    ))
}

fn read(bench: &Bench<'_>, contender: &Contender) -> Result<Round> {
    let options = &bench.settings.options;
    let address: SocketAddr = contender.address;
    let arguments = [
        "load".to_owned(),
        format!("--address={address}"),
        "--path=read".to_owned(),
        format!("--data={}", bench.settings.services.data.display()),
        format!("--flights={}", options.flights),
        "--connections=64".to_owned(),
        "--warmup=1".to_owned(),
        format!("--seconds={}", options.seconds.clamp(3, 10)),
        "--tag=reads".to_owned(),
    ];
    measured(&arguments, bench.services, contender, Duration::from_secs(60))
}
