//! RabbitMQ stays, but the node's queues and bindings go: its connections, its queues.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::{Live, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_an_unknown_outcome_at_once_and_comes_back_with_its_prefetch()
-> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    world.all_consume().await?;
    let before = world.prefetches().await?;

    let slow = json!({"name": "slow one"});
    let write = live.api.post_with_key("/v1/records/Things", "k", &slow);
    let cut = async {
        eventually("the write is running", async || world.is_asleep()).await?;
        close_connections(&world).await
    };
    let (answer, cut) = tokio::join!(write, cut);
    cut?;
    let answer = answer?;
    assert_eq!((answer.status, answer.code()), (504, "BEDS-0014"), "{}", answer.text);

    let mut first = String::new();
    eventually("the same key gets its answer", async || {
        let again = live.api.post_with_key("/v1/records/Things", "k", &slow).await?;
        first = again.text;
        Ok(again.status == 201)
    })
    .await?;
    assert_eq!(live.api.post_with_key("/v1/records/Things", "k", &slow).await?.text, first);
    assert_eq!(world.sql("SELECT COUNT(*) FROM things WHERE name = 'slow one'")?, "1");
    eventually("all consumers are back", async || Ok(world.prefetches().await? == before)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_somebody_deleted_is_declared_again() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for queue in ["rel.read.main", "rel.write.main"] {
        world.delete_queue(queue).await?;
        eventually("requests are answered again", async || answers(&live).await).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_binding_is_503_at_once() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    // Each consumer declares its queue and binding before it begins.
    world.all_consume().await?;
    let binding =
        format!("/api/bindings/{}/e/beds.events/q/rel.write.main/rel.write.main", world.name);
    world.rabbit(Method::DELETE, &binding, None).await?;
    let refused = live.api.post("/v1/records/Things", &json!({"name": "nobody"})).await?;
    assert_eq!((refused.status, refused.code()), (503, "BEDS-0013"), "{}", refused.text);
    assert_eq!(world.sql("SELECT COUNT(*) FROM things WHERE name = 'nobody'")?, "0");
    eventually("it is bound again", async || {
        Ok(live.api.post("/v1/records/Things", &json!({"name": "nobody"})).await?.status == 201)
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_nobody_consumes_is_declared_again_too() -> Result<()> {
    let world = World::new().await?;
    let _live = world.node().await?;
    world.delete_queue("beds.dead").await?;
    assert!(world.publish("rel.read", "garbage", json!({})).await?);
    // A queue without its binding gets nothing, and a read that cannot be buried is let go.
    eventually("dead letters have their queue and its binding", async || {
        let bindings = format!("/api/exchanges/{}/beds.dead/bindings/source", world.name);
        let bindings = world.rabbit(Method::GET, &bindings, None).await?;
        Ok(bindings
            .as_array()
            .into_iter()
            .flatten()
            .any(|binding| binding["destination"] == "beds.dead"))
    })
    .await?;
    assert!(world.publish("rel.read", "garbage", json!({"message_id": "after"})).await?);
    let mut letters = Vec::new();
    eventually("it is kept", async || {
        letters.extend(world.take("beds.dead").await?);
        Ok(letters.iter().any(|letter| letter["properties"]["message_id"] == "after"))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_find_no_queue_hold_up_no_request_and_are_not_lost() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    world.all_consume().await?;
    let bindings = format!("/api/bindings/{}/e/beds.logs/q/lineage", world.name);
    world.rabbit(Method::DELETE, &format!("{bindings}/lineage.%23"), None).await?;
    let writes = (0..20).map(|number| {
        let api = &live.api;
        async move { api.post("/v1/records/Things", &json!({"name": format!("n{number}")})).await }
    });
    let mut ids = Vec::new();
    // A worker takes a second write while the first waits for its record, and no third: the rest is answered afterwards.
    let answers = futures_util::future::join_all(writes);
    let bind = async {
        eventually("some are done", async || {
            Ok(world.sql("SELECT COUNT(*) FROM things")?.parse::<u32>()? >= 3)
        })
        .await?;
        world.rabbit(Method::POST, &bindings, Some(json!({"routing_key": "lineage.#"}))).await
    };
    let (answers, bound) = tokio::join!(answers, bind);
    bound?;
    for answer in answers {
        let answer = answer?;
        assert_eq!(answer.status, 201, "{}", answer.text);
        ids.push(answer.header("beds-event-id").to_owned());
    }
    for id in ids {
        eventually("its tree is there", async || {
            let tree = live.api.get(&format!("/v1/lineage/{id}")).await?;
            Ok(tree.body["tree"][0]["outcome"] == "ok")
        })
        .await?;
    }
    Ok(())
}

async fn answers(live: &Live) -> Result<bool> {
    let read = live.api.get("/v1/records/Things?limit=1").await?;
    let write = live.api.post("/v1/records/Things", &json!({"name": uuid::Uuid::new_v4()})).await?;
    Ok(read.status == 200 && write.status == 201)
}

pub(crate) async fn close_connections(world: &World) -> Result<()> {
    let path = format!("/api/vhosts/{}/connections", world.name);
    eventually("RabbitMQ shows the connections", async || {
        Ok(names(&world.rabbit(Method::GET, &path, None).await?).len() == 2)
    })
    .await?;
    for name in names(&world.rabbit(Method::GET, &path, None).await?) {
        let mut url = reqwest::Url::parse("http://x/api/connections/")?;
        url.path_segments_mut().ok().context("a path")?.pop_if_empty().push(&name);
        world.rabbit(Method::DELETE, url.path(), None).await?;
    }
    Ok(())
}

fn names(connections: &Value) -> Vec<String> {
    let connections = connections.as_array().cloned().unwrap_or_default();
    connections
        .iter()
        .filter_map(|connection| Some(connection["name"].as_str()?.to_owned()))
        .collect()
}
