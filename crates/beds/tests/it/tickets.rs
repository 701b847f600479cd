//! Tickets: a job is asked for, done, looked at, and its result is read; an owner sees its own.
//!
//! Not here: nodes that die in the middle (`tickets_and_deaths.rs`), the ends of tickets (`tickets_end.rs`).

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::rig::issuer::Issuer;
use crate::rig::{Answer, Api, World, as_caller};

/// Asks for a job, and answers the ticket's path.
pub(crate) async fn ask(api: &Api, path: &str, params: &Value) -> Result<String> {
    let asked = api.post(path, params).await?;
    ensure!(asked.status == 202, "{}", asked.text);
    Ok(asked.header("location").to_owned())
}

/// The ticket, when it has ended.
pub(crate) async fn ended(api: &Api, ticket: &str) -> Result<Value> {
    for _ in 0..20 {
        let told = api.get(&format!("{ticket}?wait=20")).await?;
        ensure!(told.status == 200, "{}", told.text);
        let state = told.body["state"].as_str().unwrap_or_default();
        if !matches!(state, "queued" | "running" | "cancelling") {
            return Ok(told.body);
        }
    }
    anyhow::bail!("{ticket} does not end")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_answered_with_a_ticket_and_its_result_is_read() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let asked =
        live.api.post("/v1/records/Works/jobs/numbers", &json!({"count": 3, "width": 2})).await?;
    assert_eq!(asked.status, 202, "{}", asked.text);
    let path = asked.header("location").to_owned();
    let id = asked.body["id"].as_str().context("an id")?;
    assert_eq!(path, format!("/v1/tickets/{id}"));
    assert_eq!(asked.header("retry-after"), "1");
    assert!(matches!(asked.body["state"].as_str(), Some("queued" | "running" | "done")));
    let ticket = ended(&live.api, &path).await?;
    assert_eq!(ticket["state"], "done", "{ticket}");
    assert_eq!((&ticket["result"]["rows"], &ticket["attempt"]), (&json!(3), &json!(1)));
    let result = live.api.get(&format!("{path}/result")).await?;
    assert_eq!(result.status, 200, "{}", result.text);
    assert_eq!(
        result.text,
        r#"{"records":[{"id":1,"filler":"xx"},{"id":2,"filler":"xx"},{"id":3,"filler":"xx"}],"next":null,"more":false}"#
    );
    let lines = live
        .api
        .send(
            live.api
                .request("GET", &format!("{path}/result?after=1&limit=1"))
                .header("accept", "application/x-ndjson"),
        )
        .await?;
    assert_eq!(lines.text, "{\"id\":2,\"filler\":\"xx\"}\n");
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let etag = result.header("etag").to_owned();
    let same = live
        .api
        .send(live.api.request("GET", &format!("{path}/result")).header("if-none-match", etag))
        .await?;
    assert_eq!(same.status, 304);
    // A view is a job too, without a page.
    let path = ask(&live.api, "/v1/records/Works/jobs/view", &json!({})).await?;
    assert_eq!(ended(&live.api, &path).await?["result"]["rows"], 700);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_request_is_told_at_once_and_makes_no_ticket() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let post = async |path: &str, body: Value| live.api.post(path, &body).await;
    let table: [(&str, Value, u16, &str); 5] = [
        ("/v1/records/Works/jobs/nothing", json!({}), 404, "BEDS-0012"),
        ("/v1/records/Nothing/jobs/numbers", json!({}), 404, "BEDS-0001"),
        ("/v1/records/Works/jobs/numbers", json!({"count": 1}), 400, "BEDS-0004"),
        ("/v1/records/Works/jobs/numbers", json!({"count": "x", "width": 1}), 400, "BEDS-0003"),
        (
            "/v1/records/Works/jobs/numbers",
            json!({"count": 1, "width": 1, "more": 1}),
            400,
            "BEDS-0002",
        ),
    ];
    for (path, body, status, code) in table {
        let told = post(path, body.clone()).await?;
        assert_eq!((told.status, told.code()), (status, code), "{path} {body}: {}", told.text);
    }
    let none: Answer = live.api.get("/v1/tickets").await?;
    assert_eq!(none.body["tickets"], json!([]), "{}", none.text);
    for path in ["/v1/tickets/8a8d4c6e-8f0b-4f5e-9a57-0123456789ab", "/v1/tickets/x"] {
        for (method, path) in [
            ("GET", path.to_owned()),
            ("GET", format!("{path}/result")),
            ("DELETE", path.to_owned()),
            ("DELETE", format!("{path}/result")),
        ] {
            let told = live.api.send(live.api.request(method, &path)).await?;
            assert_eq!(
                (told.status, told.code()),
                (404, "BEDS-0034"),
                "{method} {path}: {}",
                told.text
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gets_the_same_ticket_and_another_request_with_it_none() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let path = "/v1/records/Works/jobs/numbers";
    let body = json!({"count": 2, "width": 1});
    let asked: Vec<Answer> = futures_util::future::try_join_all(
        (0..8).map(|_| live.api.post_with_key(path, "k1", &body)),
    )
    .await?;
    for answer in &asked {
        assert_eq!(answer.status, 202, "{}", answer.text);
        assert_eq!(answer.header("location"), asked[0].header("location"));
    }
    let other = live.api.post_with_key(path, "k1", &json!({"count": 3, "width": 1})).await?;
    assert_eq!((other.status, other.code()), (422, "BEDS-0010"), "{}", other.text);
    let ticket = ended(&live.api, asked[0].header("location")).await?;
    assert_eq!((&ticket["state"], &ticket["attempt"]), (&json!("done"), &json!(1)));
    // Also when it has ended.
    let again = live.api.post_with_key(path, "k1", &body).await?;
    assert_eq!((again.status, &again.body["state"]), (202, &json!("done")), "{}", again.text);
    let listed = live.api.get("/v1/tickets").await?;
    assert_eq!(listed.body["tickets"].as_array().map(Vec::len), Some(1), "{}", listed.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_are_listed_by_state_and_page_and_to_their_owner_alone() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node().await?;
    let other = as_caller(&live.api, &issuer.token("ana", &["tester"]))?;
    let mut paths = Vec::new();
    for _ in 0..5 {
        paths.push(
            ask(&live.api, "/v1/records/Works/jobs/numbers", &json!({"count": 1, "width": 1}))
                .await?,
        );
    }
    for path in &paths {
        assert_eq!(ended(&live.api, path).await?["state"], "done");
    }
    let failed = ask(&live.api, "/v1/records/Works/jobs/fail", &json!({"kind": "rule"})).await?;
    let told = ended(&live.api, &failed).await?;
    assert_eq!((&told["state"], &told["problem"]["code"]), (&json!("failed"), &json!("BEDS-0009")));
    assert_eq!(told["problem"]["detail"], "not on a Monday");
    let result = live.api.get(&format!("{failed}/result")).await?;
    assert_eq!((result.status, result.code()), (422, "BEDS-0009"), "{}", result.text);
    let ids = |answer: &Answer| -> Vec<String> {
        let tickets = answer.body["tickets"].as_array().cloned().unwrap_or_default();
        tickets.iter().map(|t| format!("/v1/tickets/{}", t["id"].as_str().unwrap())).collect()
    };
    let newest_first: Vec<String> = paths.iter().rev().cloned().collect();
    let first = live.api.get("/v1/tickets?state=done&limit=2").await?;
    assert_eq!(ids(&first), newest_first[..2], "{}", first.text);
    let next = first.body["next"].as_str().context("a next page")?;
    let rest = live.api.get(&format!("/v1/tickets?state=done,queued&limit=9&after={next}")).await?;
    assert_eq!((ids(&rest), &rest.body["next"]), (newest_first[2..].to_vec(), &Value::Null));
    let wrong = live.api.get("/v1/tickets?state=gone").await?;
    assert_eq!((wrong.status, wrong.code()), (400, "BEDS-0025"), "{}", wrong.text);
    // To another caller they are not there.
    assert_eq!(other.get("/v1/tickets").await?.body["tickets"], json!([]));
    for (method, path) in [("GET", ""), ("GET", "/result"), ("DELETE", ""), ("DELETE", "/result")] {
        let told = other.send(other.request(method, &format!("{}{path}", paths[0]))).await?;
        assert_eq!(
            (told.status, told.code()),
            (404, "BEDS-0034"),
            "{method} {path}: {}",
            told.text
        );
    }
    assert_eq!(live.api.get(&format!("{}/result", paths[0])).await?.status, 200, "it is untouched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_can_be_had_with_a_ticket_and_is_answered_as_without() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let send = async |method: &str, path: &str, prefer: &str, body: Option<Value>| {
        let mut request = live.api.request(method, path).header("Prefer", prefer);
        if let Some(body) = body {
            request = request.json(&body);
        }
        live.api.send(request).await
    };
    let created =
        send("POST", "/v1/records/Things", "wait=60", Some(json!({"name": "one"}))).await?;
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(created.header("preference-applied"), "wait=60");
    let place = created.header("location").to_owned();
    assert_eq!(live.api.get(&place).await?.body["name"], "one");
    let later = send("PATCH", &place, "respond-async", Some(json!({"name": "two"}))).await?;
    assert_eq!((later.status, later.header("preference-applied")), (202, "respond-async"));
    let ticket = later.header("location").to_owned();
    assert_eq!(ended(&live.api, &ticket).await?["state"], "done");
    let result = live.api.get(&format!("{ticket}/result")).await?;
    assert_eq!((result.status, &result.body["name"]), (200, &json!("two")), "{}", result.text);
    assert_eq!(live.api.get(&place).await?.body["name"], "two");
    let page = send("GET", "/v1/records/Things?limit=5", "wait=60", None).await?;
    let plain = live.api.get("/v1/records/Things?limit=5").await?;
    assert_eq!((page.status, &page.text), (200, &plain.text));
    let missing = send("GET", "/v1/records/Things/999", "wait=60", None).await?;
    assert_eq!((missing.status, missing.code()), (404, "BEDS-0007"), "{}", missing.text);
    // Without the time for it, there is a ticket.
    let slow = send("GET", "/v1/records/Things/by/sleep?seconds=3", "wait=1", None).await?;
    assert_eq!((slow.status, slow.header("preference-applied")), (202, "wait=1"), "{}", slow.text);
    assert_eq!(ended(&live.api, slow.header("location")).await?["state"], "done");
    Ok(())
}
