//! The cost of knowing callers: reads with credentials, rights and seals against the same binary without, new tokens against one that
//! is remembered, and good callers beside a flood of bad tokens.
//!
//! Not here: the credentials that the load generator shows (load/tokens.rs).

use std::time::Duration;

use anyhow::Result;

use crate::contender::Contender;
use crate::load::{ISSUER, new_issuer};
use crate::measure::{Round, measured};
use crate::neighbours::median;
use crate::options::{Beds, Settings};
use crate::process::Process;
use crate::services::Services;

/// The least seconds of a round, and longer than a round ever takes beyond its seconds.
const LEAST_SECONDS: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(60);
/// A flood: requests a second, and the address from which it comes.
const FLOOD: u32 = 5_000;
const ELSEWHERE: &str = "127.0.0.2";

/// The issuer of the run's tokens, as variables of BEDS's environment.
pub(crate) fn issuer(beds: &Beds) -> Result<Vec<(&'static str, String)>> {
    let jwks = beds.folder.join("bench.jwks");
    new_issuer(&beds.folder.join("bench.key"), &jwks)?;
    Ok(vec![
        ("BEDS__AUTH__ISSUERS__BENCH__ISSUER", ISSUER.to_owned()),
        ("BEDS__AUTH__ISSUERS__BENCH__AUDIENCE", "beds".to_owned()),
        ("BEDS__AUTH__ISSUERS__BENCH__JWKS_FILE", jwks.display().to_string()),
        ("BEDS__AUTH__ISSUERS__BENCH__ROLES", "/roles".to_owned()),
    ])
}

/// Answers the lines of the report. `open` asks for no credential and seals nothing.
pub(crate) fn measure(
    settings: &Settings,
    beds: &Beds,
    services: &Services,
    known: &Contender,
    open: &Contender,
    rounds: usize,
) -> Result<String> {
    let run = Run { settings, services, key: beds.folder.join("bench.key").display().to_string() };
    let mut costs = Vec::new();
    for round in 0..rounds {
        // The two take turns at being first.
        let (with, without) = match round % 2 {
            0 => {
                let with = run.reads(known, "key", 64)?;
                (with, run.reads(open, "nothing", 64)?)
            }
            _ => {
                let without = run.reads(open, "nothing", 64)?;
                (run.reads(known, "key", 64)?, without)
            }
        };
        costs.push(per_request(&without) / per_request(&with));
    }
    let mut fresh = Vec::new();
    let mut floods = Vec::new();
    for _ in 0..settings.options.rounds.max(3) {
        let remembered = rate(&run.reads(known, "token", 64)?);
        fresh.push(rate(&run.reads(known, "fresh-tokens", 64)?) / remembered);
        let calm = run.beside(known, &["--show=nothing", "--target=/v1/nowhere"])?;
        let flooded = run.beside(known, &["--show=bad-tokens", "--target=/v1/templates"])?;
        floods.push((rate(&flooded) / rate(&calm), p99(&flooded) / p99(&calm)));
    }
    let spread = |of: &[f64]| {
        let (least, most) =
            (of.iter().copied().fold(f64::MAX, f64::min), of.iter().copied().fold(0.0, f64::max));
        format!("{:.2} ({least:.2}..{most:.2})", median(of.to_vec()))
    };
    let (rates, times): (Vec<f64>, Vec<f64>) = floods.into_iter().unzip();
    Ok(format!(
        "\nCPU of the node a read, without credentials, rights and seals / with them, {rounds} rounds: {} (wanted: at least 0.95)\n\
         Reads with a new Ed25519 token each / with one that is remembered: {} (wanted: at least 0.65)\n\
         Good callers while {ELSEWHERE} sends {FLOOD} bad tokens a second / as many unknown paths: rate {} (wanted: at least 0.8), p99 {} (wanted: at most 2)\n",
        spread(&costs),
        spread(&fresh),
        spread(&rates),
        spread(&times),
    ))
}

struct Run<'r> {
    settings: &'r Settings,
    services: &'r Services,
    key: String,
}

impl Run<'_> {
    fn arguments(&self, contender: &Contender, connections: u32, more: &[&str]) -> Vec<String> {
        let mut arguments = vec![
            "load".to_owned(),
            format!("--address={}", contender.address),
            "--path=read".to_owned(),
            format!("--data={}", self.settings.services.data.display()),
            format!("--flights={}", self.settings.options.flights),
            format!("--connections={connections}"),
            format!("--issuer={}", self.key),
            "--tag=callers".to_owned(),
        ];
        arguments.extend(more.iter().map(|more| (*more).to_owned()));
        arguments
    }

    fn reads(&self, contender: &Contender, show: &str, connections: u32) -> Result<Round> {
        let show = format!("--show={show}");
        let seconds = self.seconds();
        let for_so_long = format!("--seconds={seconds}");
        let more = [show.as_str(), "--warmup=1", for_so_long.as_str()];
        let arguments = self.arguments(contender, connections, &more);
        measured(&arguments, self.services, contender, PATIENCE + Duration::from_secs(seconds))
    }

    fn seconds(&self) -> u64 {
        self.settings.options.seconds.max(LEAST_SECONDS)
    }

    /// Reads of good callers while a flood comes from elsewhere.
    fn beside(&self, contender: &Contender, flood: &[&str]) -> Result<Round> {
        let (from, rate) = (format!("--from={ELSEWHERE}"), format!("--rate={FLOOD}"));
        let longer = format!("--seconds={}", self.seconds() + 3);
        let mut more = vec![from.as_str(), rate.as_str(), "--warmup=0", longer.as_str()];
        more.extend(flood);
        let flood = Process::own(&self.arguments(contender, 32, &more), &[])?;
        let round = self.reads(contender, "key", 16)?;
        drop(flood);
        contender.settle()?;
        Ok(round)
    }
}

fn rate(round: &Round) -> f64 {
    round.outcome.good as f64 / round.outcome.seconds
}

fn per_request(round: &Round) -> f64 {
    round.cpu as f64 / round.outcome.good.max(1) as f64
}

fn p99(round: &Round) -> f64 {
    round.outcome.p99 as f64
}
