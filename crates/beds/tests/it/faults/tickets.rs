//! Tickets while nodes and services die: each comes to its end, its work is done once, and its result is whole.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::number;
use crate::rig::{Process, World, eventually, killable};
use crate::tickets::{ask, ended};
use crate::tickets_and_deaths::{gateway, worker};
use crate::tickets_end::{at_work, begun};

#[tokio::test(flavor = "multi_thread")]
async fn a_long_job_is_done_once_whatever_is_restarted() -> Result<()> {
    let is_full = number(0, 1) == 1;
    if is_full {
        // RabbitMQ closes the channel of a consumer that holds a message for longer: none does.
        killable::rabbitmqctl(&["eval", "application:set_env(rabbit, consumer_timeout, 60000)."])?;
    }
    let world = World::new().await?.with_tickets()?;
    let live = gateway(&world).await?;
    let first = worker(&world, &live, "w1").await?;
    let seconds = number(6, 150);
    let path =
        ask(&live.api, "/v1/records/Works/jobs/wait", &json!({"tenths": seconds * 10})).await?;
    begun(&world, &path).await?;
    let _second = worker(&world, &live, "w2").await?;
    let fifth = Duration::from_secs(seconds as u64) / 5;
    // The faults come at their times, as in the description of the run.
    tokio::time::sleep(fifth).await;
    first.signal("KILL")?;
    eventually("it is taken over", async || Ok(live.api.get(&path).await?.body["attempt"] == 2))
        .await?;
    if is_full {
        for service in ["rabbitmq", "mongodb"] {
            tokio::time::sleep(fifth).await;
            killable::kill(service)?;
            killable::start(service)?;
        }
        eventually("tickets can be asked for again", async || {
            let asked = live.api.get(&path).await;
            Ok(asked.is_ok_and(|asked| asked.status == 200))
        })
        .await?;
    }
    let told = ended(&live.api, &path).await?;
    assert_eq!((&told["state"], &told["attempt"]), (&json!("done"), &json!(2)), "{told}");
    let result = live.api.get(&format!("{path}/result")).await?;
    assert_eq!(result.body["records"], json!([{"id": seconds * 10}]), "{}", result.text);
    println!("a job of {seconds} s: done once, by the second node");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ticket_ends_though_nodes_are_killed_in_the_middle_again_and_again() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = gateway(&world).await?;
    let (kills, at_once) = (number(2, 50), 8);
    let mut workers: Vec<Process> =
        vec![worker(&world, &live, "w1").await?, worker(&world, &live, "w2").await?];
    let mut tickets = Vec::new();
    for kill in 0..kills {
        while tickets.len() < at_once * (kill + 1) {
            let tenths = json!({"tenths": 5 + tickets.len() % 20});
            tickets.push(ask(&live.api, "/v1/records/Works/jobs/wait", &tenths).await?);
        }
        eventually("one is worked on", async || {
            let running = live.api.get("/v1/tickets?state=running&limit=1").await?;
            Ok(running.body["tickets"].as_array().is_some_and(|tickets| !tickets.is_empty()))
        })
        .await?;
        // All at once, now and then.
        if kill % 10 == 9 {
            workers.iter().try_for_each(|worker| worker.signal("KILL"))?;
            workers.clear();
        } else {
            workers.remove(0).signal("KILL")?;
        }
        while workers.len() < 2 {
            let name = format!("w{}-{}", kill + 3, workers.len());
            workers.push(worker(&world, &live, &name).await?);
        }
    }
    let (mut again, mut failed) = (0, 0);
    for (number, path) in tickets.iter().enumerate() {
        let told = ended(&live.api, path).await?;
        again += usize::from(told["attempt"] != 1);
        // Three killed nodes in a row are a failure, and that is said.
        if told["state"] == "failed" && told["problem"]["code"] == "BEDS-0037" {
            failed += 1;
            continue;
        }
        ensure!(told["state"] == "done", "{told}");
        let result = live.api.get(&format!("{path}/result")).await?;
        assert_eq!(result.body["records"], json!([{"id": 5 + number % 20}]), "{}", result.text);
        ensure!(at_work(&world, path)?.is_none());
    }
    println!(
        "{} tickets, {kills} kills: {again} were begun again, {failed} lost three nodes",
        tickets.len()
    );
    Ok(())
}
