//! The acts of actors: nothing in the trail can be changed unseen, and no value of a field stands in it. Not here: failures
//! (faults/).

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::{Api, World, callers, envelope, eventually};

pub(crate) async fn search(api: &Api, query: &str) -> Result<Vec<Value>> {
    let answer = api.get(&format!("/v1/records/Audit/by/search?limit=500{query}")).await?;
    let mut records =
        answer.body["records"].as_array().cloned().with_context(|| answer.text.clone())?;
    for record in &mut records {
        record["record"] =
            serde_json::from_str(record["record"].as_str().context("the record as text")?)?;
    }
    Ok(records)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_says_who_did_what_with_names_and_no_values() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let created =
        live.api.post("/v1/records/Things", &json!({"name": "canary-1", "count": 3})).await?;
    let mut found = Vec::new();
    eventually("the record is there", async || {
        found = search(&live.api, "&template=Things").await?;
        Ok(!found.is_empty())
    })
    .await?;
    let record = &found[0]["record"];
    assert_eq!(record["about"], created.header("beds-event-id"));
    assert_eq!(
        (&record["operation"], &record["rows"], &record["outcome"]),
        (&json!("create"), &json!(1), &json!("ok"))
    );
    assert_eq!(
        (&record["address"], &record["fields"]),
        (&json!("127.0.0.1"), &json!(["name", "count"]))
    );
    assert_eq!(
        record["record"].as_str(),
        callers::record_keys().hash("Things", &created.body["id"].to_string()).as_deref(),
        "the record's id as a keyed hash: {record}"
    );
    let listed = String::from_utf8(world.beds(&["audit", "ls", "--template", "Things"])?.stdout)?;
    assert!(listed.contains("Things.create") && listed.contains("[name count]"), "{listed}");
    // Reading the trail is in the trail, and a command's reading has the name of its user.
    let user = format!("uid {}", rustix::process::getuid().as_raw());
    eventually("the reading is recorded", async || {
        let listed = String::from_utf8(
            world.beds(&["audit", "ls", "--template", "Audit", "--actor", &user])?.stdout,
        )?;
        Ok(listed.contains("Audit.fetch") && listed.lines().all(|line| line.contains(&user)))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_a_node_writes_the_trail() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for template in ["Audit", "AuditHeads", "Lineage", "Logs", "Metrics"] {
        let refused =
            live.api.post(&format!("/v1/records/{template}"), &json!({"_id": "forged"})).await?;
        assert_eq!(
            (refused.status, refused.code()),
            (404, "BEDS-0012"),
            "{template}: {}",
            refused.text
        );
        let offered =
            live.api.get(&format!("/v1/templates/{template}")).await?.body["operations"].clone();
        let names: Vec<&str> = offered
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|o| o["operation"].as_str())
            .collect();
        assert!(!names.contains(&"create"), "{offered}");
        let event = json!({
            "v": 1, "event_id": template, "root_id": template, "template": template, "operation": "create",
            "params": {"_id": "forged"}, "issued_at": jiff::Timestamp::now().to_string(), "deadline": "2126-11-23T10:00:00.000Z",
        });
        assert!(
            world.publish("rec.write", &event.to_string(), json!({"message_id": template})).await?
        );
        let dead = world.dead_letter().await?;
        let detail = dead["properties"]["headers"]["beds-detail"].as_str().unwrap_or_default();
        assert!(detail.starts_with("BEDS-0012"), "{dead}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_field_is_found_anywhere_afterwards() -> Result<()> {
    let world = World::new().await?;
    let things = world.folder.join("templates/things.toml");
    let text = std::fs::read_to_string(&things)?;
    std::fs::write(
        &things,
        format!("{text}\n[fields.name]\nsensitive = true\n[fields.count]\nsensitive = true\n"),
    )?;
    let process = world.process("panic=return").await?;
    let api = &process.api;
    let mut canaries = Vec::new();
    let mut canary = || {
        let value = format!("canary{}", uuid::Uuid::new_v4().simple());
        canaries.push(value.clone());
        value
    };
    for _ in 0..5 {
        // Bodies that are taken, refused by type, by rule, by the validator, by a unique index; paths; queries; panics.
        let taken = canary();
        api.post("/v1/records/Users", &json!({"email": format!("{taken}@x.y"), "name": canary()}))
            .await?;
        api.post("/v1/records/Users", &json!({"email": format!("{taken}@x.y"), "name": canary()}))
            .await?;
        api.post("/v1/records/Users", &json!({"email": canary(), "name": [canary()]})).await?;
        api.post("/v1/records/Things", &json!({"name": canary(), "count": canary()})).await?;
        api.post("/v1/records/Things", &json!({"name": canary(), "panic_for_test": 1})).await?;
        api.get(&format!("/v1/records/Things/{}", canary())).await?;
        api.get(&format!("/v1/records/Users/by/email?email={}", canary())).await?;
        let id = format!("x.y.{}", uuid::Uuid::new_v4().simple());
        let event = json!({"v": 1, "event_id": id, "root_id": id, "template": "Things", "operation": "create",
            "params": {"name": canary(), "count": "no number"}, "issued_at": jiff::Timestamp::now().to_string(),
            "deadline": "2126-11-23T10:00:00Z"});
        assert!(world.publish("rel.write", &event.to_string(), json!({})).await?);
    }
    assert!(canaries.len() >= 50, "{}", canaries.len());
    let last = api.post("/v1/records/Things", &json!({"name": "the last"})).await?;
    eventually("the last record is stored", async || {
        let found = search(api, "&template=Things").await?;
        Ok(found.iter().any(|record| record["record"]["about"] == last.header("beds-event-id")))
    })
    .await?;
    let mut kept = world.log();
    let mut dead = Vec::new();
    eventually("the dead letters are there", async || {
        let listed = api.get("/v1/dead-letters").await?;
        dead = listed.body["dead_letters"].as_array().cloned().unwrap_or_default();
        // Five that could not be read as numbers, and five that panicked.
        Ok(dead.len() == 10)
    })
    .await?;
    let letters = dead
        .iter()
        .filter_map(|letter| letter["id"].as_str())
        .map(|id| format!("/v1/dead-letters/{id}"));
    let pages = ["Audit/by/search?limit=500", "Attacker?limit=500", "AllLogs?limit=500"];
    let pages = pages.map(|page| format!("/v1/records/{page}"));
    let lists = ["/metrics", "/v1/dead-letters", "/v1/templates", "/readyz"].map(str::to_owned);
    for path in letters.chain(pages).chain(lists) {
        let page = api.get(&path).await?;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        kept.push_str(&page.text);
    }
    assert!(kept.contains("(not shown)"), "the dead letters were looked into");
    assert!(kept.contains("Things") && kept.contains("became a dead letter"), "{kept}");
    let leaked: Vec<&String> = canaries.iter().filter(|canary| kept.contains(*canary)).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_audit_is_required_nothing_is_done_that_cannot_be_recorded() -> Result<()> {
    let world = World::new().await?;
    let file = world.folder.join("templates/things.toml");
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, text.replace("id = \"id\"\n", "id = \"id\"\naudit = \"required\"\n"))?;
    let live = world.node().await?;
    world.all_consume().await?;
    let bindings = format!("/api/bindings/{}/e/beds.logs/q/audit", world.name);
    world.rabbit(Method::DELETE, &format!("{bindings}/audit.%23"), None).await?;
    eventually("requests are refused", async || {
        let answer = live.api.get("/v1/records/Things?limit=1").await?;
        Ok((answer.status, answer.code()) == (503, "BEDS-0013"))
    })
    .await?;
    for number in 0..20 {
        let written =
            live.api.post("/v1/records/Things", &json!({"name": format!("n{number}")})).await?;
        assert_eq!((written.status, written.code()), (503, "BEDS-0013"), "{}", written.text);
    }
    assert_eq!(
        live.api.get("/v1/records/Papers?limit=1").await?.status,
        200,
        "other templates go on"
    );
    world.rabbit(Method::POST, &bindings, Some(json!({"routing_key": "audit.#"}))).await?;
    let mut listed = Value::Null;
    eventually("requests are taken again", async || {
        let answer = live.api.get("/v1/records/Things?limit=1").await?;
        listed = answer.body.clone();
        Ok(answer.status == 200)
    })
    .await?;
    assert_eq!(listed["records"], json!([]), "what was refused was not done");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_asks_for_another_operation_holds_up_no_other() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for operation in ["delete", "list", "fetch"] {
        let text = json!({
            "about": format!("py.{operation}"), "depth": 1, "at": "2026-11-23T10:00:00Z", "actor": operation, "template": "T",
            "operation": "fetch", "rows": 0, "outcome": "ok", "node": "py",
        });
        let id = format!("py.batch.{operation}");
        let batch = envelope(&id, "Audit", operation, json!({"records": [text.to_string()]}));
        let properties = json!({"message_id": id, "delivery_mode": 2});
        world.publish_to("beds.logs", "audit.py", &batch.to_string(), properties).await?;
        eventually("nodes only ever add to the trail", async || {
            Ok(search(&live.api, &format!("&subject={operation}")).await?.len() == 1)
        })
        .await?;
    }
    Ok(())
}
