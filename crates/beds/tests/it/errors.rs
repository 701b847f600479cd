//! An error of a database becomes the error that a caller can act on, and no caller can fill the log.
//!
//! Not here: errors of BEDS's own checks, which are `bad_input`'s.

use anyhow::{Context, Result};
use serde_json::json;
use tokio::task::JoinSet;

use crate::rig::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_class_of_a_state_decides_where_no_code_is_listed() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "CREATE TABLE sig (id INT AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(20), n INT, at DATETIME) ENGINE = InnoDB;
         DELIMITER //
         CREATE PROCEDURE sig_create(IN p_kind VARCHAR(20), IN p_n INT, IN p_text VARCHAR(40))
         BEGIN
           CASE p_kind
             WHEN 'div' THEN INSERT INTO sig (n) VALUES (1 / p_n);
             WHEN 'regexp' THEN INSERT INTO sig (n) VALUES ('x' REGEXP p_text);
             WHEN 'date' THEN INSERT INTO sig (at) VALUES (DATE_ADD('9999-12-31', INTERVAL p_n DAY));
             WHEN '22003' THEN SIGNAL SQLSTATE '22003' SET MESSAGE_TEXT = 'n is too far out';
             WHEN '23000' THEN SIGNAL SQLSTATE '23000' SET MESSAGE_TEXT = 'taken';
             WHEN '02000' THEN SIGNAL SQLSTATE '02000' SET MESSAGE_TEXT = 'no such customer';
             WHEN '45000' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'a rule', MYSQL_ERRNO = 1062;
             WHEN '22012' THEN SIGNAL SQLSTATE '22012' SET MYSQL_ERRNO = 9999;
             WHEN '99999' THEN SIGNAL SQLSTATE '99999' SET MESSAGE_TEXT = 'an inner matter';
           END CASE;
           SELECT * FROM sig WHERE id = LAST_INSERT_ID();
         END //
         DELIMITER ;",
        &[(
            "sig",
            "name = \"Sig\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[objects]\ncreate = \"sig_create\"\n",
        )],
    )?;
    let live = world.node().await?;
    for (kind, status, code, words) in [
        ("div", 400, "BEDS-0025", "refused a value"),
        ("regexp", 400, "BEDS-0003", "regular expression"),
        ("22003", 400, "BEDS-0025", "n is too far out"),
        ("23000", 422, "BEDS-0022", "taken"),
        ("02000", 404, "BEDS-0007", "no such customer"),
        ("45000", 422, "BEDS-0009", "a rule"),
        ("22012", 400, "BEDS-0025", "refused a value"),
        ("99999", 500, "BEDS-0017", ""),
    ] {
        let answer =
            live.api.post("/v1/records/Sig", &json!({"kind": kind, "n": 0, "text": "("})).await?;
        assert_eq!((answer.status, answer.code()), (status, code), "{kind}: {}", answer.text);
        assert!(
            answer.text.contains(words) && !answer.text.contains("inner matter"),
            "{kind}: {}",
            answer.text
        );
    }
    let far = live.api.post("/v1/records/Sig", &json!({"kind": "date", "n": 10})).await?;
    assert_eq!(far.code(), "BEDS-0025", "{}", far.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_dba_ended_is_not_run_again() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "CREATE TABLE runs (n INT) ENGINE = MyISAM;
         DELIMITER //
         CREATE PROCEDURE runs_create() BEGIN INSERT INTO runs VALUES (1); SELECT SLEEP(60); END //
         CREATE PROCEDURE runs_read() READS SQL DATA SELECT SLEEP(60) AS slept //
         DELIMITER ;",
        &[("runs", "name = \"Runs\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"n\"\n[objects]\ncreate = \"runs_create\"\n[fetches]\nread = \"runs_read\"\n")],
    )?;
    let live = world.node().await?;
    let kill = |what: &str| -> Result<()> {
        let id = world
            .sql("SELECT MAX(id) FROM information_schema.PROCESSLIST WHERE db = DATABASE() AND state = 'User sleep'")?;
        world.sql(&format!("KILL {what} {id}")).map(drop)
    };
    for what in ["QUERY", "CONNECTION"] {
        let api = live.api.clone();
        let mut write = JoinSet::new();
        write.spawn(async move { api.post("/v1/records/Runs", &json!({})).await });
        eventually("the write sleeps", async || world.is_asleep()).await?;
        kill(what)?;
        let answer = write.join_next().await.context("the write")???;
        if what == "QUERY" {
            assert_eq!((answer.status, answer.code()), (504, "BEDS-0015"), "{}", answer.text);
            assert_eq!(world.sql("SELECT COUNT(*) FROM runs")?, "1", "one run, and no other");
        } else {
            // A connection that is gone does not tell the cause: the write is begun anew, and it too can be ended.
            assert!(answer.status >= 500, "{}", answer.text);
        }
        eventually("nothing sleeps", async || {
            let is_asleep = world.is_asleep()?;
            if is_asleep {
                // It may have ended by itself since it was looked at; then the next look says so.
                drop(kill("CONNECTION"));
            }
            Ok(!is_asleep)
        })
        .await?;
    }
    let api = live.api.clone();
    let mut read = JoinSet::new();
    read.spawn(async move { api.get("/v1/records/Runs/by/read").await });
    eventually("the read sleeps", async || world.is_asleep()).await?;
    kill("QUERY")?;
    let answer = read.join_next().await.context("the read")???;
    // MariaDB lets SLEEP() say 1 instead of an error where it is the last of its statement.
    assert!(
        answer.code() == "BEDS-0015" || answer.body["records"][0]["slept"] == 1,
        "{}",
        answer.text
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_the_callers_and_not_a_database_that_is_away() -> Result<()>
{
    let world = World::new().await?;
    world.domain(
        "CREATE PROCEDURE large(IN p_n INT) READS SQL DATA SELECT REPEAT('x', p_n) AS x;",
        &[(
            "large",
            "name = \"Large\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"x\"\n[fetches]\nlarge = \"large\"\n",
        )],
    )?;
    let live = world.node().await?;
    for n in [9_000_000, 16_000_000] {
        let answer = live.api.get(&format!("/v1/records/Large/by/large?n={n}")).await?;
        assert_eq!((answer.status, answer.code()), (400, "BEDS-0025"), "{n}: {}", answer.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_cannot_fill_the_log() -> Result<()> {
    let world = World::new().await?;
    let process = world.process("").await?;
    for _ in 0..50 {
        let answer = process.api.get("/v1/records/Things/by/broken").await?;
        assert_eq!((answer.status, answer.code()), (503, "BEDS-0023"), "{}", answer.text);
        assert_eq!(process.api.post("/v1/records/Things", &json!({"name": 1})).await?.status, 400);
    }
    let log = world.log();
    let lines = |word: &str| log.lines().filter(|line| line.contains(word)).count();
    assert_eq!(lines("An event failed."), 1, "{log}");
    assert!(
        log.lines()
            .find(|line| line.contains("An event failed."))
            .context("a line")?
            .contains("no_such_table")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_behind_the_first_set_is_the_answer() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "DELIMITER //
         CREATE PROCEDURE late_one(IN p_a INT) READS SQL DATA
         BEGIN SELECT 1 AS id; SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'too late', MYSQL_ERRNO = 1053; END //
         CREATE PROCEDURE late_none() READS SQL DATA BEGIN SELECT 1 AS id; SIGNAL SQLSTATE '45000'; END //
         CREATE PROCEDURE late_out(IN p_a INT, OUT p_n INT) READS SQL DATA
         BEGIN SELECT 1 AS id; SET p_n = 1; SIGNAL SQLSTATE '45000'; END //
         CREATE PROCEDURE late_create(IN p_a INT)
         BEGIN INSERT INTO counters VALUES ('late', p_a); SELECT 1 AS id; SIGNAL SQLSTATE '45000'; END //
         CREATE PROCEDURE late_resignal(IN p_id INT) BEGIN RESIGNAL; END //
         DELIMITER ;",
        &[(
            "late",
            "name = \"Late\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[objects]\ncreate = \"late_create\"\nupdate = \"late_resignal\"\n[fetches]\none = \"late_one\"\nnone = \"late_none\"\nout = \"late_out\"\n",
        )],
    )?;
    let live = world.node().await?;
    for fetch in ["one?a=1", "none", "out?a=1"] {
        let answer = live.api.get(&format!("/v1/records/Late/by/{fetch}")).await?;
        assert_eq!((answer.status, answer.code()), (422, "BEDS-0009"), "{fetch}: {}", answer.text);
    }
    let created = live.api.post("/v1/records/Late", &json!({"a": 1})).await?;
    assert_eq!((created.status, created.code()), (422, "BEDS-0009"), "{}", created.text);
    assert_eq!(world.sql("SELECT COUNT(*) FROM counters WHERE name = 'late'")?, "0");
    // The server's own words are not the DBA's.
    let resignal = live.api.patch("/v1/records/Late/1", &json!({})).await?;
    assert!(resignal.status == 500 && !resignal.text.contains("RESIGNAL"), "{}", resignal.text);
    Ok(())
}
