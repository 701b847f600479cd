//! Tickets and nodes that die, stop or fall silent: the work goes on elsewhere, never twice at once, and a node that comes back writes
//! nothing.
//!
//! Not here: the long runs (./dev faults tickets).

use anyhow::{Result, ensure};
use serde_json::json;

use crate::rig::{Live, Process, World, eventually};
use crate::tickets::{ask, ended};
use crate::tickets_end::{at_work, begun};

/// A node with the gateway that takes no tickets itself.
pub(crate) async fn gateway(world: &World) -> Result<Live> {
    world.node_with(|config| config.services.calgon.is_local = false).await
}

/// A node that does the work of tickets and has no gateway. Another one takes over after 3 s without a word.
pub(crate) async fn worker(world: &World, live: &Live, name: &str) -> Result<Process> {
    let keys = [
        ("BEDS__SERVICES__APPSERVER__IS_LOCAL", "false".to_owned()),
        ("BEDS__SERVICES__ADMIN__IS_LOCAL", "false".to_owned()),
        ("BEDS__SERVICES__CALGON__LEASE", "3s".to_owned()),
    ];
    let worker = world.role(name, &keys)?;
    eventually("the worker is ready", async || {
        Ok(worker.api.get("/readyz").await.is_ok_and(|ready| ready.status == 200))
    })
    .await?;
    eventually("the gateway has seen it", async || {
        let wrong = live.api.post("/v1/records/Works/jobs/numbers", &json!({})).await?;
        Ok(wrong.status == 400)
    })
    .await?;
    Ok(worker)
}

#[tokio::test(flavor = "multi_thread")]
async fn work_of_a_killed_node_is_done_by_another_one_and_never_twice_at_once() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = gateway(&world).await?;
    let first = worker(&world, &live, "w1").await?;
    let path = ask(&live.api, "/v1/records/Works/jobs/wait", &json!({"tenths": 100})).await?;
    begun(&world, &path).await?;
    let of_first = at_work(&world, &path)?;
    first.signal("KILL")?;
    let _second = worker(&world, &live, "w2").await?;
    // MariaDB goes on with the first call: it is ended before the second begins, because both need the lock of the ticket.
    eventually("another connection works on it", async || {
        let now = at_work(&world, &path)?;
        Ok(now.is_some() && now != of_first)
    })
    .await?;
    let calls = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND INFO LIKE '%SLEEP(0.1)%' AND ID <> CONNECTION_ID()";
    ensure!(world.sql(calls)? == "1", "two calls of one ticket at once");
    let told = ended(&live.api, &path).await?;
    assert_eq!((&told["state"], &told["attempt"]), (&json!("done"), &json!(2)), "{told}");
    let result = live.api.get(&format!("{path}/result")).await?;
    assert_eq!(result.body["records"], json!([{"id": 100}]), "{}", result.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_hands_its_work_over_and_no_attempt_is_counted_as_lost() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = gateway(&world).await?;
    let mut first = worker(&world, &live, "w1").await?;
    let path = ask(&live.api, "/v1/records/Works/jobs/wait", &json!({"tenths": 40})).await?;
    begun(&world, &path).await?;
    let _second = worker(&world, &live, "w2").await?;
    first.signal("TERM")?;
    assert_eq!(first.ended().await?, Some(0));
    let told = ended(&live.api, &path).await?;
    assert_eq!((&told["state"], &told["attempt"]), (&json!("done"), &json!(2)), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_frozen_and_comes_back_writes_nothing() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = gateway(&world).await?;
    let first = worker(&world, &live, "w1").await?;
    let path = ask(&live.api, "/v1/records/Works/jobs/wait", &json!({"tenths": 6000})).await?;
    begun(&world, &path).await?;
    let of_first = at_work(&world, &path)?;
    let _second = worker(&world, &live, "w2").await?;
    first.signal("STOP")?;
    eventually("another connection works on it", async || {
        let now = at_work(&world, &path)?;
        Ok(now.is_some() && now != of_first)
    })
    .await?;
    let of_second = at_work(&world, &path)?;
    first.signal("CONT")?;
    eventually("the first node is back", async || {
        Ok(first.api.get("/readyz").await.is_ok_and(|ready| ready.status == 200))
    })
    .await?;
    // It goes on with other tickets, and leaves this one alone.
    for _ in 0..8 {
        let numbers = json!({"count": 1, "width": 1});
        let next = ask(&live.api, "/v1/records/Works/jobs/numbers", &numbers).await?;
        assert_eq!(ended(&live.api, &next).await?["state"], "done");
    }
    let told = live.api.get(&path).await?;
    assert_eq!((&told.body["state"], &told.body["attempt"]), (&json!("running"), &json!(2)));
    assert_eq!(at_work(&world, &path)?, of_second);
    assert_eq!(live.api.delete(&path).await?.status, 202);
    assert_eq!(ended(&live.api, &path).await?["state"], "cancelled");
    assert_eq!(at_work(&world, &path)?, None);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_ends_its_nodes_again_and_again_is_a_failure() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = gateway(&world).await?;
    let (mut path, mut before) = (String::new(), None);
    for round in 1..=3 {
        let worker = worker(&world, &live, &format!("w{round}")).await?;
        if path.is_empty() {
            path = ask(&live.api, "/v1/records/Works/jobs/wait", &json!({"tenths": 3000})).await?;
        }
        eventually("the attempt has begun", async || {
            let told = live.api.get(&path).await?;
            let now = at_work(&world, &path)?;
            Ok(told.body["attempt"] == round && now.is_some() && now != before)
        })
        .await?;
        before = at_work(&world, &path)?;
        worker.signal("KILL")?;
    }
    let _last = worker(&world, &live, "w4").await?;
    let told = ended(&live.api, &path).await?;
    assert_eq!(
        (&told["state"], &told["problem"]["code"]),
        (&json!("failed"), &json!("BEDS-0037")),
        "{told}"
    );
    assert_eq!(at_work(&world, &path)?, None, "what the last one left is ended");
    Ok(())
}
