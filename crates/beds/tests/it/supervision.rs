//! Tasks that panic, and nodes that are told to stop.

use anyhow::Result;
use serde_json::json;

use crate::rig::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_keeps_killing_its_task_becomes_a_dead_letter_while_others_go_on()
-> Result<()> {
    let world = World::new().await?;
    let process = world.process("panic=return").await?;
    let body = json!({"name": "poison", "panic_for_test": 1});
    let poison = process.api.post("/v1/records/Things", &body);
    let others = async {
        for n in 0..200 {
            let answer = process
                .api
                .post("/v1/records/Things", &json!({"name": format!("good {n}")}))
                .await?;
            assert_eq!(answer.status, 201, "{}", answer.text);
        }
        anyhow::Ok(())
    };
    let (poisoned, others) = tokio::join!(poison, others);
    others?;
    let poisoned = poisoned?;
    assert_eq!((poisoned.status, poisoned.code()), (500, "BEDS-0017"), "{}", poisoned.text);
    let dead = world.dead_letter().await?;
    let headers = &dead["properties"]["headers"];
    assert_eq!(
        (&headers["beds-reason"], &headers["beds-deliveries"]),
        (&json!("panic"), &json!(5)),
        "{dead}"
    );
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "200");
    let log = world.log();
    assert_eq!(
        log.matches("A broker task panicked; it is replaced.").count(),
        6,
        "the first delivery and five more:\n{log}"
    );
    assert!(log.contains("a panic for a test") && log.contains("Things"), "{log}");
    let ready = process.api.get("/readyz").await?;
    assert_eq!(ready.status, 200, "the pool has its full strength: {}", ready.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_panics_is_answered_at_once_and_the_pool_keeps_its_size() -> Result<()> {
    let world = World::new().await?;
    let process = world.process("panic=return").await?;
    for _ in 0..6 {
        let answer = process.api.get("/v1/records/Things/by/name?name=x&panic_for_test=1").await?;
        assert_eq!((answer.status, answer.code()), (500, "BEDS-0017"), "{}", answer.text);
    }
    assert_eq!(process.api.get("/v1/records/Things/by/name?name=x").await?.status, 200);
    assert_eq!(process.api.get("/readyz").await?.status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_was_begun_and_exits_cleanly() -> Result<()> {
    let world = World::new().await?;
    let mut process = world.process("").await?;
    let body = json!({"name": "slow at the end"});
    let slow = process.api.post_with_key("/v1/records/Things", "k", &body);
    let stop = async {
        eventually("the write is running", async || world.is_asleep()).await?;
        process.signal("TERM")
    };
    let (slow, stop) = tokio::join!(slow, stop);
    stop?;
    let slow = slow?;
    assert_eq!(slow.status, 201, "{}", slow.text);
    assert_eq!(process.ended().await?, Some(0), "{}", world.log());
    // The finished write was acknowledged.
    world.settled(&["rel.write.main"]).await?;
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "1");
    Ok(())
}
