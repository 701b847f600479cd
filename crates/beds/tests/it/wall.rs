//! The wall: the acts that a template, a read or a replaced object must not be able to do.
//!
//! Not here: SQL and operators in values, which are `bad_input`'s.

use anyhow::Result;
use serde_json::{Value, json};

use crate::rig::{World, eventually};

const COUNTERS: &str = r#"
name = "Bumps"
store = "rel"
database = "main"
id = "name"
[fetches]
honest = "counters_fetch"
bump = "bump_says_it_reads"
undo = "bump_undoes_the_session"
hidden = "bump_in_a_function"
outer = "bump_by_a_call"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_read_cannot_write() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "DELIMITER //
         CREATE PROCEDURE bump_says_it_reads(IN p_id VARCHAR(40)) READS SQL DATA
         BEGIN UPDATE counters SET value = value + 1 WHERE name = p_id; SELECT * FROM counters WHERE name = p_id; END //
         CREATE PROCEDURE bump_undoes_the_session(IN p_id VARCHAR(40)) READS SQL DATA
         BEGIN
           SET SESSION TRANSACTION READ WRITE;
           SET STATEMENT tx_read_only = 0 FOR UPDATE counters SET value = value + 1 WHERE name = p_id;
           SELECT * FROM counters WHERE name = p_id;
         END //
         CREATE FUNCTION bumped(p_id VARCHAR(40)) RETURNS INT READS SQL DATA
         BEGIN UPDATE counters SET value = value + 1 WHERE name = p_id; RETURN 1; END //
         CREATE PROCEDURE bump_in_a_function(IN p_id VARCHAR(40)) READS SQL DATA SELECT bumped(p_id) AS n //
         CREATE PROCEDURE bump_by_a_call(IN p_id VARCHAR(40)) READS SQL DATA CALL counters_bump(p_id, 1) //
         DELIMITER ;",
        &[("bumps", COUNTERS)],
    )?;
    let live = world.node().await?;
    for fetch in ["bump", "undo", "hidden", "outer"] {
        for _ in 0..3 {
            let answer = live.api.get(&format!("/v1/records/Bumps/by/{fetch}?id=c")).await?;
            assert_eq!(
                (answer.status, answer.code()),
                (503, "BEDS-0023"),
                "{fetch}: {}",
                answer.text
            );
        }
        assert_eq!(world.sql("SELECT value FROM counters")?, "0", "{fetch}");
    }
    let honest = live.api.get("/v1/records/Bumps/by/honest?id=c").await?;
    assert_eq!(honest.body["records"], json!([{"name": "c", "value": 0}]), "{}", honest.text);
    let written = live.api.patch("/v1/records/Counters/c", &json!({"by": 2})).await?;
    assert_eq!(written.body["value"], 2, "{}", written.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_that_says_it_writes_is_no_fetch() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "CREATE PROCEDURE says_it_writes(IN p_id VARCHAR(40)) MODIFIES SQL DATA SELECT * FROM counters WHERE name = p_id;",
        &[("w", "name = \"W\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"name\"\n[objects]\nfetch = \"says_it_writes\"\n[fetches]\nw = \"says_it_writes\"\n")],
    )?;
    let (code, said) = world.check()?;
    assert_eq!(code, 1, "{said}");
    for line in ["w.toml:6: ", "w.toml:8: "] {
        assert!(
            said.contains(&format!(
                "{line}says_it_writes declares MODIFIES SQL DATA, and fetch reads"
            )),
            "{said}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_write_is_no_write() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "CREATE PROCEDURE says_it_reads(IN p_id VARCHAR(40)) READS SQL DATA SELECT * FROM counters WHERE name = p_id;
         CREATE VIEW only_seen AS SELECT * FROM counters;",
        &[("w", "name = \"W\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"name\"\n[objects]\ndelete = \"says_it_reads\"\nupdate = \"only_seen\"\n")],
    )?;
    let (code, said) = world.check()?;
    assert_eq!(code, 1, "{said}");
    for line in [
        "w.toml:6: says_it_reads declares READS SQL DATA, and delete writes",
        "w.toml:7: only_seen is a view, and update writes",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_builds_a_temporary_table_leaves_nothing() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "CREATE TABLE plain_log (n INT) ENGINE = MyISAM;
         CREATE SEQUENCE numbers;
         DELIMITER //
         CREATE PROCEDURE report(IN p_id VARCHAR(40)) READS SQL DATA
         BEGIN
           CREATE TEMPORARY TABLE tmp AS SELECT * FROM counters WHERE name = p_id;
           UPDATE counters SET value = value + 1 WHERE name = p_id;
           SELECT t.name, t.value, c.value AS within FROM tmp t JOIN counters c USING (name);
         END //
         CREATE PROCEDURE report_logs() READS SQL DATA
         BEGIN CREATE TEMPORARY TABLE tmp2 (a INT); INSERT INTO plain_log VALUES (1); SELECT * FROM tmp2; END //
         CREATE PROCEDURE report_counts() READS SQL DATA
         BEGIN CREATE TEMPORARY TABLE tmp3 (a INT); SELECT NEXTVAL(numbers) AS n; END //
         CREATE TABLE numbered (n INT DEFAULT (NEXTVAL(numbers)), a INT) ENGINE = InnoDB //
         CREATE PROCEDURE report_numbers() READS SQL DATA
         BEGIN CREATE TEMPORARY TABLE tmp4 (a INT); INSERT INTO numbered (a) VALUES (1); SELECT * FROM tmp4; END //
         CREATE PROCEDURE report_elsewhere() READS SQL DATA
         BEGIN CREATE TEMPORARY TABLE tmp5 (a INT); INSERT INTO elsewhere.plain VALUES (1); SELECT * FROM tmp5; END //
         CREATE PROCEDURE report_foreign() READS SQL DATA
         BEGIN CREATE TEMPORARY TABLE tmp6 (a INT); SELECT elsewhere.writes(1) AS n; END //
         DELIMITER ;",
        &[("r", "name = \"R\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"name\"\n[fetches]\nr = \"report\"\nlogs = \"report_logs\"\ncounts = \"report_counts\"\nnumbers = \"report_numbers\"\nelsewhere = \"report_elsewhere\"\nforeign = \"report_foreign\"\n")],
    )?;
    let (code, said) = world.check()?;
    assert!(
        code == 1
            && said.contains("r.toml:7: report_logs reads, builds a temporary table, and writes plain_log (MyISAM)"),
        "{said}"
    );
    for line in [
        "r.toml:8: report_counts reads, builds a temporary table, and writes a sequence",
        "r.toml:9: report_numbers reads, builds a temporary table, and writes a sequence",
        "r.toml:10: report_elsewhere reads, builds a temporary table, and writes or calls elsewhere.plain",
        "r.toml:11: report_foreign reads, builds a temporary table, and writes or calls elsewhere.writes",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let live = world.node().await?;
    // More often than there are connections: each finds no table of the one before, and the write is rolled back.
    for _ in 0..6 {
        let answer = live.api.get("/v1/records/R/by/r?id=c").await?;
        let expected = json!([{"name": "c", "value": 0, "within": 1}]);
        assert_eq!((answer.status, &answer.body["records"]), (200, &expected), "{}", answer.text);
    }
    assert_eq!(world.sql("SELECT value FROM counters")?, "0");
    assert_eq!(live.api.get("/v1/records/R/by/logs").await?.status, 503);
    assert_eq!(world.sql("SELECT COUNT(*) FROM plain_log")?, "0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_reaches_nothing_of_beds_itself() -> Result<()> {
    let world = World::new().await?;
    let template = |name: &str, store: &str, database: &str, rest: &str| {
        format!(
            "name = \"{name}\"\nstore = \"{store}\"\ndatabase = \"{database}\"\nid = \"_id\"\n{rest}"
        )
    };
    for (file, text) in [
        ("source", template("Source", "rel", "main", "[fetches]\nsrc = \"beds_catalog\"\n")),
        ("trail", template("Trail", "rec", "msLogs", "[objects]\ncreate = \"audit_create\"\n")),
        ("replaced", template("Audit", "rec", "main", "[objects]\ncreate = \"papers_create\"\n")),
        ("kept", template("Kept", "rel", "main", "[fetches]\nk = \"reads_the_inbox\"\n")),
        ("stored", template("Stored", "rec", "main", "[fetches]\ni = \"reads_the_inbox\"\n")),
    ] {
        world.template(file, &text)?;
    }
    world.write(
        "schema/rec/main/0950_inbox.json",
        r#"[{"update": "beds_objects", "updates": [{"q": {"_id": "reads_the_inbox"}, "upsert": true,
        "u": {"_id": "reads_the_inbox", "kind": "fetch", "params": {}, "command": {"find": "beds_inbox"}}}]}]"#,
    )?;
    world.domain("CREATE PROCEDURE reads_the_inbox() SELECT * FROM beds_inbox;", &[])?;
    let (code, said) = world.check()?;
    assert_eq!(code, 1, "{said}");
    for part in [
        "source.toml:6: beds_catalog belongs to BEDS itself",
        "trail.toml:6: only nodes write into the database msLogs",
        "replaced.toml:1: warning: the template Audit is compiled in",
        "kept.toml:6: reads_the_inbox cannot be called: reads_the_inbox uses beds_inbox, which belongs to BEDS itself",
        "stored.toml:6: reads_the_inbox is refused: it uses beds_inbox, which belongs to BEDS",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let live = world.node().await?;
    for path in ["Source/by/src", "Kept/by/k", "Stored/by/i"] {
        let answer = live.api.get(&format!("/v1/records/{path}")).await?;
        assert!(answer.status >= 400 && !answer.text.contains("BEGIN"), "{path}: {}", answer.text);
    }
    let forged = live.api.post("/v1/records/Audit", &json!({"name": "x"})).await?;
    assert_eq!((forged.status, forged.code()), (404, "BEDS-0012"), "{}", forged.text);
    Ok(())
}

