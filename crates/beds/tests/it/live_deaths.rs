//! Changes while nodes, connections and the stream itself die: each is told once, or the gap is told.
//!
//! Not here: the long run (faults/changes.rs), a database that is away (databases.rs).

use anyhow::{Result, ensure};
use serde_json::json;

use crate::live::{create, tell};
use crate::reconnect::close_connections;
use crate::rig::events::Events;
use crate::rig::{Live, Process, World, eventually};

/// A node with the gateway alone.
pub(crate) async fn gateway(world: &World) -> Result<Live> {
    world
        .node_with(|config| {
            let services = &mut config.services;
            (services.rec.is_local, services.rel.is_local) = (false, false);
        })
        .await
}

/// A node with the stores, which may publish their changes.
pub(crate) async fn worker(world: &World, name: &str, failpoints: &str) -> Result<Process> {
    let keys = [
        ("BEDS__SERVICES__APPSERVER__IS_LOCAL", "false".to_owned()),
        ("BEDS__SERVICES__ADMIN__IS_LOCAL", "false".to_owned()),
        ("FAILPOINTS", failpoints.to_owned()),
    ];
    let worker = world.role(name, &keys)?;
    eventually("the worker is ready", async || {
        Ok(worker.api.get("/readyz").await.is_ok_and(|ready| ready.status == 200))
    })
    .await?;
    Ok(worker)
}

/// Waits until a node publishes the changes of a database.
async fn is_led(world: &World, database: &str) -> Result<()> {
    let queue = format!("beds.lead.changes.{database}");
    eventually("a node publishes", async || Ok(world.queue(&queue).await.is_ok())).await
}

/// Creates a record, however often it takes.
async fn create_in_the_end(live: &Live, template: &str, name: &str) -> Result<String> {
    let mut id = String::new();
    eventually("the record is created", async || {
        let path = format!("/v1/records/{template}");
        let created = live.api.post_with_key(&path, name, &json!({"name": name})).await?;
        id = created.header("location").rsplit('/').next().unwrap_or_default().to_owned();
        Ok(created.status == 201)
    })
    .await?;
    Ok(id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_dies_before_it_could_say_done_leads_to_no_second_change() -> Result<()> {
    let world = World::new().await?;
    tell(&world)?;
    let live = gateway(&world).await?;
    for (template, database) in [("LiveThings", "rel.main"), ("LivePapers", "rec.main")] {
        let mut first = worker(&world, "w1", "changes_published=return").await?;
        is_led(&world, database).await?;
        let second = worker(&world, "w2", "").await?;
        let query = format!("template={template}");
        let (mut events, _) = Events::of(&live.api, &query, None).await?;
        let id = create_in_the_end(&live, template, "one").await?;
        first.ended().await?;
        assert_eq!(events.change().await?.moved(), ("create", id.as_str()));
        // The second node publishes it again, and then this one.
        let id = create_in_the_end(&live, template, "two").await?;
        assert_eq!(events.change().await?.moved(), ("create", id.as_str()));
        // The next first node must find nothing to publish before its own change.
        eventually("all is published", async || {
            Ok(world.sql("SELECT COUNT(*) FROM beds_changes")? == "0")
        })
        .await?;
        drop(second);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_loses_no_change_and_tells_none_twice() -> Result<()> {
    let world = World::new().await?;
    tell(&world)?;
    let live = world.node().await?;
    let (mut events, _) = Events::of(&live.api, "template=LiveThings", None).await?;
    for number in 0..9 {
        if number % 3 == 1 {
            close_connections(&world).await?;
        }
        let id = create_in_the_end(&live, "LiveThings", &format!("n{number}")).await?;
        assert_eq!(events.change().await?.moved(), ("create", id.as_str()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_made_anew_is_a_gap_and_its_old_cursors_are_410() -> Result<()> {
    let world = World::new().await?;
    tell(&world)?;
    let live = world.node().await?;
    let (mut events, _) = Events::of(&live.api, "template=LiveThings", None).await?;
    create(&live.api, "LiveThings", "before").await?;
    let old = events.change().await?.id;
    world.delete_queue("beds.changes.log").await?;
    let gap = events.next().await?;
    assert_eq!(gap.name, "gap", "{gap:?}");
    let id = create_in_the_end(&live, "LiveThings", "behind").await?;
    assert_eq!(events.change().await?.moved(), ("create", id.as_str()));
    let path = "/v1/changes?template=LiveThings";
    let refused = live.api.send(live.api.request("GET", path).header("Last-Event-ID", old)).await?;
    assert_eq!((refused.status, refused.code()), (410, "BEDS-0038"), "{}", refused.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_the_oplog_forgot_are_a_gap() -> Result<()> {
    let world = World::new().await?;
    tell(&world)?;
    let live = gateway(&world).await?;
    let (mut papers, _) = Events::of(&live.api, "template=LivePapers", None).await?;
    let (mut things, _) = Events::of(&live.api, "template=LiveThings", None).await?;
    let first = worker(&world, "w1", "").await?;
    let id = create_in_the_end(&live, "LivePapers", "before").await?;
    assert_eq!(papers.change().await?.moved(), ("create", id.as_str()));
    drop(first);
    // The place of a change that the oplog does not have, as the server writes one.
    let place = json!([{"update": "beds_changes", "updates": [{"q": {"_id": "published"}, "upsert": true,
        "u": {"$set": {"token": {"_data": "8200000001000000012B042C0100296E5A1004AB1154ACACD849A48C61756D70D3B21F463C6F7065726174696F6E54797065003C696E736572740046646F63756D656E744B65790046645F69640064635019A078BE67426D7CF4D2000004"}}}}]}]);
    world.write("schema/rec/main/0960_place.json", place.to_string())?;
    world.apply()?;
    let _second = worker(&world, "w2", "").await?;
    let gap = papers.next().await?;
    assert_eq!(gap.name, "gap", "{gap:?}");
    ensure!(gap.data["text"].as_str().is_some_and(|text| text.contains("read the records again")));
    let id = create_in_the_end(&live, "LivePapers", "behind").await?;
    assert_eq!(papers.change().await?.moved(), ("create", id.as_str()));
    // It is a gap of its own database alone.
    let id = create_in_the_end(&live, "LiveThings", "other").await?;
    assert_eq!(things.change().await?.moved(), ("create", id.as_str()));
    Ok(())
}
