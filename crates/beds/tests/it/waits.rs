//! Messages that wait for better times, or for a node of a later release.
//!
//! Not here: services that are away for other reasons, which is `outages`'s.

use std::num::NonZeroU32;

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use crate::audit::search;
use crate::rig::callers::KEY;
use crate::rig::{World, envelope, eventually, variable};

fn of_later(id: &str, operation: &str, params: Value) -> Value {
    let mut event = envelope(id, "Things", operation, params);
    event["v"] = json!(2);
    event
}

async fn messages(world: &World, queue: &str) -> Result<Value> {
    Ok(world.queue(queue).await?["messages"].clone())
}

/// A domain whose writes fail for now, until its gate is open. The database is there all the while.
fn gated(world: &World) -> Result<()> {
    world.domain(
        "CREATE TABLE gate (id INT PRIMARY KEY) ENGINE = InnoDB;
         CREATE TABLE guests (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) NOT NULL) ENGINE = InnoDB;
         DELIMITER //
         CREATE PROCEDURE guests_create(IN p_name VARCHAR(40))
         BEGIN
           IF NOT EXISTS (SELECT 1 FROM gate) THEN
             SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1205, MESSAGE_TEXT = 'Lock wait timeout exceeded';
           END IF;
           INSERT INTO guests (name) VALUES (p_name);
           SELECT * FROM guests WHERE id = LAST_INSERT_ID();
         END //
         DELIMITER ;",
        &[("guests", "name = \"Guests\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[objects]\ncreate = \"guests_create\"\n")],
    )
}

fn open(world: &World) -> Result<String> {
    world.sql("INSERT INTO gate VALUES (1)")
}

/// To the nodes, the database is away, and no other test notices.
fn away(world: &World) -> Result<String> {
    world.sql("RENAME TABLE beds_inbox TO beds_inbox_away")
}

fn back(world: &World) -> Result<String> {
    world.sql("RENAME TABLE beds_inbox_away TO beds_inbox")
}

