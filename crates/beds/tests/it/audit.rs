//! Who did what: nothing in the trail can be changed unseen, and no value of a field stands in it. What survives which
//! failure is in `faults/`.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::{Api, World, eventually};

pub(crate) async fn search(api: &Api, query: &str) -> Result<Vec<Value>> {
    let answer = api.get(&format!("/v1/records/Audit/by/search?limit=500{query}")).await?;
    let mut records = answer.body["records"].as_array().cloned().with_context(|| answer.text.clone())?;
    for record in &mut records {
        record["record"] = serde_json::from_str(record["record"].as_str().context("the record as text")?)?;
    }
    Ok(records)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_says_who_did_what_with_names_and_no_values() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let created = live.api.post("/v1/records/Things", &json!({"name": "canary-1", "count": 3})).await?;
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
    assert_eq!((&record["address"], &record["fields"]), (&json!("127.0.0.1"), &json!(["name", "count"])));
    assert_eq!(record["record"].as_str().map(str::len), Some(32), "the record's id as a keyed hash: {record}");
    let listed = String::from_utf8(world.beds(&["audit", "ls", "--template", "Things"])?.stdout)?;
    assert!(listed.contains("Things.create") && listed.contains("[name count]"), "{listed}");
    // Reading the trail is in the trail.
    eventually("the reading is recorded", async || Ok(!search(&live.api, "&template=Audit").await?.is_empty())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_field_is_found_anywhere_afterwards() -> Result<()> {
    let world = World::new().await?;
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
        api.post("/v1/records/Users", &json!({"email": format!("{taken}@x.y"), "name": canary()})).await?;
        api.post("/v1/records/Users", &json!({"email": format!("{taken}@x.y"), "name": canary()})).await?;
        api.post("/v1/records/Users", &json!({"email": canary(), "name": [canary()]})).await?;
        api.post("/v1/records/Things", &json!({"name": canary(), "count": canary()})).await?;
        api.post("/v1/records/Things", &json!({"name": canary(), "panic_for_test": 1})).await?;
        api.get(&format!("/v1/records/Things/{}", canary())).await?;
        api.get(&format!("/v1/records/Users/by/email?email={}", canary())).await?;
        let event = json!({"v": 1, "event_id": "x.y.z", "root_id": "x.y.z", "template": "Things", "operation": "create",
            "params": {"name": canary(), "count": "no number"}, "issued_at": "2026-11-23T10:00:00Z",
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
    for path in ["Audit/by/search?limit=500", "Attacker?limit=500", "AllLogs?limit=500"] {
        let page = api.get(&format!("/v1/records/{path}")).await?;
        assert_eq!(page.status, 200, "{}", page.text);
        kept.push_str(&page.text);
    }
    assert!(kept.contains("Things") && kept.contains("became a dead letter"), "{kept}");
    let leaked: Vec<&String> = canaries.iter().filter(|canary| kept.contains(*canary)).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_or_deleted_record_is_found_and_named() -> Result<()> {
    let world = World::new().await?;
    let key = world.folder.join("audit.key");
    let live = world
        .node_with(|config| {
            config.services.admin.signing_key_file = Some(key.clone());
            config.services.admin.signing_interval = std::time::Duration::from_millis(200);
        })
        .await?;
    world.change_config("[services.admin]\n", "[services.admin]\nsigning_key_file = \"audit.key\"\n")?;
    for number in 0..5 {
        live.api.post("/v1/records/Things", &json!({"name": format!("n{number}")})).await?;
    }
    let mut records = Vec::new();
    eventually("the records are stored", async || {
        records = search(&live.api, "&template=Things").await?;
        Ok(records.len() == 5)
    })
    .await?;
    let verify = || -> Result<(Option<i32>, String)> {
        let output = world.beds(&["audit", "verify"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Ok((output.status.code(), text))
    };
    eventually("a head that covers them is signed", async || {
        let (code, text) = verify()?;
        anyhow::ensure!(code == Some(0), "{text}");
        Ok(!text.contains("signed up to 0"))
    })
    .await?;

    let victim = &records[2];
    let (id, actor, seq) = (victim["_id"].as_str().unwrap(), &victim["actor"], &victim["seq"]);
    let path = format!("/v1/records/Attacker/{id}");
    let change = async |actor: &Value| live.api.patch(&path, &json!({"actor_name": actor})).await;
    assert_eq!(change(&json!("mallory")).await?.status, 200);
    let (code, text) = verify()?;
    assert!(code == Some(1) && text.contains(&format!("record {seq}: the record is not the one")), "{code:?} {text}");
    assert_eq!(change(actor).await?.status, 200);
    assert_eq!(verify()?.0, Some(0), "as it was before");
    assert_eq!(live.api.delete(&format!("/v1/records/Attacker/{id}")).await?.status, 200);
    let (code, text) = verify()?;
    assert!(code == Some(1) && text.contains(&format!("record {seq}: the record is missing")), "{code:?} {text}");
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
    assert_eq!(live.api.get("/v1/records/Papers?limit=1").await?.status, 200, "other templates go on");
    world.rabbit(Method::POST, &bindings, Some(json!({"routing_key": "audit.#"}))).await?;
    eventually("requests are taken again", async || Ok(live.api.get("/v1/records/Things?limit=1").await?.status == 200))
        .await
}
