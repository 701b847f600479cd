//! Bad input gets a clear error and loses nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::callers::HEADER;
use crate::rig::{SOON, World};

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_has_its_status_its_code_and_its_field() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let cases = [
        ("Nope", json!({}), 404, "BEDS-0001", ""),
        ("Counters", json!({}), 404, "BEDS-0012", ""),
        ("Things", json!({"nmae": "x"}), 400, "BEDS-0002", "nmae"),
        ("Papers", json!({"name": "x", "nmae": "x"}), 400, "BEDS-0002", "nmae"),
        ("Things", json!({"name": 1}), 400, "BEDS-0003", "name"),
        ("Things", json!({"name": {"$gt": ""}}), 400, "BEDS-0003", "name"),
        ("Papers", json!({"name": {"$gt": ""}}), 400, "BEDS-0003", "name"),
        ("Papers", json!({"name": ["a"]}), 400, "BEDS-0003", "name"),
        ("Papers", json!({"name": "x", "doc": {"$where": "1"}}), 400, "BEDS-0003", "doc.$where"),
        ("Papers", json!({"name": "x", "doc": {"a.b": 1}}), 400, "BEDS-0003", "doc.a.b"),
        (
            "Papers",
            json!({"name": "x", "ref": {"$oid": "6b0474d1c7cc9e3ddb446472"}}),
            400,
            "BEDS-0003",
            "ref",
        ),
        ("Papers", json!({"count": 1}), 400, "BEDS-0004", "name"),
        ("Things", json!({"count": 1}), 422, "BEDS-0022", "name"),
        ("Things", json!({"name": "x", "count": "1"}), 400, "BEDS-0003", "count"),
        ("Things", json!({"name": "x", "count": 1.5}), 400, "BEDS-0003", "count"),
        ("Things", json!({"name": "x", "count": 3_000_000_000_i64}), 400, "BEDS-0025", "count"),
        ("Papers", json!({"name": "x", "count": 3_000_000_000_i64}), 400, "BEDS-0025", "count"),
        ("Things", json!({"name": "x".repeat(41)}), 400, "BEDS-0025", "name"),
        ("Papers", json!({"name": "x".repeat(41)}), 400, "BEDS-0025", "name"),
        ("Things", json!({"name": "x", "amount": 1.1}), 400, "BEDS-0003", "amount"),
        ("Things", json!({"name": "x", "amount": "1,1"}), 400, "BEDS-0003", "amount"),
        ("Things", json!({"name": "x", "day": "2023-02-29"}), 400, "BEDS-0003", "day"),
        ("Papers", json!({"name": "x", "at": "yesterday"}), 400, "BEDS-0003", "at"),
        ("Things", json!({"name": "x", "raw": "not base64!"}), 400, "BEDS-0003", "raw"),
        ("Things", json!({"name": "forbidden"}), 422, "BEDS-0009", ""),
        ("Things", json!({"name": "x", "parent": 12345}), 422, "BEDS-0022", ""),
        ("Things", json!({"name": "x", "count": -1000}), 422, "BEDS-0022", ""),
        ("Papers", json!({"name": "x", "count": -1000}), 422, "BEDS-0022", ""),
    ];
    for (template, body, status, code, field) in &cases {
        let answer = live.api.post(&format!("/v1/records/{template}"), body).await?;
        assert_eq!(
            (answer.status, answer.code()),
            (*status, *code),
            "{template} {body}: {}",
            answer.text
        );
        assert_eq!(
            answer.body["field"].as_str().unwrap_or_default(),
            *field,
            "{template} {body}: {}",
            answer.text
        );
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    assert_eq!(
        live.api.post("/v1/records/Things", &json!({"name": "forbidden"})).await?.body["detail"],
        "this name is not allowed"
    );
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "0");
    assert_eq!(
        world.sql("SELECT COUNT(*) FROM beds_inbox")?,
        "0",
        "a refused write leaves no claim behind"
    );

    for (path, status, code) in [
        ("/v1/records/Things/by/name", 400, "BEDS-0004"),
        ("/v1/records/Things/by/nope", 404, "BEDS-0012"),
        ("/v1/records/Things/by/name?name=a&name=b", 400, "BEDS-0005"),
        ("/v1/records/Things/by/name?name=a&x=1", 400, "BEDS-0002"),
        ("/v1/records/Things/abc", 400, "BEDS-0003"),
        ("/v1/records/Things/-1", 400, "BEDS-0025"),
        ("/v1/records/Papers/abc", 400, "BEDS-0003"),
        ("/v1/records/Things/%ff", 400, "BEDS-0005"),
        ("/v1/records/Things?limit=0", 400, "BEDS-0025"),
        ("/v1/records/Things?limit=501", 400, "BEDS-0025"),
        ("/v1/records/Papers?limit=x", 400, "BEDS-0025"),
        ("/v1/records/Things?after=x", 400, "BEDS-0003"),
        ("/v1/records/Things/by/broken", 503, "BEDS-0023"),
        ("/nope", 404, "BEDS-0020"),
    ] {
        let answer = live.api.get(path).await?;
        assert_eq!((answer.status, answer.code()), (status, code), "{path}: {}", answer.text);
        assert!(
            !answer.text.contains("no_such_table"),
            "driver text must not leave: {}",
            answer.text
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bodies_are_refused_before_they_cost_anything() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let raw = async |body: Vec<u8>, kind: &str| {
        let request =
            live.api.request("POST", "/v1/records/Things").header("Content-Type", kind).body(body);
        live.api.send(request).await
    };
    let json = "application/json";
    for (body, kind, status, code) in [
        (format!("{{\"name\":\"{}\"}}", "x".repeat(2 << 20)).into_bytes(), json, 413, "BEDS-0006"),
        ("[".repeat(10_000).into_bytes(), json, 400, "BEDS-0005"),
        (format!("{{\"name\":{}", "[".repeat(10_000)).into_bytes(), json, 400, "BEDS-0005"),
        (b"{\"name\":\"\xff\xfe\"}".to_vec(), json, 400, "BEDS-0005"),
        (b"{\"name\":\"a\",\"name\":\"b\"}".to_vec(), json, 400, "BEDS-0005"),
        (b"{\"name\":\"a\"".to_vec(), json, 400, "BEDS-0005"),
        (b"".to_vec(), json, 400, "BEDS-0005"),
        (b"[]".to_vec(), json, 400, "BEDS-0005"),
        (b"{\"name\":1e999}".to_vec(), json, 400, "BEDS-0005"),
        (b"name=a".to_vec(), "application/x-www-form-urlencoded", 415, "BEDS-0018"),
    ] {
        let answer = raw(body, kind).await?;
        assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.text);
    }
    for (header, value) in [
        ("Idempotency-Key", "x".repeat(256)),
        ("Beds-Timeout", "soon".into()),
        ("Beds-Timeout", "0".into()),
        ("Beds-Timeout", "2h".into()),
    ] {
        let request = live
            .api
            .http
            .post(format!("{}/v1/records/Things", live.api.url))
            .header(header, value)
            .json(&json!({"name": "h"}));
        let answer = live.api.send(request).await?;
        assert_eq!(
            (answer.status, answer.code(), answer.body["field"].as_str()),
            (400, "BEDS-0019", Some(header)),
            "{}",
            answer.text
        );
    }
    assert_eq!(
        live.api
            .send(live.api.http.put(format!("{}/v1/records/Things/1", live.api.url)))
            .await?
            .code(),
        "BEDS-0021"
    );
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "0");
    assert_eq!(live.node.pools().replaced(), 0, "no task may have panicked");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_reaches_a_caller_who_is_still_sending() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let address = live.api.url.trim_start_matches("http://");
    let chunk = vec![b'x'; 256 << 10];
    for (path, framing, status) in [
        ("Things", "content-length: 4194304\r\ncontent-type: application/json", "413"),
        ("Things", "transfer-encoding: chunked\r\ncontent-type: application/json", "413"),
        ("Things", "content-length: 4194304", "415"),
        ("Things/by/name/and/more", "content-length: 4194304", "404"),
    ] {
        let mut stream = TcpStream::connect(address).await?;
        let head = format!(
            "POST /v1/records/{path} HTTP/1.1\r\nhost: localhost\r\n{HEADER}{framing}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        for _ in 0..16 {
            if framing.starts_with("transfer") {
                stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
            }
            stream.write_all(&chunk).await.context("the node stopped reading")?;
            if framing.starts_with("transfer") {
                stream.write_all(b"\r\n").await?;
            }
        }
        if framing.starts_with("transfer") {
            stream.write_all(b"0\r\n\r\n").await?;
        }
        let mut answer = String::new();
        tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await??;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("connection: close") && answer.ends_with('}'), "{answer}");
    }
    // A small unwanted body costs no connection.
    let mut stream = TcpStream::connect(address).await?;
    for _ in 0..2 {
        stream
            .write_all(b"POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}")
            .await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            ensure!(
                tokio::time::timeout(SOON, stream.read_buf(&mut answer)).await?? > 0,
                "the connection was closed"
            );
        }
        assert!(answer.starts_with(b"HTTP/1.1 404 "), "{}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_send_its_headers_is_cut_off() -> Result<()> {
    let world = World::new().await?;
    let live = world
        .node_with(|config| config.services.appserver.header_timeout = Duration::from_millis(300))
        .await?;
    let address = live.api.url.trim_start_matches("http://");
    for sent in ["", "GET /v1/records/Things/1 HTTP/1.1\r\nhost: localhost\r\nslow: "] {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(sent.as_bytes()).await?;
        let mut rest = Vec::new();
        // The end of the stream is awaited; an answer such as 408 before it is as good.
        tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_injections_as_every_parameter_never_change_a_statement() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let payloads = injections();
    assert!(payloads.len() >= 500, "{}", payloads.len());
    // The first call prepares; the lines of the log behind it are executions.
    world.sql_server(
        "SET GLOBAL log_output = 'TABLE'; TRUNCATE mysql.general_log; SET GLOBAL general_log = ON",
    )?;
    for payload in &payloads {
        let request =
            live.api.request("GET", "/v1/records/Things/by/name").query(&[("name", payload)]);
        let answer = live.api.send(request).await?;
        assert!(
            matches!((answer.status, answer.code()), (200, _) | (400, "BEDS-0025")),
            "{payload}: {}",
            answer.text
        );
        if answer.status == 200 {
            assert_eq!(answer.body["records"], json!([]), "{payload}");
        }
        let created =
            live.api.post("/v1/records/Things", &json!({"name": payload, "note": payload})).await?;
        assert!(
            matches!(
                (created.status, created.code()),
                (201, _) | (400, "BEDS-0025") | (409, "BEDS-0008")
            ),
            "{}",
            created.text
        );
        if created.status == 201 {
            assert_eq!(
                created.body["note"].as_str(),
                Some(payload.as_str()),
                "stored to the letter"
            );
            live.api.delete(created.header("location")).await?;
        }
        // The other parameters take numbers, dates, bytes and JSON: only the last is a text as it is.
        let others =
            ["count", "big", "amount", "ratio", "flag", "uid", "raw", "doc", "day", "at", "parent"];
        let sent = others.map(|field| {
            let mut body = json!({"name": format!("in {field}")});
            body[field] = json!(payload);
            let api = &live.api;
            async move { api.post("/v1/records/Things", &body).await }
        });
        for (field, answer) in others.iter().zip(futures_util::future::join_all(sent).await) {
            let answer = answer?;
            match *field {
                "doc" => {
                    assert_eq!(
                        (answer.status, &answer.body["doc"]),
                        (201, &json!(payload)),
                        "{}",
                        answer.text
                    );
                    live.api.delete(answer.header("location")).await?;
                }
                field => assert_eq!(answer.status, 400, "{field} {payload}: {}", answer.text),
            }
        }
    }
    world.sql_server("SET GLOBAL general_log = OFF")?;
    let log = world.sql_server(&format!(
        "SELECT DISTINCT command_type, CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE thread_id IN \
         (SELECT id FROM information_schema.PROCESSLIST WHERE db = '{}') AND command_type IN ('Prepare', 'Query', 'Execute')",
        world.name
    ))?;
    let shapes = [
        "CALL `things_by_name`(",
        "CALL `things_create`(",
        "CALL `things_delete`(",
        "CALL `beds_inbox_begin`(",
        "CALL `beds_inbox_commit`(",
        "CALL `beds_inbox_abort`(",
        "CALL `beds_changes_take`(",
        "CALL `beds_catalog`(",
        "CALL `beds_granted`(",
        "CALL `beds_catalog_version`(",
        "CALL `beds_read_check`(",
        "CALL `beds_end`(",
        "CALL `beds_end_own`(",
    ];
    // The set-up of a session and the transactions of reads, word by word: the only statements that are not prepared.
    let fixed = [
        "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
        "SET SESSION TRANSACTION READ ONLY",
        "START TRANSACTION READ ONLY",
        "START TRANSACTION READ WRITE",
        "ROLLBACK",
        "SELECT 1",
    ];
    assert!(log.lines().count() > 10, "the log shows the calls: {log}");
    for line in log.lines() {
        let (command, statement) = line.split_once('\t').unwrap_or(("", line));
        match command {
            // By its lock a call that was given up is found and ended.
            "Query"
                if statement.starts_with("DO GET_LOCK('beds:") && statement.ends_with("', 0)") => {}
            "Query" => {
                assert!(fixed.contains(&statement), "everything else is prepared: {statement}")
            }
            _ => assert!(
                shapes.iter().any(|shape| statement.starts_with(shape)),
                "{command}: {statement}"
            ),
        }
    }
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "0");
    assert_eq!(world.sql("CHECKSUM TABLE counters")?.split_whitespace().count(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_becomes_an_operator_in_a_document_store() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    assert_eq!(live.api.post("/v1/records/Papers", &json!({"name": "secret"})).await?.status, 201);
    for text in [
        "$name",
        "$$ROOT",
        "$$name",
        "{\"$gt\":\"\"}",
        "$where",
        "$$NOW",
        ".*",
        "/.*/",
        "$eq",
        "';return true;'",
    ] {
        for fetch in ["name", "match"] {
            let request = live
                .api
                .request("GET", &format!("/v1/records/Papers/by/{fetch}"))
                .query(&[("name", text)]);
            let answer = live.api.send(request).await?;
            assert_eq!(
                (answer.status, &answer.body["records"]),
                (200, &json!([])),
                "{fetch} {text}: {}",
                answer.text
            );
        }
        let created = live
            .api
            .post("/v1/records/Papers", &json!({"name": text, "doc": {"value": text}}))
            .await?;
        assert_eq!(
            (created.status, &created.body["doc"]["value"]),
            (201, &Value::from(text)),
            "{}",
            created.text
        );
        let found = live.api.request("GET", "/v1/records/Papers/by/name").query(&[("name", text)]);
        assert_eq!(live.api.send(found).await?.body["records"][0]["name"], text);
    }
    Ok(())
}

/// Classic openings, middles and ends of SQL injections, combined.
fn injections() -> Vec<String> {
    let openings = [
        "'", "\"", "`", "\\'", "')", "'))", "1", "1)", "%27", "\u{2019}", "\0'", "\u{FF07}",
        "0x27", "';",
    ];
    let middles = [
        " OR 1=1",
        " OR '1'='1",
        " UNION SELECT 1,2,3",
        "; DROP TABLE things",
        "; CALL beds_inbox_abort()",
        " AND SLEEP(5)",
        " INTO OUTFILE '/tmp/x'",
        "; SET GLOBAL general_log=0",
        " PROCEDURE ANALYSE()",
        "/*!50000 OR 1=1 */",
        " LIKE '%'",
        " OR name IS NOT NULL",
    ];
    let ends = ["", " -- ", "#", ";\0"];
    let mut all = Vec::new();
    for opening in openings {
        for middle in middles {
            for end in ends {
                all.push(format!("{opening}{middle}{end}"));
            }
        }
    }
    all
}
