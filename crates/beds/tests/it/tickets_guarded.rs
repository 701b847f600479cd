//! Things that a ticket must not give to anyone: another form of a result, a way around the rights, the trail or a limit.
//!
//! Not here: the tickets of other owners (tickets.rs).

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::proof::answer;
use crate::rig::{World, envelope, eventually};
use crate::tickets::{ask, ended};

#[tokio::test(flavor = "multi_thread")]
async fn a_value_with_line_breaks_makes_no_row_of_its_own() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let path = ask(&live.api, "/v1/records/Works/jobs/lines", &json!({})).await?;
    assert_eq!(ended(&live.api, &path).await?["result"]["rows"], 3);
    let result = live.api.get(&format!("{path}/result")).await?;
    let rows: Vec<Value> = (1..=3).map(|id| json!({"id": id, "doc": {"a": "x"}})).collect();
    assert_eq!(result.body["records"], json!(rows), "{}", result.text);
    let lines = live.api.request("GET", &format!("{path}/result?after=1"));
    let lines = live.api.send(lines.header("accept", "application/x-ndjson")).await?;
    let read: Vec<Value> =
        lines.text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(read, rows[1..], "{}", lines.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pieces_of_a_result_are_for_no_caller_and_a_job_runs_with_a_ticket_only() -> Result<()>
{
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let path =
        ask(&live.api, "/v1/records/Works/jobs/numbers", &json!({"count": 1, "width": 1})).await?;
    ended(&live.api, &path).await?;
    let id = path.rsplit('/').next().unwrap_or_default();
    let pieces = format!("/v1/records/TicketResults/by/pieces?ticket={id}&epoch=1&from=0");
    let told = live.api.get(&pieces).await?;
    assert_eq!((told.status, told.code()), (404, "BEDS-0001"), "{}", told.text);
    world.own_queue("mine").await?;
    let mut event = envelope("py.job", "Works", "job", json!({"count": 1, "width": 1}));
    event["job"] = json!("numbers");
    let properties = json!({"message_id": "py.job", "reply_to": "mine"});
    ensure!(world.publish("rel.read.main", &event.to_string(), properties).await?);
    let told = answer(&world).await?;
    assert_eq!(
        (&told["status"], &told["error"]["code"]),
        (&json!(400), &json!("BEDS-0024")),
        "{told}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_knows_who_saw_a_record_with_a_ticket() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let made = live.api.post("/v1/records/Things", &json!({"name": "seen"})).await?;
    let id = made.body["id"].to_string();
    let read = live.api.request("GET", &format!("/v1/records/Things/{id}"));
    let read = live.api.send(read.header("Prefer", "wait=60")).await?;
    assert_eq!(read.status, 200, "{}", read.text);
    eventually("the read is among the acts on the record", async || {
        let output = world.beds(&["audit", "subject", &format!("Things/{id}")])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.contains("Things.create") && text.contains("Things.attempt"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_a_limit_never_runs_more_often_at_once() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let mut tickets = Vec::new();
    for _ in 0..6 {
        tickets.push(ask(&live.api, "/v1/records/Works/jobs/alone", &json!({"tenths": 4})).await?);
    }
    // The object itself refuses to run twice at once.
    for path in &tickets {
        let told = ended(&live.api, path).await?;
        assert_eq!(told["state"], "done", "{told}");
    }
    Ok(())
}
