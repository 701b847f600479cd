//! The process dies between the database's commit and the acknowledgement. After the redelivery there is one effect, and
//! the caller's retry gets the first answer.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;

use crate::rig::{Process, World, envelope, eventually};

/// Sends one write with a key to a node that dies at a fail point, then again to one that does not.
async fn dies_and_is_repeated(
    world: &World,
    point: &str,
    method: &Method,
    path: &str,
    body: &serde_json::Value,
) -> Result<()> {
    let key = format!("{point} {method} {path}");
    let send = |process: &Process| {
        let request =
            process.api.http.request(method.clone(), format!("{}{path}", process.api.url));
        process
            .api
            .http
            .execute(request.header("Idempotency-Key", &key).json(body).build().unwrap())
    };
    let mut dying = world.process(&format!("{point}=return")).await?;
    if let Ok(answer) = send(&dying).await {
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        assert_eq!(
            point, "replied",
            "the node died before it could answer, yet it said {status} {text}"
        );
    }
    assert_eq!(dying.ended().await?, None, "{point}: ended by abort");

    let mut living = world.process("").await?;
    // The message was handed out again, and the living node is done with it.
    world.settled(&["rel.write.main", "rec.write.main"]).await?;
    let mut first = String::new();
    eventually("the retry gets an answer", async || {
        let answer = send(&living).await?;
        let is_answer = answer.status().is_success();
        first = answer.text().await?;
        Ok(is_answer)
    })
    .await?;
    let second = send(&living).await?;
    assert!(second.status().is_success(), "{}", second.status());
    assert_eq!(first, second.text().await?, "{point}: every retry gets the first answer");
    // Let it acknowledge its messages, or the next node would begin with it.
    living.signal("TERM")?;
    assert_eq!(living.ended().await?, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_create_takes_effect_once() -> Result<()> {
    let world = World::new().await?;
    for point in ["received", "committed", "replied"] {
        for template in ["Things", "Papers"] {
            let path = format!("/v1/records/{template}");
            dies_and_is_repeated(
                &world,
                point,
                &Method::POST,
                &path,
                &json!({"name": point, "count": 1}),
            )
            .await?;
        }
    }
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "3");
    let process = world.process("").await?;
    let papers = process.api.get("/v1/records/Papers").await?;
    assert_eq!(papers.body["records"].as_array().map(Vec::len), Some(3), "{}", papers.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_update_takes_effect_once() -> Result<()> {
    let world = World::new().await?;
    for point in ["received", "committed", "replied"] {
        for counter in ["Counters", "Tallies"] {
            dies_and_is_repeated(
                &world,
                point,
                &Method::PATCH,
                &format!("/v1/records/{counter}/c"),
                &json!({"by": 1}),
            )
            .await?;
        }
    }
    let process = world.process("").await?;
    for counter in ["Counters", "Tallies"] {
        assert_eq!(
            process.api.get(&format!("/v1/records/{counter}/c")).await?.body["value"],
            3,
            "{counter}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_delete_takes_effect_once() -> Result<()> {
    let world = World::new().await?;
    let mut process = world.process("").await?;
    let mut locations = Vec::new();
    for template in ["Things", "Papers"] {
        for point in ["committed", "replied"] {
            let created = process
                .api
                .post(&format!("/v1/records/{template}"), &json!({"name": point}))
                .await?;
            locations.push((point, created.header("location").to_owned()));
        }
    }
    // Let it acknowledge its messages, or the next node would begin with it.
    process.signal("TERM")?;
    assert_eq!(process.ended().await?, Some(0));
    for (point, location) in locations {
        dies_and_is_repeated(&world, point, &Method::DELETE, &location, &json!({})).await?;
    }
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_ends_its_process_takes_no_other_with_it() -> Result<()> {
    let world = World::new().await?;
    // The queue is there before its messages.
    let mut first = world.process("").await?;
    first.signal("TERM")?;
    assert_eq!(first.ended().await?, Some(0));
    for number in 0..41 {
        let mut params = json!({"name": format!("n{number}")});
        if number == 20 {
            params["abort_for_test"] = json!(1);
        }
        let id = format!("py.poison.{number}");
        let event = envelope(&id, "Things", "create", params);
        world.send("rel.write", &event).await?;
    }
    let mut deaths = 0;
    let mut last = loop {
        let mut process = world.silent_process_with("poison=return")?;
        let mut is_done = false;
        eventually("the process has ended, or there is a dead letter", async || {
            is_done = world.queue("beds.dead").await?["messages"] == 1;
            Ok(is_done || process.has_ended()?)
        })
        .await?;
        if is_done {
            break process;
        }
        deaths += 1;
        assert!(deaths <= 6, "the first delivery and five more");
    };
    assert_eq!(deaths, 6);
    eventually("all others are done", async || {
        Ok(world.sql("SELECT COUNT(*) FROM things")? == "40")
    })
    .await?;
    assert_eq!(world.dead_letter().await?["properties"]["message_id"], "py.poison.20");
    assert!(world.take("beds.dead").await?.is_empty(), "one dead letter");
    last.signal("TERM")?;
    assert_eq!(last.ended().await?, Some(0), "{}", world.log());
    Ok(())
}