const MOVES: &str = r#"
name = "Moves"
store = "rel"
database = "main"
id = "id"
[objects]
create = "moves_create"
[fetches]
pair = "moves_pair"
ratio = "moves_ratio"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_with_its_parameters_in_another_order_gets_no_value_in_a_wrong_place()
-> Result<()> {
    let world = World::new().await?;
    let with = |order: [&str; 2]| {
        let [one, two] = order;
        format!(
            "CREATE OR REPLACE PROCEDURE moves_create(IN p_{one} INT, IN p_{two} INT)
             BEGIN INSERT INTO moves (a, b) VALUES (p_a, p_b); SELECT * FROM moves WHERE id = LAST_INSERT_ID(); END //
             CREATE OR REPLACE PROCEDURE moves_pair(IN p_{one} INT, IN p_{two} INT) READS SQL DATA SELECT p_a AS a, p_b AS b //
             CREATE OR REPLACE FUNCTION moves_ratio(p_{one} INT, p_{two} INT) RETURNS INT DETERMINISTIC RETURN p_a * 100 + p_b //"
        )
    };
    let sql = |order| format!("DELIMITER //\n{}\nDELIMITER ;", with(order));
    let table =
        "CREATE TABLE moves (id INT AUTO_INCREMENT PRIMARY KEY, a INT, b INT) ENGINE = InnoDB;";
    world.domain(&format!("{table}\n{}", sql(["a", "b"])), &[("moves", MOVES)])?;
    let live = world.node().await?;
    // No reload, and no pause in which the node could notice: each call comes right behind the change.
    for round in 0..6 {
        world.sql(&sql(if round % 2 == 0 { ["b", "a"] } else { ["a", "b"] }))?;
        let created = live.api.post("/v1/records/Moves", &json!({"a": 1, "b": 2})).await?;
        assert_eq!(
            (created.status, &created.body["a"], &created.body["b"]),
            (201, &json!(1), &json!(2)),
            "{}",
            created.text
        );
        let pair = live.api.get("/v1/records/Moves/by/pair?a=1&b=2").await?;
        assert_eq!(pair.body["records"], json!([{"a": 1, "b": 2}]), "{}", pair.text);
        let ratio = live.api.get("/v1/records/Moves/by/ratio?a=1&b=2").await?;
        assert_eq!(ratio.body["records"], json!([{"moves_ratio": 102}]), "{}", ratio.text);
    }
    assert_eq!(
        world.sql("SELECT COUNT(*), SUM(a), SUM(b) FROM moves")?,
        "6\t6\t12",
        "and nothing was written twice"
    );

    // A parameter more, one less: the new contract holds at once.
    world.sql("CREATE OR REPLACE PROCEDURE moves_pair(IN p_b INT, IN p_a INT, IN p_c INT) READS SQL DATA SELECT p_a AS a, p_c AS c")?;
    let more = live.api.get("/v1/records/Moves/by/pair?a=1&b=2").await?;
    assert_eq!(
        (more.status, more.code(), &more.body["field"]),
        (400, "BEDS-0004", &json!("c")),
        "{}",
        more.text
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_became_unfit_is_not_called_any_more() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let path = "/v1/records/Counters/c";
    assert_eq!(live.api.patch(path, &json!({"by": 1})).await?.status, 200);
    world.sql(
        "DELIMITER //
         CREATE OR REPLACE PROCEDURE counters_bump(IN p_id VARCHAR(40), IN p_by BIGINT)
         BEGIN UPDATE counters SET value = value + 1 WHERE name = p_id; COMMIT; SELECT * FROM counters; END //",
    )?;
    let refused = live.api.patch(path, &json!({"by": 1})).await?;
    assert_eq!((refused.status, refused.code()), (503, "BEDS-0023"), "{}", refused.text);
    assert_eq!(world.sql("SELECT value FROM counters")?, "1");
    // A routine that it leads to is noticed too, at the next pulse.
    world.sql(
        "DELIMITER //
         CREATE OR REPLACE PROCEDURE counters_bump(IN p_id VARCHAR(40), IN p_by BIGINT) CALL inner_bump(p_id) //
         CREATE OR REPLACE PROCEDURE inner_bump(IN p_id VARCHAR(40)) SELECT * FROM counters WHERE name = p_id //",
    )?;
    // An object that was refused is looked at again at the next pulse.
    eventually("the mended object is called", async || {
        Ok(live.api.patch(path, &json!({"by": 1})).await?.status == 200)
    })
    .await?;
    world.sql(
        "DELIMITER //\nCREATE OR REPLACE PROCEDURE inner_bump(IN p_id VARCHAR(40)) BEGIN COMMIT; SELECT 1; END //",
    )?;
    eventually("the inner COMMIT is refused", async || {
        Ok(live.api.patch(path, &json!({"by": 1})).await?.code() == "BEDS-0023")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_is_left_out_of_a_match_selects_and_deletes_nothing() -> Result<()> {
    let world = World::new().await?;
    let object = |id: &str, kind: &str, spec: &str, command: &str| {
        format!(
            "{{\"update\": \"beds_objects\", \"updates\": [{{\"q\": {{\"_id\": \"{id}\"}}, \"upsert\": true, \"u\": {{\"_id\": \"{id}\", \
             \"kind\": \"{kind}\", \"params\": {{\"owner\": {spec}}}, \"command\": {command}}}}}]}}"
        )
    };
    let find = r#"{"find": "notes", "filter": {"owner": "$$owner"}}"#;
    let objects = [
        r#"{"insert": "notes", "documents": [{"_id": 1}, {"_id": 2, "owner": "ana"}, {"_id": 3, "owner": null}]}"#
            .to_owned(),
        object("loose", "fetch", r#"{"type": "string"}"#, find),
        object(
            "purge",
            "create",
            r#"{"type": "string"}"#,
            r#"{"delete": "notes", "deletes": [{"q": {"owner": "$$owner"}, "limit": 0}]}"#,
        ),
        object("strict", "fetch", r#"{"type": "string", "required": true}"#, find),
        object("defaulted", "fetch", r#"{"type": "string", "default": "ana"}"#, find),
        object("orphans", "fetch", r#"{"type": "string", "nullable": true}"#, find),
        object(
            "listed",
            "fetch",
            r#"{"type": "array", "required": true, "items": {"type": "string"}}"#,
            r#"{"find": "notes", "filter": {"owner": {"$in": "$$owner"}}}"#,
        ),
    ];
    world.write("schema/rec/main/0950_notes.json", format!("[{}]", objects.join(",\n")))?;
    world.template("notes",
        "name = \"Notes\"\nstore = \"rec\"\ndatabase = \"main\"\nid = \"_id\"\n[objects]\ncreate = \"purge\"\n[fetches]\n\
         loose = \"loose\"\nstrict = \"strict\"\ndefaulted = \"defaulted\"\norphans = \"orphans\"\nlisted = \"listed\"\n",
    )?;
    world.apply()?;
    let (code, said) = world.check()?;
    assert_eq!(code, 1, "{said}");
    for place in ["notes.toml:6: purge", "notes.toml:8: loose"] {
        assert!(said.contains(place), "{said}");
    }
    let live = world.node().await?;
    let found = async |path: &str| -> Result<Value> {
        let answer = live.api.get(&format!("/v1/records/Notes/by/{path}")).await?;
        Ok(if answer.status == 200 { answer.body["records"].clone() } else { json!(answer.code()) })
    };
    assert_eq!(found("loose").await?, "BEDS-0023");
    assert_eq!(found("strict").await?, "BEDS-0004");
    assert_eq!(found("defaulted").await?, json!([{"_id": 2, "owner": "ana"}]));
    assert_eq!(
        found("orphans").await?,
        json!([{"_id": 1}, {"_id": 3, "owner": null}]),
        "said so by the DBA"
    );
    assert_eq!(found("listed?owner=[null]").await?, "BEDS-0004");
    assert_eq!(found("listed?owner=[\"ana\"]").await?, json!([{"_id": 2, "owner": "ana"}]));
    assert_eq!(live.api.post("/v1/records/Notes", &json!({})).await?.code(), "BEDS-0023");
    // Null is refused on the AMQP way as well, where it can be said.
    let event = json!({
        "v": 1, "event_id": "py.test.1", "root_id": "py.test.1", "template": "Notes", "operation": "fetch", "fetch": "defaulted",
        "params": {"owner": null}, "issued_at": jiff::Timestamp::now().to_string(), "deadline": "2126-11-23T10:00:00Z",
    });
    world.own_queue("mine").await?;
    assert!(world.publish("rec.read", &event.to_string(), json!({"reply_to": "mine"})).await?);
    let mut replies = Vec::new();
    eventually("the reply is there", async || {
        replies.extend(world.take("mine").await?);
        Ok(!replies.is_empty())
    })
    .await?;
    assert!(replies[0]["payload"].as_str().unwrap().contains("BEDS-0004"), "{}", replies[0]);
    Ok(())
}
