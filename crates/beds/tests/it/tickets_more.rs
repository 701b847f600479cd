//! Tickets in MongoDB, over AMQP, among several owners, and in the trail.
//!
//! Not here: the plain way (tickets.rs), ends (`tickets_end.rs`).

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::audit::search;
use crate::proof::answer;
use crate::rig::issuer::Issuer;
use crate::rig::{World, as_caller, envelope, eventually};
use crate::tickets::{ask, ended};
use crate::tickets_end::begun;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_mongodb_is_streamed_and_ends_in_the_server_when_it_is_cancelled() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    assert_eq!(live.api.post("/v1/records/Papers", &json!({"name": "one"})).await?.status, 201);
    let rows = ask(&live.api, "/v1/records/Papers/jobs/rows", &json!({"count": 30_000})).await?;
    let told = ended(&live.api, &rows).await?;
    assert_eq!(
        (&told["state"], &told["result"]["rows"]),
        (&json!("done"), &json!(30_000)),
        "{told}"
    );
    let part = live.api.get(&format!("{rows}/result?after=29998&limit=9")).await?;
    assert_eq!(part.body["records"], json!([{"_id": 29_998}, {"_id": 29_999}]), "{}", part.text);
    // A thousand million documents, counted in the server: without an end it would take many minutes.
    let grind = ask(&live.api, "/v1/records/Papers/jobs/grind", &json!({"rounds": 1000})).await?;
    eventually("it runs", async || Ok(live.api.get(&grind).await?.body["state"] == "running"))
        .await?;
    assert_eq!(live.api.delete(&grind).await?.status, 202);
    assert_eq!(ended(&live.api, &grind).await?["state"], "cancelled");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_amqp_gets_a_ticket_too() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    world.own_queue("mine").await?;
    let mut event = envelope("py.job", "Works", "job", json!({"count": 2, "width": 1}));
    event["job"] = json!("numbers");
    event["actor"] = json!({"subject": "app:tests"});
    let properties = json!({"message_id": "py.job", "reply_to": "mine"});
    let mut ids = Vec::new();
    // The same message twice is one ticket.
    for _ in 0..2 {
        ensure!(world.publish("calgon", &event.to_string(), properties.clone()).await?);
        let told = answer(&world).await?;
        assert_eq!(told["status"], 202, "{told}");
        ids.push(told["answer"]["records"][0]["id"].as_str().context("an id")?.to_owned());
    }
    assert_eq!(ids[0], ids[1]);
    let told = ended(&live.api, &format!("/v1/tickets/{}", ids[0])).await?;
    assert_eq!((&told["state"], &told["result"]["rows"]), (&json!("done"), &json!(2)), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_take_turns_and_each_has_a_limit() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world
        .node_with(|config| {
            config.services.calgon.instances.work = std::num::NonZeroU16::MIN;
            config.services.calgon.max_queued_of_one = 12.try_into().unwrap();
        })
        .await?;
    let ana = as_caller(&live.api, &issuer.token("ana", &["tester"]))?;
    let path = "/v1/records/Works/jobs/wait";
    let first = ask(&live.api, path, &json!({"tenths": 30})).await?;
    begun(&world, &first).await?;
    let with_key = live.api.post_with_key(path, "k", &json!({"tenths": 3})).await?;
    assert_eq!(with_key.status, 202, "{}", with_key.text);
    for _ in 0..11 {
        ask(&live.api, path, &json!({"tenths": 3})).await?;
    }
    let more = live.api.post(path, &json!({"tenths": 3})).await?;
    assert_eq!((more.status, more.code()), (429, "BEDS-0033"), "{}", more.text);
    ensure!(!more.header("retry-after").is_empty());
    let again = live.api.post_with_key(path, "k", &json!({"tenths": 3})).await?;
    assert_eq!(again.status, 202, "a repeat gets its ticket: {}", again.text);
    // Another caller is not refused, and waits for one ticket and not for twelve.
    let of_ana = ask(&ana, path, &json!({"tenths": 1})).await?;
    assert_eq!(ended(&ana, &of_ana).await?["state"], "done");
    let waiting = live.api.get("/v1/tickets?state=queued&limit=50").await?;
    let waiting = waiting.body["tickets"].as_array().map_or(0, Vec::len);
    ensure!(waiting >= 8, "only {waiting} of the other's still wait");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_and_the_lineage_tell_of_asking_of_attempts_and_of_results() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let asked = live.api.post("/v1/records/Works/jobs/fail", &json!({"kind": "deadlock"})).await?;
    let event_id = asked.header("beds-event-id").to_owned();
    let path = asked.header("location").to_owned();
    assert_eq!(ended(&live.api, &path).await?["state"], "failed");
    let attempts = async || -> Result<usize> {
        let tree = live.api.get(&format!("/v1/lineage/{event_id}?format=text")).await?;
        Ok(tree
            .text
            .lines()
            .filter(|line| line.contains("attempt") && line.contains(": failed"))
            .count())
    };
    eventually("three attempts are in the lineage", async || Ok(attempts().await? == 3)).await?;
    eventually("asking and each attempt are in the trail", async || {
        let found = search(&live.api, "&template=Works&subject=app:tests").await?;
        let of = |operation: &str| {
            found.iter().filter(|r| r["record"]["operation"] == operation).count()
        };
        Ok(of("job") == 1 && of("attempt") == 3)
    })
    .await?;
    let done =
        ask(&live.api, "/v1/records/Works/jobs/numbers", &json!({"count": 1, "width": 1})).await?;
    ended(&live.api, &done).await?;
    assert_eq!(live.api.get(&format!("{done}/result")).await?.status, 200);
    eventually("reading a result is in the trail", async || {
        Ok(!search(&live.api, "&template=TicketResults&subject=app:tests").await?.is_empty())
    })
    .await
}
