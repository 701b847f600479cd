//! The node dies at every place between a write's delivery and the end of its records' way. Each committed write has its
//! audit record and its lineage record, once; no record is of a write that is not there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use beds_core::event::keyed_hash;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};

use super::number;
use crate::audit::search;
use crate::rig::{Answer, Process, World, eventually};

/// In the order of a write's way: the worker, the adapter, the worker again, the lane of the audit records, the worker,
/// and the admin node's task.
const PLACES: &[&str] = &[
    "received",
    "uncommitted",
    "committed",
    "replied",
    "reported",
    "sending",
    "sent",
    "recorded",
    "storing",
    "stored",
];

/// Worlds at the same time: a run mostly waits for processes.
const TOGETHER: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_write_has_its_records_once_wherever_the_node_dies() -> Result<()> {
    let runs = (0..number(1, 20)).flat_map(|run| ["Things", "Papers"].map(|template| (run, template)));
    let done = stream::iter(runs)
        .map(|(run, template)| async move {
            dies_everywhere(template).await.with_context(|| format!("run {run}, {template}"))
        })
        .buffer_unordered(TOGETHER)
        .try_collect::<Vec<()>>()
        .await?;
    println!("{} nodes died; every write has its records once", done.len() * PLACES.len());
    Ok(())
}

async fn dies_everywhere(template: &str) -> Result<()> {
    let world = World::new().await?;
    for place in PLACES {
        let mut dying = world.process(&format!("{place}=return")).await?;
        // Whether it answers depends on where it dies.
        drop(create(&dying, template, place).await);
        ensure!(dying.ended().await?.is_none(), "{place}: not ended by abort");
        settle(&world, template, place).await.with_context(|| format!("after {place}"))?;
    }
    let living = world.process("").await?;
    let listed = living.api.get(&format!("/v1/records/{template}?limit=100")).await?;
    let id = if template == "Things" { "id" } else { "_id" };
    let there: BTreeSet<String> = listed.body["records"]
        .as_array()
        .context("records")?
        .iter()
        .map(|record| record[id].as_str().map_or_else(|| record[id].to_string(), str::to_owned))
        .collect();
    ensure!(there.len() == PLACES.len(), "one effect for each key: {there:?}");
    let hashes: BTreeSet<String> =
        there.iter().map(|id| keyed_hash(&"of the tests".to_owned().into(), &[template, id])).collect();

    // The trail knows the records that are there, and no other; and each event once.
    let mut told: BTreeMap<String, u32> = BTreeMap::new();
    let mut recorded = BTreeSet::new();
    for entry in search(&living.api, &format!("&outcome=ok&template={template}")).await? {
        let record = &entry["record"];
        if record["operation"] == "create" {
            *told.entry(record["about"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            recorded.extend(record["record"].as_str().map(str::to_owned));
        }
    }
    ensure!(recorded == hashes, "audit {recorded:?}, database {hashes:?}");
    ensure!(told.values().all(|times| *times == 1), "{told:?}");
    for about in told.keys() {
        let of = living.api.get(&format!("/v1/records/Lineage/by/tree?root={about}")).await?;
        let of = of.body["records"].as_array().cloned().unwrap_or_default();
        ensure!(of.iter().filter(|record| record["_id"] == about.as_str()).count() == 1, "lineage of {about}: {of:?}");
    }
    Ok(())
}

async fn create(process: &Process, template: &str, place: &str) -> Result<Answer> {
    process.api.post_with_key(&format!("/v1/records/{template}"), place, &json!({"name": place})).await
}

/// A node that lives takes over what a dead one left: the caller's retry is answered, its record is stored, and nothing is
/// under way any more.
async fn settle(world: &World, template: &str, place: &str) -> Result<()> {
    let mut living = world.process("").await?;
    let mut retry = String::new();
    eventually("the caller's retry is answered", async || {
        let answer = create(&living, template, place).await?;
        retry = answer.header("beds-event-id").to_owned();
        Ok(answer.status == 201)
    })
    .await?;
    eventually("its record is stored", async || {
        let found = search(&living.api, &format!("&template={template}")).await?;
        Ok(found.iter().any(|record| record["record"]["about"] == retry))
    })
    .await?;
    eventually("all is settled", async || {
        let path = format!("/api/queues/{}?columns=name,messages", world.name);
        let queues = world.rabbit(Method::GET, &path, None).await?;
        let is_empty = |queue: &Value| {
            let name = queue["name"].as_str().unwrap_or_default();
            queue["messages"] == 0 || !(name.ends_with(".write") || ["audit", "lineage"].contains(&name))
        };
        Ok(queues.as_array().is_some_and(|queues| queues.iter().all(is_empty)))
    })
    .await?;
    living.signal("TERM")?;
    ensure!(living.ended().await? == Some(0), "a clean end");
    Ok(())
}
