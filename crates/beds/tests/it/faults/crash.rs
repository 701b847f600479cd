//! The node dies at every place between a write's delivery and the end of its records' way. Each committed write has its
//! audit record and its lineage record, once; no record is of a write that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::number;
use crate::audit::search;
use crate::rig::{Answer, Api, Process, World, callers, eventually};

/// Queues that hold no message once a write and its reports are done.
const SETTLED: [&str; 4] = ["rel.write.main", "rec.write.main", "audit", "lineage"];

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

/// Of a write whose node comes back later than that.
const DEADLINE: &str = "700ms";
/// Worlds at the same time: a run mostly waits for processes.
const TOGETHER: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_write_has_its_records_once_wherever_the_node_dies() -> Result<()> {
    let runs =
        (0..number(1, 20)).flat_map(|run| ["Things", "Papers"].map(|template| (run, template)));
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
    let there = ids_of(&living.api, template).await?;
    ensure!(there.len() == PLACES.len(), "one effect for each key: {there:?}");
    let hashes = hashes_of(template, &there);

    // The trail knows the records that are there, and no other; each was written by one event, and each event told once.
    let mut told: BTreeMap<String, u32> = BTreeMap::new();
    let mut writers: BTreeMap<String, u32> = BTreeMap::new();
    for entry in search(&living.api, &format!("&outcome=ok&template={template}")).await? {
        let record = &entry["record"];
        if record["operation"] == "create" {
            *told.entry(record["about"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
            if record["repeat_of"].is_null() {
                *writers
                    .entry(record["record"].as_str().unwrap_or_default().to_owned())
                    .or_default() += 1;
            }
        }
    }
    let expected: BTreeMap<String, u32> = hashes.into_iter().map(|hash| (hash, 1)).collect();
    ensure!(writers == expected, "audit {writers:?}, database {expected:?}");
    ensure!(told.values().all(|times| *times == 1), "{told:?}");
    for about in told.keys() {
        let of = living
            .api
            .get(&format!("/v1/records/Lineage/by/about?from={about}&to={about};"))
            .await?;
        let of = of.body["records"].as_array().cloned().unwrap_or_default();
        let is_end = |record: &&Value| {
            record["_id"].as_str().is_some_and(|id| id.starts_with(&format!("{about}:ok.")))
        };
        ensure!(of.iter().filter(is_end).count() == 1, "lineage of {about}: {of:?}");
    }
    Ok(())
}

/// A node that comes back after the write's deadline, to callers that have gone: no retry tells its effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_handed_out_after_its_deadline_has_its_true_record() -> Result<()> {
    let runs =
        (0..number(1, 5)).flat_map(|run| ["Things", "Papers"].map(|template| (run, template)));
    stream::iter(runs)
        .map(|(run, template)| async move {
            comes_back_late(template).await.with_context(|| format!("run {run}, {template}"))
        })
        .buffer_unordered(TOGETHER)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

async fn comes_back_late(template: &str) -> Result<()> {
    let world = World::new().await?;
    // The places behind these are the admin node's, which has no deadline.
    let places = &PLACES[..PLACES.len() - 2];
    for (number, place) in places.iter().enumerate() {
        let mut dying = world.process(&format!("{place}=return")).await?;
        let request = dying.api.request("POST", &format!("/v1/records/{template}"));
        let request = request.header("Beds-Timeout", DEADLINE).json(&json!({"name": place}));
        let sent = tokio::time::Instant::now();
        drop(dying.api.send(request).await);
        ensure!(dying.ended().await?.is_none(), "{place}: not ended by abort");
        tokio::time::sleep_until(sent + Duration::from_secs(1)).await;
        let mut living = world.process("").await?;
        eventually("its record is stored", async || {
            Ok(creates(&living.api, template).await?.len() == number + 1)
        })
        .await?;
        world.settled(&SETTLED).await?;
        living.signal("TERM")?;
        ensure!(living.ended().await? == Some(0), "a clean end");
    }
    let living = world.process("").await?;
    let there = ids_of(&living.api, template).await?;
    let hashes: BTreeSet<String> = hashes_of(template, &there);
    let ends = creates(&living.api, template).await?;
    ensure!(ends.len() == places.len(), "each event told of its end: {ends:?}");
    let mut written = BTreeSet::new();
    for (about, records) in &ends {
        ensure!(records.len() == 1 && records[0]["outcome"] != "unknown", "{about}: {records:?}");
        written.extend(
            records[0]["record"]
                .as_str()
                .filter(|_| records[0]["outcome"] == "ok")
                .map(str::to_owned),
        );
    }
    ensure!(written == hashes, "audit {written:?}, database {hashes:?}");
    Ok(())
}

/// The audit records of each create.
async fn creates(api: &Api, template: &str) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut ends: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for entry in search(api, &format!("&template={template}")).await? {
        if entry["record"]["operation"] == "create" {
            ends.entry(entry["record"]["about"].to_string())
                .or_default()
                .push(entry["record"].clone());
        }
    }
    Ok(ends)
}

async fn ids_of(api: &Api, template: &str) -> Result<BTreeSet<String>> {
    let listed = api.get(&format!("/v1/records/{template}?limit=100")).await?;
    let id = if template == "Things" { "id" } else { "_id" };
    let records = listed.body["records"].as_array().context("records")?;
    Ok(records
        .iter()
        .map(|record| record[id].as_str().map_or_else(|| record[id].to_string(), str::to_owned))
        .collect())
}

fn hashes_of(template: &str, ids: &BTreeSet<String>) -> BTreeSet<String> {
    ids.iter().filter_map(|id| callers::record_keys().hash(template, id)).collect()
}

async fn create(process: &Process, template: &str, place: &str) -> Result<Answer> {
    process
        .api
        .post_with_key(&format!("/v1/records/{template}"), place, &json!({"name": place}))
        .await
}

/// A node that lives takes over the messages of a dead one: the caller's retry is answered, its record is stored, and
/// nothing is under way any more.
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
    world.settled(&SETTLED).await?;
    living.signal("TERM")?;
    ensure!(living.ended().await? == Some(0), "a clean end");
    Ok(())
}
