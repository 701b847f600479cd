//! Tickets: how many are taken and done a second, how soon one is gone that is cancelled or whose node died, and the cost of having them.
//!
//! Not here: that all of it is right, which the tests show.

mod celery;
mod cost;
mod ends;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};

use crate::contender::{Contender, Kind};
use crate::load::Path as LoadPath;
use crate::measure::{Round, measured};
use crate::neighbours::median;
use crate::options::{Beds, Settings};
use crate::rival::ReplyBy;
use crate::services::Services;
use crate::setup::{self, Running};
use crate::{callers, http_once};

/// Callers that ask for tickets at once.
const CALLERS: u32 = 32;

const OBJECTS: [(&str, &str, &str); 3] = [
    ("empty", "", "SELECT 1 AS id"),
    (
        "wait",
        "IN p_tenths INT",
        "BEGIN DECLARE n INT DEFAULT 0; DECLARE CONTINUE HANDLER FOR SQLEXCEPTION SET n = n; \
         WHILE n < p_tenths DO DO SLEEP(0.1); SET n = n + 1; END WHILE; SELECT n AS id; END",
    ),
    (
        "rows",
        "IN p_count INT",
        "SELECT seq AS id, REPEAT('x', 1000) AS filler FROM seq_1_to_1000000 WHERE seq <= p_count",
    ),
];

/// Answers the lines of the report.
pub(crate) fn measure(settings: &Settings, beds: &Beds, services: &Services) -> Result<String> {
    let templates = prepare(settings, beds)?;
    let issuer = callers::issuer(beds)?;
    let bench = Bench { settings, beds, services, templates, issuer };
    let mut text = String::from("\n");
    crate::note("measuring tickets: asking");
    text.push_str(&bench.submits()?);
    crate::note("measuring tickets: doing");
    text.push_str(&celery::measure(&bench)?);
    crate::note("measuring tickets: cancelling, and nodes that die");
    text.push_str(&ends::measure(&bench)?);
    crate::note("measuring tickets: a large result, old tickets, reads beside");
    text.push_str(&cost::measure(&bench)?);
    Ok(text)
}

/// Everything that the parts need.
struct Bench<'b> {
    settings: &'b Settings,
    beds: &'b Beds,
    services: &'b Services,
    templates: String,
    issuer: Vec<(&'static str, String)>,
}

impl Bench<'_> {
    /// A node with these keys beside the common ones.
    fn node(&self, name: &str, keys: &[(&str, &str)]) -> Result<(SocketAddr, Running)> {
        let beside = self.beds.beside()?;
        let (address, control) = (beside.listen.to_string(), format!("{name}.sock"));
        let mut environment = vec![
            ("BEDS__SERVICES__APPSERVER__LISTEN", address.as_str()),
            ("BEDS__NODE__NAME", name),
            ("BEDS__NODE__CONTROL", control.as_str()),
            ("BEDS__TEMPLATES__PATH", self.templates.as_str()),
            ("BEDS__REPORTS__LINEAGE", "false"),
            ("BEDS__REPORTS__AUDIT", "false"),
        ];
        environment.extend(self.issuer.iter().map(|(key, value)| (*key, value.as_str())));
        environment.extend(keys);
        Ok((beside.listen, setup::start(&beside, &environment)?))
    }

    /// Asking for tickets, which wait meanwhile, against the same by hand.
    fn submits(&self) -> Result<String> {
        let keys = [
            ("BEDS__SERVICES__CALGON__INSTANCES__REQUESTS", "16"),
            ("BEDS__SERVICES__CALGON__INSTANCES__WORK", "1"),
        ];
        let (address, running) = self.node("asked", &keys)?;
        let beds = Contender::beds(Kind::Beds, address, running.process.id(), running.idle_bytes);
        let rival =
            Contender::rival(Kind::ByHand(ReplyBy::Queue), LoadPath::Submit, self.settings)?;
        // The one task has something to do all the time, so that asking alone is measured.
        let busy = ask(address, "wait", "{\"tenths\":36000}")?;
        until(address, &busy, "running")?;
        let (mut ratios, mut rates) = (Vec::new(), Vec::new());
        for round in 0..self.settings.options.rounds.max(3) {
            let own = self.load(&beds, "callers", &format!("own{round}"))?;
            let by_hand = self.load(&rival, "callers", &format!("hand{round}"))?;
            ratios.push(rate(&own) / rate(&by_hand));
            rates.push((rate(&own), rate(&by_hand), own.outcome.p99));
            crate::note(&format!(
                "  a round: {:.0}/s, by hand {:.0}/s",
                rate(&own),
                rate(&by_hand)
            ));
            self.forget("state", "queued")?;
        }
        drop(running);
        let (own, hand, p99) = rates[rates.len() / 2];
        Ok(format!(
            "Tickets asked for, {CALLERS} callers, against the same by hand: {} (wanted: at least 0.8); one round: {own:.0}/s against {hand:.0}/s, p99 {:.1} ms\n",
            spread(&ratios),
            p99 as f64 / 1000.0,
        ))
    }

    fn load(&self, contender: &Contender, show: &str, tag: &str) -> Result<Round> {
        let options = &self.settings.options;
        let seconds = options.seconds.clamp(3, 8);
        let arguments = [
            "load".to_owned(),
            format!("--address={}", contender.address),
            "--path=submit".to_owned(),
            format!("--data={}", self.settings.services.data.display()),
            format!("--flights={}", options.flights),
            format!("--connections={CALLERS}"),
            format!("--issuer={}", self.beds.folder.join("bench.key").display()),
            format!("--show={show}"),
            "--warmup=1".to_owned(),
            format!("--seconds={seconds}"),
            format!("--tag={tag}"),
        ];
        let round = measured(&arguments, self.services, contender, Duration::from_secs(60))?;
        ensure!(round.outcome.errors.is_empty(), "errors: {:?}", round.outcome.errors);
        Ok(round)
    }

    /// Removes tickets from the store, as time does.
    fn forget(&self, field: &str, value: &str) -> Result<()> {
        let tickets = self.database()?.collection::<mongodb::bson::Document>("tickets");
        tickets.delete_many(mongodb::bson::doc! {field: value}).run()?;
        Ok(())
    }

    fn database(&self) -> Result<mongodb::sync::Database> {
        let url = std::fs::read_to_string(self.beds.folder.join("secrets/tickets.dba.url"))?;
        let client = mongodb::sync::Client::with_uri_str(url.trim())?;
        client.default_database().context("the URL names a database")
    }
}

