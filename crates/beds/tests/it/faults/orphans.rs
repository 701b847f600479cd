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
    let mut nodes = Vec::new();
    eventually("all have arrived", async || {
        nodes = all_nodes(&live.api).await?;
        let template = |node: &Value| matches!(node["template"].as_str(), Some("Things" | "Papers"));
        Ok(nodes.iter().filter(|node| node["depth"] == 0 && template(node)).count() >= each * CALLERS)
    })
    .await?;
    let ids: HashSet<&str> = nodes.iter().filter_map(|node| node["event_id"].as_str()).collect();
    let orphans: Vec<&Value> =
        nodes.iter().filter(|n| n["parent_id"].as_str().is_some_and(|parent| !ids.contains(parent))).collect();
    assert!(orphans.is_empty(), "{orphans:?}");
    println!("{} requests, {} nodes, 0 orphans", each * CALLERS, nodes.len());
    Ok(())
}

async fn mixed(api: &Api, caller: usize, number: usize) -> Result<()> {
    let name = format!("{caller} {number}");
    let template = if number.is_multiple_of(2) { "Things" } else { "Papers" };
    let path = format!("/v1/records/{template}");
    match number % 5 {
        0 | 1 => drop(api.post(&path, &json!({"name": name})).await?),
        2 => drop(api.get(&format!("{path}?limit=2")).await?),
        3 => drop(api.get(&format!("{path}/1")).await?),
        _ => drop(api.post(&path, &json!({"nobody": 1})).await?),
    }
    Ok(())
}

/// Every node of every record.
async fn all_nodes(api: &Api) -> Result<Vec<Value>> {
    let (mut nodes, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/records/Attacker?limit=500{after}")).await?;
        for record in page.body["records"].as_array().context("records")? {
            nodes.extend(nodes_of(record).as_array().cloned().unwrap_or_default());
        }
        match page.body["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(nodes),
        }
    }
}
