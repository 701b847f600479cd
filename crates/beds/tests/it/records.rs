//! The record routes, for both stores.

use anyhow::Result;
use serde_json::json;

use crate::rig::{World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_created_fetched_updated_listed_and_deleted_on_both_stores() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for (template, id) in [("Things", "id"), ("Papers", "_id")] {
        let records = format!("/v1/records/{template}");
        let created =
            live.api.post(&records, &json!({"name": "a", "count": 1, "amount": "1.50"})).await?;
        assert_eq!(created.status, 201, "{}", created.text);
        let location = created.header("location").to_owned();
        let own = created.body[id].to_string().trim_matches('"').to_owned();
        assert_eq!(location, format!("{records}/{own}"));
        assert!(created.header("beds-event-id").starts_with("ms.development."));

        let fetched = live.api.get(&location).await?;
        assert_eq!((fetched.status, &fetched.body), (200, &created.body));

        let updated = live.api.patch(&location, &json!({"note": "ü"})).await?;
        assert_eq!(
            (updated.status, updated.body["note"].as_str(), updated.body["count"].as_i64()),
            (200, Some("ü"), Some(1))
        );
        let cleared = live.api.patch(&location, &json!({"count": null})).await?;
        assert!(cleared.body["count"].is_null() && cleared.body["note"] == "ü", "{}", cleared.text);
        let unchanged = live.api.patch(&location, &json!({"note": "ü"})).await?;
        assert_eq!(unchanged.status, 200, "an update that changes nothing is not a 404");

        let named = live.api.get(&format!("{records}/by/name?name=a")).await?;
        assert_eq!(named.body["records"].as_array().map(Vec::len), Some(1), "{}", named.text);

        let deleted = live.api.delete(&location).await?;
        assert_eq!(
            (deleted.status, deleted.body["name"].as_str()),
            (200, Some("a")),
            "{}",
            deleted.text
        );
        for gone in [
            live.api.get(&location).await?,
            live.api.patch(&location, &json!({"note": "x"})).await?,
            live.api.delete(&location).await?,
        ] {
            assert_eq!((gone.status, gone.code()), (404, "BEDS-0007"), "{}", gone.text);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_without_gap_or_overlap() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for template in ["Things", "Papers"] {
        let records = format!("/v1/records/{template}");
        for n in 0..7 {
            assert_eq!(
                live.api.post(&records, &json!({"name": format!("n{n}")})).await?.status,
                201
            );
        }
        let mut names = Vec::new();
        let mut path = format!("{records}?limit=3");
        for _ in 0..4 {
            let page = live.api.get(&path).await?;
            assert_eq!(page.status, 200, "{}", page.text);
            names.extend(
                page.body["records"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|r| r["name"].as_str().unwrap().to_owned()),
            );
            let Some(next) = page.body["next"].as_str() else { break };
            path = format!("{records}?limit=3&after={next}");
        }
        assert_eq!(names, ["n0", "n1", "n2", "n3", "n4", "n5", "n6"], "{template}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_with_the_same_key_gets_the_first_answer_and_no_second_effect() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for (template, counter) in [("Things", "Counters"), ("Papers", "Tallies")] {
        let records = format!("/v1/records/{template}");
        let first =
            live.api.post_with_key(&records, "k1", &json!({"name": "once", "count": 1})).await?;
        let again =
            live.api.post_with_key(&records, "k1", &json!({"count": 1, "name": "once"})).await?;
        assert_eq!((first.status, again.status, &first.text), (201, 201, &again.text));
        let other = live.api.post_with_key(&records, "k1", &json!({"name": "other"})).await?;
        assert_eq!((other.status, other.code()), (422, "BEDS-0010"), "{}", other.text);
        let elsewhere = live.api.post_with_key(&records, "k2", &json!({"name": "once"})).await?;
        assert_eq!((elsewhere.status, elsewhere.code()), (409, "BEDS-0008"), "{}", elsewhere.text);

        let path = format!("{}/v1/records/{counter}/c", live.api.url);
        let mut bumps = Vec::new();
        for _ in 0..3 {
            let request = live
                .api
                .http
                .patch(&path)
                .header("Idempotency-Key", "bump")
                .json(&json!({"by": 5}));
            bumps.push(live.api.send(request).await?.text);
        }
        assert!(bumps.iter().all(|bump| *bump == bumps[0]), "{bumps:?}");
        assert_eq!(live.api.get(&format!("/v1/records/{counter}/c")).await?.body["value"], 5);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_parallel_requests_with_one_key_have_one_effect() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for counter in ["Counters", "Tallies"] {
        let path = format!("{}/v1/records/{counter}/c", live.api.url);
        let requests = (0..60).map(|_| {
            live.api.send(
                live.api.http.patch(&path).header("Idempotency-Key", "p").json(&json!({"by": 1})),
            )
        });
        let mut statuses = Vec::new();
        for answer in futures_util::future::join_all(requests).await {
            statuses.push(answer?.status);
        }
        assert!(
            statuses.contains(&200) && statuses.iter().all(|s| matches!(s, 200 | 409 | 503)),
            "{statuses:?}"
        );
        assert_eq!(
            live.api.get(&format!("/v1/records/{counter}/c")).await?.body["value"],
            1,
            "{counter}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_many_callers_to_one_record_all_take_effect() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for counter in ["Counters", "Tallies"] {
        let path = format!("/v1/records/{counter}/c");
        let requests = (0..60).map(|number| {
            let request = live.api.http.patch(format!("{}{path}", live.api.url));
            let request = request.header("Idempotency-Key", format!("bump {number}"));
            live.api.send(request.header("Beds-Timeout", "20s").json(&json!({"by": 1})))
        });
        for answer in futures_util::future::join_all(requests).await {
            let answer = answer?;
            assert_eq!(answer.status, 200, "{counter}: {}", answer.text);
        }
        assert_eq!(live.api.get(&path).await?.body["value"], 60, "{counter}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_while_the_first_is_running_is_409_and_then_the_same_answer() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    // Else the one task that is there first would have both messages, one behind the other.
    world.all_consume().await?;
    let slow = json!({"name": "slow one"});
    let first = live.api.post_with_key("/v1/records/Things", "s", &slow);
    let second = async {
        loop {
            // The claim shows in the process list as soon as the first one sleeps inside its procedure.
            if world.is_asleep()? {
                return live.api.post_with_key("/v1/records/Things", "s", &slow).await;
            }
            tokio::task::yield_now().await;
        }
    };
    let (first, second) = tokio::join!(first, second);
    let (first, second) = (first?, second?);
    assert_eq!(first.status, 201, "{}", first.text);
    assert_eq!(
        (second.status, second.code(), second.header("retry-after")),
        (409, "BEDS-0011", "1"),
        "{}",
        second.text
    );
    assert_eq!(live.api.post_with_key("/v1/records/Things", "s", &slow).await?.text, first.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_reads_what_each_template_offers() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let all = live.api.get("/v1/templates").await?;
    let names: Vec<&str> = all.body["templates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"Flights") && names.contains(&"Users"), "{names:?}");
    let one = live.api.get("/v1/templates/Things").await?;
    let create = one.body["operations"]
        .as_array()
        .unwrap()
        .iter()
        .find(|o| o["operation"] == "create")
        .unwrap();
    assert_eq!(create["parameters"]["amount"], "decimal(30,10)");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_of_requests_in_flight_the_answer_is_503_at_once() -> Result<()> {
    let world = World::new().await?;
    let live = world.node_with(|config| config.services.appserver.max_in_flight = 1).await?;
    let slow = live.api.get("/v1/records/Things/by/sleep?seconds=1.5");
    let second = async {
        loop {
            if world.is_asleep()? {
                return live.api.get("/v1/records/Things/1").await;
            }
            tokio::task::yield_now().await;
        }
    };
    let (slow, second) = tokio::join!(slow, second);
    assert_eq!(slow?.status, 200);
    let second = second?;
    assert_eq!(
        (second.status, second.code(), second.header("retry-after")),
        (503, "BEDS-0013", "1")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_past_its_deadline_is_cancelled_and_its_connection_is_not_handed_on() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for _ in 0..4 {
        let request = live
            .api
            .http
            .get(format!("{}/v1/records/Things/by/sleep?seconds=2", live.api.url))
            .header("Beds-Timeout", "200ms");
        let late = live.api.send(request).await?;
        assert_eq!((late.status, late.code()), (504, "BEDS-0015"), "{}", late.text);
    }
    let after = live.api.get("/v1/records/Things/by/branch?which=1").await?;
    assert_eq!(after.body["records"], json!([{"word": "one"}]), "{}", after.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_past_its_deadline_leaves_nothing_behind() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let request = live.api.request("POST", "/v1/records/Things").header("Beds-Timeout", "300ms");
    let late = live.api.send(request.json(&json!({"name": "slow and late"}))).await?;
    assert_eq!(
        (late.status, late.code()),
        (504, "BEDS-0015"),
        "certainly rolled back: {}",
        late.text
    );
    crate::rig::eventually("the procedure has ended", async || Ok(!world.is_asleep()?)).await?;
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "0");
    for n in 0..4 {
        assert_eq!(
            live.api
                .post("/v1/records/Things", &json!({"name": format!("after {n}")}))
                .await?
                .status,
            201
        );
    }
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "4");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_that_a_procedure_keeps_to_itself_loses_no_write() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let bump = |first: i32, second: i32| {
        let api = live.api.clone();
        async move { api.post("/v1/records/Pairs", &json!({"first": first, "second": second})).await }
    };
    let (one, other) = tokio::join!(bump(1, 2), bump(2, 1));
    for answer in [one?, other?] {
        assert_eq!(
            (answer.status, &answer.body["state"]),
            (201, &json!("done")),
            "{}",
            answer.text
        );
    }
    let pairs = live.api.get("/v1/records/Pairs").await?;
    assert_eq!(
        pairs.body["records"],
        json!([{"id": 1, "n": 2}, {"id": 2, "n": 2}]),
        "{}",
        pairs.text
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_procedure_that_failed_leaves_nothing_to_the_next_one() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    let parent = live.api.post("/v1/records/Things", &json!({"name": "parent"})).await?;
    let parent_id = parent.body["id"].clone();
    let child =
        live.api.post("/v1/records/Things", &json!({"name": "child", "parent": parent_id})).await?;
    assert_eq!(child.status, 201, "{}", child.text);
    // It has made its temporary table when the foreign key stops it; the next one makes a table of that name too.
    let refused = live.api.delete(parent.header("location")).await?;
    assert_eq!((refused.status, refused.code()), (422, "BEDS-0022"), "{}", refused.text);
    for location in [child.header("location"), parent.header("location")] {
        let deleted = live.api.delete(location).await?;
        assert_eq!(deleted.status, 200, "{}", deleted.text);
    }
    let long = "𝄞".repeat(40);
    let after = live.api.post("/v1/records/Things", &json!({"name": long})).await?;
    assert_eq!(
        (after.status, after.body["name"].as_str()),
        (201, Some(long.as_str())),
        "{}",
        after.text
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_answers_all_the_rows_that_it_touched_and_404_for_none() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    world.sql("DELETE FROM pairs; INSERT INTO pairs (id, n) VALUES (1, 0), (2, 0), (3, 0)")?;
    let three = live.api.patch("/v1/records/Pairs/1", &json!({"n": 7})).await?;
    let rows = json!([{"id": 1, "n": 7}, {"id": 2, "n": 7}, {"id": 3, "n": 7}]);
    assert_eq!(
        three.body,
        json!({"record": rows[0], "result_sets": [rows], "out": {"changed": 3}}),
        "{}",
        three.text
    );
    let one = live.api.patch("/v1/records/Pairs/3", &json!({"n": 8})).await?;
    assert_eq!(one.body["record"], json!({"id": 3, "n": 8}), "{}", one.text);
    let none = live.api.patch("/v1/records/Pairs/4", &json!({"n": 9})).await?;
    assert_eq!((none.status, none.code()), (404, "BEDS-0007"), "{}", none.text);
    let mut told = Vec::new();
    eventually("the trail has all three", async || {
        told = crate::audit::search(&live.api, "&template=Pairs").await?;
        Ok(told.len() == 3)
    })
    .await?;
    let mut counted: Vec<u64> =
        told.iter().filter_map(|entry| entry["record"]["rows"].as_u64()).collect();
    counted.sort_unstable();
    assert_eq!(counted, [0, 1, 3]);
    Ok(())
}