/// Asks for a job; answers the path of the ticket.
fn ask(address: SocketAddr, job: &str, body: &str) -> Result<String> {
    let answer = http_once::send(address, "POST", &format!("/v1/records/Jobs/jobs/{job}"), body)?;
    ensure!(answer.status == 202, "asking for {job}: {} {}", answer.status, answer.body);
    Ok(answer.header("location").context("no location")?.to_owned())
}

fn state(address: SocketAddr, ticket: &str, wait: u8) -> Result<String> {
    let answer = http_once::get(address, &format!("{ticket}?wait={wait}"))?;
    let told: serde_json::Value = serde_json::from_str(&answer.body)?;
    Ok(told["state"].as_str().context("a state")?.to_owned())
}

fn until(address: SocketAddr, ticket: &str, wanted: &str) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if state(address, ticket, u8::from(wanted != "running"))? == wanted {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("{ticket} does not become {wanted}")
}

fn rate(round: &Round) -> f64 {
    round.outcome.good as f64 / round.outcome.seconds
}

fn spread(of: &[f64]) -> String {
    let (least, most) =
        (of.iter().copied().fold(f64::MAX, f64::min), of.iter().copied().fold(0.0, f64::max));
    format!("{:.2} ({least:.2}..{most:.2})", median(of.to_vec()))
}

/// The value that so many of a hundred do not exceed.
fn percentile(times: &mut [f64], share: usize) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[(times.len() * share / 100).min(times.len() - 1)]
}

/// Makes the objects, and a folder of templates with one for them.
fn prepare(settings: &Settings, beds: &Beds) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut conn = Conn::new(Opts::from_url(&settings.services.maria)?).await?;
        for (name, parameters, body) in OBJECTS {
            conn.query_drop(format!(
                "CREATE OR REPLACE PROCEDURE jobs_{name}({parameters}) READS SQL DATA {body}"
            ))
            .await?;
            conn.query_drop(format!("GRANT EXECUTE ON PROCEDURE jobs_{name} TO beds_runtime"))
                .await?;
        }
        conn.disconnect().await.context("closing the connection")
    })?;
    let folder = beds.folder.join("templates.jobs");
    std::fs::create_dir_all(&folder)?;
    for entry in std::fs::read_dir(&beds.templates)? {
        let path = entry?.path();
        std::fs::copy(&path, folder.join(path.file_name().context("a file has a name")?))?;
    }
    let jobs: String =
        OBJECTS.iter().map(|(name, ..)| format!("{name} = \"jobs_{name}\"\n")).collect();
    let text = format!(
        "name = \"Jobs\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[jobs]\n{jobs}[access]\nread = [\"clerk\"]\njobs = [\"clerk\"]\n"
    );
    write(&folder.join("jobs.toml"), &text)?;
    Ok(folder.to_str().context("the path is not UTF-8")?.to_owned())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
