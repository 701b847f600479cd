//! Every value survives exactly or is refused: each type of MariaDB by its own rule, dates to the end of the calendar, JSON
//! wherever it comes from. Values of the common types are `types`'s.
//!
//! Not here: which session a value meets, beside its mode and zone, which is `sessions`'s.

use anyhow::Result;
use serde_json::{Value, json};

use crate::rig::{Api, World};

const TYPES: &[(&str, &str)] = &[
    ("f", "FLOAT"),
    ("f74", "FLOAT(7,4)"),
    ("d82", "DOUBLE(8,2)"),
    ("du", "DOUBLE UNSIGNED"),
    ("y", "YEAR"),
    ("e", "ENUM('new','Done','it''s')"),
    ("s", "SET('a','b','c d')"),
    ("c", "CHAR(4) CHARACTER SET utf8mb4"),
    ("b4", "BINARY(4)"),
    ("vb", "VARBINARY(4)"),
    ("de", "DECIMAL(6,2)"),
    ("deu", "DECIMAL(6,2) UNSIGNED"),
    ("bi", "BIT(3)"),
    ("p", "POINT"),
    ("t3", "TIME(3)"),
    ("dt3", "DATETIME(3)"),
    ("ts", "TIMESTAMP(3) NULL"),
    ("da", "DATE"),
    ("bo", "BOOL"),
    ("ti", "TINYINT"),
    ("j", "JSON"),
];

fn zoo() -> String {
    let lines = |form: &dyn Fn(&str, &str) -> String| {
        TYPES.iter().map(|(name, kind)| form(name, kind)).collect::<Vec<_>>().join(", ")
    };
    let columns = lines(&|name, kind| {
        format!(
            "{name} {}",
            if kind.ends_with("NULL") { (*kind).to_owned() } else { format!("{kind} NULL") }
        )
    });
    let parameters = lines(&|name, kind| format!("IN p_{name} {}", kind.trim_end_matches(" NULL")));
    let names = lines(&|name, _| name.to_owned());
    let values = lines(&|name, _| format!("p_{name}"));
    format!(
        "CREATE TABLE zoo (id INT AUTO_INCREMENT PRIMARY KEY, {columns}) ENGINE = InnoDB;
         DELIMITER //
         CREATE PROCEDURE zoo_create({parameters})
         BEGIN INSERT INTO zoo ({names}) VALUES ({values}); SELECT * FROM zoo WHERE id = LAST_INSERT_ID(); END //
         CREATE PROCEDURE zoo_by(IN p_f FLOAT, IN p_c CHAR(4) CHARACTER SET utf8mb4) READS SQL DATA SELECT * FROM zoo WHERE f = p_f OR c = p_c //
         DELIMITER ;"
    )
}

const ZOO: &str = "name = \"Zoo\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[objects]\ncreate = \"zoo_create\"\n[fetches]\nby = \"zoo_by\"\n";

