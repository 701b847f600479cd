//! Answers between nodes: one that no node has sealed is not believed.
//!
//! Not here: forged requests (proof.rs), answers to clients over AMQP (wire.rs).

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::rabbit::DEFAULT;
use crate::rig::{Api, World, eventually};

/// The first request that a queue of the test's own gets a copy of.
async fn copied(world: &World) -> Result<Value> {
    let mut seen = None;
    eventually("the request is on its way", async || {
        seen = world.take("tap").await?.into_iter().next();
        Ok(seen.is_some())
    })
    .await?;
    seen.context("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_no_node_has_sealed_is_not_believed() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    world.own_queue("tap").await?;
    let path = format!("/api/bindings/{}/e/beds.events/q/tap", world.name);
    world.rabbit(Method::POST, &path, Some(json!({"routing_key": "rel.read.main"}))).await?;
    for (is_sealed, is_forged) in [(false, false), (true, true)] {
        let read = live.api.get("/v1/records/Things/by/sleep?seconds=1.5");
        let forge = async {
            let request = copied(&world).await?;
            let text = |name: &str| request["properties"][name].as_str().unwrap_or_default();
            let (reply_to, id) = (text("reply_to"), text("correlation_id"));
            let body = json!({"v": 1, "event_id": id, "status": 200, "answer": {"records": [{"forged": 1}]}});
            let (body, properties) = (body.to_string(), json!({"correlation_id": id}));
            match is_sealed {
                // The same under a node's seal is believed: the seal alone makes the difference.
                true => world.publish_to(DEFAULT, reply_to, &body, properties).await,
                false => world.publish_unproved(DEFAULT, reply_to, &body, properties).await,
            }
        };
        let (read, forged) = tokio::join!(read, forge);
        assert!(forged?, "the forged answer reached the queue");
        let read = read?;
        assert_eq!((read.status, read.text.contains("forged")), (200, is_forged), "{}", read.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_seal_is_demanded_a_gateway_without_a_key_gets_its_answers() -> Result<()> {
    let world = World::new().await?;
    let own = |text: &str| text.to_owned();
    for (of_gateway, of_worker) in [("", ""), ("", "seal.key")] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let listen = listener.local_addr()?.to_string();
        drop(listener);
        let keys = |is_gateway: bool| {
            let seal = if is_gateway { of_gateway } else { of_worker };
            [
                ("BEDS__TRUST__REQUIRE_SEAL", own("false")),
                ("BEDS__TRUST__SEAL_KEYS", own(seal)),
                ("BEDS__SERVICES__APPSERVER__LISTEN", listen.clone()),
                ("BEDS__SERVICES__APPSERVER__IS_LOCAL", is_gateway.to_string()),
                ("BEDS__SERVICES__REL__IS_LOCAL", (!is_gateway).to_string()),
                ("BEDS__SERVICES__REC__IS_LOCAL", (!is_gateway).to_string()),
                ("BEDS__SERVICES__ADMIN__IS_LOCAL", own("false")),
            ]
        };
        let mut nodes = [world.role("gw", &keys(true))?, world.role("wk", &keys(false))?];
        for node in &nodes {
            eventually("the node is ready", async || {
                Ok(node.api.get("/readyz").await.is_ok_and(|answer| answer.status == 200))
            })
            .await?;
        }
        let api = Api { url: format!("http://{listen}"), ..nodes[0].api.clone() };
        let created = api.post("/v1/records/Things", &json!({"name": "x"})).await?;
        let place = format!("{of_gateway:?} {of_worker:?}: {}", created.text);
        assert!(matches!(created.status, 201 | 409), "{place}");
        assert_eq!(api.get("/v1/records/Things").await?.status, 200, "{place}");
        for node in &mut nodes {
            node.signal("TERM")?;
            node.ended().await?;
        }
    }
    Ok(())
}
