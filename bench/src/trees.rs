//! How long the tree of one event takes out of many: reads fill the store, then the trees of some of them are asked for.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::contender::Contender;
use crate::http_once;
use crate::load::Outcome;
use crate::options::Settings;
use crate::process::Process;

/// Seconds of load between two looks at how much there is.
const SLICE: u64 = 10;
/// Between two reads whose trees are asked for later.
const SAMPLE: Duration = Duration::from_millis(250);
/// How often each tree is asked for.
const PASSES: usize = 5;

/// Fills the store with so many root events and times the reading of trees. Answers the lines of the report.
pub(crate) fn measure(events: u64, settings: &Settings, contender: &Contender) -> Result<String> {
    let (mut stored, mut ids) = (0, Vec::new());
    while stored < events {
        let mut load = load(settings, contender)?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(SLICE) {
            let answer = http_once::get(contender.address, "/v1/records/Flights/1")?;
            ids.push(
                answer.header("beds-event-id").context("an answer has its event id")?.to_owned(),
            );
            std::thread::sleep(SAMPLE);
        }
        let patience = Duration::from_secs(60);
        load.expect("begin", patience)?;
        load.expect("end", patience)?;
        let outcome: Outcome = serde_json::from_str(&load.line(patience)?)?;
        stored += outcome.good;
        crate::note(&format!("  {stored} of {events} events"));
    }
    contender.settle()?;
    let mut times = Vec::new();
    for pass in 0..=PASSES {
        for id in &ids {
            let begun = Instant::now();
            let answer = http_once::get(contender.address, &format!("/v1/lineage/{id}"))?;
            let time = begun.elapsed();
            ensure!(
                answer.status == 200 && answer.body.contains("\"audit\""),
                "{id}: {} {}",
                answer.status,
                answer.body
            );
            // The first pass fills the caches of each part that has some.
            if pass > 0 {
                times.push(time);
            }
        }
    }
    times.sort_unstable();
    let at = |share: usize| {
        times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1000.0
    };
    let (count, p50, p95) = (times.len(), at(50), at(95));
    Ok(format!(
        "\nTrees out of {stored} root events with their calls and audit records, {count} reads one after the other: p50 {p50:.1} ms, p95 {p95:.1} ms\n"
    ))
}

fn load(settings: &Settings, contender: &Contender) -> Result<Process> {
    let arguments = [
        "load".to_owned(),
        format!("--address={}", contender.address),
        "--path=read".to_owned(),
        format!("--data={}", settings.services.data.display()),
        format!("--flights={}", settings.options.flights),
        format!("--connections={}", settings.options.connections),
        "--warmup=0".to_owned(),
        format!("--seconds={SLICE}"),
        "--tag=trees".to_owned(),
    ];
    Process::own(&arguments, &[])
}
