//! The lint on bodies that DBAs write.
//!
//! Not here: that a running server agrees, which the integration tests show.

use super::*;

const STRICT: &str = "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION";

fn body(name: &str, text: &str) -> Body {
    Body::new(name.to_owned(), Some(text), Some(STRICT.to_owned()))
}

fn code(text: &str) -> Code {
    let mut p = body("p", text);
    p.add_parameter("p_name");
    let mut unseen = body("unseen", "");
    unseen.words = None;
    let procedures = [
        ("P", p),
        ("INNER_COMMIT", body("inner_commit", "BEGIN UPDATE t SET a = 1; COMMIT; END")),
        ("PAY$INNER", body("pay$inner", "BEGIN COMMIT; END")),
        ("UNSEEN", unseen),
        (
            "LOOSE",
            Body::new("loose".into(), Some("BEGIN END"), Some("NO_ENGINE_SUBSTITUTION".into())),
        ),
    ];
    let trigger =
        Body::new("the trigger loose_trigger".into(), Some("SET NEW.a = 1"), Some(String::new()));
    Code {
        procedures: procedures.map(|(name, body)| (name.to_owned(), body)).into(),
        functions: [("COUNTS".to_owned(), body("counts", "BEGIN SET @n = 1; RETURN 1; END"))]
            .into(),
        views: [(
            "SHOWN".to_owned(),
            Body::new("shown".into(), Some("select counts(1) from watched"), None),
        )]
        .into(),
        triggers: [("WATCHED".to_owned(), vec![trigger])].into(),
        tables: [("T", "InnoDB"), ("WATCHED", "InnoDB"), ("OLD", "MyISAM")]
            .map(|(name, engine)| {
                (name.to_owned(), Table { engine: engine.to_owned(), has_sequence: false })
            })
            .into(),
        database: "MAIN".to_owned(),
    }
}

fn check(text: &str) -> Option<String> {
    code(text).inspect("p", false).refusal
}

#[test]
fn what_ends_the_transaction_is_refused() {
    for body in [
        "BEGIN INSERT INTO t VALUES (1); COMMIT; END",
        "BEGIN START TRANSACTION; END",
        "BEGIN IF a THEN rollback; END IF; END",
        "BEGIN IF a THEN SELECT 1; ELSE commit AND CHAIN; END IF; END",
        "BEGIN TRUNCATE TABLE t; END",
        "BEGIN CREATE TABLE x (a INT); END",
        "BEGIN CREATE OR REPLACE TABLE x (a INT); END",
        "BEGIN SET @s = CONCAT('DROP TABLE ', n); PREPARE st FROM @s; EXECUTE st; END",
        "BEGIN EXECUTE IMMEDIATE 'x'; END",
        "BEGIN ALTER TABLE t ADD b INT; END",
        "BEGIN SET autocommit = 1; END",
        "BEGIN LOCK TABLES t WRITE; END",
        "BEGIN DO RELEASE_ALL_LOCKS(); END",
        "BEGIN /*! COMMIT */; END",
        "BEGIN /*!50003 COMMIT */; END",
        "BEGIN CALL inner_commit(); END",
        "BEGIN CALL `inner_commit`(); END",
        "BEGIN CALL main.inner_commit(); END",
        "BEGIN CALL `main` . `inner_commit`(); END",
        "BEGIN CALL unseen(); END",
        "BEGIN ANALYZE TABLE t; END",
        "BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION DROP TABLE t; SELECT 1; END",
        "BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION ROLLBACK; SELECT 1; END",
        "BEGIN DECLARE EXIT HANDLER FOR 1062, NOT FOUND TRUNCATE t; SELECT 1; END",
        "BEGIN SET x = 5--1; COMMIT; END",
        "BEGIN /*M! COMMIT */; END",
        "BEGIN CALL pay$inner(); END",
        "BEGIN SET STATEMENT max_statement_time = 60 FOR TRUNCATE TABLE t; END",
        "BEGIN SET @@session.autocommit = 0; END",
        "BEGIN IF a THEN SET LOCAL autocommit = 1; END IF; END",
        "BEGIN SET x = 1, autocommit = 1; END",
        "BEGIN RESET QUERY CACHE; END",
        "BEGIN DROP TABLE tmp; END",
        "BEGIN XA START 'x'; END",
        "BEGIN SELECT 1 INTO OUTFILE '/tmp/x'; END",
        "BEGIN SET GLOBAL max_connections = 1; END",
        "BEGIN KILL 3; END",
        "BEGIN SELECT reply FROM beds_inbox; END",
        "BEGIN BEGIN NOT ATOMIC COMMIT; END; END",
        "BEGIN BEGIN NOT ATOMIC PREPARE st FROM p_name; END; BEGIN NOT ATOMIC EXECUTE st; END; END",
        "BEGIN SET DEFAULT ROLE NONE; END",
        "BEGIN SET PASSWORD FOR u = PASSWORD('x'); END",
        "BEGIN REPAIR TABLES t; END",
        "BEGIN SET `autocommit` = 0; END",
        "BEGIN SET @@global.max_connect_errors = 1; END",
        "BEGIN SET SESSION TRANSACTION READ WRITE; END",
        "BEGIN SET x = 1, tx_read_only = 0; END",
        "BEGIN CALL loose(); END",
        "BEGIN INSERT INTO watched VALUES (1); END",
        "BEGIN UPDATE shown SET a = 1; END",
    ] {
        assert!(check(body).is_some(), "{body}");
    }
    assert!(
        check("BEGIN INSERT INTO watched SET a = 1; END")
            .unwrap()
            .contains("the trigger loose_trigger")
    );
    assert!(check("BEGIN DROP TABLE tmp; END").unwrap().contains("DROP TEMPORARY TABLE"));
}

