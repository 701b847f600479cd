//! Types survive exactly, and everything that a procedure answers comes back.

use anyhow::Result;
use serde_json::{Value, json};

use crate::rig::World;

#[tokio::test(flavor = "multi_thread")]
async fn every_relational_type_survives_exactly() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let sent = json!({
        "name": "𝄞 ünïcode 🛫", "count": -999, "big": 9223372036854775807_i64, "amount": "12345678901234567890.0123456789",
        "ratio": 0.1, "flag": true, "note": "line\nbreak \u{1F469}\u{200D}\u{1F680}", "uid": "0193a5b0-7c3e-7a6b-9d2f-1a2b3c4d5e6f",
        "raw": "AAECg/8=", "doc": {"a": [1, {"b": null}], "ü": "x"}, "day": "2024-02-29", "at": "2026-11-23T10:20:30.123456",
    });
    let created = live.api.post("/v1/records/Things", &sent).await?;
    assert_eq!(created.status, 201, "{}", created.text);
    for (field, value) in sent.as_object().unwrap() {
        assert_eq!(&created.body[field], value, "{field}");
    }
    assert!(
        created.text.contains("9223372036854775807"),
        "every digit of a BIGINT: {}",
        created.text
    );
    let empty = live.api.post("/v1/records/Things", &json!({"name": "empty"})).await?;
    for field in
        ["count", "big", "amount", "ratio", "flag", "note", "uid", "raw", "doc", "day", "at"]
    {
        assert_eq!(empty.body[field], Value::Null, "{field}");
    }
    for (number, (field, value)) in [
        ("amount", json!("-0.0000000001")),
        ("big", json!(i64::MIN)),
        ("flag", json!(false)),
        ("raw", json!("")),
        ("doc", json!("text")),
        ("doc", json!([])),
        ("ratio", json!(31.245270191439438)),
        ("doc", json!({"lon": 121.48791951161945, "least": 5e-324, "small": 1.5e-300})),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = json!({"name": format!("{field} {number}")});
        body[field] = value.clone();
        let created = live.api.post("/v1/records/Things", &body).await?;
        assert_eq!(created.body[field], value, "{}", created.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_document_type_survives_exactly() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let sent = json!({
        "name": "𝄞 ünïcode 🛫", "count": -999, "big": 9223372036854775807_i64, "amount": "1234567890123456789012345678.901234",
        "ratio": 0.1, "flag": true, "note": "line\nbreak", "uid": "0193a5b0-7c3e-7a6b-9d2f-1a2b3c4d5e6f", "raw": "AAECg/8=",
        "doc": {"a": [1, {"b": null}], "ü": {"deep": [[1.5], true, 31.245270191439438, 121.48791951161945]}}, "list": [1, "two", null, {"three": 3}],
        "at": "2026-11-23T10:20:30.123Z", "ref": "6b0474d1c7cc9e3ddb446472",
    });
    let created = live.api.post("/v1/records/Papers", &sent).await?;
    assert_eq!(created.status, 201, "{}", created.text);
    let fetched = live.api.get(created.header("location")).await?;
    for (field, value) in sent.as_object().unwrap() {
        assert_eq!(&fetched.body[field], value, "{field}");
    }
    assert_eq!(fetched.body["_id"].as_str().map(str::len), Some(24));
    let null = live.api.post("/v1/records/Papers", &json!({"name": "n", "note": null})).await?;
    assert_eq!(null.body["note"], Value::Null);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_result_sets_and_out_values_come_back() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let fetch = async |path: &str| -> Result<Value> {
        let answer = live.api.get(&format!("/v1/records/Things/by/{path}")).await?;
        assert_eq!(answer.status, 200, "{}", answer.text);
        Ok(answer.body)
    };
    // Five times, because the server's metadata is cached from the second time on.
    for _ in 0..5 {
        let sets = fetch("sets").await?;
        assert_eq!(sets["records"], json!([{"a": 1}, {"a": 2}]));
        assert_eq!(sets["result_sets"], json!([[], [{"c": "y", "d": "2.50"}]]));
        let out = fetch("out?factor=21&text=in").await?;
        assert_eq!(out["records"], json!([{"factor": 21}]));
        assert_eq!(out["out"], json!({"double": 42, "text": "<in>", "exact": "1.5000"}));
        let only = fetch("only_out").await?;
        assert_eq!((&only["records"], &only["out"]), (&json!([]), &json!({"n": 7})));
        assert_eq!(fetch("branch?which=1").await?["records"], json!([{"word": "one"}]));
        assert_eq!(
            fetch("branch?which=2").await?["records"],
            json!([{"number": 2, "word": "two"}])
        );
        let nested = fetch("nested?which=2").await?;
        assert_eq!(
            (&nested["records"], &nested["result_sets"]),
            (&json!([{"number": 2, "word": "two"}]), &json!([[{"level": "outer"}]]))
        );
    }
    assert_eq!(live.api.post("/v1/records/Things", &json!({"name": "x"})).await?.status, 201);
    assert_eq!(live.api.post("/v1/records/Things", &json!({"name": "y"})).await?.status, 201);
    assert_eq!(fetch("cursor").await?["records"], json!([{"total": "x;y;"}]));
    let twice = fetch("twice?n=4").await?;
    assert_eq!(twice["records"], json!([{"things_twice": 8}]));
    assert_eq!(fetch("view?limit=1").await?["records"].as_array().map(Vec::len), Some(1));

    // A procedure may change its shape while its statement is cached.
    world.sql("CREATE OR REPLACE PROCEDURE things_sets() SELECT 'new' AS shape, 1 AS more")?;
    let changed = fetch("sets").await?;
    assert_eq!(changed["records"], json!([{"shape": "new", "more": 1}]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_would_cut_off_or_round_is_refused() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let refused = async |template: &str, field: &str, value: &str| -> Result<()> {
        let body = format!("{{\"name\": \"refused\", \"{field}\": {value}}}");
        let request = live.api.request("POST", &format!("/v1/records/{template}"));
        let answer =
            live.api.send(request.header("Content-Type", "application/json").body(body)).await?;
        assert_eq!(answer.status, 400, "{template}.{field} {value}: {}", answer.text);
        assert!(answer.text.contains(field), "{}", answer.text);
        Ok(())
    };
    for (field, value) in [
        ("day", "\"2024-02-29T23:59:00-05:00\""),
        ("day", "\"2023-02-29\""),
        ("at", "\"2026-11-23T10:00:00[Europe/Paris]\""),
        ("at", "\"2026-11-23T10:00:00.1234567\""),
        ("amount", "\"1.00000000001\""),
        ("ratio", "9007199254740993"),
        ("doc", "{\"n\": 12345678901234567890123}"),
        ("count", "1.5"),
    ] {
        refused("Things", field, value).await?;
    }
    for (field, value) in [
        ("at", "\"2026-11-23T10:00:00\""),
        ("at", "\"2026-11-23T10:00:00.1234Z\""),
        ("ratio", "9007199254740993"),
        ("doc", "{\"n\": 12345678901234567890123}"),
        ("big", "9223372036854775808"),
        ("name", "null"),
    ] {
        refused("Papers", field, value).await?;
    }
    for (sent, kept) in [
        ("2026-11-23T01:00:00+02:00", "2026-11-22T23:00:00.000000"),
        ("2026-11-23 10:00:00Z", "2026-11-23T10:00:00.000000"),
    ] {
        let created =
            live.api.post("/v1/records/Things", &json!({"name": sent, "at": sent})).await?;
        assert_eq!(created.body["at"], kept, "{}", created.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_pages_answers_a_next_page() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for name in ["a", "b"] {
        live.api.post("/v1/records/Things", &json!({"name": name})).await?;
    }
    let list = live.api.get("/v1/records/Things?limit=1").await?;
    let next = list.body["next"].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        live.api.get(&format!("/v1/records/Things?limit=1&after={next}")).await?.body["records"][0]
            ["name"],
        "b"
    );
    let view = live.api.get("/v1/records/Things/by/view?limit=1").await?;
    assert_eq!(
        view.body,
        json!({"records": [{"id": 1, "name": "a"}], "next": null, "more": true}),
        "{}",
        view.text
    );
    let all = live.api.get("/v1/records/Things/by/view?limit=2").await?;
    assert_eq!(
        (all.body["records"].as_array().map(Vec::len), &all.body["more"]),
        (Some(2), &json!(false)),
        "{}",
        all.text
    );
    Ok(())
}
