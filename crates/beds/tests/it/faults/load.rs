//! The sample's flights, loaded by `beds load` that is killed in the middle and started again. Each row is there once, which
//! count and sums show.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::number;
use crate::rig::{World, eventually, variable};

#[tokio::test(flavor = "multi_thread")]
async fn every_flight_is_there_once_though_the_load_was_killed() -> Result<()> {
    let world = World::new().await?;
    // Many more than the tests' few tasks, so that a full run takes minutes.
    let live = world
        .node_with(|config| {
            config.services.rel.instances.write = std::num::NonZero::new(8).unwrap();
        })
        .await?;
    let rows = number(4_000, 336_776);
    let (data, limit) = (variable("BEDS_TEST_DATA")?, rows.to_string());
    for (template, file) in
        [("Airlines", "airlines"), ("Airports", "airports"), ("Planes", "planes")]
    {
        let loaded = world.beds(&["load", template, &format!("{data}/{file}.csv")])?;
        ensure!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    }
    let flights = format!("{data}/flights.csv");
    let mut first = Command::new(env!("CARGO_BIN_EXE_beds"))
        .args(["load", "Flights", &flights, "--limit", &limit])
        .current_dir(&world.folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let totals = async || -> Result<Value> {
        let answer = live.api.get("/v1/records/Flights/by/totals").await?;
        Ok(answer.body["records"][0].clone())
    };
    eventually("many are loaded", async || {
        let loaded = totals().await?["flights"].as_u64().unwrap_or(0);
        Ok(loaded as usize > (rows / 3).min(30_000))
    })
    .await?;
    first.kill()?;
    first.wait()?;
    let before = totals().await?;
    ensure!(
        before["flights"].as_u64().is_some_and(|loaded| (loaded as usize) < rows),
        "killed too late: {before}"
    );
    let again = world.beds(&["load", "Flights", &flights, "--limit", &limit])?;
    ensure!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let expected = sums(&flights, rows)?;
    assert_eq!(totals().await?, expected);
    println!("killed at {before}, then whole: {expected}");
    Ok(())
}

/// Count and sums of the first rows of the source.
fn sums(file: &str, rows: usize) -> Result<Value> {
    let text = std::fs::read_to_string(file)?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().context("a header")?.split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name).context("a column");
    let (distance, air_time, dep_delay) =
        (column("distance")?, column("air_time")?, column("dep_delay")?);
    let (mut count, mut sums) = (0_u64, [0_i64; 3]);
    for line in lines.take(rows) {
        let values: Vec<&str> = line.split(',').collect();
        count += 1;
        for (sum, at) in sums.iter_mut().zip([distance, air_time, dep_delay]) {
            // A cancelled flight has none.
            *sum += values[at].parse::<i64>().unwrap_or(0);
        }
    }
    Ok(json!({"flights": count, "distance": sums[0], "air_time": sums[1], "dep_delay": sums[2]}))
}
