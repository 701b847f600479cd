//! Changes as they happen: a write is told to those who may hear of it, and no change is lost without a word.
//!
//! Not here: rights over this door (`live_rights.rs`), deaths and outages (`live_deaths.rs`).

use anyhow::Result;
use serde_json::{Value, json};

use crate::rig::events::Events;
use crate::rig::{Api, World, as_caller, eventually};
use crate::tickets::ask;

/// Things and Papers once more, with `[changes]`.
pub(crate) fn tell(world: &World) -> Result<()> {
    for (name, store, id, objects) in
        [("LiveThings", "rel", "id", "things"), ("LivePapers", "rec", "_id", "papers")]
    {
        world.template(
            &name.to_lowercase(),
            &format!(
                "name = \"{name}\"\nstore = \"{store}\"\ndatabase = \"main\"\nid = \"{id}\"\n[objects]\ncreate = \"{objects}_create\"\n\
                 fetch = \"{objects}_fetch\"\nupdate = \"{objects}_update\"\ndelete = \"{objects}_delete\"\n[changes]\non = true\n\
                 [access]\nread = [\"tester\"]\nwrite = [\"tester\"]\nchanges = [\"tester\"]\n"
            ),
        )?;
    }
    Ok(())
}

/// Creates a record and answers its id.
pub(crate) async fn create(api: &Api, template: &str, name: &str) -> Result<String> {
    let created = api.post(&format!("/v1/records/{template}"), &json!({"name": name})).await?;
    assert_eq!(created.status, 201, "{}", created.text);
    Ok(created.header("location").rsplit('/').next().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_told_in_both_stores_with_its_fields_and_no_value() -> Result<()> {
    let world = World::new().await?;
    tell(&world)?;
    let live = world.node().await?;
    for template in ["LiveThings", "LivePapers"] {
        let (mut all, _) = Events::of(&live.api, &format!("template={template}"), None).await?;
        let id = create(&live.api, template, "canary").await?;
        let mut seqs = Vec::new();
        let mut told = async |wanted: (&str, &str)| {
            let change = all.change().await?;
            assert_eq!(change.moved(), wanted, "{change:?}");
            assert!(!change.data.to_string().contains("canary"), "{change:?}");
            seqs.push(change.data["seq"].as_u64());
            anyhow::Ok(change)
        };
        told(("create", &id)).await?;
        let (mut one, _) =
            Events::of(&live.api, &format!("template={template}&id={id}"), None).await?;
        let other = create(&live.api, template, "other").await?;
        let path = format!("/v1/records/{template}/{id}");
        let changed = live.api.patch(&path, &json!({"name": "canary2"})).await?;
        assert_eq!(changed.status, 200, "{}", changed.text);
        assert_eq!(live.api.delete(&path).await?.status, 200);
        told(("create", &other)).await?;
        let update = told(("update", &id)).await?;
        assert_eq!(update.data["fields"], json!(["name"]));
        assert_eq!(update.data["event_id"], changed.header("beds-event-id"));
        told(("delete", &id)).await?;
        assert!(seqs.is_sorted() && !seqs.contains(&None), "{seqs:?}");
        for wanted in ["update", "delete"] {
            assert_eq!(one.change().await?.moved(), (wanted, id.as_str()));
        }
    }
    // A write that is refused, and one that is repeated, tell nothing more.
    let (mut all, _) = Events::of(&live.api, "template=LiveThings", None).await?;
    let refused = live.api.post("/v1/records/LiveThings", &json!({"name": "forbidden"})).await?;
    assert_eq!(refused.status, 422, "{}", refused.text);
    for _ in 0..2 {
        live.api.post_with_key("/v1/records/LiveThings", "once", &json!({"name": "once"})).await?;
    }
    let last = create(&live.api, "LiveThings", "last").await?;
    let first = all.change().await?;
    assert_eq!(first.moved().0, "create");
    assert_eq!(all.change().await?.moved(), ("create", last.as_str()));
    eventually("they are removed where they were noted", async || {
        Ok(world.sql("SELECT COUNT(*) FROM beds_changes")? == "0")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_brings_the_changes_behind_it_and_a_false_one_is_410() -> Result<()> {
    let world = World::new().await?;
    tell(&world)?;
    let live = world.node().await?;
    let (mut events, begin) = Events::of(&live.api, "template=LiveThings", None).await?;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(create(&live.api, "LiveThings", &format!("n{number}")).await?);
    }
    let mut cursors = vec![begin];
    for id in &ids {
        let change = events.change().await?;
        assert_eq!(change.moved(), ("create", id.as_str()));
        cursors.push(change.id);
    }
    drop(events);
    // Behind each of them, and on into those that come later.
    for (position, cursor) in cursors.iter().enumerate() {
        let (mut again, place) = Events::of(&live.api, "template=LiveThings", Some(cursor)).await?;
        assert_eq!(&place, cursor);
        for id in &ids[position..] {
            assert_eq!(again.change().await?.moved(), ("create", id.as_str()));
        }
        ids.push(create(&live.api, "LiveThings", &format!("later{position}")).await?);
        assert_eq!(again.change().await?.moved().1, ids[ids.len() - 1]);
    }
    let last = cursors.last().unwrap();
    let (offset, mark) = last.split_once('-').unwrap();
    let forged: Vec<String> = vec![
        "garbage".into(),
        format!("{offset}-0000000000000000"),
        format!("0-{mark}"),
        format!("ffffff-{mark}"),
        format!("ffffffffffffffff-{mark}"),
        "0".into(),
    ];
    for cursor in forged {
        let path = "/v1/changes?template=LiveThings";
        let refused = live.api.request("GET", path).header("Last-Event-ID", &cursor);
        let refused = live.api.send(refused).await?;
        assert_eq!(
            (refused.status, refused.code()),
            (410, "BEDS-0038"),
            "{cursor}: {}",
            refused.text
        );
    }
    for (query, status, code) in [
        ("", 400, "BEDS-0004"),
        ("?template=Nothing", 404, "BEDS-0001"),
        ("?template=Things", 404, "BEDS-0012"),
        ("?template=LiveThings&other=1", 400, "BEDS-0002"),
    ] {
        let refused = live.api.get(&format!("/v1/changes{query}")).await?;
        assert_eq!((refused.status, refused.code()), (status, code), "{query}: {}", refused.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_told_as_it_moves_until_it_has_ended() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let path = ask(&live.api, "/v1/records/Works/jobs/wait", &json!({"tenths": 20})).await?;
    let mut events = Events::open(&live.api, &format!("{path}/events"), None).await?;
    let mut states = Vec::new();
    while let Some(event) = events.next_if_any().await? {
        match event.name.as_str() {
            "ticket" => states.push(event.data["state"].as_str().unwrap_or_default().to_owned()),
            _ => assert_eq!((event.name.as_str(), &event.data["reason"]), ("end", &json!("ended"))),
        }
    }
    states.dedup();
    let running = states.iter().position(|state| state == "running");
    assert_eq!(
        (states.last().map(String::as_str), running.is_some()),
        (Some("done"), true),
        "{states:?}"
    );
    let other = as_caller(&live.api, "beds_00000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")?;
    assert_eq!(other.get(&format!("{path}/events")).await?.status, 401);
    let unknown = live.api.get("/v1/tickets/00000000-0000-7000-8000-000000000000/events").await?;
    assert_eq!((unknown.status, unknown.code()), (404, "BEDS-0034"), "{}", unknown.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_committed_late_is_not_passed_over() -> Result<()> {
    let world = World::new().await?;
    tell(&world)?;
    let live = world.node().await?;
    let (mut events, _) = Events::of(&live.api, "template=LiveThings", None).await?;
    let announce = "CALL beds_announce('LiveThings', '77', 'update', '[\"name\"]', NULL)";
    let mut dba = world.session()?;
    dba.say("START TRANSACTION")?;
    dba.say(announce)?;
    // The DBA has the lower place, and commits when the higher one is published and removed.
    let id = create(&live.api, "LiveThings", "early").await?;
    assert_eq!(events.change().await?.moved(), ("create", id.as_str()));
    dba.say("COMMIT")?;
    let late = events.change().await?;
    assert_eq!((late.moved(), &late.data["fields"]), (("update", "77"), &json!(["name"])));
    assert!(late.data["event_id"].as_str().is_some_and(|id| id.starts_with("dba.")), "{late:?}");
    assert_eq!(late.data["scope"], Value::Null);
    Ok(())
}
