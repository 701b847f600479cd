//! `beds-bench load`: the load generator. A closed loop over keep-alive connections, one task each, with no more HTTP
//! than that takes. It runs as a process of its own, so that its CPU time is its own.
//! Not here: the requests (load/requests.rs); the start of the process and the reading of its figures (measure.rs).

mod connection;
mod requests;
mod tokens;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use requests::{Path, bodies};
pub(crate) use tokens::{ISSUER, Show, new_issuer};

use connection::Client;
use requests::Requests;

/// The requests to send, their target, and the time.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LoadOptions {
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[arg(long, value_enum)]
    pub(crate) path: Path,
    /// The folder with flights.csv.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// How many flights are loaded: ids are drawn from these.
    #[arg(long)]
    pub(crate) flights: usize,
    #[arg(long)]
    pub(crate) connections: u32,
    #[arg(long)]
    pub(crate) warmup: u64,
    #[arg(long)]
    pub(crate) seconds: u64,
    /// The credential that requests show.
    #[arg(long, value_enum, default_value_t = Show::Key)]
    pub(crate) show: Show,
    /// The key of an issuer, which signs tokens.
    #[arg(long)]
    pub(crate) issuer: Option<PathBuf>,
    /// Ask for this path instead.
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// The address from which the connections come.
    #[arg(long)]
    pub(crate) from: Option<IpAddr>,
    /// Requests a second, of all connections together; without it, as many as are answered.
    #[arg(long)]
    pub(crate) rate: Option<u32>,
    /// Makes the idempotency keys of this round different from all others.
    #[arg(long)]
    pub(crate) tag: String,
}

/// The result, as the child prints it. Latencies are in microseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    /// Requests answered 2xx within the measured time.
    pub(crate) good: u64,
    /// Everything else, by status; 0 is a broken connection or no answer.
    pub(crate) errors: BTreeMap<u16, u64>,
    pub(crate) body_bytes: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

/// The measured time.
#[derive(Clone, Copy)]
struct Times {
    begin: Instant,
    end: Instant,
}

/// One connection's share.
struct Tally {
    good: u64,
    errors: BTreeMap<u16, u64>,
    body_bytes: u64,
    latency: Histogram<u64>,
}

/// Prints `begin` and `end` around the measured time, then the outcome as one line of JSON.
pub(crate) async fn run(options: LoadOptions) -> Result<()> {
    let requests = Arc::new(Requests::new(&options)?);
    let begin = Instant::now() + Duration::from_secs(options.warmup);
    let end = begin + Duration::from_secs(options.seconds);
    let mut tasks = JoinSet::new();
    let options = Arc::new(options);
    for number in 0..options.connections {
        let times = Times { begin, end };
        tasks.spawn(connect_and_repeat(Arc::clone(&options), Arc::clone(&requests), number, times));
    }
    tokio::time::sleep_until(begin).await;
    say("begin")?;
    tokio::time::sleep_until(end).await;
    say("end")?;
    let mut outcome = Outcome { seconds: options.seconds as f64, ..Outcome::default() };
    let mut latency = histogram()?;
    while let Some(tally) = tasks.join_next().await {
        let tally = tally.context("a connection's task failed")??;
        outcome.good += tally.good;
        outcome.body_bytes += tally.body_bytes;
        for (status, count) in tally.errors {
            *outcome.errors.entry(status).or_default() += count;
        }
        latency.add(tally.latency)?;
    }
    outcome.p50 = latency.value_at_quantile(0.50);
    outcome.p99 = latency.value_at_quantile(0.99);
    outcome.max = latency.max();
    say(&serde_json::to_string(&outcome)?)
}

/// Repeats requests until the end; requests that completed between `begin` and `end` count. A request that is under way at
/// the end is waited for, so that no work of this round falls into the next one.
async fn connect_and_repeat(
    options: Arc<LoadOptions>,
    requests: Arc<Requests>,
    number: u32,
    Times { begin, end }: Times,
) -> Result<Tally> {
    // The connections take turns within one step of the pace.
    let step = options.rate.map(|rate| Duration::from_secs(1) * options.connections / rate);
    let mut due = Instant::now() + step.unwrap_or_default() * number / options.connections;
    let mut tally =
        Tally { good: 0, errors: BTreeMap::new(), body_bytes: 0, latency: histogram()? };
    let mut stream = requests.stream(number);
    let mut client: Option<Client> = None;
    let mut text = Vec::with_capacity(1024);
    loop {
        if let Some(step) = step {
            tokio::time::sleep_until(due).await;
            due += step;
        }
        let started = Instant::now();
        if started >= end {
            return Ok(tally);
        }
        stream.next_into(&mut text);
        let answer = match &mut client {
            Some(open) => open.exchange(&text).await,
            None => match Client::connect(options.address, options.from).await {
                Ok(fresh) => client.insert(fresh).exchange(&text).await,
                Err(error) => Err(error),
            },
        };
        let done = Instant::now();
        let counts = done >= begin && done < end;
        match answer {
            Ok(answer) if counts && (200..300).contains(&answer.status) => {
                tally.good += 1;
                tally.body_bytes += answer.body_bytes;
                tally.latency.saturating_record((done - started).as_micros() as u64);
            }
            Ok(answer) if counts => *tally.errors.entry(answer.status).or_default() += 1,
            Ok(_) => {}
            Err(_) => {
                client = None;
                if counts {
                    *tally.errors.entry(0).or_default() += 1;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Up to a minute, to three digits.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
