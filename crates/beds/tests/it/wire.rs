//! The AMQP interface as a client that is not ours uses it: envelopes published by RabbitMQ's own HTTP interface.

use anyhow::Result;
use serde_json::{Value, json};

use crate::rig::{World, envelope, eventually};

/// An event on Things with an id of its own.
fn event(operation: &str, params: Value) -> Value {
    envelope(&format!("py.test.{}", uuid::Uuid::new_v4().simple()), "Things", operation, params)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_client_gets_its_answer_at_reply_to() -> Result<()> {
    let world = World::new().await?;
    let _live = world.node().await?;
    world.own_queue("mine").await?;
    let properties = json!({"reply_to": "mine", "correlation_id": "c-1"});
    assert!(
        world
            .publish(
                "rel.write",
                &event("create", json!({"name": "from afar"})).to_string(),
                properties
            )
            .await?
    );
    let mut replies = Vec::new();
    eventually("the reply is there", async || {
        replies.extend(world.take("mine").await?);
        Ok(!replies.is_empty())
    })
    .await?;
    assert_eq!(replies[0]["properties"]["correlation_id"], "c-1");
    let reply: Value = serde_json::from_str(replies[0]["payload"].as_str().unwrap())?;
    assert_eq!(
        (&reply["status"], &reply["answer"]["records"][0]["name"]),
        (&json!(201), &json!("from afar"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_becomes_a_dead_letter_with_the_reason_and_harms_nobody() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let mut wrong_version = event("create", json!({"name": "x"}));
    wrong_version["v"] = json!(0);
    let mut parentless = event("create", json!({"name": "x"}));
    parentless["depth"] = json!(3);
    let read_in_write = event("list", json!({}));
    for (key, body) in [
        ("rel.write", "garbage".to_owned()),
        ("rec.read", "[]".to_owned()),
        ("rel.read", "\u{0}\u{1}".to_owned()),
        ("rec.write", wrong_version.to_string()),
        ("rel.write", parentless.to_string()),
        ("rel.write", read_in_write.to_string()),
        (
            "rel.write",
            event("create", json!({}))
                .to_string()
                .replace("\"params\":{}", "\"params\":{\"a\":1,\"a\":2}"),
        ),
        ("rel.write", format!("{{\"v\":1,\"params\":{}", "[".repeat(100_000))),
        ("rel.read", json!({"v": "canary ".repeat(30_000)}).to_string()),
        (
            "rel.write",
            json!({"v": 1, "event_id": "canary", "id": 4_111_111_111_111_111_i64}).to_string(),
        ),
    ] {
        assert!(world.publish(key, &body, json!({})).await?, "{key} is bound");
        let dead = world.dead_letter().await?;
        let headers = &dead["properties"]["headers"];
        assert_eq!(
            (headers["beds-reason"].as_str(), headers["beds-queue"].as_str()),
            (Some("malformed"), Some(format!("{key}.main").as_str())),
            "{dead}"
        );
        let detail = headers["beds-detail"].as_str().unwrap_or_default();
        assert!(
            detail.starts_with("BEDS-00") && !detail.contains("canary") && !detail.contains("4111"),
            "{detail}"
        );
    }
    assert_eq!(live.node.pools().replaced(), 0);
    assert_eq!(live.api.post("/v1/records/Things", &json!({"name": "fine"})).await?.status, 201);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_never_sent_to_a_data_queue() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let event = self::event("create", json!({"name": "looped"})).to_string();
    assert!(world.publish("rel.write", &event, json!({"reply_to": "rec.write"})).await?);
    let event = self::event("create", json!({"name": "piled up"})).to_string();
    assert!(world.publish("rel.write", &event, json!({"reply_to": "beds.node.ms"})).await?);
    eventually("the writes happened", async || Ok(live.api.done("rel.write.main").await? == 2))
        .await?;
    // The queue that stands for the name has no consumer: a message of the test's own stays in it, and alone.
    let own = json!({"routing_key": "beds.node.ms", "payload": "own", "payload_encoding": "string", "properties": {}});
    world
        .rabbit(
            reqwest::Method::POST,
            &format!("/api/exchanges/{}/amq.default/publish", world.name),
            Some(own),
        )
        .await?;
    let mut held = Value::Null;
    eventually("the queue is counted", async || {
        held = world.queue("beds.node.ms").await?["messages"].clone();
        Ok(held.as_u64() >= Some(1))
    })
    .await?;
    assert_eq!(held, 1);
    assert!(world.take("beds.dead").await?.is_empty(), "a looped reply would be malformed");
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "2");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_past_its_deadline_is_not_executed() -> Result<()> {
    let world = World::new().await?;
    let _live = world.node().await?;
    let mut late = event("create", json!({"name": "late"}));
    late["deadline"] = json!("2020-01-01T00:00:00.000Z");
    assert!(world.publish("rel.write", &late.to_string(), json!({})).await?);
    let dead = world.dead_letter().await?;
    assert_eq!(
        dead["properties"]["headers"]["beds-reason"], "refused",
        "nobody waits for it, so it is kept"
    );
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_on_the_wire_takes_effect_once() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for (key, counter) in [("rel.write", "Counters"), ("rec.write", "Tallies")] {
        let mut event = event("update", json!({"by": 1}));
        event["template"] = json!(counter);
        event["id"] = json!("c");
        for _ in 0..20 {
            assert!(world.publish(key, &event.to_string(), json!({})).await?);
        }
        // One that finds another at work waits, and comes back.
        eventually("all copies are done", async || {
            Ok(live.api.done(&format!("{key}.main")).await? >= 20)
        })
        .await?;
        assert_eq!(
            live.api.get(&format!("/v1/records/{counter}/c")).await?.body["value"],
            1,
            "{counter}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_a_publisher_makes_up_are_one_cause_in_the_log() -> Result<()> {
    let world = World::new().await?;
    let process = world.process("").await?;
    for number in 0..30 {
        let mut event = event("fetch", json!({}));
        event["template"] = json!(format!("Nope{number}"));
        event["fetch"] = json!(format!("o{number}"));
        event["deadline"] = json!("2026-11-23T10:00:01Z");
        assert!(world.publish("rel.read", &event.to_string(), json!({})).await?);
    }
    eventually("all are done", async || {
        let queue = world.queue("rel.read.main").await?;
        Ok(queue["messages"] == 0 && queue["message_stats"]["ack"].as_u64() >= Some(30))
    })
    .await?;
    let log = world.log();
    assert_eq!(log.matches("An event was not completed.").count(), 1, "{log}");
    drop(process);
    Ok(())
}