/// Publishes a message as soon as its queue has a place.
async fn fit_in(world: &World, event: &Value) -> Result<()> {
    let properties = json!({"message_id": event["event_id"], "delivery_mode": 2});
    eventually("there is a place in the queue", async || {
        Ok(world
            .publish("rel.write", &event.to_string(), properties.clone())
            .await
            .unwrap_or(false))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_a_database_makes_no_dead_letters() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    away(&world)?;
    for number in 0..100 {
        let id = format!("py.out.{number}");
        let event = envelope(&id, "Things", "create", json!({"name": format!("n{number}")}));
        world.send("rel.write", &event).await?;
    }
    // Most in their own queue, which has no consumer now, and those that were at hand in the other.
    eventually("the writes wait", async || {
        let (own, aside) =
            (messages(&world, "rel.write.main").await?, messages(&world, "beds.waiting").await?);
        Ok(own.as_u64().unwrap_or(0) + aside.as_u64().unwrap_or(0) >= 50)
    })
    .await?;
    back(&world)?;
    eventually("all are done", async || Ok(world.sql("SELECT COUNT(*) FROM things")? == "100"))
        .await?;
    eventually("and acknowledged", async || Ok(messages(&world, "rel.write.main").await? == 0))
        .await?;
    assert!(world.take("beds.dead").await?.is_empty());
    drop(live);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_wait_for_better_times_hold_up_no_other() -> Result<()> {
    let world = World::new().await?;
    gated(&world)?;
    let live = world.node().await?;
    // Several times as many as there are tasks and messages that RabbitMQ hands out ahead of time.
    for number in 0..40 {
        let id = format!("py.wait.{number}");
        let event = envelope(&id, "Guests", "create", json!({"name": format!("n{number}")}));
        world.send("rel.write", &event).await?;
    }
    for number in 0..10 {
        let body = json!({"name": format!("healthy {number}")});
        let answer = live.api.post("/v1/records/Things", &body).await?;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    assert_eq!(world.sql("SELECT COUNT(*) FROM guests")?, "0");
    open(&world)?;
    eventually("all are done", async || Ok(world.sql("SELECT COUNT(*) FROM guests")? == "40"))
        .await?;
    for queue in ["rel.write.main", "beds.waiting"] {
        eventually("and acknowledged", async || Ok(messages(&world, queue).await? == 0)).await?;
    }
    assert_eq!(world.sql("SELECT COUNT(DISTINCT name) FROM guests")?, "40");
    assert!(world.take("beds.dead").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_release_sends_waits_for_one_and_is_kept() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let event = of_later("py.later", "create", json!({"name": "later"}));
    world.send("rel.write", &event).await?;
    // Each look takes it out of its queue, and puts it back.
    eventually("it has waited six times", async || {
        Ok(world.queue("beds.later").await?["message_stats"]["publish"].as_u64() >= Some(6))
    })
    .await?;
    assert!(world.take("beds.dead").await?.is_empty());
    let mut waiting = Vec::new();
    eventually("it is there", async || {
        waiting.extend(world.take("beds.later").await?);
        Ok(!waiting.is_empty())
    })
    .await?;
    assert_eq!(waiting[0]["payload"], event.to_string());
    // A node that has looked for an hour keeps it for a person.
    let headers = json!({"beds-waits": 360});
    assert!(
        world
            .publish(
                "rel.write",
                &event.to_string(),
                json!({"message_id": "py.later", "headers": headers})
            )
            .await?
    );
    assert_eq!(world.dead_letter().await?["properties"]["headers"]["beds-reason"], "malformed");
    // A record with a member that this release does not know is stored as it came.
    let text = json!({"about": "py.new", "depth": 1, "at": "2026-11-23T10:00:00Z", "actor": "of later", "template": "T", "operation": "fetch", "rows": 0, "outcome": "ok", "node": "later", "new_member": [1]}).to_string();
    let batch = envelope("later.b1", "Audit", "create", json!({"records": [text]}));
    let properties = json!({"message_id": "later.b1", "delivery_mode": 2});
    world.publish_to("beds.logs", "audit.later", &batch.to_string(), properties).await?;
    eventually("it is stored", async || {
        Ok(search(&live.api, "&subject=of%20later").await?.len() == 1)
    })
    .await?;
    let stored = search(&live.api, "&subject=of%20later").await?;
    assert_eq!(stored[0]["record"]["new_member"], json!([1]), "{stored:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_say_how_often_its_event_has_waited() -> Result<()> {
    let world = World::new().await?;
    let _live = world.node().await?;
    let event = of_later("py.told", "create", json!({"name": "told"})).to_string();
    let headers =
        json!({"authorization": format!("Bearer {KEY}"), "beds-waits": 360, "beds-in-doubt": true});
    let properties = json!({"message_id": "py.told", "headers": headers});
    world.publish_unproved("beds.events", "rel.write.main", &event, properties).await?;
    let mut waiting = Vec::new();
    eventually("it waits", async || {
        waiting.extend(world.take("beds.later").await?);
        Ok(!waiting.is_empty())
    })
    .await?;
    let headers = &waiting[0]["properties"]["headers"];
    assert!(headers["beds-waits"].as_u64() < Some(100), "{headers}");
    assert!(headers["beds-in-doubt"].is_null(), "{headers}");
    assert!(world.take("beds.dead").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_a_later_release_hold_up_no_other() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    world.own_queue("mine").await?;
    for number in 0..40 {
        let id = format!("py.later.{number}");
        let event = of_later(&id, "list", json!({}));
        let properties = json!({"message_id": id, "reply_to": "mine"});
        assert!(world.publish("rel.read", &event.to_string(), properties).await?);
    }
    for _ in 0..10 {
        let listed = live.api.get("/v1/records/Things").await?;
        assert_eq!(listed.status, 200, "{}", listed.text);
    }
    let mut answers = Vec::new();
    eventually("they are answered in the end", async || {
        answers.extend(world.take("mine").await?);
        Ok(answers.len() == 40)
    })
    .await?;
    let answer: Value = serde_json::from_str(answers[0]["payload"].as_str().context("a payload")?)?;
    assert_eq!(answer["error"]["code"], "BEDS-0024", "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_carries_no_name_of_its_publishers_login() -> Result<()> {
    let world = World::new().await?;
    let user = format!("u{}", world.name);
    // The login stands for a caller, so its events are proved.
    let config = std::fs::read_to_string(world.config_file())?;
    let trusted = format!("[trust.logins.{user}]\nsubject = \"app:named\"\nroles = [\"tester\"]\n");
    std::fs::write(world.config_file(), format!("{config}\n{trusted}"))?;
    let live = world.node().await?;
    let login = format!("/api/users/{user}");
    world
        .rabbit(Method::PUT, &login, Some(json!({"password": "secret", "tags": "management"})))
        .await?;
    let rights = json!({"configure": "", "write": ".*", "read": ""});
    world
        .rabbit(Method::PUT, &format!("/api/permissions/{}/{user}", world.name), Some(rights))
        .await?;
    let event = of_later("py.named", "create", json!({}));
    // RabbitMQ takes a user_id only from that login.
    let message = json!({
        "routing_key": "rel.write", "payload": event.to_string(), "payload_encoding": "string",
        "properties": {"message_id": "py.named", "user_id": user},
    });
    let api = variable("BEDS_TEST_RABBIT_API")?;
    let (_, host) = api.split_once('@').context("user:password@host:port")?;
    let path = format!("http://{host}/api/exchanges/{}/beds.events/publish", world.name);
    let sent =
        live.api.http.post(path).basic_auth(&user, Some("secret")).json(&message).send().await?;
    let sent: Value = sent.json().await?;
    world.rabbit(Method::DELETE, &login, None).await?;
    assert_eq!(sent["routed"], true, "{sent}");
    eventually("it waits again and again", async || {
        Ok(world.queue("beds.later").await?["message_stats"]["publish"].as_u64() >= Some(3))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_a_later_release_takes_no_place_from_writes_that_wait() -> Result<()> {
    let world = World::new().await?;
    gated(&world)?;
    let live = world
        .node_with(|config| config.amqp.max_queue_length = NonZeroU32::new(10).unwrap())
        .await?;
    for number in 0..15 {
        fit_in(&world, &of_later(&format!("py.flood.{number}"), "create", json!({}))).await?;
    }
    let mut dead = Vec::new();
    eventually("those without a place are dead letters", async || {
        dead.extend(world.take("beds.dead").await?);
        Ok(!dead.is_empty())
    })
    .await?;
    fit_in(&world, &envelope("py.waits", "Guests", "create", json!({"name": "waits"}))).await?;
    eventually("it waits", async || Ok(messages(&world, "beds.waiting").await? == 1)).await?;
    open(&world)?;
    eventually("it is done", async || Ok(live.api.done("rel.write.main").await? == 1)).await?;
    dead.extend(world.take("beds.dead").await?);
    for letter in dead {
        assert_eq!(letter["properties"]["headers"]["beds-reason"], "malformed", "{letter}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_a_place_to_wait_becomes_a_dead_letter() -> Result<()> {
    let world = World::new().await?;
    gated(&world)?;
    let live = world
        .node_with(|config| config.amqp.max_queue_length = NonZeroU32::new(3).unwrap())
        .await?;
    for number in 0..8 {
        fit_in(
            &world,
            &envelope(
                &format!("py.full.{number}"),
                "Guests",
                "create",
                json!({"name": number.to_string()}),
            ),
        )
        .await?;
    }
    let mut ids = Vec::new();
    let mut letters = async |least: usize| {
        eventually("there are dead letters", async || {
            let taken = world.take("beds.dead").await?;
            ids.extend(
                taken
                    .iter()
                    .map(|letter| letter["properties"]["message_id"].as_str().unwrap().to_owned()),
            );
            Ok(ids.len() >= least)
        })
        .await?;
        Ok::<_, anyhow::Error>(ids.len())
    };
    letters(2).await?;
    open(&world)?;
    eventually("none is lost", async || {
        Ok(letters(0).await? as u64 + live.api.done("rel.write.main").await? == 8)
    })
    .await?;
    let done: usize = world.sql("SELECT COUNT(DISTINCT name) FROM guests")?.parse()?;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(done + ids.len(), 8, "{ids:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_with_a_write_put_aside_leaves_one_request() -> Result<()> {
    let world = World::new().await?;
    gated(&world)?;
    let mut dying = world.process("aside=return").await?;
    fit_in(&world, &envelope("py.aside", "Guests", "create", json!({"name": "once"}))).await?;
    assert_eq!(dying.ended().await?, None, "it died before it acknowledged");
    open(&world)?;
    let living = world.process("").await?;
    eventually("both copies are done", async || Ok(living.api.done("rel.write.main").await? == 2))
        .await?;
    assert_eq!(world.sql("SELECT COUNT(*) FROM guests")?, "1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_in_doubt_does_not_wait_for_ever_after_its_deadline() -> Result<()> {
    let world = World::new().await?;
    let _live = world.node().await?;
    away(&world)?;
    let mut event = envelope("py.late", "Things", "create", json!({"name": "late"}));
    event["deadline"] = json!("2026-11-23T10:00:01Z");
    let headers = json!({"beds-in-doubt": true, "beds-waits": 10});
    let properties = json!({"message_id": "py.late", "delivery_mode": 2, "headers": headers});
    assert!(world.publish("rel.write", &event.to_string(), properties).await?);
    let dead = world.dead_letter().await?;
    let detail = dead["properties"]["headers"]["beds-detail"].as_str().context("a detail")?;
    assert!(detail.starts_with("BEDS-0014"), "a person must look whether it happened: {detail}");
    back(&world)?;
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_its_publisher_keeps_no_write_out_of_the_trail() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let mut event = envelope("py.forged", "Things", "create", json!({"name": "once"}));
    event["actor"] = json!({"subject": "ana"});
    for number in 0..3 {
        let properties =
            json!({"message_id": format!("m{number}"), "headers": {"beds-in-doubt": true}});
        assert!(world.publish("rel.write", &event.to_string(), properties).await?);
    }
    eventually("all are done", async || Ok(live.api.done("rel.write.main").await? == 3)).await?;
    eventually("each is in the trail", async || {
        Ok(search(&live.api, "&subject=ana").await?.len() == 3)
    })
    .await?;
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "1");
    Ok(())
}
