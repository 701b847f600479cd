//! Six nodes of separate roles under a steady load, and every fault that an operator meets. A table holds the answers that
//! callers may see in each fault and the signals that the nodes must give, and the run compares both; at the end, every
//! effect is counted.
//!
//! Not here: deaths within one write, which is `crash`'s.

mod cluster;
mod rows;
mod writers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::number;
use crate::rig::{Api, World, callers, eventually, free_port};
use cluster::{Cluster, NAMES};
use rows::ROWS;
use writers::{History, write};

const WRITERS: usize = 8;

/// Without a failure for so long, the next fault may come: longer than a request may take.
const CALM: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn six_nodes_lose_and_double_nothing_under_every_fault_of_the_table() -> Result<()> {
    let world = World::new().await?;
    let gateways =
        vec![format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?)];
    let mut cluster = Cluster { world: &world, gateways, nodes: BTreeMap::new() };
    NAMES.into_iter().try_for_each(|name| cluster.start(name))?;
    cluster.ready().await?;
    let http = callers::client(callers::KEY)?;
    let api = |number: usize| Api {
        url: format!("http://{}", cluster.gateways[number]),
        http: http.clone(),
    };
    let apis = [api(0), api(1)];
    let history = Arc::new(History::default());
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(apis.clone(), Arc::clone(&history), writer));
    }
    let (mut wrong, mut table) = (Vec::new(), Vec::new());
    for row in ROWS.iter().filter(|row| number(usize::from(!row.is_full), 1) == 1) {
        history.seen.lock().unwrap().clear();
        history.texts.lock().unwrap().clear();
        let begun = Instant::now();
        let said = cluster.suffer(row.fault).await.with_context(|| row.name)?;
        let undone = Instant::now();
        cluster.ready().await.with_context(|| row.name)?;
        let before = history.created.lock().unwrap().len();
        eventually("writes go on", async || Ok(history.created.lock().unwrap().len() > before + 4))
            .await
            .context(row.name)?;
        let (took, well) = (begun.elapsed(), undone.elapsed());
        let seen = history.seen.lock().unwrap().clone();
        let strange: Vec<&String> =
            seen.keys().filter(|code| !row.codes.contains(&code.as_str())).collect();
        if !strange.is_empty() {
            let texts = history.texts.lock().unwrap().clone();
            wrong.push(format!(
                "{}: callers saw {strange:?}, expected {:?}: {texts:#?}",
                row.name, row.codes
            ));
        }
        if !said.contains(row.signal) {
            wrong.push(format!("{}: no node said {:?}", row.name, row.signal));
        }
        // A key that a killed worker had claimed in MongoDB is in use until its transaction ends there, up to half a minute later.
        eventually("calm", async || {
            history.seen.lock().unwrap().clear();
            tokio::time::sleep(CALM).await;
            Ok(history.seen.lock().unwrap().is_empty())
        })
        .await
        .context(row.name)?;
        table.push(format!(
            "{:<42} {:>5.1} s, well {:>4.1} s after it; callers saw {seen:?}",
            row.name,
            took.as_secs_f64(),
            well.as_secs_f64()
        ));
    }
    history.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended?;
    }
    table.iter().for_each(|row| println!("{row}"));
    assert!(wrong.is_empty(), "{wrong:#?}");

    println!("{}", count(&world, &apis[0], &history).await?);
    Ok(())
}

/// Every effect, once.
async fn count(world: &World, api: &Api, history: &History) -> Result<String> {
    let names = world.sql("SELECT name FROM things")?;
    let stored: Vec<&str> = names.lines().collect();
    let set: BTreeSet<&str> = stored.iter().copied().collect();
    ensure!(set.len() == stored.len(), "a write took effect twice");
    let lost: Vec<String> = history
        .created
        .lock()
        .unwrap()
        .iter()
        .filter(|n| !set.contains(n.as_str()))
        .cloned()
        .collect();
    ensure!(lost.is_empty(), "lost: {lost:?}");
    let done: Vec<String> = history
        .refused
        .lock()
        .unwrap()
        .iter()
        .filter(|n| set.contains(n.as_str()))
        .cloned()
        .collect();
    ensure!(done.is_empty(), "told as not executed, and done: {done:?}");
    let known = history.created.lock().unwrap().len();
    let unknown = history.unknown.lock().unwrap().len();
    ensure!(stored.len() <= known + unknown, "{} of {known} and {unknown} unknown", stored.len());
    assert_eq!(
        world.sql("SELECT value FROM counters")?,
        history.counted.load(Ordering::Relaxed).to_string()
    );
    let tally = api.get("/v1/records/Tallies/c").await?;
    assert_eq!(
        tally.body["value"],
        json!(history.tallied.load(Ordering::Relaxed)),
        "{}",
        tally.text
    );
    let verify = || world.beds(&["audit", "verify", "--config", "verify.toml"]);
    let config = std::fs::read_to_string(world.config_file())?;
    world.write(
        "verify.toml",
        config
            .replace("[services.admin]\n", "[services.admin]\nsigning_key_file = \"audit.key\"\n"),
    )?;
    eventually("the trail is whole and signed", async || {
        let output = verify()?;
        ensure!(output.status.code() != Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(output.status.code() == Some(0))
    })
    .await?;
    Ok(format!(
        "{} requests; {known} things, {} papers, {} counts, {} tallies: 0 lost, 0 doubled; {unknown} unknown to their callers",
        history.requests.load(Ordering::Relaxed),
        history.papers.load(Ordering::Relaxed),
        history.counted.load(Ordering::Relaxed),
        history.tallied.load(Ordering::Relaxed)
    ))
}