async fn send(api: &Api, template: &str, field: &str, value: &str) -> Result<crate::rig::Answer> {
    let request = api
        .request("POST", &format!("/v1/records/{template}"))
        .header("Content-Type", "application/json");
    api.send(request.body(format!("{{\"{field}\": {value}}}"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_its_type_would_change_is_refused() -> Result<()> {
    let world = World::new().await?;
    world.domain(&zoo(), &[("zoo", ZOO)])?;
    let live = world.node().await?;
    for (field, values) in [
        ("f", &["-0.0", "16777217", "0.123456789", "3.14159265", "1e-50", "1e39"][..]),
        ("f74", &["1.23456", "999.00009", "1000"]),
        ("d82", &["-0.0", "1.239", "123456.785", "1000000"]),
        ("du", &["-1", "-0.5"]),
        ("y", &["99", "5", "1900", "2156", "-1", "\"26\""]),
        ("e", &["\"1\"", "\"2\"", "\"NEW\"", "\"done\"", "\"\"", "\"new \"", "1"]),
        ("s", &["\"5\"", "\"a,a\"", "\"A\"", "\"a,\"", "\"a, b\"", "3"]),
        ("c", &["\"A \"", "\"abcde\"", "\"   \""]),
        ("b4", &["\"AAE=\"", "\"AAECAwQ=\"", "\"?\""]),
        ("vb", &["\"AAECAwQ=\""]),
        ("de", &["\"99999.00\"", "\"1.234\"", "123456", "1.5"]),
        ("deu", &["\"-0.01\""]),
        ("bi", &["8", "-1"]),
        ("p", &["\"POINT(1 2)\"", "\"AAAA\"", "[1, 2]"]),
        ("t3", &["\"10:00:00.1234\"", "\"839:00:00\""]),
        (
            "dt3",
            &[
                "\"2026-11-23T10:00:00.1234\"",
                "\"2026-02-31T00:00:00\"",
                "\"10000-01-01T00:00:00\"",
            ],
        ),
        (
            "ts",
            &[
                "\"2026-11-23T10:00:00.0001Z\"",
                "\"1969-12-31T23:59:59Z\"",
                "\"2200-01-01T00:00:00Z\"",
            ],
        ),
        ("bo", &["2", "1", "\"true\""]),
        ("ti", &["128", "1.0", "1e1"]),
        (
            "j",
            &[
                "{\"price\": 1234567890.123456789}",
                "[1e-400]",
                "1.00000000000000000001",
                "{\"a\":1,\"a\":2}",
            ],
        ),
    ] {
        for value in values {
            let answer = send(&live.api, "Zoo", field, value).await?;
            assert_eq!(answer.status, 400, "{field} {value}: {}", answer.text);
            let named = answer.body["field"] == field
                || !matches!(answer.code(), "BEDS-0003" | "BEDS-0025")
                || field == "p";
            assert!(named, "{field} {value}: {}", answer.text);
        }
    }
    assert_eq!(world.sql("SELECT COUNT(*) FROM zoo")?, "0");
    for path in ["f=0.123456789&c=x", "f=1&c=A%20"] {
        let answer = live.api.get(&format!("/v1/records/Zoo/by/by?{path}")).await?;
        assert_eq!((answer.status, answer.code()), (400, "BEDS-0025"), "{path}: {}", answer.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_its_type_holds_comes_back_as_it_was_sent() -> Result<()> {
    let world = World::new().await?;
    world.domain(&zoo(), &[("zoo", ZOO)])?;
    let live = world.node().await?;
    // A point as MariaDB keeps it: its reference system, then WKB.
    let point = "\"AAAAAAEBAAAAAAAAAAAA+D8AAAAAAAACQA==\"";
    for (field, values) in [
        ("f", &["0.1", "16777216", "-3.5", "1e20", "1.5e-30"][..]),
        ("f74", &["999.0001", "1.2346", "-0.5"]),
        ("d82", &["123456.78", "1.2", "0"]),
        ("du", &["0.1", "1e300"]),
        ("y", &["0", "1901", "2155"]),
        ("e", &["\"new\"", "\"Done\"", "\"it's\""]),
        ("s", &["\"\"", "\"a\"", "\"a,c d\""]),
        ("c", &["\"A B\"", "\"\"", "\"𝄞\""]),
        ("b4", &["\"AAECAw==\""]),
        ("vb", &["\"AAA=\"", "\"\""]),
        ("bi", &["0", "7"]),
        ("p", &[point]),
        ("t3", &["\"10:00:00.120\"", "\"-838:59:59.999\""]),
        (
            "dt3",
            &[
                "\"2026-11-23T10:00:00.120\"",
                "\"9999-12-31T23:59:59.999\"",
                "\"0001-01-01T00:00:00.000\"",
            ],
        ),
        ("da", &["\"9999-12-31\"", "\"0001-01-01\""]),
        ("bo", &["true", "false"]),
        ("j", &["{\"n\": 6.02214076e23, \"m\": 18446744073709551615}", "\"1\"", "[1.5, null]"]),
    ] {
        for value in values {
            let answer = send(&live.api, "Zoo", field, value).await?;
            assert_eq!(answer.status, 201, "{field} {value}: {}", answer.text);
            let sent: Value = serde_json::from_str(value)?;
            let as_number =
                |value: &Value| value.as_f64().map_or_else(|| value.clone(), |n| json!(n));
            assert_eq!(
                as_number(&answer.body[field]),
                as_number(&sent),
                "{field}: {}",
                answer.text
            );
        }
    }
    for (field, sent, kept) in [
        ("de", "\"9999.99\"", "9999.99"),
        ("de", "7", "7.00"),
        ("deu", "\"-0\"", "0.00"),
        ("dt3", "\"9999-12-31T23:59:59Z\"", "9999-12-31T23:59:59.000"),
        ("dt3", "\"2026-11-23T01:00:00.5+02:00\"", "2026-11-22T23:00:00.500"),
        // In the night in which a clock is set, where the server's own zone would lose an hour.
        ("ts", "\"2026-03-29T02:30:00Z\"", "2026-03-29T02:30:00.000"),
    ] {
        let answer = send(&live.api, "Zoo", field, sent).await?;
        assert_eq!(
            (answer.status, &answer.body[field]),
            (201, &json!(kept)),
            "{field}: {}",
            answer.text
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_and_numbers_of_documents_survive_to_their_ends() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for (number, (field, sent, kept)) in [
        ("at", json!("9999-12-31T23:59:59Z"), json!("9999-12-31T23:59:59.000Z")),
        ("at", json!("9999-12-31"), json!("9999-12-31T00:00:00.000Z")),
        ("at", json!("0001-01-01T00:00:00Z"), json!("0001-01-01T00:00:00.000Z")),
        ("at", json!("+010000-01-01T00:00:00.000Z"), json!("+010000-01-01T00:00:00.000Z")),
        ("at", json!("1969-12-31T23:59:59.999+01:00"), json!("1969-12-31T22:59:59.999Z")),
        ("doc", json!({"avogadro": 6.02214076e23}), json!({"avogadro": 6.02214076e23})),
        ("amount", json!("0E+3"), json!("0")),
        ("amount", json!("-1.5E-3"), json!("-0.0015")),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = live
            .api
            .post("/v1/records/Papers", &json!({"name": number.to_string(), field: sent}))
            .await?;
        assert_eq!((answer.status, &answer.body[field]), (201, &kept), "{field}: {}", answer.text);
        // And the answer is taken again as a request.
        let again = json!({"name": format!("again {number}"), field: answer.body[field]});
        assert_eq!(live.api.post("/v1/records/Papers", &again).await?.body[field], kept, "{again}");
    }
    for value in [
        "\"9999-12-31T23:59:59-01:00\"",
        "\"2026-11-23T10:00:00.0001Z\"",
        "\"10000-01-01T00:00:00Z\"",
    ] {
        assert_eq!(send(&live.api, "Papers", "at", value).await?.status, 400, "{value}");
    }
    for value in ["{\"n\": 0.12345678901234567890}", "{\"deep\": [{\"n\": 1e-400}]}"] {
        let answer = send(&live.api, "Papers", "doc", value).await?;
        assert_eq!(
            (answer.status, answer.code(), &answer.body["field"]),
            (400, "BEDS-0025", &json!("doc")),
            "{}",
            answer.text
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_json_wherever_it_comes_from() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "CREATE VIEW things_docs AS SELECT id, doc FROM things;
         CREATE VIEW things_kept AS SELECT DISTINCT id, doc FROM things LIMIT 100;
         CREATE FUNCTION things_doc(p_id BIGINT) RETURNS JSON READS SQL DATA RETURN (SELECT doc FROM things WHERE id = p_id);
         DELIMITER //
         CREATE PROCEDURE docs_union() READS SQL DATA SELECT id, doc FROM things UNION SELECT id, doc FROM things //
         CREATE PROCEDURE docs_all() READS SQL DATA SELECT id, doc FROM things UNION ALL SELECT 0, NULL //
         CREATE PROCEDURE docs_or() READS SQL DATA SELECT id, COALESCE(doc, '{}') AS doc FROM things //
         CREATE PROCEDURE docs_lines() READS SQL DATA SELECT JSON_ARRAYAGG(JSON_OBJECT('id', id, 'doc', doc)) AS lines_ FROM things //
         CREATE PROCEDURE docs_part() READS SQL DATA SELECT id, JSON_EXTRACT(doc, '$.n') AS doc_part, CONCAT(doc, '') AS told, note FROM things //
         CREATE PROCEDURE docs_out(OUT p_doc JSON) READS SQL DATA SELECT doc INTO p_doc FROM things LIMIT 1 //
         CREATE PROCEDURE docs_variable() READS SQL DATA BEGIN DECLARE d JSON; SELECT doc INTO d FROM things LIMIT 1; SELECT d AS doc; END //
         DELIMITER ;",
        &[(
            "docs",
            "name = \"Docs\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[fetches]\nview = \"things_docs\"\nkept = \"things_kept\"\n\
             function = \"things_doc\"\nunion = \"docs_union\"\nall = \"docs_all\"\nor = \"docs_or\"\nlines = \"docs_lines\"\npart = \"docs_part\"\n\
             out = \"docs_out\"\nvariable = \"docs_variable\"\n[fields.told]\njson = true\n[fields.note]\njson = false\n",
        )],
    )?;
    let live = world.node().await?;
    let doc = json!({"note": "x", "n": [1, 2]});
    let created = live
        .api
        .post("/v1/records/Things", &json!({"name": "a", "doc": doc, "note": "{\"text\": true}"}))
        .await?;
    assert_eq!((created.status, &created.body["doc"]), (201, &doc), "{}", created.text);
    let fetch = async |name: &str| -> Result<Value> {
        let answer = live.api.get(&format!("/v1/records/Docs/by/{name}")).await?;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text);
        Ok(answer.body)
    };
    for name in ["view", "kept", "union", "all", "or", "variable"] {
        assert_eq!(fetch(name).await?["records"][0]["doc"], doc, "{name}");
    }
    assert_eq!(fetch("function?id=1").await?["records"], json!([{"things_doc": doc}]));
    assert_eq!(fetch("lines").await?["records"], json!([{"lines_": [{"id": 1, "doc": doc}]}]));
    let part = fetch("part").await?["records"][0].clone();
    assert_eq!(
        (&part["doc_part"], &part["told"]),
        (&json!([1, 2]), &doc),
        "by the function, and because the template says so"
    );
    assert_eq!(part["note"], json!("{\"text\": true}"), "a text that looks like JSON stays a text");
    assert_eq!(fetch("out").await?["out"], json!({"doc": doc}));
    let deleted = live.api.delete(created.header("location")).await?;
    assert_eq!(
        deleted.body, created.body,
        "the answer to a DELETE has the types of the answer to a GET"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_in_utc_and_strict() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "CREATE PROCEDURE shows() READS SQL DATA SELECT @@session.time_zone AS zone, @@session.sql_mode LIKE '%STRICT_ALL_TABLES%' AS is_strict,
           TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), NOW()) AS off;
         CREATE PROCEDURE writes_shows() SELECT @@session.time_zone AS zone;",
        &[("shows", "name = \"Shows\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"zone\"\n[objects]\ncreate = \"writes_shows\"\n[fetches]\nshows = \"shows\"\n")],
    )?;
    let live = world.node().await?;
    for _ in 0..4 {
        let read = live.api.get("/v1/records/Shows/by/shows").await?;
        assert_eq!(
            read.body["records"],
            json!([{"zone": "+00:00", "is_strict": 1, "off": 0}]),
            "{}",
            read.text
        );
        let written = live.api.post("/v1/records/Shows", &json!({})).await?;
        assert_eq!(written.body, json!({"zone": "+00:00"}), "{}", written.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_under_a_mode_that_cuts_is_refused_by_name() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "CREATE TABLE cut (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(3)) ENGINE = InnoDB;
         CREATE VIEW cut_view AS SELECT * FROM cut;
         DELIMITER //
         CREATE PROCEDURE cut_create(IN p_v VARCHAR(100)) BEGIN INSERT INTO cut (v) VALUES (p_v); SELECT * FROM cut; END //
         CREATE PROCEDURE cut_by_view(IN p_v VARCHAR(100)) BEGIN INSERT INTO cut_view (v) VALUES (p_v); SELECT * FROM cut; END //
         CREATE PROCEDURE cut_list() READS SQL DATA SELECT * FROM cut //
         SET sql_mode = '' //
         CREATE TRIGGER cut_trigger BEFORE INSERT ON cut FOR EACH ROW SET NEW.v = NEW.v //
         CREATE PROCEDURE loose_create(IN p_v VARCHAR(3)) SELECT p_v AS v //
         CREATE PROCEDURE outer_create(IN p_v VARCHAR(3)) CALL loose_create(p_v) //
         SET sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES' //
         CREATE PROCEDURE quoted_create(IN p_v VARCHAR(3)) SELECT p_v AS v //
         SET sql_mode = 'NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES' //
         CREATE PROCEDURE escaped_create(IN p_v VARCHAR(3)) SELECT p_v AS v //
         DELIMITER ;",
        &[],
    )?;
    let objects = [
        "cut_create",
        "cut_by_view",
        "loose_create",
        "outer_create",
        "quoted_create",
        "escaped_create",
    ];
    for object in objects {
        let text = format!(
            "name = \"{object}\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"v\"\n[objects]\ncreate = \"{object}\"\nlist = \"cut_list\"\n"
        );
        world.template(object, &text)?;
    }
    let (code, said) = world.check()?;
    assert_eq!(code, 1, "{said}");
    for (object, reason) in objects.into_iter().zip([
        "the trigger cut_trigger was made without strict mode",
        "the trigger cut_trigger was made without strict mode",
        "loose_create was made without strict mode",
        "outer_create was made without strict mode",
        "quoted_create was made with sql_mode ANSI_QUOTES",
        "escaped_create was made with sql_mode NO_BACKSLASH_ESCAPES",
    ]) {
        assert!(
            said.contains(&format!("{object}.toml:6: {object} cannot be called: {reason}")),
            "{object}\n{said}"
        );
    }
    let live = world.node().await?;
    assert_eq!(
        live.api.post("/v1/records/cut_create", &json!({"v": "too long"})).await?.code(),
        "BEDS-0023"
    );
    assert_eq!(
        live.api.get("/v1/records/cut_create").await?.status,
        200,
        "the trigger is in nobody's way who reads"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_parameter_comes_back_as_its_number() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "DELIMITER //
         CREATE PROCEDURE bits(OUT p_b3 BIT(3), OUT p_b8 BIT(8), OUT p_b64 BIT(64)) READS SQL DATA
         BEGIN SET p_b3 = 5, p_b8 = 200, p_b64 = 18446744073709551615; END //
         DELIMITER ;",
        &[("bits", "name = \"Bits\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[fetches]\nbits = \"bits\"\n")],
    )?;
    let live = world.node().await?;
    let answer = live.api.get("/v1/records/Bits/by/bits").await?;
    assert_eq!(answer.body["out"], json!({"b3": 5, "b8": 200, "b64": u64::MAX}), "{}", answer.text);
    Ok(())
}
