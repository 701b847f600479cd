//! Each service is killed and started again while requests run. The node is not touched. Every write that was answered
//! with success is there, once. nextest runs these alone (.config/nextest.toml), because all tests share the services.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::audit::search;
use crate::least_privilege::restrict;
use crate::rig::{Api, World, eventually, killable};

/// The writes of all writers.
#[derive(Default)]
struct History {
    stop: AtomicBool,
    /// Successes by route: things, papers, counters, tallies.
    done: [AtomicUsize; 4],
    attempts: AtomicUsize,
    not_executed: AtomicUsize,
    unknown: AtomicUsize,
    unexpected: std::sync::Mutex<Vec<String>>,
}

fn add_one(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

const ROUTES: [(&str, Method); 4] = [
    ("/v1/records/Things", Method::POST),
    ("/v1/records/Papers", Method::POST),
    ("/v1/records/Counters/c", Method::PATCH),
    ("/v1/records/Tallies/c", Method::PATCH),
];

/// Writes without pause; each write is repeated with its key until it succeeds, as a careful caller would.
async fn write(api: Api, history: Arc<History>, writer: usize) {
    for number in 0.. {
        let route = number % ROUTES.len();
        let (path, method) = &ROUTES[route];
        let body = match method {
            &Method::POST => json!({"name": format!("w{writer} n{number}")}),
            _ => json!({"by": 1}),
        };
        let key = format!("w{writer}n{number}");
        loop {
            history.attempts.fetch_add(1, Ordering::Relaxed);
            let request = api.http.request(method.clone(), format!("{}{path}", api.url));
            match api
                .send(
                    request
                        .header("Idempotency-Key", &key)
                        .header("Beds-Timeout", "2s")
                        .json(&body),
                )
                .await
            {
                Ok(answer) if matches!(answer.status, 200 | 201) => {
                    history.done[route].fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Ok(answer) if matches!(answer.status, 503 | 409) => add_one(&history.not_executed),
                Ok(answer) if answer.status == 504 => add_one(&history.unknown),
                Ok(answer) => {
                    history.unexpected.lock().unwrap().push(answer.text);
                    break;
                }
                Err(error) => {
                    history.unexpected.lock().unwrap().push(error.to_string());
                    break;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        if history.stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answered_write_is_there_once_after_each_service_was_killed() -> Result<()> {
    let world = World::new().await?;
    let process = world.process("").await?;
    // RabbitMQ 3.10.8 writes the names of its quorum queues some seconds late, and forgets one when it is killed before.
    for queue in ["rel.write.main", "rec.write.main", "audit", "lineage"] {
        let name = format!("{}_{queue}", world.name);
        eventually("the queue is written", async || killable::rabbitmq_has_written(&name)).await?;
    }
    let history = Arc::new(History::default());
    let mut writers = JoinSet::new();
    for number in 0..4 {
        writers.spawn(write(process.api.clone(), Arc::clone(&history), number));
    }

    for (service, routes) in [("rabbitmq", 0..4), ("mariadb", 0..4), ("mongodb", 0..4)] {
        let before: Vec<usize> =
            history.done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
        eventually("all routes are served before the kill", async || {
            Ok(history
                .done
                .iter()
                .zip(&before)
                .all(|(done, before)| done.load(Ordering::Relaxed) > before + 5))
        })
        .await?;
        let begun = Instant::now();
        killable::kill(service)?;
        let port = killable::start(service)?;
        let mut back = JoinSet::new();
        back.spawn(async move {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            Instant::now()
        });
        // The writers go round the routes, so each of them is served again once its service is back.
        let before: Vec<usize> =
            history.done.iter().map(|done| done.load(Ordering::Relaxed)).collect();
        eventually("all routes are served after the kill", async || {
            Ok(routes
                .clone()
                .all(|route| history.done[route].load(Ordering::Relaxed) > before[route] + 2))
        })
        .await?;
        let after_kill = begun.elapsed().as_secs_f64();
        let back = back.join_next().await.context("it came back")??;
        let after_return = back.elapsed().as_secs_f64();
        println!(
            "{service}: all routes served {after_kill:.1} s after the kill, {after_return:.1} s after it took connections"
        );
    }
    history.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended?;
    }
    assert!(
        history.unexpected.lock().unwrap().is_empty(),
        "{:?}",
        history.unexpected.lock().unwrap()
    );

    let [things, papers, counters, tallies] =
        history.done.each_ref().map(|done| done.load(Ordering::Relaxed));
    println!(
        "attempts {}, done {}, not executed {}, unknown {}",
        history.attempts.load(Ordering::Relaxed),
        things + papers + counters + tallies,
        history.not_executed.load(Ordering::Relaxed),
        history.unknown.load(Ordering::Relaxed)
    );
    assert_eq!(
        world.sql("SELECT COUNT(*), COUNT(DISTINCT name) FROM things")?,
        format!("{things}\t{things}")
    );
    assert_eq!(world.sql("SELECT value FROM counters")?, counters.to_string());
    assert_eq!(process.api.get("/v1/records/Tallies/c").await?.body["value"], json!(tallies));
    assert_eq!(count(&process.api, "Papers").await?, papers);
    // The node looks after its databases every so often; requests may have found them before.
    eventually("the node says that it is ready", async || {
        Ok(process.api.get("/readyz").await?.status == 200)
    })
    .await
}

/// Ends the read-only state and the log, however the test ends.
struct ReadOnly<'a>(&'a World);

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        drop(self.0.sql_server("SET GLOBAL read_only = OFF; SET GLOBAL general_log = OFF"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_a_read_only_server_refuses_is_tried_again_and_then_503() -> Result<()> {
    let world = World::new().await?;
    let _login = restrict(&world)?;
    // A definer with READ ONLY ADMIN writes on a read-only server. The DBA that docs/dba.md describes has no such right.
    let owner = format!("o{}", &world.name[..30]);
    world.sql_server(&format!(
        "CREATE USER {owner}@'%'; GRANT ALL ON {}.* TO {owner}@'%'",
        world.name
    ))?;
    let routines = std::fs::read_to_string(world.folder.join("schema/rel/main/0001_beds.sql"))?;
    let (_, routines) = routines.split_once("DELIMITER //").context("routines")?;
    let of_owner = format!("REPLACE DEFINER = {owner}@'%' PROCEDURE beds_inbox_");
    let owned = routines.replace("REPLACE PROCEDURE beds_inbox_", &of_owner);
    world.domain(&format!("DELIMITER //{owned}"), &[])?;
    let live = world.node().await?;
    let write = async |carrier: &str| {
        live.api.post("/v1/records/Airlines", &json!({"carrier": carrier, "name": "Zed"})).await
    };
    assert_eq!(write("Z1").await?.status, 201);

    world.sql_server("SET GLOBAL read_only = ON; SET GLOBAL log_output = 'TABLE'; TRUNCATE mysql.general_log; SET GLOBAL general_log = ON")?;
    let writable = ReadOnly(&world);
    let refused = write("Z2").await?;
    assert_eq!((refused.status, refused.code()), (503, "BEDS-0016"), "{}", refused.text);
    let tried = "SELECT COUNT(*) FROM mysql.general_log WHERE command_type = 'Execute' AND argument LIKE '%beds_inbox_begin%'";
    let tried: u32 = world.sql_server(tried)?.parse()?;
    assert!(tried > 1, "tried {tried} times");
    assert_eq!(live.api.get("/v1/records/Airlines/Z1").await?.body["name"], "Zed", "reads go on");
    drop(writable);
    assert_eq!(write("Z2").await?.status, 201);
    world.sql_server(&format!("DROP USER {owner}@'%'")).map(drop)
}

async fn count(api: &Api, template: &str) -> Result<usize> {
    let (mut total, mut after) = (0, String::new());
    loop {
        let page = api.get(&format!("/v1/records/{template}?limit=500{after}")).await?;
        total += page.body["records"].as_array().context("records")?.len();
        match page.body["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(total),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_mongodb_is_away_requests_are_503_at_once() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    assert_eq!(live.api.post("/v1/records/Papers", &json!({"name": "before"})).await?.status, 201);
    killable::kill("mongodb")?;
    eventually("the node has noticed", async || {
        Ok(live.api.get("/readyz").await?.text.contains("the database main is not available"))
    })
    .await?;
    let (mut took, mut answers) = (Vec::new(), Vec::new());
    for number in 0..10 {
        let begun = Instant::now();
        let written =
            live.api.post("/v1/records/Papers", &json!({"name": format!("n{number}")})).await?;
        let read = live.api.get("/v1/records/Papers?limit=1").await?;
        took.push(begun.elapsed().as_millis());
        answers.extend([
            (written.status, written.code().to_owned()),
            (read.status, read.code().to_owned()),
        ]);
    }
    println!("milliseconds of a write and a read: {took:?}");
    killable::start("mongodb")?;
    assert!(answers.iter().all(|answer| *answer == (503, "BEDS-0016".to_owned())), "{answers:?}");
    eventually("it is served again", async || {
        Ok(live.api.post("/v1/records/Papers", &json!({"name": "after"})).await?.status == 201)
    })
    .await
}

/// A whole copy of a folder, in the place of an older one.
fn copy_folder(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    drop(std::fs::remove_dir_all(to));
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    anyhow::ensure!(done.success(), "cp -a {} {}", from.display(), to.display());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_a_restore_has_torn_is_found_and_can_be_acknowledged() -> Result<()> {
    let world = World::new().await?;
    world.change_config(
        "[services.admin]\n",
        "[services.admin]\nsigning_key_file = \"audit.key\"\nsigning_interval = \"200ms\"\n",
    )?;
    let process = world.process("").await?;
    let stored = async |number: usize| {
        eventually("the records are stored", async || {
            Ok(search(&process.api, "&template=Things")
                .await
                .is_ok_and(|found| found.len() >= number))
        })
        .await
    };
    let verify = |more: &[&str]| -> Result<(Option<i32>, String)> {
        let output = world.beds(&[&["audit", "verify"], more].concat())?;
        Ok((
            output.status.code(),
            [output.stdout, output.stderr]
                .map(|b| String::from_utf8_lossy(&b).into_owned())
                .concat(),
        ))
    };
    let signed = async |seq: u64| {
        eventually("they are signed", async || {
            let (_, text) = verify(&[])?;
            Ok(text
                .split("signed up to ")
                .nth(1)
                .and_then(|rest| rest.lines().next()?.parse::<u64>().ok())
                >= Some(seq))
        })
        .await
    };
    for number in 0..3 {
        process
            .api
            .post("/v1/records/Things", &json!({"name": format!("before {number}")}))
            .await?;
    }
    stored(3).await?;
    let (data, copy) = (killable::mongodb_data()?, world.folder.join("copy"));
    killable::kill("mongodb")?;
    copy_folder(&data, &copy)?;
    killable::start("mongodb")?;
    for number in 0..3 {
        let (key, body) = (format!("k{number}"), json!({"name": format!("lost {number}")}));
        eventually("it is written", async || {
            Ok(process.api.post_with_key("/v1/records/Things", &key, &body).await?.status == 201)
        })
        .await?;
    }
    stored(6).await?;
    let newest = search(&process.api, "&template=Things")
        .await?
        .iter()
        .filter_map(|r| r["seq"].as_u64())
        .max()
        .unwrap_or(0);
    signed(newest).await?;
    let kept = world.beds(&["audit", "heads"])?;
    std::fs::write(world.folder.join("heads.ndjson"), kept.stdout)?;

    // The restore: everything since the copy is gone.
    killable::kill("mongodb")?;
    copy_folder(&copy, &data)?;
    killable::start("mongodb")?;
    eventually("the node goes on", async || {
        let written = process
            .api
            .post_with_key("/v1/records/Things", "later", &json!({"name": "later"}))
            .await?;
        Ok(written.status == 201)
    })
    .await?;
    let (mut code, mut text) = (None, String::new());
    eventually("the fault is found", async || {
        (code, text) = verify(&["--heads", "heads.ndjson"])?;
        Ok(code == Some(1))
    })
    .await?;
    assert!(
        text.contains("record is missing")
            || text.contains("cut off")
            || text.contains("rewritten"),
        "{text}"
    );
    // As an operator does it: each fault that is named is acknowledged, until none is named. Each look at the trail is
    // recorded in it, and a node that ran through the restore goes on behind records that are gone.
    let mut gaps = String::new();
    eventually("with the gaps acknowledged, the trail is whole", async || {
        std::fs::write(world.folder.join("gaps.ndjson"), &gaps)?;
        let (code, said) = verify(&["--heads", "heads.ndjson", "--acknowledged", "gaps.ndjson"])?;
        for fault in said.lines().filter(|line| line.starts_with("chain ms.audit-1, record ")) {
            let (_, rest) = fault.split_once(", record ").context("a place")?;
            let place = rest.split(':').next().context("a place")?;
            let range = rest.split("in doubt: ").nth(1).map(|range| range.trim_end_matches(')'));
            let (from, to) =
                range.and_then(|range| range.split_once(" to ")).unwrap_or((place, place));
            let chain = ["audit", "acknowledge", "--chain", "ms.audit-1"];
            let word = world.beds(
                &[&chain[..], &["--from", from, "--to", to, "--reason", "restored"]].concat(),
            )?;
            assert!(word.status.success(), "{}", String::from_utf8_lossy(&word.stderr));
            gaps += &String::from_utf8(word.stdout)?;
        }
        text = said;
        Ok(code == Some(0) && text.contains("acknowledged: chain ms.audit-1"))
    })
    .await?;
    // A word that is not signed with the key counts for nothing.
    let forged = gaps.replace("restored", "forged");
    std::fs::write(world.folder.join("gaps.ndjson"), forged)?;
    assert_eq!(verify(&["--acknowledged", "gaps.ndjson"])?.0, Some(2));
    Ok(())
}
