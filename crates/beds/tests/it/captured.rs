//! Messages that were captured and come again: a seal proves their origin, and never makes them new.
//!
//! Not here: forged messages (proof.rs), redelivery by RabbitMQ (crash.rs).

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::rig::{World, envelope, eventually};

/// Takes so many answers out of the test's own queue: their codes, empty for a good one.
async fn codes(world: &World, count: usize) -> Result<Vec<String>> {
    let mut codes = Vec::new();
    eventually("the answers are there", async || {
        for reply in world.take("mine").await? {
            let body: Value =
                serde_json::from_str(reply["payload"].as_str().context("a payload")?)?;
            codes.push(body["error"]["code"].as_str().unwrap_or_default().to_owned());
        }
        Ok(codes.len() >= count)
    })
    .await
    .with_context(|| format!("{codes:?}"))?;
    Ok(codes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_event_takes_effect_once_and_is_not_begun_behind_its_deadline() -> Result<()> {
    let world = World::new().await?;
    let _live = world.node().await?;
    world.own_queue("mine").await?;
    let deadline = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(20);
    let event = |id: &str, operation: &str, params: Value| {
        let mut event = envelope(id, "Things", operation, params);
        event["deadline"] = json!(deadline.to_string());
        event.to_string()
    };
    let write = event("py.write", "create", json!({"name": "captured"}));
    let read = event("py.read", "list", json!({}));
    let properties = json!({"reply_to": "mine", "message_id": "py.write", "correlation_id": "c"});
    let copies = (0..100).map(|_| world.publish("rel.write.main", &write, properties.clone()));
    for sent in futures_util::future::join_all(copies).await {
        assert!(sent?);
    }
    // Each copy is answered: with the first answer, or that the first one is still running.
    let told = codes(&world, 100).await?;
    assert!(
        told.iter().all(|code| matches!(code.as_str(), "" | "BEDS-0011" | "BEDS-0013")),
        "{told:?}"
    );
    assert_eq!(world.sql("SELECT COUNT(*) FROM things WHERE name = 'captured'")?, "1");
    world.publish("rel.read.main", &read, properties.clone()).await?;
    assert_eq!(codes(&world, 1).await?, [""]);
    let left = deadline.duration_since(jiff::Timestamp::now());
    tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
    world.sql("DELETE FROM things")?;
    world.publish("rel.write.main", &write, properties.clone()).await?;
    world.publish("rel.read.main", &read, properties).await?;
    // The write gets its first answer once more; the read is not begun.
    let mut told = codes(&world, 2).await?;
    told.sort();
    assert_eq!(told, ["", "BEDS-0015"]);
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "0", "it was not executed again");
    Ok(())
}
