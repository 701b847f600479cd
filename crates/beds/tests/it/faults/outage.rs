//! The admin node is away while requests come in. They go on; nothing of audit and lineage is lost or doubled afterwards.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::json;

use super::number;
use crate::rig::{Api, Live, World, eventually, killable};

const CALLERS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_no_node_stores_records() -> Result<()> {
    let world = World::new().await?;
    let live = world.node_with(|config| config.services.admin.is_local = false).await?;
    let admin = admin(&world).await?;
    let mut times = load(&live.api, "with", Duration::from_secs(number(1, 60) as u64)).await?;
    let mut answered = times.len() as u64;
    let with = p99(&mut times);
    ensure!(admin.node.shutdown().await, "a clean end");

    // In a full run nothing else is there that needs MongoDB, so it goes too.
    let is_full = number(0, 1) == 1;
    if is_full {
        killable::kill("mongodb")?;
    }
    let time = Duration::from_secs(number(2, 300) as u64);
    let mut times = load(&live.api, "without", time).await?;
    answered += times.len() as u64;
    let without = p99(&mut times);
    if is_full {
        killable::start("mongodb")?;
    }

    let admin = self::admin(&world).await?;
    drained(&world).await?;
    for kind in ["audited", "traced"] {
        let stored = stored(&admin.api, kind).await?;
        ensure!(stored == answered, "{kind}: {stored} records of {answered} requests");
    }
    let chains = admin.api.get("/v1/records/Audit/by/chains").await?;
    assert_eq!(chains.body["records"][0]["_id"], "admin.audit-1", "{}", chains.text);
    // A time is printed and never asserted: it is the machine's as much as ours.
    println!(
        "{answered} requests, for {time:?} without an admin node{}: each has its audit and its lineage record once",
        if is_full { " and without MongoDB" } else { "" }
    );
    println!("p99 with it {with:?}, without it {without:?}");
    Ok(())
}

/// Waits until nothing is left in the queues of records, as long as they get shorter.
async fn drained(world: &World) -> Result<()> {
    let mut least = u64::MAX;
    while least > 0 {
        eventually("the queues get shorter", async || {
            let path = format!("/api/queues/{}?columns=name,messages", world.name);
            let queues = world.rabbit(Method::GET, &path, None).await?;
            let queues = queues.as_array().context("queues")?;
            let of_records =
                queues.iter().filter(|q| q["name"] == "audit" || q["name"] == "lineage");
            // A queue that has not been counted yet is not known to be empty.
            let left: u64 =
                of_records.map(|queue| queue["messages"].as_u64().unwrap_or(u64::MAX / 2)).sum();
            let is_less = left < least;
            least = least.min(left);
            Ok(is_less)
        })
        .await?;
    }
    Ok(())
}

/// A node that stores records and does nothing else.
async fn admin(world: &World) -> Result<Live> {
    let change = |config: &mut beds_core::Config| {
        config.node.name = "admin".into();
        config.node.control = None;
        config.services.rel.is_local = false;
    };
    world.node_with(change).await
}

/// As many creates and reads as fit into the time; each is answered. How long each took.
async fn load(api: &Api, name: &str, time: Duration) -> Result<Vec<Duration>> {
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let (api, name) = (api.clone(), format!("{name} {caller}"));
        callers.spawn(async move {
            let (begun, mut times) = (Instant::now(), Vec::new());
            while begun.elapsed() < time {
                let sent = Instant::now();
                let body = json!({"name": format!("{name} {}", times.len())});
                let created = api.post("/v1/records/Things", &body).await?;
                ensure!(created.status == 201, "requests go on: {}", created.text);
                times.push(sent.elapsed());
                let sent = Instant::now();
                let read = api.get(created.header("location")).await?;
                ensure!(read.status == 200, "requests go on: {}", read.text);
                times.push(sent.elapsed());
            }
            Ok(times)
        });
    }
    let mut all = Vec::new();
    while let Some(times) = callers.join_next().await {
        all.extend(times??);
    }
    Ok(all)
}

fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() * 99 / 100).copied().unwrap_or_default()
}

/// How many records of `Things` there are.
async fn stored(api: &Api, kind: &str) -> Result<u64> {
    let request = api.request("GET", &format!("/v1/records/Attacker/by/{kind}?template=Things"));
    // Counting goes through every record.
    let answer = api.send(request.header("Beds-Timeout", "60s")).await?;
    let rows = answer.body["records"].as_array().with_context(|| answer.text.clone())?;
    Ok(rows.first().and_then(|row| row["number"].as_u64()).unwrap_or(0))
}
