//! After many requests of every kind, each node of each tree has its parent.

use std::collections::HashSet;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::number;
use crate::lineage::nodes_of;
use crate::rig::{Api, World, eventually};

const CALLERS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn no_node_is_an_orphan_after_many_mixed_requests() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    world.all_consume().await?;
    let each = number(1_000, 10_000) / CALLERS;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let api = live.api.clone();
        callers.spawn(async move {
            for number in 0..each {
                mixed(&api, caller, number).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    let total = each * CALLERS;
    let mut nodes = Vec::new();
    eventually("all have arrived", async || {
        nodes = all_nodes(&live.api).await?;
        let of_tests =
            |node: &&Value| matches!(node["template"].as_str(), Some("Things" | "Papers"));
        let roots = nodes.iter().filter(|node| node["depth"] == 0).filter(of_tests);
        Ok(roots.filter_map(|node| node["event_id"].as_str()).collect::<HashSet<_>>().len()
            >= total)
    })
    .await?;
    let ids: HashSet<&str> = nodes.iter().filter_map(|node| node["event_id"].as_str()).collect();
    let is_orphan = |parent: &Value| parent.as_str().is_some_and(|parent| !ids.contains(parent));
    let orphans: Vec<&Value> = nodes.iter().filter(|node| is_orphan(&node["parent_id"])).collect();
    assert!(orphans.is_empty(), "{orphans:?}");
    // Audit records and log lines hang below events, too. Reads of this test itself may still be on their way.
    let audit = all(&live.api, "AllAudit").await?;
    let records = audit
        .iter()
        .filter_map(|sealed| serde_json::from_str::<Value>(sealed["record"].as_str()?).ok());
    let of_tests: Vec<Value> = records
        .filter(|record| matches!(record["template"].as_str(), Some("Things" | "Papers")))
        .collect();
    let orphans: Vec<&Value> =
        of_tests.iter().filter(|record| is_orphan(&record["about"])).collect();
    assert!(orphans.is_empty(), "{orphans:?}");
    let lines = all(&live.api, "AllLogs").await?;
    let orphans: Vec<&Value> =
        lines.iter().filter(|line| line["event"] != "" && is_orphan(&line["event"])).collect();
    assert!(orphans.is_empty(), "{orphans:?}");
    let (nodes, audit, lines) = (nodes.len(), of_tests.len(), lines.len());
    println!(
        "{total} requests: {nodes} nodes, {audit} audit records, {lines} log lines, 0 orphans"
    );
    Ok(())
}

async fn mixed(api: &Api, caller: usize, number: usize) -> Result<()> {
    let name = format!("{caller} {number}");
    let template = if number.is_multiple_of(2) { "Things" } else { "Papers" };
    let path = format!("/v1/records/{template}");
    match number % 10 {
        0 | 1 | 5 => drop(api.post(&path, &json!({"name": name})).await?),
        // Tried again after a deadlock; refused by a rule; given up by its caller.
        6 => drop(
            api.post("/v1/records/Things", &json!({"name": format!("deadlock {name}")})).await?,
        ),
        7 => drop(api.post("/v1/records/Things", &json!({"name": "forbidden"})).await?),
        8 => {
            let request = api.request("GET", "/v1/records/Things/by/sleep?seconds=0.05");
            drop(api.send(request.header("Beds-Timeout", "20ms")).await?);
        }
        2 => drop(api.get(&format!("{path}?limit=2")).await?),
        3 => drop(api.get(&format!("{path}/1")).await?),
        _ => drop(api.post(&path, &json!({"nobody": 1})).await?),
    }
    Ok(())
}

/// Every node of every record.
async fn all_nodes(api: &Api) -> Result<Vec<Value>> {
    let records = all(api, "Attacker").await?;
    Ok(records
        .iter()
        .flat_map(|record| nodes_of(record).as_array().cloned().unwrap_or_default())
        .collect())
}

/// Every record that a template lists.
async fn all(api: &Api, template: &str) -> Result<Vec<Value>> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/records/{template}?limit=500{after}")).await?;
        all.extend(page.body["records"].as_array().context("records")?.iter().cloned());
        match page.body["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(all),
        }
    }
}
