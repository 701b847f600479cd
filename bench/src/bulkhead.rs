//! Quick reads of one MariaDB database while the server of another one is stopped in its tracks: the time that the slowest in a
//! hundred takes, against the same while both run.
//!
//! Not here: slow reads of the same database (neighbours.rs).

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::contender::Contender;
use crate::http_once;
use crate::neighbours::{median, p99};
use crate::options::{Beds, Second, Settings};

/// A request for the stopped database begins so often.
const ASKED_EVERY: Duration = Duration::from_millis(100);
/// How long BEDS may take to work with the database again.
const BACK: Duration = Duration::from_secs(60);

const SECOND: &str = "/v1/records/Second/by/plain?id=7";

/// Makes the second database's object and its template in the folder of templates.
pub(crate) fn prepare(beds: &Beds, second: &Second, templates: &str) -> Result<()> {
    let folder = beds.folder.join("second.schema");
    let schema = folder.join("rel/second");
    std::fs::create_dir_all(&schema)?;
    let own = beds.templates.join("../schema/rel/main/0001_beds.sql");
    std::fs::copy(&own, schema.join("0001_beds.sql"))
        .with_context(|| format!("copying {}", own.display()))?;
    let sql = "CREATE PROCEDURE second_plain(IN p_id INT) READS SQL DATA SELECT p_id AS id;\n";
    std::fs::write(schema.join("0002_second.sql"), sql)?;
    let credentials = beds.folder.join("second.dba.toml");
    std::fs::write(&credentials, format!("[databases.rel.second]\nurl = \"{}\"\n", second.maria))?;
    let mut command = Command::new(&beds.program);
    command.args(["schema", "apply", "--credentials"]).arg(credentials).arg("--schema").arg(folder);
    let output = command.output().context("starting `beds schema apply`")?;
    ensure!(
        output.status.success(),
        "`beds schema apply` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let template = "name = \"Second\"\nstore = \"rel\"\ndatabase = \"second\"\nid = \"id\"\n[fetches]\nplain = \"second_plain\"\n[access]\nread = [\"clerk\"]\n";
    Ok(std::fs::write(std::path::Path::new(templates).join("second.toml"), template)?)
}

/// Answers the lines of the report.
pub(crate) fn measure(
    settings: &Settings,
    contender: &Contender,
    second: &Second,
) -> Result<String> {
    let address = contender.address;
    let mut turns = Vec::new();
    for _ in 0..settings.options.rounds {
        let answer = http_once::get(address, SECOND)?;
        ensure!(answer.status == 200, "the second database: {} {}", answer.status, answer.body);
        let alone = p99(address)?;
        signal(second.process, "STOP")?;
        let beside = beside_a_stopped_server(address);
        signal(second.process, "CONT")?;
        turns.push((alone, beside?));
        until_back(address)?;
    }
    let ratio = median(turns.iter().map(|(alone, beside)| beside / alone).collect());
    let (alone, beside): (Vec<f64>, Vec<f64>) = turns.into_iter().unzip();
    Ok(format!(
        "Quick reads, p99: alone {:.1} ms, while the server of another database is stopped and asked {:.1} ms; ratio {ratio:.2} \
         (wanted: at most 1.2)\n",
        median(alone),
        median(beside),
    ))
}

fn beside_a_stopped_server(address: SocketAddr) -> Result<f64> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // Its answers are 503 and 504.
                scope.spawn(move || drop(http_once::get(address, SECOND)));
                std::thread::sleep(ASKED_EVERY);
            }
        });
        let measured = p99(address);
        is_over.store(true, Ordering::Relaxed);
        measured
    })
}

fn until_back(address: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    while http_once::get(address, SECOND)?.status != 200 {
        if begun.elapsed() > BACK {
            bail!("the second database did not come back");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn signal(process: u32, signal: &str) -> Result<()> {
    let status =
        Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).status()?;
    ensure!(status.success(), "kill -{signal} failed");
    Ok(())
}
