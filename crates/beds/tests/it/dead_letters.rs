//! Dead letters as the person that decides about them meets them.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::rig::{World, envelope, eventually};

fn event(id: &str, name: &str) -> String {
    envelope(id, "Things", "create", json!({"name": name})).to_string()
}

fn output(world: &World, arguments: &[&str]) -> Result<String> {
    let output = world.beds(arguments)?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

async fn dead(world: &World, wanted: u64) -> Result<()> {
    eventually("so many dead letters", async || {
        let queue = world.queue("beds.dead").await?;
        Ok(queue["messages_ready"] == wanted && queue["messages"] == wanted)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_by_cause_and_replayed_as_children() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for (id, name) in [("py.test.1", "forbidden"), ("py.test.2", "forbidden")] {
        assert!(world.publish("rel.write", &event(id, name), json!({"message_id": id})).await?);
    }
    assert!(world.publish("rec.write", "garbage", json!({"message_id": "g"})).await?);
    dead(&world, 3).await?;

    let listed = output(&world, &["dead", "ls"])?;
    assert!(
        listed.contains("     2  refused BEDS-0009")
            && listed.contains("     1  malformed BEDS-0024"),
        "{listed}"
    );
    assert!(
        listed.contains("Things.create") && listed.contains("     3  dead letters"),
        "{listed}"
    );
    let all = output(&world, &["dead", "ls", "--all"])?;
    assert!(all.contains("py.test.1") && all.contains("py.test.2"), "{all}");
    dead(&world, 3).await?;

    // The cause is mended, and the one letter is sent again.
    let body = "INSERT INTO things (name) VALUES (p_name) RETURNING *";
    world.sql("DROP PROCEDURE things_create")?;
    world.sql(&format!(
        "CREATE PROCEDURE things_create(IN p_name VARCHAR(40) CHARACTER SET utf8mb4) {body}"
    ))?;
    live.node.domains().reload().await;
    assert!(output(&world, &["dead", "replay", "py.test.1"])?.contains("replayed py.test.1"));
    eventually("the write took effect", async || {
        Ok(world.sql("SELECT COUNT(*) FROM things")? == "1")
    })
    .await?;
    dead(&world, 2).await?;
    let mut replay = Value::Null;
    eventually("the replay is a child of the dead event", async || {
        let tree = live.api.get("/v1/lineage/py.test.1").await?;
        let children = tree.body["tree"][0]["children"].as_array().cloned().unwrap_or_default();
        replay = children.into_iter().find(|child| child["kind"] == "replay").unwrap_or_default();
        Ok(replay["outcome"] == "ok")
    })
    .await?;
    assert_eq!((&replay["parent_id"], &replay["depth"]), (&json!("py.test.1"), &json!(1)));

    // A message that is no event cannot be sent again, only thrown away.
    assert_eq!(world.beds(&["dead", "replay", "g"])?.status.code(), Some(1));
    assert!(
        output(&world, &["dead", "discard", "--cause", "malformed BEDS-0024"])?
            .contains("discarded g")
    );
    assert!(output(&world, &["dead", "discard", "py.test.2"])?.contains("discarded py.test.2"));
    dead(&world, 0).await?;
    eventually("the acts are in the trail", async || {
        let listed = output(&world, &["audit", "ls", "--template", "Things"])?;
        Ok(listed.contains("Things.replay/py.test.1")
            && listed.contains("Things.discard/py.test.2"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_what_took_effect_takes_no_effect_again() -> Result<()> {
    let world = World::new().await?;
    let _live = world.node().await?;
    assert!(
        world
            .publish(
                "rel.write",
                &event("py.test.done", "once"),
                json!({"message_id": "py.test.done"})
            )
            .await?
    );
    eventually("the write took effect", async || {
        Ok(world.sql("SELECT COUNT(*) FROM things")? == "1")
    })
    .await?;
    let headers = json!({"headers": {"beds-reason": "panic", "beds-queue": "rel.write"}, "message_id": "py.test.done"});
    world.publish_to("beds.dead", "rel.write", &event("py.test.done", "once"), headers).await?;
    dead(&world, 1).await?;
    output(&world, &["dead", "replay", "py.test.done"])?;
    eventually("the replay was worked on", async || {
        let queue = world.queue("rel.write.main").await?;
        Ok(queue["messages"] == 0 && queue["message_stats"]["ack"] == 2)
    })
    .await?;
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "1");
    dead(&world, 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_gone_through_over_http() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let api = &live.api;
    for id in ["py.test.1", "py.test.2"] {
        assert!(
            world.publish("rel.write", &event(id, "forbidden"), json!({"message_id": id})).await?
        );
    }
    assert!(world.publish("rec.write", "garbage", json!({"message_id": "g"})).await?);
    dead(&world, 3).await?;
    let listed = api.get("/v1/dead-letters").await?;
    assert_eq!(listed.body["dead_letters"].as_array().map(Vec::len), Some(3), "{}", listed.text);
    let refused = json!({"cause": "refused BEDS-0009", "queue": "rel.write.main", "what": "Things.create", "count": 2});
    assert!(
        listed.body["causes"].as_array().is_some_and(|causes| causes.contains(&refused)),
        "{}",
        listed.text
    );
    let shown = api.get("/v1/dead-letters/py.test.1").await?;
    assert_eq!(shown.body["event"]["params"]["name"], "forbidden", "{}", shown.text);
    assert_eq!(api.get("/v1/dead-letters/nobody").await?.status, 404);
    assert_eq!(
        api.post("/v1/dead-letters/g/replay", &Value::Null).await?.status,
        404,
        "it is no event"
    );
    assert_eq!(api.delete("/v1/dead-letters").await?.code(), "BEDS-0004");

    let body = "INSERT INTO things (name) VALUES (p_name) RETURNING *";
    world.sql("DROP PROCEDURE things_create")?;
    world.sql(&format!(
        "CREATE PROCEDURE things_create(IN p_name VARCHAR(40) CHARACTER SET utf8mb4) {body}"
    ))?;
    live.node.domains().reload().await;
    let replayed = api.post("/v1/dead-letters/py.test.1/replay", &Value::Null).await?;
    assert_eq!(replayed.body, json!({"replayed": ["py.test.1"]}), "{}", replayed.text);
    eventually("the write took effect", async || {
        Ok(world.sql("SELECT COUNT(*) FROM things")? == "1")
    })
    .await?;
    let discarded = api.delete("/v1/dead-letters?cause=refused%20BEDS-0009").await?;
    assert_eq!(discarded.body, json!({"discarded": ["py.test.2"]}), "{}", discarded.text);
    let discarded = api.delete("/v1/dead-letters/g").await?;
    assert_eq!(discarded.body, json!({"discarded": ["g"]}), "{}", discarded.text);
    dead(&world, 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_gateway_has_its_probes() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    world.change_config("[node]\n", &format!("[node]\nprobes = \"{port}\"\n"))?;
    world.change_config("control = \"ms.sock\"\n", "")?;
    world.change_config(
        "[services.appserver]\nis_local = true",
        "[services.appserver]\nis_local = false",
    )?;
    let silent = world.silent_process()?;
    let probe = async |path: &str| live.api.http.get(format!("http://{port}{path}")).send().await;
    eventually("it is ready", async || {
        Ok(probe("/readyz").await.is_ok_and(|answer| answer.status() == 200))
    })
    .await?;
    let text = probe("/metrics").await?.text().await?;
    assert!(text.contains("beds_tasks{queue=\"rel.read.main\"}"), "{text}");
    assert_eq!(probe("/v1/templates").await?.status(), 404);
    drop(silent);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_shown_without_its_sensitive_values() -> Result<()> {
    let world = World::new().await?;
    let _live = world.node().await?;
    let event = json!({
        "v": 1, "event_id": "py.test.s", "root_id": "py.test.s", "template": "Users", "operation": "create",
        "params": {"email": "canary@x.y", "name": "canary", "roles": "not an array"},
        "issued_at": jiff::Timestamp::now().to_string(), "deadline": "2126-11-23T10:00:00Z",
    });
    assert!(
        world.publish("rec.write", &event.to_string(), json!({"message_id": "py.test.s"})).await?
    );
    dead(&world, 1).await?;
    let shown = output(&world, &["dead", "show", "py.test.s"])?;
    assert!(
        shown.contains("BEDS-0003") && shown.contains("not an array") && !shown.contains("canary"),
        "{shown}"
    );
    let code = world.beds(&["dead", "show", "nobody"])?.status.code();
    assert_eq!(code.context("an exit code")?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened_without_a_name_that_a_caller_made_up() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    live.api.post("/v1/records/Things", &json!({"name": "n"})).await?;
    live.api.get("/v1/records/nobody-knows-this/1").await?;
    eventually("the queues are counted", async || {
        let text = live.api.get("/metrics").await?.text;
        let wanted = [
            "beds_requests_total{method=\"POST\",status=\"2xx\"}",
            "beds_requests_total{method=\"GET\",status=\"4xx\"}",
            "beds_events_total{queue=\"rel.write.main\",code=\"ok\"}",
            "beds_event_seconds_bucket{queue=\"rel.write.main\",le=\"0.1\"}",
            "beds_database_call_seconds_count{queue=\"rel.write.main\"}",
            "beds_tasks{queue=\"rel.write.main\"}",
            "beds_queue_messages{queue=\"beds.dead\"}",
        ];
        assert!(!text.contains("nobody-knows-this") && !text.contains("Beds-Event-Id"), "{text}");
        Ok(wanted.iter().all(|sample| text.contains(sample)))
    })
    .await
}
