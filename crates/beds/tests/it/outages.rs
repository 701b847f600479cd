//! Services that are away, silent or frozen, and tasks that panic.
//!
//! Not here: services that are killed while requests run, which is `services`'s.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use serde_json::json;

use crate::rig::{World, client, eventually, variable};

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_rabbitmq_leaks_nothing() -> Result<()> {
    let world = World::new().await?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let number = Arc::clone(&accepted);
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming() {
            silent.push(stream);
            number.fetch_add(1, Ordering::Relaxed);
        }
    });
    let amqp = variable("BEDS_TEST_AMQP_URL")?;
    let (_, address) = amqp.split_once('@').context("user:password@host:port")?;
    world.change_config(address, &format!("127.0.0.1:{port}"))?;
    let process = world.silent_process()?;
    eventually("both connections were tried three times", async || {
        Ok(accepted.load(Ordering::Relaxed) >= 6)
    })
    .await?;
    let open = Command::new("ls").args(["-l", &format!("/proc/{}/fd", process.id())]).output()?;
    let sockets = String::from_utf8(open.stdout)?.matches("socket:").count();
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.id()))?;
    let named =
        |path: std::path::PathBuf| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
    let lapin = threads
        .filter_map(|task| Some(named(task.ok()?.path())))
        .filter(|name| name.contains("lapin"))
        .count();
    assert!(lapin <= 4 && sockets <= 30, "{lapin} threads, {sockets} sockets");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_power_frees_its_key_within_a_minute() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let created =
        live.api.post_with_key("/v1/records/Things", "first", &json!({"name": "one"})).await?;
    assert_eq!(created.status, 201);
    let key = world.sql("SELECT inbox_key FROM beds_inbox")?;
    world.sql("DELETE FROM beds_inbox")?;
    world.sql("DELETE FROM things")?;
    // A session that claims the key and then says nothing, as one whose host has gone.
    let mut gone = client("mariadb", &world.maria)?
        .arg(&world.name)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut said = gone.stdin.take().context("a pipe")?;
    writeln!(
        said,
        "CALL beds_inbox_begin('{key}', '{}', NULL, NULL); INSERT INTO things (name) VALUES ('locked');",
        "0".repeat(64)
    )?;
    said.flush()?;
    // Not by INNODB_TRX, which a server refreshes only when it was not read for 100 ms.
    let claimed = "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; SELECT COUNT(*) FROM things WHERE name = 'locked'";
    eventually("the session has claimed it", async || Ok(world.sql(claimed)? == "1")).await?;
    let body = json!({"name": "one"});
    let repeat = || live.api.post_with_key("/v1/records/Things", "first", &body);
    let taken = repeat().await?;
    assert_eq!((taken.status, taken.code()), (409, "BEDS-0011"), "{}", taken.text);
    eventually("the key is free", async || Ok(repeat().await?.status == 201)).await?;
    assert_eq!(world.sql("SELECT GROUP_CONCAT(name) FROM things")?, "one");
    gone.kill()?;
    gone.wait()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_stops_no_node() -> Result<()> {
    let world = World::new().await?;
    let (api, mut child) = world.process_with_pipe().await?;
    // More than a pipe takes, many times.
    for number in 0..2_000 {
        let body = json!({"name": format!("slow {number}")});
        let refused = api.post("/v1/records/Things", &body);
        drop(tokio::time::timeout(std::time::Duration::from_millis(1), refused).await);
    }
    assert_eq!(api.get("/healthz").await?.status, 200);
    let ended = Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
    assert!(ended.success());
    eventually("it ends", async || Ok(child.try_wait()?.is_some())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_died_within_a_document_write_frees_its_key() -> Result<()> {
    let world = World::new().await?;
    let mut process = world.process("uncommitted=1*return").await?;
    let body = json!({"name": "one"});
    let lost = process.api.post_with_key("/v1/records/Papers", "k", &body).await;
    assert!(lost.is_err(), "it died before its commit");
    process.ended().await?;
    // Its transaction ends in the server after `transactionLifetimeLimitSeconds`, of which half as much again may pass.
    let live = world.node().await?;
    eventually("the key is free", async || {
        Ok(live.api.post_with_key("/v1/records/Papers", "k", &body).await?.status == 201)
    })
    .await?;
    let stored = live.api.get("/v1/records/Papers/by/name?name=one").await?;
    assert_eq!(stored.body["records"].as_array().map(Vec::len), Some(1), "{}", stored.text);
    Ok(())
}
