//! Tickets of quick work: an idle task gets one as it is stored, and a small result comes with its ticket.
//!
//! Not here: results in pieces (`tickets_more.rs`), nodes that die (`tickets_and_deaths.rs`).

use anyhow::{Result, ensure};
use serde_json::json;

use crate::proof::answer;
use crate::rig::{World, envelope, eventually};
use crate::tickets::{ask, ended};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_task_has_begun_a_ticket_when_it_is_answered() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let mut paths = Vec::new();
    // The tasks of a new node are idle as soon as each has looked once.
    eventually("a ticket is begun at once", async || {
        let body = json!({"count": 1, "width": 1});
        let asked = live.api.post("/v1/records/Works/jobs/numbers", &body).await?;
        ensure!(asked.status == 202, "{}", asked.text);
        paths.push(asked.header("location").to_owned());
        Ok(asked.body["state"] == "running" && asked.body["attempt"] == 1)
    })
    .await?;
    for path in &paths {
        let told = ended(&live.api, path).await?;
        assert_eq!((&told["state"], &told["attempt"]), (&json!("done"), &json!(1)), "{told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tickets_than_tasks_are_all_done_in_their_first_attempt() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let asked = (0..40).map(|number| {
        let body = json!({"count": number, "width": 1});
        let api = &live.api;
        async move { ask(api, "/v1/records/Works/jobs/numbers", &body).await }
    });
    for path in futures_util::future::try_join_all(asked).await? {
        let told = ended(&live.api, &path).await?;
        assert_eq!((&told["state"], &told["attempt"]), (&json!("done"), &json!(1)), "{told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_can_be_awaited_without_a_look_in_between() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let long = ask(&live.api, "/v1/records/Works/jobs/wait", &json!({"tenths": 3000})).await?;
    for wait in ["", "?wait=1"] {
        let early = live.api.get(&format!("{long}/result{wait}")).await?;
        assert_eq!((early.status, early.code()), (409, "BEDS-0035"), "{}", early.text);
    }
    assert_eq!(live.api.delete(&long).await?.status, 202);
    let path = ask(&live.api, "/v1/records/Works/jobs/wait", &json!({"tenths": 10})).await?;
    let result = live.api.get(&format!("{path}/result?wait=60")).await?;
    assert_eq!(result.status, 200, "{}", result.text);
    assert_eq!(result.body["records"].as_array().map(Vec::len), Some(1), "{}", result.text);
    let wrong = live.api.get(&format!("{path}/result?wait=long")).await?;
    assert_eq!((wrong.status, wrong.code()), (400, "BEDS-0003"), "{}", wrong.text);
    // Once it is removed, its lines are gone from the ticket too.
    assert_eq!(live.api.delete(&format!("{path}/result")).await?.status, 200);
    let gone = live.api.get(&format!("{path}/result")).await?;
    assert_eq!((gone.status, gone.code()), (410, "BEDS-0036"), "{}", gone.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_a_small_result_are_in_no_other_answer() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let body = json!({"count": 1, "width": 40});
    let path = ask(&live.api, "/v1/records/Works/jobs/numbers", &body).await?;
    let told = ended(&live.api, &path).await?;
    let canary = "x".repeat(40);
    ensure!(live.api.get(&format!("{path}/result")).await?.text.contains(&canary));
    ensure!(told["result"]["rows"] == 1 && !told.to_string().contains(&canary), "{told}");
    for (method, path) in
        [("GET", "/v1/tickets"), ("DELETE", path.as_str()), ("GET", path.as_str())]
    {
        let told = live.api.send(live.api.request(method, path)).await?;
        ensure!(told.status == 200 && !told.text.contains(&canary), "{method} {}", told.text);
    }
    // Nor to a client of RabbitMQ that reads the ticket as a record.
    world.own_queue("mine").await?;
    let id = path.rsplit('/').next().unwrap_or_default();
    for (operation, fetch) in [("fetch", None), ("list", None), ("fetch", Some("with-ticket"))] {
        let template = if fetch.is_some() { "TicketResults" } else { "Tickets" };
        let mut event = envelope("py.look", template, operation, json!({}));
        match fetch {
            Some(name) => {
                event["fetch"] = json!(name);
                event["params"] = json!({"ticket": id});
            }
            None if operation == "fetch" => event["id"] = json!(id),
            None => {}
        }
        event["actor"] = json!({"subject": "app:tests"});
        let properties = json!({"message_id": "py.look", "reply_to": "mine"});
        ensure!(world.publish("rec.read.beds", &event.to_string(), properties).await?);
        let told = answer(&world).await?;
        ensure!(!told.to_string().contains(&canary), "{operation} {fetch:?}: {told}");
        assert_eq!(told["status"] == 200, fetch.is_none(), "{operation} {fetch:?}: {told}");
    }
    Ok(())
}
