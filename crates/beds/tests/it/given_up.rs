//! Calls without a waiting caller: they are ended in the database, and keep their place in the pool until they have ended.
//!
//! Not here: the answer to a caller at a deadline (records.rs).

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::rig::{World, eventually};

const LONG: &str = "
DELIMITER //
CREATE PROCEDURE long_read(IN p_seconds INT) READS SQL DATA
BEGIN
  DECLARE until DATETIME(3) DEFAULT NOW(3) + INTERVAL p_seconds SECOND;
  WHILE SYSDATE(3) < until DO
    DO SLEEP(0.01);
  END WHILE;
  SELECT 1 AS id;
END //
CREATE PROCEDURE long_swallowing(IN p_seconds INT) READS SQL DATA
BEGIN
  DECLARE until DATETIME(3) DEFAULT NOW(3) + INTERVAL p_seconds SECOND;
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  WHILE SYSDATE(3) < until DO
    DO SLEEP(0.01);
  END WHILE;
  SELECT 1 AS id;
END //
CREATE PROCEDURE long_own(IN p_seconds INT) READS SQL DATA SQL SECURITY INVOKER
BEGIN
  DECLARE until DATETIME(3) DEFAULT NOW(3) + INTERVAL p_seconds SECOND;
  WHILE SYSDATE(3) < until DO
    DO SLEEP(0.01);
  END WHILE;
  SELECT 1 AS id;
END //
CREATE PROCEDURE long_write(IN p_id VARCHAR(40), IN p_seconds INT)
BEGIN
  DECLARE until DATETIME(3) DEFAULT NOW(3) + INTERVAL p_seconds SECOND;
  UPDATE counters SET value = value + 1 WHERE name = p_id;
  WHILE SYSDATE(3) < until DO
    DO SLEEP(0.01);
  END WHILE;
  SELECT * FROM counters WHERE name = p_id;
END //
DELIMITER ;";

const TEMPLATE: &str = "name = \"Long\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"name\"\n[objects]\nupdate = \"long_write\"\n[fetches]\nread = \"long_read\"\nswallowing = \"long_swallowing\"\nown = \"long_own\"\n";

