//! The admin node is away while requests come in. They go on; nothing of audit and lineage is lost or doubled afterwards.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::number;
use crate::rig::{Api, World, eventually};

const CALLERS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_while_no_node_stores_records() -> Result<()> {
    let world = World::new().await?;
    let live = world.node_with(|config| config.services.admin.is_local = false).await?;
    let time = Duration::from_secs(number(3, 300) as u64);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(write_and_read(live.api.clone(), caller, time));
    }
    let mut answered = 0;
    while let Some(done) = callers.join_next().await {
        answered += done??;
    }
    let admin = world
        .node_with(|config| {
            config.node.name = "admin".into();
            config.node.control = None;
            config.services.rel.is_local = false;
        })
        .await?;
    for kind in ["audited", "traced"] {
        eventually("all records are stored", async || {
            let stored = stored(&admin.api, kind).await?;
            ensure!(stored <= answered, "{kind}: doubled: {stored} records of {answered} requests");
            Ok(stored == answered)
        })
        .await?;
    }
    let chains = admin.api.get("/v1/records/Audit/by/chains").await?;
    assert_eq!(chains.body["records"][0]["_id"], "admin.audit-1", "{}", chains.text);
    println!("{answered} requests in {time:?} without an admin node: each has its audit and its lineage record once");
    Ok(())
}

/// As many requests as fit into the time; each is answered. Their number.
async fn write_and_read(api: Api, caller: usize, time: Duration) -> Result<u64> {
    let (begun, mut answered) = (Instant::now(), 0);
    while begun.elapsed() < time {
        let created = api.post("/v1/records/Things", &json!({"name": format!("{caller} {answered}")})).await?;
        ensure!(created.status == 201, "requests go on: {}", created.text);
        let read = api.get(created.header("location")).await?;
        ensure!(read.status == 200, "requests go on: {}", read.text);
        answered += 2;
    }
    Ok(answered)
}

/// How many records of `Things` there are.
async fn stored(api: &Api, kind: &str) -> Result<u64> {
    let answer = api.get(&format!("/v1/records/Attacker/by/{kind}?template=Things")).await?;
    let rows = answer.body["records"].as_array().with_context(|| answer.text.clone())?;
    Ok(rows.first().and_then(|row| row["number"].as_u64()).unwrap_or(0))
}
