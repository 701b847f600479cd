//! An error that says "not executed" is true of everything that it speaks of, and a doubt is told.
//!
//! Not here: processes that die at each step, which are `crash`'s and the fault runs'.

use anyhow::{Context, Result};
use beds::{NamasteCore, Payload};
use beds_core::Fields;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::rig::{World, eventually};

fn event(id: &str, template: &str, params: Value, issued_at: &str, deadline: &str) -> String {
    json!({
        "v": 1, "event_id": id, "root_id": id, "template": template, "operation": "create", "params": params,
        "issued_at": issued_at, "deadline": deadline,
    })
    .to_string()
}

/// Waits for the next reply in the test's own queue.
async fn reply(world: &World) -> Result<Value> {
    let mut replies = Vec::new();
    eventually("the reply is there", async || {
        replies.extend(world.take("mine").await?);
        Ok(!replies.is_empty())
    })
    .await?;
    Ok(serde_json::from_str(replies[0]["payload"].as_str().context("a payload")?)?)
}

const NOW: &str = "2026-11-23T10:00:00Z";
const LATER: &str = "2126-11-23T10:00:00Z";

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_after_a_commit_in_doubt_is_not_told_as_certain() -> Result<()> {
    let world = World::new().await?;
    // The commit is done, and its answer never comes.
    world.sql(
        "DELIMITER //
         CREATE OR REPLACE PROCEDURE beds_inbox_commit(IN p_key CHAR(64), IN p_reply LONGTEXT, IN p_object VARCHAR(64), IN p_signature CHAR(32))
         BEGIN UPDATE beds_inbox SET reply = p_reply WHERE inbox_key = p_key; COMMIT; DO SLEEP(60); END //",
    )?;
    let live = world.node().await?;
    for errno in [1290, 1370, 1227, 1047] {
        let api = live.api.clone();
        let name = format!("doubt {errno}");
        let body = json!({"name": name});
        let mut write = JoinSet::new();
        write.spawn(async move { api.post("/v1/records/Things", &body).await });
        eventually("the commit hangs", async || world.is_asleep()).await?;
        // The next attempt meets a server that refuses before it looks at the key.
        world.sql(&format!(
            "CREATE OR REPLACE PROCEDURE beds_inbox_begin(IN p_key CHAR(64), IN p_fingerprint CHAR(64), IN p_object VARCHAR(64), IN p_signature CHAR(32)) SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {errno}"
        ))?;
        let id = world
            .sql("SELECT MAX(id) FROM information_schema.PROCESSLIST WHERE db = DATABASE() AND state = 'User sleep'")?;
        world.sql(&format!("KILL CONNECTION {id}"))?;
        let answer = write.join_next().await.context("the write")???;
        assert_eq!((answer.status, answer.code()), (504, "BEDS-0014"), "{errno}: {}", answer.text);
        assert_eq!(world.sql(&format!("SELECT COUNT(*) FROM things WHERE name = '{name}'"))?, "1");
        let begin = std::fs::read_to_string(world.folder.join("schema/rel/main/0001_beds.sql"))?;
        let begin = begin
            .split("CREATE OR REPLACE PROCEDURE beds_inbox_begin")
            .nth(1)
            .and_then(|rest| rest.split("END //\n\n").next());
        world.sql(&format!(
            "DELIMITER //\nCREATE OR REPLACE PROCEDURE beds_inbox_begin{}END //",
            begin.context("its text")?
        ))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_write_is_never_refused_by_a_node_that_does_not_know_its_template()
-> Result<()> {
    let world = World::new().await?;
    world.own_queue("mine").await?;
    let mut first = world.process("committed=return").await?;
    let body = event("py.test.1", "Counters2", json!({"name": "a"}), NOW, LATER);
    world.template("counters2", "name = \"Counters2\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[objects]\ncreate = \"things_create\"\n")?;
    first.signal("HUP")?;
    eventually("the node has the template", async || {
        Ok(first.api.get("/v1/templates/Counters2").await?.status == 200)
    })
    .await?;
    assert!(
        world
            .publish("rel.write", &body, json!({"reply_to": "mine", "message_id": "py.test.1"}))
            .await?
    );
    assert_eq!(first.ended().await?, None, "it died behind the commit");
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "1");

    // The next node has not been told of the template yet.
    std::fs::remove_file(world.folder.join("templates/counters2.toml"))?;
    let second = world.process("").await?;
    eventually("the node has given the message back", async || {
        let queue = world.queue("rel.write.main").await?;
        Ok(queue["message_stats"]["redeliver"].as_u64() > Some(1))
    })
    .await?;
    assert!(world.take("mine").await?.is_empty(), "no word of a refusal");
    world.template("counters2", "name = \"Counters2\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[objects]\ncreate = \"things_create\"\n")?;
    second.signal("HUP")?;
    let told = reply(&world).await?;
    assert_eq!(
        (&told["status"], &told["answer"]["records"][0]["name"]),
        (&json!(201), &json!("a")),
        "{told}"
    );
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "1");
    let mut outcomes = Vec::new();
    eventually("the trail has the write", async || {
        let found = crate::audit::search(&second.api, "&template=Counters2").await?;
        outcomes = found.iter().map(|entry| entry["record"]["outcome"].clone()).collect();
        Ok(!outcomes.is_empty())
    })
    .await?;
    assert!(!outcomes.contains(&json!("failed")), "{outcomes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_an_event_that_took_effect_gets_its_answer_and_no_refusal() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    world.own_queue("mine").await?;
    let soon = Timestamp::now().checked_add(20.seconds())?.to_string();
    for (number, (key, template)) in
        [("rel.write", "Things"), ("rec.write", "Papers")].into_iter().enumerate()
    {
        let id = format!("py.test.{number}");
        let body = event(&id, template, json!({"name": "once"}), NOW, &soon);
        assert!(world.publish(key, &body, json!({"reply_to": "mine"})).await?);
        assert_eq!(reply(&world).await?["status"], 201, "{template}");
        // A client whose confirm was lost sends the same again: late, and once with a body that would now be refused.
        let late = body.replace(&soon, "2026-11-23T10:00:01Z");
        for copy in [late, body] {
            assert!(world.publish(key, &copy, json!({"reply_to": "mine"})).await?);
            let told = reply(&world).await?;
            assert_eq!(
                (&told["status"], &told["answer"]["records"][0]["name"]),
                (&json!(201), &json!("once")),
                "{told}"
            );
        }
    }
    // A late event that nothing has done before is refused, and had no effect.
    let late =
        event("py.test.late", "Things", json!({"name": "late"}), NOW, "2026-11-23T10:00:01Z");
    assert!(world.publish("rel.write", &late, json!({"reply_to": "mine"})).await?);
    assert_eq!(reply(&world).await?["error"]["code"], "BEDS-0015");
    assert_eq!(world.sql("SELECT GROUP_CONCAT(name) FROM things")?, "once");
    assert_eq!(
        live.api.get("/v1/records/Papers").await?.body["records"].as_array().map(Vec::len),
        Some(1)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_no_inbox_remembers_is_replayed_by_demand_only() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let fresh = Timestamp::now().to_string();
    for (id, issued_at) in
        [("py.test.old", "2020-01-01T00:00:00Z"), ("py.test.new", fresh.as_str())]
    {
        let body = event(id, "Things", json!({"name": id}), issued_at, "2020-01-01T00:00:01Z");
        assert!(world.publish("rel.write", &body, json!({"message_id": id})).await?);
    }
    eventually(
        "both are dead",
        async || Ok(world.queue("beds.dead").await?["messages_ready"] == 2),
    )
    .await?;
    let output = world.beds(&["dead", "replay", "--cause", "refused BEDS-0015"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1)
            && said.contains("1 left: they are older than the inbox remembers (7 days)"),
        "{said}"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "replayed py.test.new");
    let by_http = live.api.post("/v1/dead-letters/py.test.old/replay", &json!({})).await?;
    assert_eq!(
        by_http.body["left_because_they_may_happen_twice"],
        json!(["py.test.old"]),
        "{}",
        by_http.text
    );
    eventually("the new one took effect", async || {
        Ok(world.sql("SELECT GROUP_CONCAT(name) FROM things")? == "py.test.new")
    })
    .await?;
    let output = world.beds(&["dead", "replay", "py.test.old", "--even-if-it-may-happen-twice"])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eventually("the old one too", async || Ok(world.sql("SELECT COUNT(*) FROM things")? == "2"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_at_dead_letters_does_not_use_them_up() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    assert!(world.publish("rel.write", "garbage", json!({"message_id": "kept"})).await?);
    for _ in 0..30 {
        eventually("it is listed", async || {
            let listed = live.api.get("/v1/dead-letters").await?;
            Ok(listed.body["dead_letters"][0]["id"] == "kept")
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_calls_on_one_opened_template_are_two_events() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let client = live.node.client();
    let payload = |name: &str| Payload {
        fields: Fields::from_iter([("name".to_owned(), json!(name))]),
        ..Payload::default()
    };
    let context = client.context(std::time::Duration::from_secs(20));
    let root = context.event_id.clone();
    let things = client.open("Things", context);
    let (a, b, c) = (payload("a"), payload("b"), payload("c"));
    let (one, other) = tokio::join!(things.create_record(&a), things.create_record(&b));
    let ids = [one?.id, other?.id, things.clone().create_record(&c).await?.id];
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 3, "{ids:?}");
    assert_eq!(world.sql("SELECT GROUP_CONCAT(name ORDER BY name) FROM things")?, "a,b,c");
    let mut children = 0;
    eventually("the later ones are children of the first", async || {
        let tree = live.api.get(&format!("/v1/lineage/{root}")).await?;
        let found = tree.body["tree"][0]["children"].as_array().cloned().unwrap_or_default();
        children = found.iter().filter(|child| child["operation"] == "create").count();
        Ok(children == 2)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_read_where_a_majority_has_them() -> Result<()> {
    let world = World::new().await?;
    world.write("schema/rec/main/0950_profile.json", r#"[{"profile": 2}]"#)?;
    world.write(
        "schema/rec/main/0951_profiled.json",
        r#"[{"update": "beds_objects", "updates": [{"q": {"_id": "profiled_list"}, "upsert": true, "u": {"_id": "profiled_list", "kind": "fetch", "params": {}, "command": {"find": "profiled"}}}]}]"#,
    )?;
    world.template("profiled",
        "name = \"Profiled\"\nstore = \"rec\"\ndatabase = \"main\"\nid = \"_id\"\n[fetches]\nall = \"profiled_list\"\n",
    )?;
    world.apply()?;
    let live = world.node().await?;
    let body = json!({"name": "a"});
    for _ in 0..2 {
        assert_eq!(live.api.post_with_key("/v1/records/Papers", "k", &body).await?.status, 201);
    }
    assert_eq!(live.api.get("/v1/records/Papers").await?.status, 200);
    assert_eq!(live.api.get("/v1/records/Papers/by/name?name=a").await?.status, 200);
    world.write(
        "schema/rec/main/0952_taken.json",
        r#"[{"profile": 0}, {"aggregate": "system.profile", "cursor": {}, "pipeline": [
            {"$match": {"command.$db": {"$exists": true}, "$or": [{"command.find": {"$in": ["papers", "beds_inbox"]}}, {"command.aggregate": "papers"}]}},
            {"$project": {"_id": {"$toString": "$ts"}, "of": {"$ifNull": ["$command.find", "$command.aggregate"]}, "level": "$command.readConcern.level"}},
            {"$out": "profiled"}]}]"#,
    )?;
    world.apply()?;
    let profiled = live.api.get("/v1/records/Profiled/by/all").await?;
    let read: Vec<(&str, &str)> = profiled.body["records"]
        .as_array()
        .context("records")?
        .iter()
        .map(|entry| {
            (entry["of"].as_str().unwrap_or_default(), entry["level"].as_str().unwrap_or_default())
        })
        .collect();
    assert!(
        read.contains(&("papers", "majority")) && read.contains(&("beds_inbox", "majority")),
        "{read:?}"
    );
    assert!(read.iter().all(|(_, level)| *level == "majority"), "{read:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_write_that_is_done_cannot_be_replaced() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let first = live.api.post_with_key("/v1/records/Things", "k", &json!({"name": "one"})).await?;
    let key = world.sql("SELECT inbox_key FROM beds_inbox")?;
    let forged = world.sql(&format!("CALL beds_inbox_commit('{key}', 'forged', NULL, NULL)"));
    assert!(forged.is_err(), "a login of a node could write what callers are told");
    let again = live.api.post_with_key("/v1/records/Things", "k", &json!({"name": "one"})).await?;
    assert_eq!((again.status, &again.body), (201, &first.body), "{}", again.text);
    Ok(())
}
