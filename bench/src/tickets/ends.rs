//! How soon work is gone in the database that is cancelled, and how soon the work of a killed node goes on elsewhere.
//!
//! Not here: that nothing of it runs twice, which the tests show.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};

use super::{Bench, ask, percentile, until};
use crate::http_once;

const CANCELLED: usize = 200;
const KILLED: usize = 3;
const LONGEST: Duration = Duration::from_secs(90);

/// Answers the lines of the report.
pub(super) fn measure(bench: &Bench<'_>) -> Result<String> {
    let mut locks = Locks::open(bench)?;
    let (address, running) = bench.node("ends", &[])?;
    let mut gone = Vec::new();
    for _ in 0..CANCELLED {
        let ticket = ask(address, "wait", "{\"tenths\":6000}")?;
        locks.wait(&ticket, |holder| holder.is_some())?;
        let begun = Instant::now();
        let told = http_once::send(address, "DELETE", &ticket, "")?;
        ensure!(told.status == 202, "{} {}", told.status, told.body);
        locks.wait(&ticket, |holder| holder.is_none())?;
        gone.push(begun.elapsed().as_secs_f64() * 1000.0);
        until(address, &ticket, "cancelled")?;
    }
    drop(running);
    let gateway = [("BEDS__SERVICES__CALGON__IS_LOCAL", "false")];
    let (address, _gateway) = bench.node("gateway", &gateway)?;
    let (mut elsewhere, mut stopped) = (Vec::new(), Vec::new());
    for (signal, times) in [("KILL", &mut elsewhere), ("TERM", &mut stopped)] {
        for round in 0..KILLED {
            let (_, first) = bench.node(&format!("first{signal}{round}"), &[])?;
            let ticket = ask(address, "wait", "{\"tenths\":6000}")?;
            locks.wait(&ticket, |holder| holder.is_some())?;
            let (_, _second) = bench.node(&format!("second{signal}{round}"), &[])?;
            let before = locks.holder(&ticket)?;
            let begun = Instant::now();
            let status = Command::new("kill")
                .args([&format!("-{signal}"), &first.process.id().to_string()])
                .status()?;
            ensure!(status.success(), "kill failed");
            locks.wait(&ticket, |holder| holder.is_some() && holder != before)?;
            times.push(begun.elapsed().as_secs_f64());
            http_once::send(address, "DELETE", &ticket, "")?;
            until(address, &ticket, "cancelled")?;
            drop(first);
        }
    }
    Ok(format!(
        "DELETE until gone in MariaDB, of {CANCELLED} that swallow errors: p50 {:.0} ms, p99 {:.0} ms (wanted: at most 1000)\n\
         A killed node's work runs elsewhere after {:.1} s at most, of {KILLED} (wanted: at most 32); a stopped one's after {:.1} s (wanted: at most 2)\n",
        percentile(&mut gone, 50),
        percentile(&mut gone, 99),
        percentile(&mut elsewhere, 100),
        percentile(&mut stopped, 100),
    ))
}

/// A look at the locks by which MariaDB knows the work of tickets.
struct Locks {
    runtime: tokio::runtime::Runtime,
    conn: Conn,
}

impl Locks {
    fn open(bench: &Bench<'_>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let opts = Opts::from_url(&bench.settings.services.maria)?;
        let conn = runtime.block_on(Conn::new(opts))?;
        Ok(Self { runtime, conn })
    }

    /// The connection that works for a ticket.
    fn holder(&mut self, ticket: &str) -> Result<Option<u64>> {
        let id = ticket.rsplit('/').next().context("an id")?;
        let asked = format!("SELECT IS_USED_LOCK('beds:ticket:{id}')");
        let found: Option<Option<u64>> = self.runtime.block_on(self.conn.query_first(asked))?;
        Ok(found.flatten())
    }

    fn wait(&mut self, ticket: &str, is_so: impl Fn(Option<u64>) -> bool) -> Result<()> {
        let begun = Instant::now();
        while !is_so(self.holder(ticket)?) {
            if begun.elapsed() > LONGEST {
                bail!("{ticket} does not move");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}
