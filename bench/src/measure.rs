//! One path measured: every contender in turn, round after round, and the cost of each round.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::contender::{Contender, Kind};
use crate::load::{self, Outcome, Path};
use crate::options::Settings;
use crate::process::{self, Process};
use crate::services::{Service, Services};

/// One round of one contender. CPU times are in microseconds and cover the measured seconds only.
pub(crate) struct Round {
    pub(crate) outcome: Outcome,
    pub(crate) cpu: u64,
    pub(crate) peak_bytes: u64,
    pub(crate) service_cpu: Vec<(Service, u64)>,
    pub(crate) load_cpu: u64,
}

/// All rounds of one contender.
pub(crate) struct Series {
    pub(crate) kind: Kind,
    pub(crate) idle_bytes: u64,
    pub(crate) rounds: Vec<Round>,
    /// Of one that records: seconds from the end of each round until it was at rest.
    pub(crate) at_rest: Vec<f64>,
    /// And how many records it dropped since its start.
    pub(crate) dropped: u64,
}

/// Starts the rivals of a path, checks that everyone does the work, and measures in turn.
pub(crate) fn path(
    path: Path,
    settings: &Settings,
    services: &Services,
    beds: Vec<Contender>,
) -> Result<Vec<Series>> {
    let mut contenders = beds;
    for &reply in &settings.replies {
        contenders.push(Contender::rival(Kind::ByHand(reply), path, settings)?);
    }
    contenders.push(Contender::rival(Kind::Floor, path, settings)?);
    let flights = settings.services.data.join("flights.csv");
    let bodies = load::bodies(&flights, settings.options.flights, 1)?;
    let run = uuid::Uuid::now_v7().simple().to_string();
    for (number, contender) in contenders.iter().enumerate() {
        contender.check(path, settings, &bodies, &format!("{run}-{number}"))?;
    }
    let series = |c: &Contender| Series {
        kind: c.kind,
        idle_bytes: c.idle_bytes,
        rounds: Vec::new(),
        at_rest: Vec::new(),
        dropped: 0,
    };
    let mut all: Vec<Series> = contenders.iter().map(series).collect();
    for number in 0..settings.options.rounds {
        // Each round begins with another contender, so that none is always the one after the same neighbour.
        for turn in 0..contenders.len() {
            let position = (turn + number as usize) % contenders.len();
            let contender = &contenders[position];
            let tag = format!("{run}-{number}-{position}");
            let round = round(path, settings, services, contender, &tag)
                .with_context(|| format!("measuring {}", contender.kind.name(path)))?;
            let per_second = round.outcome.good as f64 / round.outcome.seconds;
            crate::note(&format!(
                "  round {}  {:<22} {per_second:>9.0}/s",
                number + 1,
                contender.kind.name(path)
            ));
            all[position].rounds.push(round);
            if contender.kind == Kind::Recording {
                let ended = Instant::now();
                contender.settle()?;
                all[position].at_rest.push(ended.elapsed().as_secs_f64());
            }
        }
    }
    for (series, contender) in
        all.iter_mut().zip(&contenders).filter(|(series, _)| series.kind == Kind::Recording)
    {
        series.dropped = contender.dropped()?;
    }
    Ok(all)
}

fn round(
    path: Path,
    settings: &Settings,
    services: &Services,
    contender: &Contender,
    tag: &str,
) -> Result<Round> {
    let options = &settings.options;
    let arguments = [
        "load".to_owned(),
        format!("--address={}", contender.address),
        format!("--path={}", if path == Path::Read { "read" } else { "write" }),
        format!("--data={}", settings.services.data.display()),
        format!("--flights={}", options.flights),
        format!("--connections={}", options.connections),
        format!("--warmup={}", options.warmup),
        format!("--seconds={}", options.seconds),
        format!("--tag={tag}"),
    ];
    let patience = Duration::from_secs(options.warmup + options.seconds + 60);
    measured(&arguments, services, contender, patience)
}

/// The outcome and the cost of one run of the load generator, which must be over within `patience`.
pub(crate) fn measured(
    arguments: &[String],
    services: &Services,
    contender: &Contender,
    patience: Duration,
) -> Result<Round> {
    let mut load = Process::own(arguments, &[])?;
    load.expect("begin", patience)?;
    let memory = MemoryWatch::start(contender.pid());
    let before = (contender.cpu_micros()?, services.cpu_micros(), load_cpu(&load));
    load.expect("end", patience)?;
    let after = (contender.cpu_micros()?, services.cpu_micros(), load_cpu(&load));
    let peak_bytes = memory.stop();
    let outcome: Outcome = serde_json::from_str(&load.line(patience)?)?;
    let spent = |(service, now): (Service, u64), then: u64| (service, now.saturating_sub(then));
    let service_cpu =
        after.1.into_iter().zip(before.1).map(|(now, (_, then))| spent(now, then)).collect();
    let (cpu, load_cpu) = (after.0.saturating_sub(before.0), after.2.saturating_sub(before.2));
    Ok(Round { outcome, cpu, peak_bytes, service_cpu, load_cpu })
}

fn load_cpu(load: &Process) -> u64 {
    process::cpu_micros(load.id()).unwrap_or_default()
}

/// Watches the resident memory of a process and keeps the most that it saw.
struct MemoryWatch {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl MemoryWatch {
    fn start(pid: u32) -> Self {
        let (stop, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, most) = (Arc::clone(&stop), Arc::clone(&peak));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                most.fetch_max(process::resident_bytes(pid).unwrap_or_default(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, peak, thread }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.join());
        self.peak.load(Ordering::Relaxed)
    }
}
