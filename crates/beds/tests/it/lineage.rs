//! The events, calls and times of a request: the tree has exactly the nodes that it should have.

use anyhow::Result;
use beds_trail::span::LineageReport;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::rig::{Api, World, eventually};

/// The tree of an event as `kind parent` lines, sorted, once it has a node of each of these kinds.
async fn tree(api: &Api, id: &str, kinds: &[&str]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    eventually("the tree is whole", async || {
        let answer = api.get(&format!("/v1/lineage/{id}")).await?;
        found.clear();
        for top in answer.body["tree"].as_array().into_iter().flatten() {
            flatten(top, "-", &mut found);
        }
        found.sort();
        Ok(kinds
            .iter()
            .all(|kind| found.iter().any(|line: &String| line.starts_with(&format!("{kind} ")))))
    })
    .await?;
    Ok(found)
}

/// `kind outcome < kind of the parent`
fn flatten(node: &Value, parent: &str, found: &mut Vec<String>) {
    let kind = node["kind"].as_str().unwrap_or_default();
    found.push(format!("{kind} {} < {parent}", node["outcome"].as_str().unwrap_or_default()));
    for child in node["children"].as_array().into_iter().flatten() {
        assert_eq!(child["parent_id"], node["event_id"]);
        assert_eq!(child["depth"].as_u64(), node["depth"].as_u64().map(|depth| depth + 1));
        flatten(child, kind, found);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_and_a_read_of_either_store_have_exactly_their_nodes() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for template in ["Things", "Papers"] {
        let created = live
            .api
            .post(&format!("/v1/records/{template}"), &json!({"name": "n", "count": 1}))
            .await?;
        let expected = ["audit ok < http", "call ok < http", "http ok < -"];
        assert_eq!(
            tree(&live.api, created.header("beds-event-id"), &["http", "audit"]).await?,
            expected,
            "{template}"
        );
        let read = live.api.get(created.header("location")).await?;
        assert_eq!(
            tree(&live.api, read.header("beds-event-id"), &["http", "audit"]).await?,
            expected,
            "{template}"
        );
        let missing =
            live.api.get(&format!("/v1/records/{template}/999999999999999999999999")).await?;
        assert!(missing.status >= 400, "{}", missing.text);
        let nodes = tree(&live.api, missing.header("beds-event-id"), &["http", "audit"]).await?;
        assert!(nodes.contains(&"http failed < -".to_owned()), "{nodes:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_a_deadlock_is_a_node() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let created = live.api.post("/v1/records/Things", &json!({"name": "deadlock 1"})).await?;
    assert_eq!(created.status, 201, "{}", created.text);
    let nodes = tree(&live.api, created.header("beds-event-id"), &["http", "audit"]).await?;
    assert_eq!(nodes, ["audit ok < http", "call failed < http", "http ok < -", "retry ok < http"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_and_the_late_reply_are_nodes() -> Result<()> {
    let world = World::new().await?;
    // The answer is there in time and leaves late.
    let process = world.process("late=1*return(1500)->off").await?;
    world.all_consume().await?;
    let request = process.api.request("GET", "/v1/records/Things?limit=1");
    let answer = process.api.send(request.header("Beds-Timeout", "300ms")).await?;
    assert_eq!(answer.status, 504, "{}", answer.text);
    let kinds = ["http ok", "timeout", "audit", "call", "late_reply", "log"];
    let nodes = tree(&process.api, answer.header("beds-event-id"), &kinds).await?;
    let expected = [
        "audit ok < http",
        "call ok < http",
        "http ok < -",
        "late_reply unknown < http",
        "log ok < http",
        "timeout unknown < http",
    ];
    assert_eq!(nodes, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_at_the_deadline_is_a_node_without_an_end() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    world.all_consume().await?;
    let request = live.api.request("GET", "/v1/records/Things/by/sleep?seconds=1.5");
    let answer = live.api.send(request.header("Beds-Timeout", "300ms")).await?;
    assert_eq!(answer.status, 504, "{}", answer.text);
    let mut nodes =
        tree(&live.api, answer.header("beds-event-id"), &["http failed", "audit", "call", "log"])
            .await?;
    // The worker gives up at the same moment as the caller, so either may be the first.
    nodes.retain(|line| !line.starts_with("timeout") && !line.starts_with("late_reply"));
    // Worker and gateway each say it.
    nodes.dedup();
    assert_eq!(
        nodes,
        ["audit ok < http", "call unknown < http", "http failed < -", "log ok < http"]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_a_node() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let id = format!("py.test.{}", uuid::Uuid::new_v4().simple());
    let event = json!({
        "v": 1, "event_id": id, "root_id": id, "template": "Things", "operation": "create",
        "params": {"name": "forbidden"}, "issued_at": jiff::Timestamp::now().to_string(), "deadline": "2126-11-23T10:00:00.000Z",
    });
    assert!(world.publish("rel.write", &event.to_string(), json!({"message_id": id})).await?);
    let nodes = tree(&live.api, &id, &["amqp", "audit", "log"]).await?;
    let dead = "dead_letter failed < amqp";
    assert_eq!(
        nodes,
        ["amqp failed < -", "audit ok < amqp", "call failed < amqp", dead, "log ok < amqp"]
    );
    let text = live.api.get(&format!("/v1/lineage/{id}?format=text")).await?.text;
    assert!(text.contains("dead letter refused  failed BEDS-0009"), "{text}");
    Ok(())
}

/// An event that another one caused, as a client in any language publishes it.
async fn publish_child(
    world: &World,
    root: &str,
    key: &str,
    template: &str,
    name: &str,
) -> Result<()> {
    let id = format!("py.test.{}", uuid::Uuid::new_v4().simple());
    let event = json!({
        "v": 1, "event_id": id, "parent_id": root, "root_id": root, "depth": 1, "template": template,
        "operation": "create", "params": {"name": name},
        "issued_at": jiff::Timestamp::now().to_string(), "deadline": "2126-11-23T10:00:00.000Z",
    });
    assert!(world.publish(key, &event.to_string(), json!({"message_id": id})).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tree_shows_all_that_came_of_one_request() -> Result<()> {
    let world = World::new().await?;
    // The first answer leaves when its caller has stopped waiting.
    let process = world.process("late=1*return(1500)->off").await?;
    let api = &process.api;
    let create = api.request("POST", "/v1/records/Things").header("Beds-Timeout", "500ms");
    let root = api.send(create.json(&json!({"name": "the root"}))).await?;
    assert_eq!(root.status, 504, "{}", root.text);
    let root = root.header("beds-event-id");
    publish_child(&world, root, "rec.write", "Papers", "a paper").await?;
    publish_child(&world, root, "rel.write", "Things", "deadlock 1").await?;
    publish_child(&world, root, "rel.write", "Things", "forbidden").await?;
    let mut expected = [
        "http ok < -",
        "call ok < http",
        "timeout unknown < http",
        "late_reply unknown < http",
        "audit ok < http",
        // The gateway's line about the timeout.
        "log ok < http",
        // On REC.
        "amqp ok < http",
        "call ok < amqp",
        "audit ok < amqp",
        // The deadlock.
        "amqp ok < http",
        "call failed < amqp",
        "retry ok < amqp",
        "audit ok < amqp",
        // The dead letter.
        "amqp failed < http",
        "call failed < amqp",
        "dead_letter failed < amqp",
        "audit ok < amqp",
        "log ok < amqp",
    ];
    expected.sort_unstable();
    let mut found = Vec::new();
    eventually("the tree is whole", async || {
        found = tree(api, root, &["http"]).await?;
        Ok(found.len() >= expected.len())
    })
    .await?;
    assert_eq!(found, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_refused_at_the_door_has_its_node_and_its_record() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let request = live.api.request("POST", "/v1/records/Things");
    let refused = live
        .api
        .send(request.header("Content-Type", "application/json").body("{\"name\": oops}"))
        .await?;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let nodes = tree(&live.api, refused.header("beds-event-id"), &["http", "audit"]).await?;
    assert_eq!(nodes, ["audit ok < http", "http failed < -"]);
    let unknown = live.api.get("/v1/records/Nobody/1").await?;
    assert_eq!(unknown.status, 404, "{}", unknown.text);
    let text = live
        .api
        .get(&format!("/v1/lineage/{}?format=text", unknown.header("beds-event-id")))
        .await?
        .text;
    assert!(text.contains("http  failed BEDS-") && !text.contains("Nobody"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_is_kept_with_its_root() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = live.api.request("GET", "/v1/records/Things?limit=1");
    let by_http = live
        .api
        .send(request.header("traceparent", trace))
        .await?
        .header("beds-event-id")
        .to_owned();
    let by_amqp = format!("py.test.{}", uuid::Uuid::new_v4().simple());
    let event = json!({
        "v": 1, "event_id": by_amqp, "root_id": by_amqp, "template": "Things", "operation": "list",
        "issued_at": jiff::Timestamp::now().to_string(), "deadline": "2126-11-23T10:00:00.000Z",
    });
    let headers = json!({"headers": {"traceparent": trace}});
    assert!(world.publish("rel.read", &event.to_string(), headers).await?);
    for (id, kind) in [(by_http, "http"), (by_amqp, "amqp")] {
        tree(&live.api, &id, &[kind, "audit"]).await?;
        let root = live.api.get(&format!("/v1/lineage/{id}")).await?.body["tree"][0].clone();
        assert_eq!(root["traceparent"], trace, "{root}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_request_shows_as_such_and_then_its_end() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    world.all_consume().await?;
    let slow = live.api.get("/v1/records/Things/by/sleep?seconds=4");
    let watch = async {
        let mut id = String::new();
        eventually("the request is seen running", async || {
            let all = live.api.get("/v1/records/Attacker?limit=500").await?;
            let records = all.body["records"].as_array().cloned().unwrap_or_default();
            let running =
                records.iter().map(nodes_of).find(|nodes| nodes[0]["outcome"] == "running");
            id = running
                .and_then(|nodes| nodes[0]["event_id"].as_str().map(str::to_owned))
                .unwrap_or_default();
            Ok(!id.is_empty())
        })
        .await?;
        let tree = live.api.get(&format!("/v1/lineage/{id}")).await?;
        anyhow::ensure!(tree.body["running"] == true, "{}", tree.text);
        let shown = live.api.get(&format!("/v1/lineage/{id}?format=text")).await?.text;
        anyhow::ensure!(shown.contains("(still running)"), "{shown}");
        Ok(id)
    };
    let (slow, id) = tokio::join!(slow, watch);
    let (slow, id) = (slow?, id?);
    assert_eq!((slow.status, slow.header("beds-event-id")), (200, id.as_str()));
    let ended = tree(&live.api, &id, &["http ok", "audit"]).await?;
    assert_eq!(ended, ["audit ok < http", "call ok < http", "http ok < -"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_nobody_knows_is_404_and_the_command_says_so() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let answer = live.api.get("/v1/lineage/ms.development.nobody").await?;
    assert_eq!((answer.status, answer.code()), (404, "BEDS-0007"), "{}", answer.text);
    assert_eq!(live.api.get("/v1/lineage/x?format=pdf").await?.status, 400);
    let created = live.api.post("/v1/records/Things", &json!({"name": "n"})).await?;
    let id = created.header("beds-event-id").to_owned();
    tree(&live.api, &id, &["audit"]).await?;
    let output = world.beds(&["lineage", &id])?;
    let text = String::from_utf8(output.stdout)?;
    assert!(
        output.status.success() && text.contains("http Things.create  ok") && text.contains('█'),
        "{text}"
    );
    assert_eq!(world.beds(&["lineage", "ms.development.nobody"])?.status.code(), Some(1));
    let dot = String::from_utf8(world.beds(&["lineage", &id, "--format", "dot"])?.stdout)?;
    assert!(dot.starts_with("digraph"), "{dot}");
    Ok(())
}

/// The nodes of a record, with their full ids.
pub(crate) fn nodes_of(record: &Value) -> Value {
    LineageReport::deserialize(record).map(|record| json!(record.into_spans())).unwrap_or_default()
}
