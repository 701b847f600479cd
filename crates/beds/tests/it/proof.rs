//! Proof behind RabbitMQ: an event is worked on in the name of the caller that a seal, a credential or a login proves, and of no
//! other one.
//!
//! Not here: callers over HTTP (identity.rs), rights over HTTP (rights.rs).

use anyhow::{Context, Result, ensure};
use beds_core::{Place, Seal};
use reqwest::Method;
use serde_json::{Value, json};

use crate::audit::search;
use crate::rig::callers::KEY;
use crate::rig::issuer::Issuer;
use crate::rig::{World, as_caller, envelope, eventually};

/// The one answer in the queue `mine`.
pub(crate) async fn answer(world: &World) -> Result<Value> {
    let mut replies = Vec::new();
    eventually("the answer is there", async || {
        replies.extend(world.take("mine").await?);
        Ok(!replies.is_empty())
    })
    .await?;
    ensure!(replies.len() == 1, "{replies:?}");
    Ok(serde_json::from_str(replies[0]["payload"].as_str().context("a payload")?)?)
}

/// A create of a thing, which names no actor.
fn create(id: &str) -> Value {
    of_client(envelope(id, "Things", "create", json!({"name": id})))
}

/// An event with a deadline that a client may set.
fn of_client(mut event: Value) -> Value {
    event["deadline"] =
        json!((jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string());
    event
}

/// A seal of the world's key.
fn seal(world: &World, place: &Place<'_>, body: &str) -> Result<String> {
    let config =
        beds::settings::load(&world.config_file()).map_err(|p| anyhow::anyhow!("{p:?}"))?;
    let callers = beds::callers::Callers::read(&config).map_err(|p| anyhow::anyhow!("{p:?}"))?;
    callers.door.seal(place, body.as_bytes()).context("a seal")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_forged_events_none_is_executed_and_each_is_recorded() -> Result<()> {
    let world = World::new().await?;
    let (issuer, other) = (Issuer::new("one")?, Issuer::new("one")?);
    issuer.join(&world)?;
    let live = world.node().await?;
    world.own_queue("mine").await?;
    let place = Place {
        exchange: "beds.events",
        routing_key: "rel.write.main",
        reply_to: "mine",
        correlation_id: "c",
        actor: "",
    };
    let body = |id: &str| create(id).to_string();
    let good = |id: &str, place: &Place<'_>| seal(&world, place, &body(id));
    let expired = {
        let mut payload = issuer.payload("ana", &["tester"]);
        payload["exp"] = json!(jiff::Timestamp::now().as_second() - 60);
        issuer.signed(&payload)
    };
    let audience = {
        let mut payload = issuer.payload("ana", &["tester"]);
        payload["aud"] = json!("other");
        issuer.signed(&payload)
    };
    let token = issuer.token("ana", &["tester"]);
    let with = |name: &str, value: Value| {
        let mut event = create("py.forged");
        event[name] = value;
        event.to_string()
    };
    let bearer = |token: &str| json!({"headers": {"authorization": format!("Bearer {token}")}});
    let sealed = |seal: &str| json!({"app_id": seal});
    let whole = good("py.forged", &place)?;
    let forged: Vec<(&str, String, Value)> = vec![
        ("no proof", body("py.forged"), json!({})),
        ("the seal of another body", body("py.forged"), sealed(&good("py.other", &place)?)),
        (
            "of another key",
            body("py.forged"),
            sealed(&good("py.forged", &Place { routing_key: "rel.read.main", ..place })?),
        ),
        (
            "of another reply_to",
            body("py.forged"),
            sealed(&good("py.forged", &Place { reply_to: "x", ..place })?),
        ),
        (
            "of another correlation",
            body("py.forged"),
            sealed(&good("py.forged", &Place { correlation_id: "", ..place })?),
        ),
        (
            "of another exchange",
            body("py.forged"),
            sealed(&good("py.forged", &Place { exchange: "beds.dead", ..place })?),
        ),
        ("a cut seal", body("py.forged"), sealed(&whole[..whole.len() - 2])),
        ("an empty seal", body("py.forged"), sealed("")),
        (
            "a seal of a retired key",
            body("py.forged"),
            sealed(&whole.replacen(&whole["beds-seal-1.".len()..][..8], "00000000", 1)),
        ),
        (
            "an actor beside the seal",
            body("py.forged"),
            json!({"app_id": whole, "headers": {"beds-actor": "{\"subject\":\"root\",\"roles\":[\"node:all\"]}"}}),
        ),
        ("a token of another issuer", body("py.forged"), bearer(&other.token("ana", &["tester"]))),
        ("an expired token", body("py.forged"), bearer(&expired)),
        ("a token of another audience", body("py.forged"), bearer(&audience)),
        ("an origin from a client", with("origin", json!({"address": "10.0.0.1"})), bearer(&token)),
        ("a replay from a client", with("replay_of", json!("py.1")), bearer(&token)),
        (
            "another subject than proved",
            with("actor", json!({"subject": "corp/bob"})),
            bearer(&token),
        ),
        (
            "more roles than proved",
            with("actor", json!({"subject": "corp/ana", "roles": ["node:all"]})),
            bearer(&token),
        ),
        ("a deadline of years", with("deadline", json!("2126-11-23T10:00:00Z")), bearer(&token)),
        (
            "other claims than proved",
            with("actor", json!({"subject": "corp/ana", "claims": {"tenant": "globex"}})),
            bearer(&token),
        ),
    ];
    let count = forged.len();
    for (forgery, body, mut properties) in forged {
        properties["message_id"] = json!("py.forged");
        properties["reply_to"] = json!("mine");
        properties["correlation_id"] = json!("c");
        ensure!(
            world.publish_unproved("beds.events", "rel.write.main", &body, properties).await?,
            "{forgery}"
        );
        let told = answer(&world).await?;
        assert_eq!(
            (&told["status"], &told["error"]["code"]),
            (&json!(401), &json!("BEDS-0030")),
            "{forgery}: {told}"
        );
    }
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "0");
    assert!(world.take("beds.dead").await?.is_empty(), "dead letters are proved events");
    let kept = world.take("beds.dead.unproved").await?;
    assert_eq!(kept.len(), 10, "and these are kept apart: {kept:?}");
    // Ten of a login in a minute have a record each, the others are counted.
    eventually("ten refusals are recorded", async || {
        let found = search(&live.api, "&outcome=failed").await?;
        let entered = found.iter().filter(|r| r["record"]["operation"] == "enter").count();
        ensure!(entered <= 10, "{found:?}");
        Ok(entered == 10)
    })
    .await?;
    ensure!(count == 19);
    // The same message with its own seal is worked on.
    let properties = json!({"message_id": "py.forged", "reply_to": "mine", "correlation_id": "c"});
    ensure!(world.publish("rel.write.main", &body("py.forged"), properties).await?);
    let told = answer(&world).await?;
    assert_eq!(told["status"], 201, "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_and_a_key_prove_a_caller_over_amqp() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node().await?;
    world.own_queue("mine").await?;
    for (credential, subject) in
        [(issuer.token("ana", &["tester"]), "corp/ana"), (KEY.to_owned(), "app:tests")]
    {
        let id = format!("py.{}", subject.replace([':', '/'], "-"));
        let headers = json!({"authorization": format!("Bearer {credential}")});
        let properties = json!({"message_id": id, "reply_to": "mine", "headers": headers});
        ensure!(
            world
                .publish_unproved(
                    "beds.events",
                    "rel.write.main",
                    &create(&id).to_string(),
                    properties
                )
                .await?
        );
        let told = answer(&world).await?;
        assert_eq!(told["status"], 201, "{told}");
        eventually("it is recorded in the caller's name", async || {
            let found = search(&live.api, &format!("&subject={subject}&template=Things")).await?;
            Ok(found.iter().any(|record| record["record"]["about"] == id.as_str()))
        })
        .await?;
    }
    // Rights are those of the roles.
    let headers =
        json!({"authorization": format!("Bearer {}", issuer.token("bob", &["stranger"]))});
    let properties = json!({"message_id": "py.b", "reply_to": "mine", "headers": headers});
    ensure!(
        world
            .publish_unproved(
                "beds.events",
                "rel.write.main",
                &create("py.b").to_string(),
                properties
            )
            .await?
    );
    let told = answer(&world).await?;
    assert_eq!(told["error"]["code"], "BEDS-0001", "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_of_rabbitmq_stands_for_a_caller_and_for_no_other() -> Result<()> {
    let world = World::new().await?;
    let text = std::fs::read_to_string(world.config_file())?;
    let login = format!("shop-{}", world.name);
    let trusted = format!(
        "[trust.logins.{login}]\nsubject = \"app:shop\"\nroles = [\"tester\"]\nclaims = {{ tenant = \"acme\" }}\n"
    );
    std::fs::write(world.config_file(), format!("{text}\n{trusted}"))?;
    world.domain(
        "CREATE PROCEDURE who(IN p_actor VARCHAR(300), IN p_claim_tenant VARCHAR(20)) SELECT 1 AS id, p_actor AS actor, p_claim_tenant AS tenant;
         GRANT EXECUTE ON PROCEDURE who TO beds_runtime;",
        &[("who", "name = \"Who\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[fetches]\nme = \"who\"\n")],
    )?;
    let _live = world.node().await?;
    world.own_queue("mine").await?;
    // Its password is hashed by RabbitMQ; the management interface publishes in its name.
    world
        .rabbit(
            Method::PUT,
            &format!("/api/users/{login}"),
            Some(json!({"password": "p", "tags": "management"})),
        )
        .await?;
    let rights = json!({"configure": "^$", "write": ".*", "read": ".*"});
    world
        .rabbit(Method::PUT, &format!("/api/permissions/{}/{login}", world.name), Some(rights))
        .await?;
    let mut event = of_client(envelope("py.who", "Who", "fetch", json!({})));
    event["fetch"] = json!("me");
    let published = world
        .publish_as(
            &login,
            "p",
            "rel.read.main",
            &event.to_string(),
            json!({"reply_to": "mine", "user_id": login}),
        )
        .await;
    let told = match published {
        Ok(true) => answer(&world).await,
        other => other.map(|_| Value::Null),
    };
    // RabbitMQ closes the channel of a login that names another one.
    let false_name = world
        .publish_as(
            &login,
            "p",
            "rel.read.main",
            &event.to_string(),
            json!({"reply_to": "mine", "user_id": "beds"}),
        )
        .await;
    // A message without the property has no login that RabbitMQ has checked.
    let nameless = world
        .publish_as(&login, "p", "rel.read.main", &event.to_string(), json!({"reply_to": "mine"}))
        .await;
    let unknown = match nameless {
        Ok(true) => answer(&world).await,
        other => other.map(|_| Value::Null),
    };
    world.rabbit(Method::DELETE, &format!("/api/users/{login}"), None).await?;
    let record = &told?["answer"]["records"][0];
    assert_eq!(
        (&record["actor"], &record["tenant"]),
        (&json!("app:shop"), &json!("acme")),
        "{record}"
    );
    assert!(false_name.is_err(), "{false_name:?}");
    assert_eq!(unknown?["error"]["code"], "BEDS-0030");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_without_a_seal_are_not_stored() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let record = json!({"about": "py.never", "depth": 1, "at": "2026-11-30T00:00:00Z", "actor": "ana", "template": "Things",
        "operation": "delete", "rows": 1, "outcome": "ok", "node": "ms"});
    let mut batch = envelope("py.batch", "Audit", "create", json!({"records": [record]}));
    batch["actor"] = json!({"subject": "ms", "roles": ["node:all"]});
    world
        .publish_unproved(
            "beds.logs",
            "audit.ms",
            &batch.to_string(),
            json!({"message_id": "py.batch"}),
        )
        .await?;
    let mut kept = Vec::new();
    eventually("it is kept apart", async || {
        kept.extend(world.take("beds.dead.unproved").await?);
        Ok(!kept.is_empty())
    })
    .await?;
    assert_eq!(kept[0]["properties"]["headers"]["beds-queue"], "audit");
    let created = live.api.post("/v1/records/Things", &json!({"name": "true"})).await?;
    assert_eq!(created.status, 201);
    eventually("true reports are stored", async || {
        Ok(!search(&live.api, "&template=Things").await?.is_empty())
    })
    .await?;
    assert!(search(&live.api, "&subject=ana").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seal_can_be_changed_without_a_lost_event() -> Result<()> {
    let world = World::new().await?;
    let process = world.process("").await?;
    let create = async |name: &str| -> Result<u16> {
        Ok(process.api.post("/v1/records/Things", &json!({"name": name})).await?.status)
    };
    assert_eq!(create("before").await?, 201);
    let made = world.beds(&["keys", "seal", "next.key"])?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let again = world.beds(&["keys", "seal", "next.key"])?;
    ensure!(
        again.status.code() == Some(1) && String::from_utf8_lossy(&again.stderr).contains("stays")
    );
    for keys in ["\"seal.key\", \"next.key\"", "\"next.key\", \"seal.key\"", "\"next.key\""] {
        let text = std::fs::read_to_string(world.config_file())?;
        let line = text.lines().find(|line| line.starts_with("seal_keys")).context("a line")?;
        std::fs::write(world.config_file(), text.replace(line, &format!("seal_keys = [{keys}]")))?;
        let reloaded = world.beds(&["reload"])?;
        ensure!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
        assert_eq!(create(keys).await?, 201, "{keys}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_of_a_client_is_replayed_as_that_client_and_as_no_other() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node().await?;
    // A write in the queue of reads is no event there, so its actor is not looked at.
    let mut event = create("py.forged");
    event["actor"] = json!({"subject": "corp/ceo", "roles": ["node:all"]});
    let headers =
        json!({"authorization": format!("Bearer {}", issuer.token("eve", &["stranger"]))});
    let properties = json!({"message_id": "py.forged", "headers": headers});
    ensure!(
        world
            .publish_unproved("beds.events", "rel.read.main", &event.to_string(), properties)
            .await?
    );
    let mut shown = Value::Null;
    eventually("it is a dead letter", async || {
        shown = live.api.get("/v1/dead-letters/py.forged").await?.body;
        Ok(shown["event"].is_object())
    })
    .await?;
    assert_eq!(shown["event"]["actor"]["subject"], "corp/eve", "{shown}");
    let replayed = live.api.post("/v1/dead-letters/py.forged/replay", &json!({})).await?;
    assert_eq!(replayed.status, 200, "{}", replayed.text);
    eventually("the replay is refused in the name of its client", async || {
        let found = search(&live.api, "&subject=corp/eve").await?;
        Ok(found.iter().any(|record| record["record"]["code"] == "BEDS-0001"))
    })
    .await?;
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "0");
    assert!(search(&live.api, "&subject=corp/ceo").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_anothers_event_gives_no_answer_and_takes_no_effect_away() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node().await?;
    world.own_queue("mine").await?;
    let ana = as_caller(&live.api, &issuer.token("ana", &["tester"]))?;
    let created = ana.post("/v1/records/Things", &json!({"name": "secret"})).await?;
    assert_eq!(created.status, 201, "{}", created.text);
    let id = created.header("beds-event-id");
    let event = of_client(envelope(id, "Things", "create", json!({"name": "secret"}))).to_string();
    // With the right it is a write of its own, and without it nothing is told.
    for (role, code) in [("tester", "BEDS-0008"), ("stranger", "BEDS-0001")] {
        let headers = json!({"authorization": format!("Bearer {}", issuer.token("bob", &[role]))});
        let properties = json!({"message_id": id, "reply_to": "mine", "headers": headers});
        ensure!(world.publish_unproved("beds.events", "rel.write.main", &event, properties).await?);
        let told = answer(&world).await?;
        assert_eq!(told["error"]["code"], code, "{role}: {told}");
    }
    // A client that is first with an id takes nothing from the one that comes after.
    let later = create("py.later").to_string();
    for (name, status) in [("bob", 201), ("ana", 409)] {
        let headers =
            json!({"authorization": format!("Bearer {}", issuer.token(name, &["tester"]))});
        let properties = json!({"message_id": "py.later", "reply_to": "mine", "headers": headers});
        ensure!(world.publish_unproved("beds.events", "rel.write.main", &later, properties).await?);
        assert_eq!(answer(&world).await?["status"], status, "{name}");
    }
    // The same client again gets its own answer.
    let headers = json!({"authorization": format!("Bearer {}", issuer.token("bob", &["tester"]))});
    let properties = json!({"message_id": "py.later", "reply_to": "mine", "headers": headers});
    ensure!(world.publish_unproved("beds.events", "rel.write.main", &later, properties).await?);
    assert_eq!(answer(&world).await?["status"], 201);
    Ok(())
}
