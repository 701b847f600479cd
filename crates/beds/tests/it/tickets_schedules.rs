//! Schedules: each instant has one ticket, however many nodes there are, as the identity that the file of keys knows.
//!
//! Not here: which instant is due (core/config/schedule.rs), days on which clocks change (there too).

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::rig::{World, as_caller, eventually};
use crate::tickets_and_deaths::{gateway, worker};

const MARK: &str = "[services.calgon]";

/// Adds schedules to the world's beds.toml, and the key of app:nightly; answers the key.
fn schedule(world: &World, text: &str) -> Result<String> {
    world.change_config(MARK, &format!("{text}\n{MARK}"))?;
    let made = world.beds(&["keys", "new", "--subject", "app:nightly", "--role", "tester"])?;
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    let key = said.split_whitespace().find(|word| word.starts_with("beds_") && word.len() > 50);
    key.map(str::to_owned)
        .ok_or_else(|| anyhow::anyhow!("{said}{}", String::from_utf8_lossy(&made.stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_instant_has_one_ticket_though_three_nodes_ask() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let key = schedule(
        &world,
        "[schedules.each]\ntemplate = \"Works\"\njob = \"numbers\"\ncron = \"* * * * *\"\nas = \"app:nightly\"\nparams = { count = 2, width = 1 }",
    )?;
    let live = gateway(&world).await?;
    let own = as_caller(&live.api, &key)?;
    let first = worker(&world, &live, "w1").await?;
    let _others = [worker(&world, &live, "w2").await?, worker(&world, &live, "w3").await?];
    let tickets = async || -> Result<Vec<Value>> {
        let told = own.get("/v1/tickets?limit=50").await?;
        ensure!(told.status == 200, "{}", told.text);
        Ok(told.body["tickets"].as_array().cloned().unwrap_or_default())
    };
    eventually("the first instant has a ticket", async || Ok(tickets().await?.len() == 1)).await?;
    first.signal("KILL")?;
    eventually("the second has one too", async || Ok(tickets().await?.len() == 2)).await?;
    eventually("both are done", async || {
        Ok(tickets().await?.iter().all(|ticket| ticket["state"] == "done"))
    })
    .await?;
    let found = tickets().await?;
    assert_eq!(found.len(), 2, "{found:?}");
    for ticket in &found {
        assert_eq!(
            (&ticket["schedule"], &ticket["job"], &ticket["result"]["rows"]),
            (&json!("each"), &json!("numbers"), &json!(2)),
            "{ticket}"
        );
    }
    let minute =
        |ticket: &Value| ticket["created_at"].as_str().unwrap_or_default()[..16].to_owned();
    ensure!(minute(&found[0]) != minute(&found[1]), "{found:?}");
    // The caller stands in the lineage, as for any ticket.
    let id = found[1]["event_id"].as_str().unwrap_or_default().to_owned();
    eventually("the lineage names the schedule", async || {
        let tree = live.api.get(&format!("/v1/lineage/{id}")).await?;
        Ok(tree.text.contains("\"each\"") && tree.text.contains("app:nightly"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_is_skipped_while_the_work_of_the_one_before_goes_on() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let key = schedule(
        &world,
        "[schedules.long]\ntemplate = \"Works\"\njob = \"wait\"\ncron = \"* * * * *\"\nas = \"app:nightly\"\nparams = { tenths = 9000 }",
    )?;
    let live = gateway(&world).await?;
    let own = as_caller(&live.api, &key)?;
    let first = worker(&world, &live, "w1").await?;
    let count = async || -> Result<usize> {
        let told = own.get("/v1/tickets?limit=50").await?;
        Ok(told.body["tickets"].as_array().map_or(0, Vec::len))
    };
    eventually("the first instant has a ticket", async || Ok(count().await? == 1)).await?;
    eventually("the second is skipped", async || {
        let metrics = first.api.get("/metrics").await?;
        let skipped = |line: &&str| {
            line.starts_with("beds_schedules_total") && line.contains("outcome=\"skipped\"")
        };
        Ok(metrics.text.lines().any(|line| skipped(&line)))
    })
    .await?;
    assert_eq!(count().await?, 1);
    let running = own.get("/v1/tickets?state=running").await?;
    let id = running.body["tickets"][0]["id"].as_str().unwrap_or_default().to_owned();
    assert_eq!(own.delete(&format!("/v1/tickets/{id}")).await?.status, 202);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_cannot_work_is_told_by_beds_check() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let base =
        "template = \"Works\"\njob = \"numbers\"\ncron = \"0 3 * * *\"\nas = \"app:nightly\"\n";
    schedule(&world, &format!("[schedules.good]\n{base}"))?;
    let (code, text) = world.check()?;
    ensure!(!text.contains("schedules."), "{code}: {text}");
    let table = [
        (base.replace("as = \"app:nightly\"\n", ""), "has no `as`"),
        (base.replace("app:nightly", "ana"), "no subject of a key"),
        (
            base.replace("app:nightly", "app:gone"),
            "no key that is still good has the subject app:gone",
        ),
        (base.replace("numbers", "nothing"), "no job"),
        (base.replace("Works", "Nothing"), "no template"),
        (base.replace("0 3 * * *", "0 25 * * *"), "cannot be read"),
        (base.replace("0 3 * * *", "0 0 3 * * *"), "five fields"),
        (format!("{base}time_zone = \"Mars/Olympus\"\n"), "no name of a time zone"),
        (format!("{base}overlap = \"both\"\n"), "neither skip nor queue"),
    ];
    let good = std::fs::read_to_string(world.config_file())?;
    for (text, wanted) in table {
        let bad = good.replace(MARK, &format!("[schedules.bad]\n{text}\n{MARK}"));
        std::fs::write(world.config_file(), bad)?;
        let (code, said) = world.check()?;
        ensure!(code == 1 && said.contains(wanted), "{wanted}: {code} {said}");
    }
    Ok(())
}
