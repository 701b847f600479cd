//! Services that are away, silent or frozen, and tasks that panic.
//!
//! Not here: services that are killed while requests run, which is `services`'s.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::{World, eventually, variable};

async fn messages(world: &World, queue: &str) -> Result<Value> {
    let path = format!("/api/queues/{}/{queue}", world.name);
    Ok(world.rabbit(Method::GET, &path, None).await?["messages"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_a_database_makes_no_dead_letters() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    // To the node, the database is as good as away, and no other test notices.
    world.sql("RENAME TABLE beds_inbox TO beds_inbox_away")?;
    for number in 0..100 {
        let id = format!("py.out.{number}");
        let event = json!({
            "v": 1, "event_id": id, "root_id": id, "template": "Things", "operation": "create",
            "params": {"name": format!("n{number}")}, "issued_at": "2026-11-23T10:00:00Z", "deadline": "2126-11-23T10:00:00Z",
        });
        assert!(world.publish("rel.write", &event.to_string(), json!({"message_id": id, "delivery_mode": 2})).await?);
    }
    eventually("the writes wait", async || Ok(messages(&world, "beds.waiting").await?.as_u64() >= Some(50))).await?;
    world.sql("RENAME TABLE beds_inbox_away TO beds_inbox")?;
    eventually("all are done", async || Ok(world.sql("SELECT COUNT(*) FROM things")? == "100")).await?;
    eventually("and acknowledged", async || Ok(messages(&world, "rel.write").await? == 0)).await?;
    assert!(world.take("beds.dead").await?.is_empty());
    drop(live);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_wait_for_better_times_hold_up_no_other() -> Result<()> {
    let world = World::new().await?;
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
    )?;
    let live = world.node().await?;
    // Several times as many as there are tasks and messages that RabbitMQ hands out ahead of time.
    for number in 0..40 {
        let id = format!("py.wait.{number}");
        let event = json!({
            "v": 1, "event_id": id, "root_id": id, "template": "Guests", "operation": "create",
            "params": {"name": format!("n{number}")}, "issued_at": "2026-11-23T10:00:00Z", "deadline": "2126-11-23T10:00:00Z",
        });
        assert!(world.publish("rel.write", &event.to_string(), json!({"message_id": id, "delivery_mode": 2})).await?);
    }
    for number in 0..10 {
        let body = json!({"name": format!("healthy {number}")});
        let answer = live.api.post("/v1/records/Things", &body).await?;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    assert_eq!(world.sql("SELECT COUNT(*) FROM guests")?, "0");
    world.sql("INSERT INTO gate VALUES (1)")?;
    eventually("all are done", async || Ok(world.sql("SELECT COUNT(*) FROM guests")? == "40")).await?;
    for queue in ["rel.write", "beds.waiting"] {
        eventually("and acknowledged", async || Ok(messages(&world, queue).await? == 0)).await?;
    }
    assert_eq!(world.sql("SELECT COUNT(DISTINCT name) FROM guests")?, "40");
    assert!(world.take("beds.dead").await?.is_empty());
    Ok(())
}

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
    eventually("both connections were tried three times", async || Ok(accepted.load(Ordering::Relaxed) >= 6)).await?;
    let open = Command::new("ls").args(["-l", &format!("/proc/{}/fd", process.id())]).output()?;
    let sockets = String::from_utf8(open.stdout)?.matches("socket:").count();
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.id()))?;
    let named = |path: std::path::PathBuf| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
    let lapin = threads.filter_map(|task| Some(named(task.ok()?.path()))).filter(|name| name.contains("lapin")).count();
    assert!(lapin <= 4 && sockets <= 30, "{lapin} threads, {sockets} sockets");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_power_frees_its_key_within_a_minute() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let created = live.api.post_with_key("/v1/records/Things", "first", &json!({"name": "one"})).await?;
    assert_eq!(created.status, 201);
    let key = world.sql("SELECT inbox_key FROM beds_inbox")?;
    world.sql("DELETE FROM beds_inbox")?;
    world.sql("DELETE FROM things")?;
    // A session that claims the key and then says nothing, as one whose host has gone.
    let (login, address) = world.maria.trim_start_matches("mysql://").split_once('@').context("a url")?;
    let ((user, password), (host, port)) =
        (login.split_once(':').context("user:password")?, address.split_once(':').context("host:port")?);
    let arguments = ["--no-defaults", "-h", host, "-P", port, "-u", user, &format!("-p{password}"), &world.name];
    let mut gone = Command::new("mariadb").args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut said = gone.stdin.take().context("a pipe")?;
    writeln!(
        said,
        "CALL beds_inbox_begin('{key}', '{}', NULL, NULL); INSERT INTO things (name) VALUES ('locked');",
        "0".repeat(64)
    )?;
    said.flush()?;
    let claimed = "SELECT COUNT(*) FROM information_schema.INNODB_TRX AS t JOIN information_schema.PROCESSLIST AS p ON p.id = t.trx_mysql_thread_id WHERE p.db = DATABASE() AND t.trx_rows_modified >= 2";
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