#[test]
fn innocent_words_are_not() {
    for body in [
        "BEGIN -- COMMIT\n SELECT 'COMMIT; ROLLBACK', \"it''s COMMIT\"; /* COMMIT */ END",
        "BEGIN SELECT TRUNCATE(a, 2), created, committed FROM t; END",
        "BEGIN CREATE TEMPORARY TABLE x (a INT); DROP TEMPORARY TABLE x; END",
        "BEGIN CREATE OR REPLACE TEMPORARY TABLE x (a INT); END",
        "BEGIN SAVEPOINT s; ROLLBACK TO s; END",
        "BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION SELECT 'x'; SELECT 1 -- COMMIT\n; --\n END",
        "BEGIN SELECT t.create, t.check, t.load FROM t; END",
        "BEGIN SET @a = 1; SELECT @@autocommit; SET STATEMENT max_statement_time = 1 FOR SELECT 1; END",
        "BEGIN # COMMIT\n SELECT `COMMIT_at` FROM t; END",
        "SELECT build_id, b.commit, b.rollback FROM builds b",
        "SELECT CASE WHEN cache > 0 THEN cache ELSE reset END FROM t",
        "SELECT `COMMIT`, commit, rollback FROM t WHERE commit = 'x'",
        "BEGIN IF a THEN SELECT CASE b WHEN 1 THEN commit ELSE rollback END; END IF; END",
        "BEGIN SELECT a FROM watched; END",
        "BEGIN SELECT * FROM t WHERE a IN (SELECT b FROM shown); END",
        "BEGIN SELECT beds_free, beds_ready, beds_granted_at FROM t; END",
        "BEGIN SAVEPOINT a; ROLLBACK WORK TO SAVEPOINT a; END",
        "BEGIN UPDATE odd SET global = global + 1, autocommit = 1; END",
    ] {
        assert_eq!(check(body), None, "{body}");
    }
}

#[test]
fn what_a_session_would_keep_is_seen() {
    let found = |text: &str| {
        let findings = code(text).inspect("p", false);
        (findings.leaves_session, findings.reads_session, findings.builds_temporary)
    };
    for body in [
        "BEGIN SET @x = 1; END",
        "BEGIN SELECT a INTO @x FROM t; END",
        "BEGIN SET SESSION sort_buffer_size = 1; END",
        "BEGIN SET sql_mode = ''; END",
        "BEGIN DECLARE a, b INT; SET a = 1, b = f(2, 3), foreign_key_checks = 0; END",
        "BEGIN SET NAMES latin1; END",
        "BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN SET time_zone = '+00:00'; RESIGNAL; END; SET time_zone = 'x'; END",
        "BEGIN DECLARE c CURSOR FOR SELECT sql_mode FROM t; SET sql_mode = ''; END",
        "BEGIN FOR i IN 1..1 DO SET time_zone = 'x'; END FOR; END",
        "BEGIN BEGIN NOT ATOMIC SET time_zone = 'x'; END; END",
        "BEGIN DO GET_LOCK('x', 1); END",
        "BEGIN UPDATE t SET a = LAST_INSERT_ID(a + 1); END",
        "BEGIN HANDLER t OPEN; END",
        "BEGIN SELECT counts(1); END",
        "BEGIN SELECT * FROM shown; END",
    ] {
        assert!(found(body).0, "{body}");
    }
    for body in [
        "BEGIN DECLARE a, b INT; SET a = 1, b = f(2, 3); SET p_name = 'x'; END",
        "BEGIN FOR row IN (SELECT 1) DO SET row.a = 1; END FOR; END",
        "BEGIN SELECT LAST_INSERT_ID(); UPDATE t SET a = 1; END",
        "BEGIN SET STATEMENT max_statement_time = 1 FOR SELECT 1; END",
        "BEGIN INSERT INTO t SET a = 1, b = 2; END",
    ] {
        assert_eq!(found(body), (false, false, false), "{body}");
    }
    assert_eq!(found("BEGIN SELECT FOUND_ROWS() INTO p_name; END"), (false, true, false));
    assert_eq!(found("SHOW WARNINGS"), (false, true, false));
    assert_eq!(
        found("BEGIN GET DIAGNOSTICS CONDITION 1 p_name = MESSAGE_TEXT; END"),
        (false, true, false)
    );
    assert_eq!(found("CREATE TEMPORARY TABLE x AS SELECT 1"), (true, false, true));
    assert_eq!(found("BEGIN DROP TEMPORARY TABLE IF EXISTS x; END"), (false, false, false));
}

