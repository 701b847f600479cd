//! The cost of giving a caller a clean session, and of checking the called object: the same read through objects that differ
//! in one thing only, turn by turn in one process.
//!
//! Not here: reads and writes against other programs, which is `measure`'s.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};

use crate::contender::Contender;
use crate::http_once;
use crate::options::{Beds, Settings};

/// Callers at once, each with a connection for each request.
const CALLERS: usize = 8;
/// One turn of one object.
const TURN: Duration = Duration::from_millis(1500);

/// Name of the fetch, its special point, its parameters and body.
const OBJECTS: [(&str, &str, &str, &str); 4] = [
    (
        "plain",
        "nothing special",
        "IN p_id BIGINT UNSIGNED",
        "SELECT * FROM flights WHERE flight_id = p_id",
    ),
    (
        "two",
        "two values, so the signature is checked",
        "IN p_id BIGINT UNSIGNED, IN p_year INT",
        "SELECT * FROM flights WHERE flight_id = p_id AND year >= p_year",
    ),
    (
        "leaves",
        "a session renewed behind the call",
        "IN p_id BIGINT UNSIGNED",
        "BEGIN SET @bench = p_id; SELECT * FROM flights WHERE flight_id = p_id; END",
    ),
    (
        "asks",
        "a session renewed in front of the call",
        "IN p_id BIGINT UNSIGNED",
        "BEGIN DECLARE n INT DEFAULT FOUND_ROWS(); SELECT * FROM flights WHERE flight_id = p_id; END",
    ),
];

/// A read that takes five seconds.
const SLOW: (&str, &str, &str, &str) = (
    "slow",
    "five seconds",
    "IN p_id BIGINT UNSIGNED",
    "BEGIN DO SLEEP(5); SELECT * FROM flights WHERE flight_id = p_id; END",
);

/// Makes the objects and a folder of templates with one for them; answers the folder.
pub(crate) fn prepare(settings: &Settings, beds: &Beds) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut conn = Conn::new(Opts::from_url(&settings.services.maria)?).await?;
        for (name, _, parameters, body) in OBJECTS.into_iter().chain([SLOW]) {
            conn.query_drop(format!(
                "CREATE OR REPLACE PROCEDURE bench_{name}({parameters}) READS SQL DATA {body}"
            ))
            .await?;
            conn.query_drop(format!("GRANT EXECUTE ON PROCEDURE bench_{name} TO beds_runtime"))
                .await?;
        }
        conn.disconnect().await.context("closing the connection")
    })?;
    let folder = beds.folder.join("templates");
    std::fs::create_dir_all(&folder)?;
    for entry in std::fs::read_dir(&beds.templates)? {
        let path = entry?.path();
        std::fs::copy(&path, folder.join(path.file_name().context("a file has a name")?))?;
    }
    let fetches: String = OBJECTS
        .iter()
        .chain([&SLOW])
        .map(|(name, ..)| format!("{name} = \"bench_{name}\"\n"))
        .collect();
    let text = format!(
        "name = \"Bench\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"flight_id\"\n[fetches]\n{fetches}[access]\nread = [\"clerk\"]\n"
    );
    std::fs::write(folder.join("bench.toml"), text)?;
    Ok(folder.to_str().context("the path is not UTF-8")?.to_owned())
}

/// Answers the lines of the report.
pub(crate) fn measure(settings: &Settings, contender: &Contender) -> Result<String> {
    let mut ratios = vec![Vec::new(); OBJECTS.len()];
    for round in 0..=settings.options.rounds {
        let mut rates = Vec::new();
        for (name, ..) in OBJECTS {
            rates.push(rate(contender, name)?);
        }
        // The first round fills caches.
        if round > 0 {
            ratios.iter_mut().zip(&rates).for_each(|(ratios, rate)| ratios.push(rate / rates[0]));
        }
    }
    let mut text = String::from(
        "\nReads of one flight through objects that differ in one thing, as a share of the first:\n",
    );
    for ((name, what, ..), mut ratios) in OBJECTS.into_iter().zip(ratios) {
        ratios.sort_unstable_by(f64::total_cmp);
        text.push_str(&format!("  {name:<7} {:.2}  {what}\n", ratios[ratios.len() / 2]));
    }
    Ok(text)
}

/// Good answers a second.
fn rate(contender: &Contender, name: &str) -> Result<f64> {
    let (begun, good, address) = (Instant::now(), AtomicU64::new(0), contender.address);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while begun.elapsed() < TURN {
                        let more = if name == "two" { "&year=2000" } else { "" };
                        let answer = http_once::get(
                            address,
                            &format!("/v1/records/Bench/by/{name}?id=7{more}"),
                        )?;
                        ensure!(answer.status == 200, "{name}: {} {}", answer.status, answer.body);
                        good.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        callers.into_iter().try_for_each(|caller| {
            caller.join().unwrap_or_else(|_| anyhow::bail!("a caller panicked"))
        })
    })?;
    Ok(good.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}
