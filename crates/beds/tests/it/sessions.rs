//! One caller never sees another caller's session, though their calls use one connection.
//!
//! Not here: the zone and the mode of sessions, which is `values`'s.

use anyhow::Result;
use serde_json::{Value, json};

use crate::rig::{Live, World};

/// One connection for reads and one for writes, so that each call meets the session of the one before.
async fn single(world: &World) -> Result<Live> {
    // The one that publishes changes would take the connection in between.
    std::fs::remove_file(world.folder.join("templates/bookings.toml"))?;
    world
        .node_with(|config| {
            let one = std::num::NonZeroU16::MIN;
            config.services.rel.instances = beds_core::config::Instances { read: one, write: one };
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn last_insert_id_is_never_that_of_an_earlier_caller() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "CREATE TABLE subs (sub_id INT AUTO_INCREMENT PRIMARY KEY, email VARCHAR(100) UNIQUE, note VARCHAR(100)) ENGINE = InnoDB;
         DELIMITER //
         CREATE PROCEDURE subs_create(IN p_email VARCHAR(100), IN p_note VARCHAR(100))
         BEGIN
           INSERT IGNORE INTO subs (email, note) VALUES (p_email, p_note);
           SELECT * FROM subs WHERE sub_id = LAST_INSERT_ID();
         END //
         CREATE PROCEDURE subs_found(IN p_n INT) READS SQL DATA SELECT LAST_INSERT_ID() AS last_id, ROW_COUNT() AS row_count, FOUND_ROWS() AS found //
         CREATE PROCEDURE subs_found_write() BEGIN SELECT LAST_INSERT_ID() AS sub_id; END //
         DELIMITER ;",
        &[
            ("subs", "name = \"Subs\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"sub_id\"\n[objects]\ncreate = \"subs_create\"\n[fetches]\nfound = \"subs_found\"\n"),
            ("last", "name = \"Last\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"sub_id\"\n[objects]\ncreate = \"subs_found_write\"\n"),
        ],
    )?;
    let live = single(&world).await?;
    let create = async |email: &str, note: &str| {
        live.api.post("/v1/records/Subs", &json!({"email": email, "note": note})).await
    };
    assert_eq!(create("first@example.org", "secret of first").await?.body["sub_id"], 1);
    assert_eq!(create("second@example.org", "secret of second").await?.body["sub_id"], 2);
    let third = create("first@example.org", "me too").await?;
    assert!(
        third.status == 500 && third.code() == "BEDS-0027" && !third.text.contains("secret"),
        "{}",
        third.text
    );
    assert_eq!(live.api.post("/v1/records/Last", &json!({})).await?.body, json!({"sub_id": 0}));
    for _ in 0..6 {
        let found = live.api.get("/v1/records/Subs/by/found?n=1").await?;
        let session = &found.body["records"][0];
        // As in a new session, in which one query has run.
        assert_eq!(session, &json!({"last_id": 0, "row_count": -1, "found": 1}), "{}", found.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_an_object_leaves_in_its_session_is_there_for_the_next() -> Result<()> {
    let world = World::new().await?;
    let leaves = "SET @left = p_v; SET SESSION sort_buffer_size = 40000; SET NAMES latin1; DO GET_LOCK(CONCAT(DATABASE(), 'l'), 0);
                  CREATE TEMPORARY TABLE left_table AS SELECT p_v AS v;";
    let looks = "SELECT @left AS var, @@sort_buffer_size = 40000 AS setting, @@character_set_client AS charset,
                 IS_USED_LOCK(CONCAT(DATABASE(), 'l')) IS NULL AS is_free";
    world.domain(
        &format!(
            "DELIMITER //
             CREATE PROCEDURE leaves(IN p_v INT) BEGIN {leaves} SELECT p_v AS v; END //
             CREATE PROCEDURE leaves_read(IN p_v INT) READS SQL DATA BEGIN {leaves} SELECT p_v AS v; END //
             CREATE PROCEDURE looks() {looks} //
             CREATE PROCEDURE looks_read() READS SQL DATA {looks} //
             CREATE PROCEDURE many() READS SQL DATA SELECT 1 AS v UNION SELECT 2 UNION SELECT 3 //
             CREATE PROCEDURE counts() READS SQL DATA BEGIN DECLARE n INT DEFAULT FOUND_ROWS(); SELECT n AS v; END //
             DELIMITER ;"
        ),
        &[(
            "leaves",
            "name = \"Leaves\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"v\"\n[objects]\ncreate = \"leaves\"\n[fetches]\nleaves = \"leaves_read\"\n\
             looks = \"looks_read\"\nmany = \"many\"\ncounts = \"counts\"\n",
        ), ("looks", "name = \"Looks\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"v\"\n[objects]\ncreate = \"looks\"\n")],
    )?;
    let live = single(&world).await?;
    let clean = json!({"var": Value::Null, "setting": 0, "charset": "utf8mb4", "is_free": 1});
    for _ in 0..3 {
        let left = live.api.post("/v1/records/Leaves", &json!({"v": 7})).await?;
        assert_eq!((left.status, &left.body), (201, &json!({"v": 7})), "{}", left.text);
        assert_eq!(live.api.post("/v1/records/Looks", &json!({})).await?.body, clean);
        let left = live.api.get("/v1/records/Leaves/by/leaves?v=7").await?;
        assert_eq!(left.body["records"], json!([{"v": 7}]), "{}", left.text);
        // Of the three connections that read, each gets its turn.
        for _ in 0..3 {
            assert_eq!(
                live.api.get("/v1/records/Leaves/by/looks").await?.body["records"],
                json!([clean])
            );
            assert_eq!(
                live.api.get("/v1/records/Leaves/by/many").await?.body["records"]
                    .as_array()
                    .map(Vec::len),
                Some(3)
            );
            let counted = live.api.get("/v1/records/Leaves/by/counts").await?;
            assert_ne!(
                counted.body["records"][0]["v"], 3,
                "FOUND_ROWS() of the call before: {}",
                counted.text
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_repeat_keeps_its_connection() -> Result<()> {
    let world = World::new().await?;
    let live = single(&world).await?;
    let first = live.api.post_with_key("/v1/records/Things", "k", &json!({"name": "a"})).await?;
    assert_eq!(first.status, 201, "{}", first.text);
    let connections = || {
        world.sql("SELECT GROUP_CONCAT(id ORDER BY id) FROM information_schema.PROCESSLIST WHERE db = DATABASE() AND id <> CONNECTION_ID()")
    };
    let before = connections()?;
    for _ in 0..20 {
        let reused =
            live.api.post_with_key("/v1/records/Things", "k", &json!({"name": "b"})).await?;
        assert_eq!(reused.code(), "BEDS-0010", "{}", reused.text);
    }
    assert_eq!(connections()?, before, "no connection was closed, and none opened");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_reads_the_warnings_of_another() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "DELIMITER //
         CREATE PROCEDURE w_warn(IN p_v VARCHAR(40)) READS SQL DATA SELECT CAST(p_v AS INT) AS id //
         CREATE PROCEDURE w_show() READS SQL DATA SHOW WARNINGS //
         CREATE PROCEDURE w_diag() READS SQL DATA
         BEGIN DECLARE n INT; GET DIAGNOSTICS n = NUMBER; SELECT n AS id; END //
         DELIMITER ;",
        &[(
            "w",
            "name = \"W\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[fetches]\nwarn = \"w_warn\"\nshow = \"w_show\"\ndiag = \"w_diag\"\n",
        )],
    )?;
    let live = world.node().await?;
    for _ in 0..4 {
        live.api.get("/v1/records/W/by/warn?v=secret").await?;
        let shown = live.api.get("/v1/records/W/by/show").await?;
        assert!(shown.status == 200 && !shown.text.contains("secret"), "{}", shown.text);
        live.api.get("/v1/records/W/by/warn?v=secret").await?;
        let counted = live.api.get("/v1/records/W/by/diag").await?;
        assert_eq!(counted.body["records"], serde_json::json!([{"id": 0}]), "{}", counted.text);
    }
    Ok(())
}