/// Calls of the domain that the server works on.
fn running(world: &World) -> Result<usize> {
    let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE db = DATABASE() AND id <> CONNECTION_ID() AND command <> 'Sleep' AND state = 'User sleep'";
    Ok(world.sql(sql)?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_callers_who_leave_leave_nothing_in_the_server() -> Result<()> {
    let world = World::new().await?;
    world.domain(LONG, &[("long", TEMPLATE)])?;
    let live = world.node_with(|config| config.services.appserver.max_in_flight = 1_000).await?;
    let leave = |number: usize| {
        let (http, url) = (live.api.http.clone(), live.api.url.clone());
        let fetch = ["read", "swallowing", "own"][number % 3];
        async move {
            let request = http
                .get(format!("{url}/v1/records/Long/by/{fetch}?seconds=60"))
                .header("Beds-Timeout", "60s");
            drop(tokio::time::timeout(Duration::from_millis(100), request.send()).await);
        }
    };
    futures_util::future::join_all((0..500).map(leave)).await;
    // A read that waits in the queue may begin behind a look, before the word of its caller has come: three looks in a row count.
    let idle = [
        "beds_tasks_busy{queue=\"rel.read.main\"} 0",
        "beds_queue_messages{queue=\"rel.read.main\"} 0",
    ];
    let mut calm = 0;
    eventually("nothing of theirs is left", async || {
        let metrics = live.api.get("/metrics").await?.text;
        let is_calm = running(&world)? == 0
            && idle.iter().all(|line| metrics.lines().any(|found| found == *line));
        calm = if is_calm { calm + 1 } else { 0 };
        Ok(calm == 3)
    })
    .await?;
    assert_eq!(live.api.get("/v1/records/Things?limit=1").await?.status, 200, "the pool is whole");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_past_its_deadline_has_ended_before_its_place_is_free() -> Result<()> {
    let world = World::new().await?;
    world.domain(LONG, &[("long", TEMPLATE)])?;
    let live = world.node().await?;
    // The world's node has two tasks that read, and two connections beyond them.
    for round in 0..30 {
        let fetch = ["read", "swallowing", "own"][round % 3];
        let request = live.api.request("GET", &format!("/v1/records/Long/by/{fetch}?seconds=60"));
        let late = live.api.send(request.header("Beds-Timeout", "50ms")).await?;
        assert!(matches!(late.status, 503 | 504), "{}", late.text);
        assert!(running(&world)? <= 4, "round {round}");
    }
    eventually("all have ended", async || Ok(running(&world)? == 0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_past_its_deadline_is_certainly_rolled_back_and_told_so() -> Result<()> {
    let world = World::new().await?;
    world.domain(LONG, &[("long", TEMPLATE)])?;
    let live = world.node().await?;
    let update = |seconds: u32, timeout: &str, key: &str| {
        let request = live.api.request("PATCH", "/v1/records/Long/c");
        let request = request.header("Beds-Timeout", timeout).header("Idempotency-Key", key);
        live.api.send(request.json(&json!({ "seconds": seconds })))
    };
    let late = update(60, "500ms", "k1").await?;
    assert_eq!((late.status, late.code()), (504, "BEDS-0015"), "{}", late.text);
    eventually("it has ended in the server", async || Ok(running(&world)? == 0)).await?;
    assert_eq!(world.sql("SELECT value FROM counters WHERE name = 'c'")?, "0");
    assert_eq!(update(0, "10s", "k2").await?.body["value"], 1, "its row is free");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_goes_on_when_its_caller_has_gone() -> Result<()> {
    let world = World::new().await?;
    world.domain(LONG, &[("long", TEMPLATE)])?;
    let live = world.node().await?;
    let request = live.api.request("PATCH", "/v1/records/Long/c").json(&json!({"seconds": 2}));
    assert!(tokio::time::timeout(Duration::from_millis(300), request.send()).await.is_err());
    eventually("it is done", async || {
        Ok(world.sql("SELECT value FROM counters WHERE name = 'c'")? == "1")
    })
    .await
}

/// A read of documents that takes minutes: each of 700 is compared with each pair of the others.
fn crowd() -> String {
    let all: Vec<_> = (0..700).map(|number| json!({ "_id": number })).collect();
    let others = |mut pipeline: Vec<Value>| {
        pipeline.insert(0, json!({"$match": {"$expr": {"$ne": ["$_id", "$$one"]}}}));
        let lookup =
            json!({"from": "crowd", "let": {"one": "$_id"}, "pipeline": pipeline, "as": "others"});
        vec![json!({"$lookup": lookup}), json!({"$count": "all"})]
    };
    let command = json!({"aggregate": "crowd", "pipeline": others(others(Vec::new()))});
    let read = json!({"_id": "crowd_read", "kind": "fetch", "params": {}, "command": command});
    json!([
        {"insert": "crowd", "documents": all},
        {"update": "beds_objects", "updates": [{"q": {"_id": "crowd_read"}, "upsert": true, "u": read}]},
    ])
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_documents_end_in_the_server_when_their_callers_leave() -> Result<()> {
    let world = World::new().await?;
    world.write("schema/rec/main/0950_crowd.json", crowd())?;
    world.template("crowd",
        "name = \"Crowd\"\nstore = \"rec\"\ndatabase = \"main\"\nid = \"_id\"\n[fetches]\nread = \"crowd_read\"\n",
    )?;
    world.apply()?;
    let live = world.node().await?;
    // Twice as many as there are connections, two at a time, since two tasks read. Each has begun before its caller leaves.
    for _ in 0..6 {
        let leave = || {
            let request = live.api.request("GET", "/v1/records/Crowd/by/read");
            tokio::time::timeout(
                Duration::from_millis(300),
                request.header("Beds-Timeout", "60s").send(),
            )
        };
        assert!(matches!(tokio::join!(leave(), leave()), (Err(_), Err(_))), "they take minutes");
    }
    // If they went on, they would hold the connections for 30 s, and hundreds of reads would be refused.
    let mut refused = 0;
    eventually("there is room", async || {
        let answer = live.api.get("/v1/records/Papers").await?;
        refused += u32::from(answer.status != 200);
        Ok(answer.status == 200)
    })
    .await?;
    assert!(refused <= 30, "{refused} reads found no connection");
    Ok(())
}
