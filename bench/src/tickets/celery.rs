//! From asking to the result of an empty job, against Celery with the same promises on the same services.
//!
//! Not here: Celery's own half, which is celery.py.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{Bench, CALLERS, spread};
use crate::kept_alive::KeptAlive;

/// One turn, behind a second in which all begin.
const TURN: Duration = Duration::from_secs(8);
const SCRIPT: &str = include_str!("celery.py");

/// Answers the line of the report.
pub(super) fn measure(bench: &Bench<'_>) -> Result<String> {
    let keys = [("BEDS__SERVICES__CALGON__INSTANCES__WORK", "32")];
    let (address, running) = bench.node("done", &keys)?;
    let folder = bench.beds.folder.join("celery");
    std::fs::create_dir_all(&folder)?;
    super::write(&folder.join("jobs.py"), SCRIPT)?;
    let rounds = bench.settings.options.rounds.max(3);
    let (mut own, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        own.push(turn(address)?);
        if let Some(python) = &bench.settings.options.celery {
            let mut command = Command::new(python);
            command
                .args(["jobs.py", &CALLERS.to_string(), &TURN.as_secs().to_string()])
                .current_dir(&folder)
                .env("BROKER", &bench.settings.services.amqp)
                .env("BACKEND", &bench.settings.services.mongo);
            let output = command.output().context("starting celery")?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            ensure!(
                output.status.success(),
                "celery: {said}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let rate: f64 = said.lines().last().context("a rate")?.trim().parse()?;
            crate::note(&format!("  a round: {:.0}/s, celery {rate:.0}/s", own[own.len() - 1]));
            ratios.push(own[own.len() - 1] / rate);
        }
    }
    drop(running);
    let own = spread(&own);
    Ok(match ratios.is_empty() {
        true => format!(
            "Empty jobs asked for, done, and their results read, a second: {own}; no Celery to compare with (--celery)\n"
        ),
        false => format!(
            "Empty jobs asked for, done, and their results read, a second: {own}; against Celery: {} (wanted: at least 1.5)\n",
            spread(&ratios)
        ),
    })
}

/// Jobs a second: each is asked for, and its result is awaited.
fn turn(address: std::net::SocketAddr) -> Result<f64> {
    let (begin, counted) = (Instant::now() + Duration::from_secs(1), AtomicU64::new(0));
    let end = begin + TURN;
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut http = KeptAlive::connect(address)?;
                    while Instant::now() < end {
                        let asked = http.send("POST", "/v1/records/Jobs/jobs/empty", "{}")?;
                        ensure!(asked.status == 202, "{}", asked.body);
                        let ticket = asked.header("location").context("no location")?;
                        let result = http.send("GET", &format!("{ticket}/result?wait=20"), "")?;
                        ensure!(result.body.contains("\"id\":1"), "{}", result.body);
                        if (begin..end).contains(&Instant::now()) {
                            counted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        callers.into_iter().try_for_each(|caller| {
            caller.join().unwrap_or_else(|_| anyhow::bail!("a caller panicked"))
        })
    })?;
    Ok(counted.into_inner() as f64 / TURN.as_secs_f64())
}
