//! Brings BEDS up for a run: starts it, waits until it is ready, loads the flights in the way that an application would.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::contender::{self, Contender, Kind};
use crate::http_once;
use crate::options::{Beds, Settings};
use crate::process::Process;

/// How long BEDS may take to start.
const START: Duration = Duration::from_secs(60);

/// BEDS, running and loaded.
pub(crate) struct Running {
    pub(crate) process: Process,
    /// Resident memory after the start, before the first request.
    pub(crate) idle_bytes: u64,
    /// From the start of the process until it was ready.
    pub(crate) start: Duration,
}

/// Starts BEDS with some keys of its configuration from the environment.
pub(crate) fn start(beds: &Beds, environment: &[(&str, &str)]) -> Result<Running> {
    let config = beds.folder.join("beds.toml");
    let config = config.to_str().context("the path of beds.toml is not UTF-8")?;
    let log = beds.folder.join(format!("beds.{}.log", beds.listen.port()));
    let began = Instant::now();
    let mut process =
        Process::other(&beds.program, &["run", "--config", config], environment, &log)?;
    while !http_once::get(beds.listen, "/readyz").is_ok_and(|answer| answer.status == 200) {
        if process.has_ended() || began.elapsed() > START {
            bail!("BEDS did not become ready; see {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let start = began.elapsed();
    let idle_bytes = contender::idle(process.id());
    Ok(Running { process, idle_bytes, start })
}

/// A BEDS on a vhost of its own that asks for no credential and seals nothing; else as the measured one.
pub(crate) fn open(settings: &Settings, beds: &Beds) -> Result<(Contender, Running)> {
    let beside = beds.beside()?;
    let address = beside.listen.to_string();
    let environment = [
        ("BEDS__AMQP__URL", settings.services.open_amqp.as_str()),
        ("BEDS__SERVICES__APPSERVER__LISTEN", address.as_str()),
        ("BEDS__NODE__CONTROL", "open.sock"),
        ("BEDS__REPORTS__LINEAGE", "false"),
        ("BEDS__REPORTS__AUDIT", "false"),
        ("BEDS__AUTH__REQUIRED", "false"),
        ("BEDS__TRUST__REQUIRE_SEAL", "false"),
        ("BEDS__TRUST__SEAL_KEYS", ""),
    ];
    let running = start(&beside, &environment)?;
    let contender =
        Contender::beds(Kind::Beds, beside.listen, running.process.id(), running.idle_bytes);
    Ok((contender, running))
}

/// Loads the rows that are read and written, in the way that an application would.
pub(crate) fn load_flights(settings: &Settings, beds: &Beds) -> Result<()> {
    let config = beds.folder.join("beds.toml");
    let config = config.to_str().context("the path of beds.toml is not UTF-8")?;
    let limit = settings.options.flights.to_string();
    for (template, file, more) in [
        ("Airlines", "airlines.csv", &[][..]),
        ("Airports", "airports.csv", &[]),
        ("Planes", "planes.csv", &[]),
        ("Flights", "flights.csv", &["--limit", &limit]),
    ] {
        load(beds, config, template, &settings.services.data.join(file), more)?;
    }
    Ok(())
}

fn load(beds: &Beds, config: &str, template: &str, file: &Path, more: &[&str]) -> Result<()> {
    let mut command = Command::new(&beds.program);
    command.args(["load", "--config", config, template]).arg(file).args(more);
    let output = command.output().context("starting `beds load`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`beds load {template}` failed: {said}");
    Ok(())
}
