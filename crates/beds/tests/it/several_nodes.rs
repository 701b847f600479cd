//! Several nodes: one name each, other releases beside this one, and queues that a node cannot use.
//!
//! Not here: one node whose services come and go, which is `reconnect`'s.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::audit::search;
use crate::rig::{World, client, eventually, variable};

fn verify(world: &World) -> Result<(Option<i32>, String)> {
    let output = world.beds(&["audit", "verify"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code(), text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_with_overlap_ends_no_signature() -> Result<()> {
    let world = World::new().await?;
    let key = world.folder.join("audit.key");
    world.change_config(
        "[services.admin]\n",
        "[services.admin]\nsigning_key_file = \"audit.key\"\n",
    )?;
    let node = async |control: &str| {
        let control = world.folder.join(control);
        world
            .node_with(|config| {
                config.node.control = Some(control);
                config.services.admin.signing_key_file = Some(key.clone());
                config.services.admin.signing_interval = std::time::Duration::from_millis(200);
            })
            .await
    };
    let old = node("old.sock").await?;
    let stored = async |api: &crate::rig::Api, number: usize| {
        eventually("the records are stored", async || {
            Ok(search(api, "&template=Things").await?.len() >= number)
        })
        .await
    };
    for number in 0..5 {
        old.api.post("/v1/records/Things", &json!({"name": format!("old {number}")})).await?;
    }
    stored(&old.api, 5).await?;
    // The same name: it serves requests, and stores nothing that nodes report.
    let new = node("new.sock").await?;
    for number in 0..5 {
        assert_eq!(
            new.api
                .post("/v1/records/Things", &json!({"name": format!("new {number}")}))
                .await?
                .status,
            201
        );
    }
    stored(&new.api, 10).await?;
    ensure!(old.node.shutdown().await, "a clean end");
    for number in 0..5 {
        new.api.post("/v1/records/Things", &json!({"name": format!("later {number}")})).await?;
    }
    stored(&new.api, 15).await?;
    let newest =
        search(&new.api, "&template=Things").await?.iter().filter_map(|r| r["seq"].as_u64()).max();
    eventually("all is signed", async || {
        let (code, text) = verify(&world)?;
        ensure!(code == Some(0), "{text}");
        let signed = text
            .split("signed up to ")
            .nth(1)
            .and_then(|rest| rest.lines().next()?.parse::<u64>().ok());
        Ok(signed >= newest)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_cannot_be_consumed_makes_the_node_unready_and_is_named() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    world.all_consume().await?;
    let user = variable("BEDS_TEST_AMQP_URL")?;
    let (_, login) = user.split_once("://").context("a url")?;
    let rights =
        format!("/api/permissions/{}/{}", world.name, login.split(':').next().context("a user")?);
    let may_read = |queues: &str| json!({"configure": ".*", "write": ".*", "read": queues});
    world.rabbit(Method::PUT, &rights, Some(may_read("^(?!rel\\.write\\.main$).*"))).await?;
    // Its consumers end with the queue, and come back to one that they may not read.
    world.delete_queue("rel.write.main").await?;
    let mut readiness = Value::Null;
    eventually("the node is not ready", async || {
        readiness = live.api.get("/readyz").await?.body;
        Ok(readiness["ready"] == false)
    })
    .await?;
    eventually("it says which queue", async || {
        readiness = live.api.get("/readyz").await?.body;
        let services = readiness["services"].as_array().cloned().unwrap_or_default();
        let consumers = services
            .iter()
            .find(|service| service["name"] == "consumers")
            .cloned()
            .unwrap_or_default();
        Ok(consumers["detail"].as_str().is_some_and(|detail| {
            detail.starts_with("rel.write.main: ") && detail.contains("consumers")
        }))
    })
    .await?;
    world.rabbit(Method::PUT, &rights, Some(may_read(".*"))).await?;
    eventually("it is ready again", async || Ok(live.api.get("/readyz").await?.status == 200)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_apart_are_told() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let clock = async || -> Result<Value> {
        let services =
            live.api.get("/readyz").await?.body["services"].as_array().cloned().unwrap_or_default();
        Ok(services.into_iter().find(|service| service["name"] == "clock").unwrap_or_default())
    };
    assert_eq!(clock().await?["ready"], true);
    // The database's word for its time is 20 s ahead.
    let hex = world.sql("SELECT HEX(ROUTINE_DEFINITION) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE() AND ROUTINE_NAME = 'beds_catalog_version'")?;
    let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
    let body = String::from_utf8(bytes.collect::<std::result::Result<Vec<_>, _>>()?)?;
    let body = body.replace("UTC_TIMESTAMP(6)", "UTC_TIMESTAMP(6) + INTERVAL 20 SECOND");
    let replaced = format!(
        "DELIMITER //
CREATE OR REPLACE PROCEDURE beds_catalog_version() READS SQL DATA SQL SECURITY DEFINER {body} //
DELIMITER ;"
    );
    world.domain(&replaced, &[])?;
    eventually("the node is not ready", async || Ok(clock().await?["ready"] == false)).await?;
    let told = clock().await?;
    assert!(
        told["detail"].as_str().is_some_and(|detail| detail.contains("databases.rel.main is 2")),
        "{told}"
    );
    let metrics = live.api.get("/metrics").await?.text;
    assert!(metrics.contains("beds_ready{service=\"clock\"} 0"), "{metrics}");
    assert!(
        metrics.contains("# HELP beds_clock_ahead_seconds ")
            && metrics.contains("process_open_fds"),
        "{metrics}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_without_its_grants_is_told_and_gets_them_again() -> Result<()> {
    let world = World::new().await?;
    let _login = crate::least_privilege::restrict(&world)?;
    let live = world.node().await?;
    assert_eq!(
        live.api
            .post("/v1/records/Airlines", &json!({"carrier": "ZZ", "name": "Zed"}))
            .await?
            .status,
        201
    );
    let dump = client("mariadb-dump", &world.maria)?
        .args([
            "--single-transaction",
            "--hex-blob",
            "--routines",
            "--events",
            "--triggers",
            &world.name,
        ])
        .output()?;
    ensure!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    world.write("main.sql", &dump.stdout)?;
    let restored = client("mariadb", &world.maria)?
        .arg(&world.name)
        .stdin(std::fs::File::open(world.folder.join("main.sql"))?)
        .output()?;
    ensure!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    // A right that was never granted is a mistake of the templates; the database itself is another thing.
    let database = async || -> Result<Value> {
        let services =
            live.api.get("/readyz").await?.body["services"].as_array().cloned().unwrap_or_default();
        Ok(services
            .into_iter()
            .find(|service| service["name"] == "databases.rel.main")
            .unwrap_or_default())
    };
    eventually("the node is not ready", async || Ok(database().await?["ready"] == false)).await?;
    let apply = |more: &str| {
        world.beds(&["schema", "apply", "--credentials", "dba.toml", "--schema", "schema", more])
    };
    let granted = apply("--grants")?;
    ensure!(granted.status.success(), "{}", String::from_utf8_lossy(&granted.stderr));
    assert!(
        String::from_utf8_lossy(&granted.stdout)
            .contains("0002_airlines.sql: already there; its grants were given again")
    );
    eventually("it is served again", async || {
        Ok(live.api.get("/v1/records/Airlines/ZZ").await?.status == 200)
    })
    .await
}
