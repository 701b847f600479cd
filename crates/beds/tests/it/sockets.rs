//! The WebSocket `/v1/ws`: requests, changes and tickets over one connection, with the rights of its caller at each moment.
//!
//! Not here: the same over HTTP (records.rs, live.rs, tickets.rs).

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::live::{create, tell};
use crate::rig::callers::{KEY, SUBJECT};
use crate::rig::issuer::Issuer;
use crate::rig::socket::Socket;
use crate::rig::{World, eventually};

fn get(id: &str, path: &str) -> Value {
    json!({"id": id, "request": {"method": "GET", "path": path}})
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_beside_each_other_and_each_is_a_root_in_the_lineage() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let mut socket = Socket::of(&live.api, KEY).await?;
    let body = json!({"name": "one", "count": 7});
    let post = json!({"id": "p", "request": {"method": "POST", "path": "/v1/records/Things", "body": body,
        "headers": {"Idempotency-Key": "k1"}}});
    let created = socket.ask(&post).await?;
    assert_eq!(
        (&created["status"], &created["body"]["name"]),
        (&json!(201), &json!("one")),
        "{created}"
    );
    let again = socket.ask(&post).await?;
    assert_eq!(again["headers"]["idempotent-replayed"], "true", "{again}");
    let place = created["headers"]["location"].as_str().unwrap().to_owned();
    // A slow one is overtaken by those behind it.
    socket.say(&json!({"id": "slow", "request": {"method": "POST", "path": "/v1/records/Things", "body": {"name": "slow one"}}})).await?;
    let mut waiting: BTreeSet<String> = BTreeSet::new();
    for number in 0..20 {
        socket.say(&get(&number.to_string(), &place)).await?;
        waiting.insert(number.to_string());
    }
    let mut last = String::new();
    waiting.insert("slow".to_owned());
    while !waiting.is_empty() {
        let answer = socket.next().await?;
        last = answer["id"].as_str().unwrap().to_owned();
        ensure!(waiting.remove(&last), "{answer}");
        ensure!(matches!(answer["status"].as_u64(), Some(200 | 201)), "{answer}");
    }
    assert_eq!(last, "slow");
    let root = created["headers"]["beds-event-id"].as_str().unwrap();
    eventually("its tree is there", async || {
        Ok(live.api.get(&format!("/v1/lineage/{root}")).await?.text.contains("things_create"))
    })
    .await?;
    // Rights, mistakes and errors are those of HTTP.
    for (path, status, code) in [
        ("/v1/records/Things/999999", 404, "BEDS-0007"),
        ("/v1/records/Nothing/1", 404, "BEDS-0001"),
        ("/v1/nothing", 404, "BEDS-0020"),
        ("/v1/changes?template=Things", 404, "BEDS-0020"),
    ] {
        let answer = socket.ask(&get("x", path)).await?;
        assert_eq!(
            (&answer["status"], &answer["body"]["code"]),
            (&json!(status), &json!(code)),
            "{answer}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_true_when_it_is_answered_a_thousand_times() -> Result<()> {
    let world = World::new().await?;
    tell(&world)?;
    let live = world.node().await?;
    let mut socket = Socket::of(&live.api, KEY).await?;
    let id = create(&live.api, "LiveThings", "one").await?;
    let path = format!("/v1/records/LiveThings/{id}");
    for number in 0..1000 {
        let (name, sub) = (format!("n{number}"), format!("s{number}"));
        let subscribed = socket
            .ask(&json!({"id": sub, "subscribe": {"template": "LiveThings", "record": id}}))
            .await?;
        ensure!(subscribed["subscribed"]["cursor"].is_string(), "{subscribed}");
        socket.say(&json!({"id": "w", "request": {"method": "PATCH", "path": path, "body": {"name": name}}})).await?;
        // The answer, and the change of this very write: an earlier one can still be on its way.
        let (mut event, mut told) = (Value::Null, BTreeSet::new());
        while event.is_null() || !told.contains(event.as_str().unwrap_or_default()) {
            let message = socket.next().await?;
            if message["id"] == "w" {
                assert_eq!(message["status"], 200, "{message}");
                event = message["headers"]["beds-event-id"].clone();
            } else if let Some(id) = message["change"]["event_id"].as_str() {
                told.insert(id.to_owned());
            }
        }
        socket.say(&json!({"id": "u", "stop": sub})).await?;
        while socket.next().await?["stopped"] != sub {}
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_a_socket_and_one_of_an_event_stream_are_the_same() -> Result<()> {
    let world = World::new().await?;
    tell(&world)?;
    let live = world.node().await?;
    let mut socket = Socket::of(&live.api, KEY).await?;
    let subscribe = |id: &str, after: Option<&str>| json!({"id": id, "subscribe": {"template": "LivePapers", "after": after}});
    let begin = socket.ask(&subscribe("1", None)).await?["subscribed"]["cursor"].clone();
    let first = create(&live.api, "LivePapers", "one").await?;
    let change = socket.next().await?;
    assert_eq!(
        (&change["id"], &change["change"]["record"]),
        (&json!("1"), &json!(first)),
        "{change}"
    );
    let (mut events, _) =
        crate::rig::events::Events::of(&live.api, "template=LivePapers", begin.as_str()).await?;
    assert_eq!(events.change().await?.id, change["cursor"].as_str().unwrap());
    let again = socket.ask(&subscribe("2", begin.as_str())).await?;
    assert_eq!(again["subscribed"]["cursor"], begin);
    let replayed = socket.next().await?;
    assert_eq!(
        (&replayed["id"], &replayed["change"]),
        (&json!("2"), &change["change"]),
        "{replayed}"
    );
    let gone = socket.ask(&subscribe("3", Some("garbage"))).await?;
    assert_eq!(gone["problem"]["code"], "BEDS-0038", "{gone}");
    let twice = socket.ask(&subscribe("2", None)).await?;
    assert_eq!(twice["problem"]["code"], "BEDS-0005", "{twice}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_watched_until_it_has_ended() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let mut socket = Socket::of(&live.api, KEY).await?;
    let asked = json!({"id": "j", "request": {"method": "POST", "path": "/v1/records/Works/jobs/wait", "body": {"tenths": 10}}});
    let accepted = socket.ask(&asked).await?;
    assert_eq!(accepted["status"], 202, "{accepted}");
    let ticket = accepted["body"]["id"].clone();
    socket.say(&json!({"id": "t", "watch": {"ticket": ticket}})).await?;
    let mut states = Vec::new();
    let end = loop {
        let message = socket.next().await?;
        match message["ticket"]["state"].as_str() {
            Some(state) => states.push(state.to_owned()),
            None => break message,
        }
    };
    assert_eq!(
        (&end["end"]["reason"], states.last().map(String::as_str)),
        (&json!("ended"), Some("done")),
        "{states:?}"
    );
    let unknown = socket
        .ask(&json!({"id": "u", "watch": {"ticket": "00000000-0000-7000-8000-000000000000"}}))
        .await?;
    assert_eq!(unknown["problem"]["code"], "BEDS-0034", "{unknown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_a_message_is_told_and_ends_nothing() -> Result<()> {
    let world = World::new().await?;
    tell(&world)?;
    let live = world.node().await?;
    let mut socket = Socket::of(&live.api, KEY).await?;
    for (text, id, code) in [
        ("{", Value::Null, "BEDS-0005"),
        ("{\"id\":\"1\"}", json!("1"), "BEDS-0005"),
        (
            "{\"id\":\"1\",\"subscribe\":{\"template\":\"A\",\"template\":\"B\"}}",
            json!("1"),
            "BEDS-0005",
        ),
        (
            "{\"id\":\"1\",\"subscribe\":{\"template\":\"LiveThings\",\"actor\":{}}}",
            json!("1"),
            "BEDS-0005",
        ),
        ("{\"id\":\"1\",\"subscribe\":{\"template\":\"Things\"}}", json!("1"), "BEDS-0012"),
        ("{\"id\":\"1\",\"subscribe\":{\"template\":\"Nothing\"}}", json!("1"), "BEDS-0001"),
        (
            "{\"id\":\"1\",\"request\":{\"method\":\"TRACE\",\"path\":\"/v1/templates\"}}",
            json!("1"),
            "BEDS-0005",
        ),
        (
            "{\"id\":\"1\",\"request\":{\"method\":\"GET\",\"path\":\"/metrics\"}}",
            json!("1"),
            "BEDS-0005",
        ),
        (
            "{\"id\":\"1\",\"request\":{\"method\":\"GET\",\"path\":\"http://x/v1/templates\"}}",
            json!("1"),
            "BEDS-0005",
        ),
        (
            "{\"id\":\"1\",\"request\":{\"method\":\"GET\",\"path\":\"/v1/templates\",\"headers\":{\"Authorization\":\"Bearer x\"}}}",
            json!("1"),
            "BEDS-0019",
        ),
        ("{\"id\":\"1\",\"stop\":\"nothing\"}", json!("1"), "BEDS-0005"),
    ] {
        socket.say_text(text).await?;
        let answer = socket.next().await?;
        assert_eq!(
            (&answer["id"], &answer["problem"]["code"]),
            (&id, &json!(code)),
            "{text}: {answer}"
        );
    }
    assert_eq!(socket.ask(&get("9", "/v1/templates")).await?["status"], 200);
    socket.say_text(&" ".repeat(65 * 1024)).await?;
    assert_eq!(socket.closed().await?.0, 1009);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_known_by_a_header_or_the_first_message_and_never_by_the_address() -> Result<()>
{
    let world = World::new().await?;
    let live = world.node().await?;
    let protocol = ("sec-websocket-protocol", "beds.v1");
    let bad = ("authorization", "Bearer beds_00000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    for (path, headers, status) in [
        ("/v1/ws?token=x", vec![protocol], 400),
        ("/v1/ws", vec![], 400),
        ("/v1/ws", vec![("sec-websocket-protocol", "graphql-ws")], 400),
        ("/v1/ws", vec![protocol, bad], 401),
        ("/v1/ws", vec![protocol, ("origin", "https://evil.example")], 403),
        ("/v1/ws", vec![protocol, ("host", "evil.example")], 421),
    ] {
        let refused = Socket::open(&live.api, path, &headers).await?.err();
        assert_eq!(
            refused.as_ref().map(|(status, _)| status.as_u16()),
            Some(status),
            "{path} {headers:?}: {refused:?}"
        );
    }
    assert_eq!(live.api.get("/v1/ws").await?.status, 400);
    let open = async || match Socket::open(&live.api, "/v1/ws", &[protocol]).await? {
        Ok(socket) => Ok(socket),
        Err((status, text)) => anyhow::bail!("{status}: {text}"),
    };
    let mut known = open().await?;
    known.say(&json!({"auth": {"token": KEY}})).await?;
    assert_eq!(known.next().await?, json!({"auth": {"subject": SUBJECT}}));
    assert_eq!(known.ask(&get("1", "/v1/records/Things?limit=1")).await?["status"], 200);
    for first in [
        "{\"auth\":{\"token\":\"beds_00000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}}",
        "{\"id\":\"1\",\"stop\":\"1\"}",
        "?",
    ] {
        let mut unknown = open().await?;
        unknown.say_text(first).await?;
        assert_eq!(unknown.closed().await?.0, 4001, "{first}");
    }
    // A caller that says nothing is closed too.
    assert_eq!(open().await?.closed().await?.0, 4001);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_with_its_credential_and_lives_on_with_a_new_one() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    tell(&world)?;
    let key = "beds_11111111_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
    let keys = std::fs::read_to_string(world.folder.join("keys.toml"))?;
    let hash = beds_core::digest::hex(&Sha256::digest(key));
    world.write("keys.toml", format!("{keys}[key.11111111]\nsha256 = \"{hash}\"\nsubject = \"app:more\"\nroles = [\"tester\"]\n"))?;
    let live = world.node_with(|config| config.auth.leeway = std::time::Duration::ZERO).await?;
    let short = |seconds: i64| {
        let mut payload = issuer.payload("ana", &["tester"]);
        payload["exp"] = json!(jiff::Timestamp::now().as_second() + seconds);
        issuer.signed(&payload)
    };
    let mut expiring = Socket::of(&live.api, &short(3)).await?;
    let mut renewed = Socket::of(&live.api, &short(3)).await?;
    renewed.say(&json!({"auth": {"token": short(600)}})).await?;
    assert_eq!(renewed.next().await?["auth"]["subject"], "corp/ana");
    renewed.say(&json!({"auth": {"token": issuer.token("bob", &["tester"])}})).await?;
    assert_eq!(renewed.next().await?["problem"]["code"], "BEDS-0030", "another caller");
    let mut revoked = Socket::of(&live.api, key).await?;
    assert_eq!(
        revoked.ask(&json!({"id": "s", "subscribe": {"template": "LiveThings"}})).await?["id"],
        "s"
    );
    assert_eq!(expiring.closed().await?.0, 4001);
    world.write("keys.toml", keys)?;
    let output = world.beds(&["reload"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(revoked.closed().await?.0, 4001);
    assert_eq!(renewed.ask(&get("1", "/v1/records/Things?limit=1")).await?["status"], 200);
    // A right that goes ends the subscription, and leaves the connection.
    assert_eq!(
        renewed.ask(&json!({"id": "s", "subscribe": {"template": "LiveThings"}})).await?["id"],
        "s"
    );
    let text = std::fs::read_to_string(world.folder.join("templates/livethings.toml"))?;
    world.write(
        "templates/livethings.toml",
        text.replace("changes = [\"tester\"]", "changes = []"),
    )?;
    ensure!(live.node.reload().await.mistakes.is_empty());
    let end = renewed.next().await?;
    assert_eq!((&end["id"], &end["end"]["reason"]), (&json!("s"), &json!("right")), "{end}");
    let refused = renewed.ask(&json!({"id": "s", "subscribe": {"template": "LiveThings"}})).await?;
    assert_eq!(refused["problem"]["code"], "BEDS-0031", "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_says_so_and_a_connection_has_its_bounds() -> Result<()> {
    let world = World::new().await?;
    tell(&world)?;
    let live = world.node_with(|config| config.services.appserver.live_per_subject = 2).await?;
    let mut socket = Socket::of(&live.api, KEY).await?;
    for number in 0..50 {
        let asked = json!({"id": number.to_string(), "subscribe": {"template": "LiveThings"}});
        ensure!(socket.ask(&asked).await?["subscribed"].is_object());
    }
    let more = socket.ask(&json!({"id": "more", "subscribe": {"template": "LiveThings"}})).await?;
    assert_eq!(more["problem"]["code"], "BEDS-0033", "{more}");
    let _second = Socket::of(&live.api, KEY).await?;
    let bearer = format!("Bearer {KEY}");
    let headers = [("sec-websocket-protocol", "beds.v1"), ("authorization", &*bearer)];
    let third = Socket::open(&live.api, "/v1/ws", &headers).await?.err();
    assert_eq!(third.as_ref().map(|(status, _)| status.as_u16()), Some(429), "{third:?}");
    let stopping = live.node.shutdown();
    let (closed, _) = tokio::join!(socket.closed(), stopping);
    assert_eq!(closed?.0, 1001);
    Ok(())
}
