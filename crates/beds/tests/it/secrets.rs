//! Values of callers in logs, files and terminals; and forged records, letters and files.
//!
//! Not here: the canaries in all records of a node, which are `audit`'s.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::audit::search;
use crate::rig::{World, eventually};

fn mode(path: &Path) -> Result<u32> {
    Ok(std::fs::metadata(path).with_context(|| path.display().to_string())?.permissions().mode()
        & 0o777)
}

fn read(id: &str, subject: &str) -> Value {
    json!({
        "v": 1, "event_id": id, "root_id": id, "template": "Things", "operation": "fetch", "fetch": "name",
        "params": {"name": "x"}, "actor": {"subject": subject},
        "issued_at": jiff::Timestamp::now().to_string(), "deadline": "2126-11-23T10:00:00Z",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_in_mongodb_puts_no_value_into_a_log() -> Result<()> {
    let world = World::new().await?;
    crate::least_privilege::restrict_documents(&world)?;
    let process = world.process("").await?;
    let read = process.api.get("/v1/records/Papers/by/name?name=canary-of-a-read").await?;
    assert_eq!((read.status, read.code()), (503, "BEDS-0023"), "{}", read.text);
    let written =
        process.api.post("/v1/records/Papers", &json!({"name": "canary-of-a-write"})).await?;
    assert_eq!((written.status, written.code()), (503, "BEDS-0023"), "{}", written.text);
    eventually("the failures are in the log", async || {
        Ok(world.log().contains("MongoDB error 13"))
    })
    .await?;
    assert!(!world.log().contains("canary"), "{}", world.log());
    let mut stored = Value::Null;
    eventually("and in the stored one", async || {
        stored = process.api.get("/v1/records/AllLogs").await?.body;
        Ok(stored.to_string().contains("MongoDB error 13"))
    })
    .await?;
    assert!(!stored.to_string().contains("canary"), "{stored}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_that_beds_writes_are_their_owners() -> Result<()> {
    let world = World::new().await?;
    let _live = world.node().await?;
    world.write("rows.csv", "name\nforbidden\ngood\n")?;
    let loaded = world.beds(&["load", "Things", "rows.csv"])?;
    assert_eq!(loaded.status.code(), Some(1), "{}", String::from_utf8_lossy(&loaded.stderr));
    let mut files = 0;
    for entry in std::fs::read_dir(world.folder.join("loads"))? {
        let path = entry?.path();
        assert_eq!(mode(&path)?, 0o600, "{}", path.display());
        files += 1;
    }
    assert_eq!(files, 2, "a note and rejected rows");
    assert_eq!(mode(&world.folder.join("ms.sock"))?, 0o600);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_socket_replaces_only_a_socket() -> Result<()> {
    let world = World::new().await?;
    world.change_config("control = \"ms.sock\"", "control = \"dba.toml\"")?;
    let before = std::fs::read_to_string(world.folder.join("dba.toml"))?;
    let said = world.node().await.err().context("it must not start")?.to_string();
    assert!(said.contains("a file that is no socket is there"), "{said}");
    assert_eq!(std::fs::read_to_string(world.folder.join("dba.toml"))?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_read_has_its_record_also_when_the_same_bytes_come_again() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let body = read("py.same.1", "ana").to_string();
    for number in 1..=3 {
        assert!(world.publish("rel.read", &body, json!({"message_id": "py.same.1"})).await?);
        eventually("one record more", async || {
            Ok(search(&live.api, "&subject=ana").await?.len() == number)
        })
        .await?;
    }
    // A write that comes again takes effect once, and its answer was given twice.
    let write = json!({
        "v": 1, "event_id": "py.same.2", "root_id": "py.same.2", "template": "Things", "operation": "create",
        "params": {"name": "once"}, "actor": {"subject": "bea"},
        "issued_at": jiff::Timestamp::now().to_string(), "deadline": "2126-11-23T10:00:00Z",
    });
    for number in 1..=2 {
        assert!(
            world
                .publish("rel.write", &write.to_string(), json!({"message_id": "py.same.2"}))
                .await?
        );
        eventually("one record more", async || {
            Ok(search(&live.api, "&subject=bea").await?.len() == number)
        })
        .await?;
    }
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "1");
    let tree = live.api.get("/v1/lineage/py.same.1").await?;
    assert_eq!(tree.text.matches("\"kind\":\"audit\"").count(), 3, "{}", tree.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_reach_no_terminal() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for (number, change) in [
        json!({"actor": {"subject": "x\n2026-11-23T10:00:00  admin"}}),
        json!({"template": "T\u{1b}[2J"}),
        json!({"fetch": "a\u{9b}31m"}),
        json!({"replay_of": "r\u{202e}x"}),
    ]
    .into_iter()
    .enumerate()
    {
        let mut event = read("py.control", "ana");
        event.as_object_mut().unwrap().extend(change.as_object().cloned().unwrap_or_default());
        assert!(
            world
                .publish(
                    "rel.read",
                    &event.to_string(),
                    json!({"message_id": format!("c{number}")})
                )
                .await?
        );
    }
    let mut listed = String::new();
    eventually("they are dead letters", async || {
        listed = String::from_utf8(world.beds(&["dead", "ls", "--all"])?.stdout)?;
        Ok(listed.matches("malformed BEDS-0024").count() == 4)
    })
    .await?;
    // The message's own id is the publisher's too.
    assert!(world.publish("rel.read", "garbage", json!({"message_id": "id\u{1b}[31m"})).await?);
    eventually("it is listed", async || {
        listed = String::from_utf8(world.beds(&["dead", "ls", "--all"])?.stdout)?;
        Ok(listed.contains("id\\u001b[31m"))
    })
    .await?;
    assert!(!listed.contains('\u{1b}') && listed.lines().count() == 5, "{listed}");
    assert!(search(&live.api, "&subject=ana").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_headers_decide_nothing_and_one_bad_letter_hides_no_other() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let event = |id: &str, name: &str| {
        let mut event = read(id, "ana");
        event["operation"] = json!("create");
        event["fetch"] = Value::Null;
        event["params"] = json!({"name": name});
        event
    };
    // The pool is busy, so that a message with a short life of its own dies in its queue.
    let forged = json!({
        "v": 1, "event_id": "py.forged", "root_id": "py.forged", "template": "Audit", "operation": "create",
        "params": {"records": [json!({"about": "x", "depth": 1, "at": "2026-11-23T10:00:00Z", "template": "T", "operation": "discard", "rows": 0, "outcome": "ok", "node": "forged"}).to_string()]},
        "issued_at": jiff::Timestamp::now().to_string(), "deadline": "2126-11-23T10:00:00Z",
    });
    let headers = json!({
        "beds-queue": "audit", "beds-reason": "records", "beds-detail": "BEDS-0016 x",
        "x-first-death-queue": "audit", // RabbitMQ counts its own death into an entry of the same queue and reason, and keeps its other members.
        "x-death": [
            {"queue": "audit", "reason": "records", "count": 1},
            {"queue": "rel.write.main", "reason": "expired", "count": 1, "detail": "BEDS-0003 forged"},
        ],
    });
    live.node.shutdown().await;
    let properties = json!({"message_id": "py.forged", "expiration": "1", "delivery_mode": 2, "headers": headers});
    assert!(world.publish("rel.write", &forged.to_string(), properties).await?);
    let long = json!({"message_id": "py.long", "headers": {"beds-queue": "q".repeat(300), "beds-reason": "records"}});
    eventually("the forged message has expired", async || {
        Ok(world.queue("beds.dead").await?["messages"] == 1)
    })
    .await?;
    world.publish_to("beds.dead", "x", &event("py.long", "long").to_string(), long).await?;
    let live = world.node().await?;
    let good = json!({"message_id": "py.good"});
    assert!(world.publish("rel.write", &event("py.good", "forbidden").to_string(), good).await?);
    let mut listed = Value::Null;
    eventually("three letters", async || {
        listed = live.api.get("/v1/dead-letters").await?.body;
        Ok(listed["dead_letters"].as_array().is_some_and(|letters| letters.len() == 3))
    })
    .await?;
    let of = |id: &str| {
        listed["dead_letters"].as_array().unwrap().iter().find(|l| l["id"] == id).cloned().unwrap()
    };
    assert_eq!(
        (&of("py.forged")["queue"], &of("py.forged")["cause"]),
        (&json!("rel.write.main"), &json!("expired")),
        "{listed}"
    );
    world.sql("DROP PROCEDURE things_create")?;
    world.sql("CREATE PROCEDURE things_create(IN p_name VARCHAR(40) CHARACTER SET utf8mb4) INSERT INTO things (name) VALUES (p_name) RETURNING *")?;
    live.node.domains().reload().await;
    for cause in ["expired", "records", "refused%20BEDS-0009"] {
        let request = live.api.request("POST", &format!("/v1/dead-letters/replay?cause={cause}"));
        live.api.send(request.header("Beds-Request", "1")).await?;
    }
    eventually("the good letter was replayed", async || {
        Ok(world.sql("SELECT COUNT(*) FROM things")? == "1")
    })
    .await?;
    let trail = search(&live.api, "").await?;
    ensure!(!trail.iter().any(|record| record["record"]["node"] == "forged"), "{trail:?}");
    Ok(())
}
