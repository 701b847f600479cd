//! Jobs that write: in steps in MariaDB, merged and published in MongoDB; and how far a job is while it works.
//!
//! Not here: jobs that read (tickets.rs), the ends of tickets (`tickets_end.rs`).

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::rig::{Api, World, eventually};
use crate::tickets::{ask, ended};
use crate::tickets_and_deaths::{gateway, worker};

const MARCH: &str = "/v1/records/Works/jobs/march";

/// Rows that steps have written, and how many of their numbers differ.
fn marched(world: &World) -> Result<(i64, i64)> {
    let said =
        world.sql("SELECT CONCAT(COUNT(*), ' ', COUNT(DISTINCT number)) FROM works_marched")?;
    let (all, numbers) = said.split_once(' ').context("two numbers")?;
    Ok((all.parse()?, numbers.parse()?))
}

async fn done_so_far(api: &Api, path: &str) -> Result<i64> {
    Ok(api.get(path).await?.body["progress"]["done"].as_i64().unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_steps_does_each_once_and_tells_how_far_it_is() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let asked = live.api.post(MARCH, &json!({"count": 95, "millis": 0})).await?;
    let event_id = asked.header("beds-event-id").to_owned();
    let path = asked.header("location").to_owned();
    let told = ended(&live.api, &path).await?;
    assert_eq!(told["state"], "done", "{told}");
    assert_eq!((&told["progress"]["done"], &told["progress"]["total"]), (&json!(95), &json!(95)));
    let result = live.api.get(&format!("{path}/result")).await?;
    assert_eq!(result.body["records"], json!([{"steps": 10, "done": 95}]), "{}", result.text);
    assert_eq!(marched(&world)?, (95, 95));
    eventually("the steps are in the lineage", async || {
        let tree = live.api.get(&format!("/v1/lineage/{event_id}?format=text")).await?;
        Ok(tree.text.lines().filter(|line| line.contains("works_march")).count() == 10)
    })
    .await?;
    // The page is BEDS's own.
    for name in ["after", "limit"] {
        let body = json!({"count": 5, "millis": 0, name: 1});
        let told = live.api.post(MARCH, &body).await?;
        assert_eq!((told.status, told.code()), (400, "BEDS-0002"), "{}", told.text);
    }
    let shown = live.api.get("/v1/templates/Works").await?;
    ensure!(shown.text.contains("\"march\"") && !shown.text.contains("after"), "{}", shown.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_goes_on_with_the_step_at_which_one_was_killed() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = gateway(&world).await?;
    let first = worker(&world, &live, "w1").await?;
    let path = ask(&live.api, MARCH, &json!({"count": 100, "millis": 300})).await?;
    eventually("two steps are done", async || Ok(done_so_far(&live.api, &path).await? >= 20))
        .await?;
    first.signal("KILL")?;
    let _second = worker(&world, &live, "w2").await?;
    let told = ended(&live.api, &path).await?;
    assert_eq!((&told["state"], &told["attempt"]), (&json!("done"), &json!(2)), "{told}");
    let result = live.api.get(&format!("{path}/result")).await?;
    assert_eq!(result.body["records"], json!([{"steps": 10, "done": 100}]), "{}", result.text);
    assert_eq!(marched(&world)?, (100, 100), "no step took effect twice");
    // The second has begun where the first was, and not anew.
    let of_first = "SELECT COUNT(*) FROM works_marched WHERE attempt = (SELECT attempt FROM works_marched WHERE number = 1)";
    ensure!(world.sql(of_first)?.parse::<i64>()? >= 20);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_steps_that_is_cancelled_has_done_what_it_says() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let path = ask(&live.api, MARCH, &json!({"count": 1000, "millis": 400})).await?;
    eventually("a step is done", async || Ok(done_so_far(&live.api, &path).await? >= 10)).await?;
    assert_eq!(live.api.delete(&path).await?.status, 202);
    let told = ended(&live.api, &path).await?;
    assert_eq!(told["state"], "cancelled", "{told}");
    let done = told["progress"]["done"].as_i64().context("a progress")?;
    assert_eq!(marched(&world)?, (done, done), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_says_nothing_new_is_a_failure_and_not_an_endless_job() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    for (kind, word) in [("circle", "twice"), ("mute", "`next`"), ("two", "no single row")] {
        let path = ask(&live.api, "/v1/records/Works/jobs/circle", &json!({"kind": kind})).await?;
        let told = ended(&live.api, &path).await?;
        assert_eq!(told["problem"]["code"], "BEDS-0027", "{told}");
        let detail = told["problem"]["detail"].as_str().unwrap_or_default();
        ensure!(detail.contains(word), "{kind}: {detail}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_progress_of_an_object_is_seen_while_it_works_and_nothing_of_it_stays() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let path = ask(&live.api, "/v1/records/Works/jobs/telling", &json!({"tenths": 200})).await?;
    let mut seen = Value::Null;
    eventually("it tells how far it is", async || {
        seen = live.api.get(&path).await?.body["progress"].clone();
        Ok(seen["text"] == "waiting" && seen["total"] == 200)
    })
    .await?;
    let first = seen["done"].as_i64().context("a number")?;
    eventually("it comes further", async || Ok(done_so_far(&live.api, &path).await? > first))
        .await?;
    assert_eq!(live.api.delete(&path).await?.status, 202);
    assert_eq!(ended(&live.api, &path).await?["state"], "cancelled");
    assert_eq!(world.sql("SELECT COUNT(*) FROM beds_job_progress")?, "0");
    // A total that another object tells.
    for (template, job, body, total) in [
        ("Works", "counted", json!({"count": 3, "width": 1}), 3),
        ("Papers", "rows", json!({"count": 5}), 1),
    ] {
        if template == "Papers" {
            live.api.post("/v1/records/Papers", &json!({"name": "one"})).await?;
        }
        let path = ask(&live.api, &format!("/v1/records/{template}/jobs/{job}"), &body).await?;
        let told = ended(&live.api, &path).await?;
        assert_eq!(
            (&told["state"], &told["progress"]["total"]),
            (&json!("done"), &json!(total)),
            "{told}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_is_published_once_and_only_when_it_is_whole() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = gateway(&world).await?;
    let first = worker(&world, &live, "w1").await?;
    live.api.post("/v1/records/Papers", &json!({"name": "one"})).await?;
    let press = "/v1/records/Papers/jobs/press";
    let path = ask(&live.api, press, &json!({"count": 50, "rounds": 1})).await?;
    let told = ended(&live.api, &path).await?;
    assert_eq!(told["state"], "done", "{told}");
    let result = live.api.get(&format!("{path}/result")).await?;
    assert_eq!(result.body["records"][0]["published"], 1, "{}", result.text);
    // Cancelled in the middle: the published run stays.
    let long = json!({"count": 2000, "rounds": 100_000});
    let path = ask(&live.api, press, &long).await?;
    eventually("it runs", async || Ok(live.api.get(&path).await?.body["state"] == "running"))
        .await?;
    assert_eq!(live.api.delete(&path).await?.status, 202);
    assert_eq!(ended(&live.api, &path).await?["state"], "cancelled");
    // Killed in the middle: another node does it, and publishes it once.
    let path = ask(&live.api, press, &json!({"count": 400, "rounds": 100_000})).await?;
    eventually("it runs", async || Ok(live.api.get(&path).await?.body["state"] == "running"))
        .await?;
    first.signal("KILL")?;
    let _second = worker(&world, &live, "w2").await?;
    let told = ended(&live.api, &path).await?;
    assert_eq!(told["state"], "done", "{told}");
    let result = live.api.get(&format!("{path}/result")).await?;
    assert_eq!(result.body["records"][0]["published"], 2, "{}", result.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_be_done_in_its_way_is_told_by_beds_check() -> Result<()> {
    let world = World::new().await?;
    let merge = "kind = \"merge\"\npublish = \"papers_publish\"";
    let table = [
        ("rel", "[jobs.x]\nobject = \"works_writes\"\nkind = \"steps\"", "p_after and p_limit"),
        (
            "rel",
            "[jobs.x]\nobject = \"works_wait\"\nkind = \"merge\"\npublish = \"works_writes\"",
            "which MongoDB has",
        ),
        ("rel", "[jobs]\nx = \"works_writes\"", "is for a job that reads"),
        ("rel", "[objects]\ncreate = \"works_telling\"", "beds_job_progress would stay"),
        ("rec", "[jobs.x]\nobject = \"papers_rows\"\nkind = \"steps\"", "which MariaDB has"),
        ("rec", &format!("[jobs.x]\nobject = \"papers_rows\"\n{merge}"), "no $merge"),
        ("rec", "[jobs]\nx = \"papers_press\"", "$merge"),
        ("rec", "[jobs.x]\nobject = \"papers_press\"\nkind = \"merge\"", "publishes nothing"),
        (
            "rec",
            &format!("[jobs.x]\nobject = \"papers_press\"\ntotal = \"papers_count\"\n{merge}"),
            "no meaning for the kind merge",
        ),
        ("rel", "[jobs.x]\nobject = \"works_numbers\"\nlimit = 5", "no meaning for the kind read"),
    ];
    for (store, jobs, wanted) in table {
        let head =
            format!("name = \"Odd\"\nstore = \"{store}\"\ndatabase = \"main\"\nid = \"id\"\n");
        world.template("odd", &format!("{head}{jobs}\n"))?;
        let (code, said) = world.check()?;
        ensure!(code == 1 && said.contains(wanted), "{wanted}: {code} {said}");
    }
    Ok(())
}