#[test]
fn tables_that_cannot_be_rolled_back_are_named() {
    let found =
        |text: &str| code(text).inspect("p", false).unsafe_tables.into_iter().collect::<Vec<_>>();
    assert_eq!(found("BEGIN INSERT IGNORE INTO old (a) VALUES (1); END"), ["old (MyISAM)"]);
    assert_eq!(
        found("BEGIN UPDATE t JOIN `old` o ON o.a = t.a SET o.b = 1; END"),
        ["old (MyISAM)"]
    );
    assert_eq!(found("BEGIN DELETE t, old FROM t JOIN old USING (a); END"), ["old (MyISAM)"]);
    assert!(
        found("BEGIN INSERT INTO t SELECT * FROM old; SELECT * FROM old FOR UPDATE; END")
            .is_empty()
    );
}

#[test]
fn tables_and_functions_of_other_databases_are_named() {
    let found =
        |text: &str| code(text).inspect("p", false).elsewhere.into_iter().collect::<Vec<_>>();
    for (body, expected) in [
        ("BEGIN INSERT INTO other.t (a) VALUES (1); END", "other.t"),
        ("BEGIN REPLACE `other`.`t` SELECT 1; END", "other.t"),
        ("BEGIN INSERT IGNORE INTO x.x VALUES (1); END", "x.x"),
        ("BEGIN UPDATE t a JOIN other.u ON u.id = a.id SET a.b = 1; END", "other.u"),
        ("BEGIN UPDATE t a, other.u SET u.b = a.b; END", "other.u"),
        ("BEGIN DELETE a FROM other.u a JOIN t ON COALESCE(a.x, t.x) = 1; END", "other.u"),
        ("BEGIN DELETE FROM other.u WHERE a = 1; END", "other.u"),
        ("BEGIN SELECT other.f(1) AS id; END", "other.f"),
        ("BEGIN SET p_name = `other`.`f`(t.a); END", "other.f"),
    ] {
        assert_eq!(found(body), [expected], "{body}");
    }
    for body in [
        "BEGIN INSERT INTO main.t (a) SELECT o.a FROM other.u o WHERE o.a IN (1, 2); END",
        "BEGIN UPDATE t a JOIN old b ON COALESCE(a.x, b.x) = b.y SET a.b = 1; END",
        "BEGIN DELETE a.* FROM t a WHERE a.b = 1; END",
        "BEGIN CREATE TEMPORARY TABLE main.x (a INT); SELECT MAIN.counts(1) AS id; END",
    ] {
        assert!(found(body).is_empty(), "{body}");
    }
    assert_eq!(
        code("BEGIN INSERT INTO main.`old` VALUES (1); END")
            .inspect("p", false)
            .unsafe_tables
            .into_iter()
            .next()
            .unwrap(),
        "old (MyISAM)"
    );
}

#[test]
fn a_mode_that_changes_the_language_is_refused_by_name() {
    for mode in [
        "ORACLE,STRICT_ALL_TABLES",
        "ANSI_QUOTES,STRICT_ALL_TABLES",
        "STRICT_TRANS_TABLES,NO_BACKSLASH_ESCAPES",
    ] {
        let body = Body::new("p".into(), Some("BEGIN END"), Some(mode.into()));
        assert!(body.mode_refusal().unwrap().starts_with("p was made with sql_mode"), "{mode}");
    }
}

#[test]
fn the_names_of_json_values_are_found() {
    let found =
        |text: &str| code(text).inspect("p", false).json_names.into_iter().collect::<Vec<_>>();
    assert_eq!(
        found("SELECT JSON_ARRAYAGG(JSON_OBJECT('a', f(x))) AS lines_, b FROM t"),
        ["lines_"]
    );
    assert_eq!(
        found(
            "SELECT a, COALESCE(JSON_EXTRACT(d, '$.x'), 'y') AS part, JSON_VALUE(d, '$.z') AS z FROM t"
        ),
        ["part"]
    );
    assert!(found("SELECT COALESCE(a, b) AS c, JSON_OBJECT('a', 1) FROM t").is_empty());
}
