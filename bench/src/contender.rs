//! A contender: a running server that answers the measured requests. BEDS itself, or one of the rivals.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::http_once;
use crate::load::Path;
use crate::options::Settings;
use crate::process::{self, Process};
use crate::rival::ReplyBy;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Beds,
    /// The same by hand.
    ByHand(ReplyBy),
    /// BEDS with lineage and audit, and the admin tasks that store them in the same process.
    Recording,
    /// Reads without AMQP, writes without guarantees: the cost of the middle, or of the promise.
    Floor,
}

pub(crate) struct Contender {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) idle_bytes: u64,
    pid: u32,
    /// BEDS is started once and serves both paths, so that process belongs to the run.
    _process: Option<Process>,
}

impl Kind {
    pub(crate) fn name(self, path: Path) -> String {
        match (self, path) {
            (Kind::Beds, _) => "BEDS".to_owned(),
            (Kind::Recording, _) => "BEDS, recording".to_owned(),
            (Kind::ByHand(reply), _) => format!("by hand, {reply} reply"),
            (Kind::Floor, Path::Read) => "without AMQP".to_owned(),
            (Kind::Floor, _) => "no guarantees".to_owned(),
        }
    }

    fn subcommand(self, path: Path) -> &'static str {
        match (self, path) {
            (Kind::Floor, Path::Read) => "serve-direct",
            (Kind::Floor, _) => "serve-write-bare",
            (_, Path::Read) => "serve-by-hand",
            (_, Path::Write) => "serve-write-by-hand",
            (_, Path::Submit) => "serve-submit-by-hand",
        }
    }
}

impl Contender {
    /// Starts a rival for one path.
    pub(crate) fn rival(kind: Kind, path: Path, settings: &Settings) -> Result<Self> {
        let reply = if let Kind::ByHand(reply) = kind { reply } else { settings.replies[0] };
        let (tasks, prefetch) = settings.tasks_and_prefetch(path);
        let arguments = [
            kind.subcommand(path).to_owned(),
            format!("--tasks={tasks}"),
            format!("--prefetch={prefetch}"),
            format!("--reply={reply}"),
        ];
        // Addresses hold passwords, so they go by the environment, which other users cannot read.
        let environment = [
            ("BEDS_BENCH_RIVAL_AMQP", settings.services.amqp.as_str()),
            ("BEDS_BENCH_RIVAL_MARIA", settings.services.maria.as_str()),
            ("BEDS_BENCH_RIVAL_MONGO", settings.services.mongo.as_str()),
        ];
        let mut process = Process::own(&arguments, &environment)?;
        let ready = process
            .line(Duration::from_secs(30))
            .with_context(|| format!("starting {}", kind.name(path)))?;
        let address = ready
            .strip_prefix("ready ")
            .context("a rival did not say where it listens")?
            .parse()?;
        let pid = process.id();
        let idle_bytes = idle(pid);
        Ok(Self { kind, address, idle_bytes, pid, _process: Some(process) })
    }

    /// BEDS, which runs already.
    pub(crate) fn beds(kind: Kind, address: SocketAddr, pid: u32, idle_bytes: u64) -> Self {
        Self { kind, address, idle_bytes, pid, _process: None }
    }

    pub(crate) fn cpu_micros(&self) -> Result<u64> {
        process::cpu_micros(self.pid)
            .context("a contender has ended; its message is above, BEDS's in beds.log")
    }

    /// Waits until the process has nothing left to do, so that it does not work on in the next one's round.
    pub(crate) fn settle(&self) -> Result<()> {
        for _ in 0..120 {
            let before = self.cpu_micros()?;
            std::thread::sleep(Duration::from_millis(500));
            if self.cpu_micros()? - before < 25_000 {
                return Ok(());
            }
        }
        bail!("{:?} does not come to rest", self.kind)
    }

    /// How many records it dropped, as its metrics say.
    pub(crate) fn dropped(&self) -> Result<u64> {
        // The counter is brought up to date every few seconds.
        std::thread::sleep(Duration::from_secs(5));
        let metrics = http_once::get(self.address, "/metrics")?.body;
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("beds_records_dropped_total "));
        line.context("the metrics name no dropped records")?
            .trim()
            .parse()
            .context("a number of dropped records")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks it one thing of each kind, so that nothing is measured that does not do the work.
    pub(crate) fn check(
        &self,
        path: Path,
        settings: &Settings,
        bodies: &[String],
        tag: &str,
    ) -> Result<()> {
        let name = self.kind.name(path);
        let url = "/v1/records/Flights";
        match path {
            Path::Read => {
                let answer = http_once::get(self.address, &format!("{url}/1"))?;
                ensure!(
                    answer.status == 200,
                    "{name} answered {} to a read: {}",
                    answer.status,
                    answer.body
                );
                let record: serde_json::Value = serde_json::from_str(&answer.body)?;
                ensure!(
                    record["flight_id"] == 1,
                    "{name} answered another flight: {}",
                    answer.body
                );
                let nobody =
                    http_once::get(self.address, &format!("{url}/{}", settings.no_such_flight()))?;
                ensure!(
                    nobody.status == 404,
                    "{name} answered {} for a flight that is not there",
                    nobody.status
                );
            }
            // Its answers are seen when it is measured.
            Path::Submit => {}
            Path::Write => {
                let key = format!("{tag}-check");
                let first = http_once::post(self.address, url, &key, &bodies[0])?;
                ensure!(
                    first.status == 201,
                    "{name} answered {} to a write: {}",
                    first.status,
                    first.body
                );
                if self.kind == Kind::Floor {
                    return Ok(());
                }
                let again = http_once::post(self.address, url, &key, &bodies[0])?;
                let id = |body: &str| {
                    Some(serde_json::from_str::<serde_json::Value>(body).ok()?["flight_id"].clone())
                };
                ensure!(
                    id(&first.body) == id(&again.body),
                    "{name} wrote twice for one key: {}",
                    again.body
                );
            }
        }
        Ok(())
    }
}

/// Resident memory of a process that has just started and has nothing to do.
pub(crate) fn idle(pid: u32) -> u64 {
    std::thread::sleep(Duration::from_secs(1));
    process::resident_bytes(pid).unwrap_or_default()
}
