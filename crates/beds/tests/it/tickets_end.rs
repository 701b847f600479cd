//! The ends of tickets: cancelled where the database has confirmed it, ended by their time, tried again where that can help, and moves that
//! come too late.
//!
//! Not here: nodes that die (`tickets_and_deaths.rs`).

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::rig::{Api, World, eventually};
use crate::tickets::{ask, ended};

/// The connection in MariaDB that works for a ticket; none where nothing does.
pub(crate) fn at_work(world: &World, path: &str) -> Result<Option<String>> {
    let id = path.rsplit('/').next().unwrap_or_default();
    let said = world.sql(&format!("SELECT IFNULL(IS_USED_LOCK('beds:ticket:{id}'), '')"))?;
    Ok(Some(said).filter(|said| !said.is_empty()))
}

/// Waits until a ticket is worked on.
pub(crate) async fn begun(world: &World, path: &str) -> Result<()> {
    eventually("the work has begun", async || Ok(at_work(world, path)?.is_some())).await
}

async fn state(api: &Api, path: &str) -> Result<Value> {
    Ok(api.get(path).await?.body["state"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_ticket_is_gone_in_the_database_when_it_says_so() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    for job in ["wait", "stubborn"] {
        let path =
            ask(&live.api, &format!("/v1/records/Works/jobs/{job}"), &json!({"tenths": 3000}))
                .await?;
        begun(&world, &path).await?;
        assert_eq!(state(&live.api, &path).await?, "running");
        let told = live.api.delete(&path).await?;
        assert_eq!(
            (told.status, &told.body["state"]),
            (202, &json!("cancelling")),
            "{}",
            told.text
        );
        let result = live.api.get(&format!("{path}/result")).await?;
        ensure!(matches!(result.status, 409 | 410), "{}", result.text);
        // Only these moves are ever seen, and nothing is left when the last one is told.
        let mut seen = Vec::new();
        eventually("it is cancelled", async || {
            let state = state(&live.api, &path).await?;
            if seen.last() != Some(&state) {
                seen.push(state.clone());
            }
            Ok(state == "cancelled")
        })
        .await?;
        assert_eq!(at_work(&world, &path)?, None, "{job} still runs");
        ensure!(seen == ["cancelling", "cancelled"] || seen == ["cancelled"], "{seen:?}");
        let result = live.api.get(&format!("{path}/result")).await?;
        assert_eq!((result.status, result.code()), (410, "BEDS-0036"), "{}", result.text);
        // Cancelled is final, and cancelling once more changes nothing.
        let again = live.api.delete(&path).await?;
        assert_eq!(
            (again.status, &again.body["state"]),
            (200, &json!("cancelled")),
            "{}",
            again.text
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_waits_is_cancelled_at_once_and_never_begun() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let running = ask(&live.api, "/v1/records/Works/jobs/alone", &json!({"tenths": 3000})).await?;
    begun(&world, &running).await?;
    // One at a time: the second waits, although tasks are free.
    let waiting = ask(&live.api, "/v1/records/Works/jobs/alone", &json!({"tenths": 1})).await?;
    let other =
        ask(&live.api, "/v1/records/Works/jobs/numbers", &json!({"count": 1, "width": 1})).await?;
    assert_eq!(ended(&live.api, &other).await?["state"], "done");
    assert_eq!(state(&live.api, &waiting).await?, "queued");
    let told = live.api.delete(&waiting).await?;
    assert_eq!((told.status, &told.body["state"]), (200, &json!("cancelled")), "{}", told.text);
    assert_eq!(live.api.delete(&running).await?.status, 202);
    assert_eq!(ended(&live.api, &running).await?["state"], "cancelled");
    let next = ask(&live.api, "/v1/records/Works/jobs/alone", &json!({"tenths": 1})).await?;
    assert_eq!(ended(&live.api, &next).await?["state"], "done", "the place is free again");
    assert_eq!(live.api.get(&waiting).await?.body["attempt"], 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_takes_too_long_is_ended_and_errors_are_tried_again_where_that_helps()
-> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let path = ask(&live.api, "/v1/records/Works/jobs/short", &json!({"tenths": 3000})).await?;
    let told = ended(&live.api, &path).await?;
    assert_eq!(
        (&told["state"], &told["problem"]["code"]),
        (&json!("failed"), &json!("BEDS-0015")),
        "{told}"
    );
    assert_eq!(at_work(&world, &path)?, None);
    // A deadlock is worth another attempt; three of them are enough.
    let path = ask(&live.api, "/v1/records/Works/jobs/fail", &json!({"kind": "deadlock"})).await?;
    let told = ended(&live.api, &path).await?;
    assert_eq!((&told["state"], &told["attempt"]), (&json!("failed"), &json!(3)), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_an_ended_ticket_is_removed_and_the_ticket_stays() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let path =
        ask(&live.api, "/v1/records/Works/jobs/numbers", &json!({"count": 1, "width": 1})).await?;
    assert_eq!(ended(&live.api, &path).await?["state"], "done");
    let removed = live.api.delete(&format!("{path}/result")).await?;
    assert_eq!((removed.status, &removed.body["state"]), (200, &json!("done")), "{}", removed.text);
    for _ in 0..2 {
        let gone = live.api.get(&format!("{path}/result")).await?;
        assert_eq!((gone.status, gone.code()), (410, "BEDS-0036"), "{}", gone.text);
    }
    assert_eq!(live.api.get(&path).await?.status, 200, "the ticket itself is known");
    let running = ask(&live.api, "/v1/records/Works/jobs/wait", &json!({"tenths": 3000})).await?;
    begun(&world, &running).await?;
    let early = live.api.delete(&format!("{running}/result")).await?;
    assert_eq!((early.status, early.code()), (409, "BEDS-0035"), "{}", early.text);
    assert_eq!(live.api.delete(&running).await?.status, 202);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_and_cancels_the_tickets_of_all_callers() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let path = ask(&live.api, "/v1/records/Works/jobs/wait", &json!({"tenths": 3000})).await?;
    begun(&world, &path).await?;
    let id = path.rsplit('/').next().unwrap_or_default().to_owned();
    let said = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let output = world.beds(&[&["tickets"], arguments].concat())?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    };
    let (code, text) = said(&["ls", "--state", "running"])?;
    ensure!(code == Some(0) && text.contains(&id) && text.contains("app:tests"), "{text}");
    let (code, text) = said(&["show", &id])?;
    ensure!(code == Some(0) && text.contains("\"state\": \"running\""), "{text}");
    let (code, text) = said(&["wait", &id, "--timeout", "1"])?;
    ensure!(code == Some(2) && text.contains("has not ended"), "{text}");
    let (code, text) = said(&["cancel", &id])?;
    ensure!(code == Some(0) && text.contains("cancelled"), "{text}");
    assert_eq!(at_work(&world, &path)?, None);
    let (code, text) = said(&["wait", &id])?;
    ensure!(code == Some(1), "{text}");
    let (code, text) = said(&["show", "none"])?;
    ensure!(code == Some(1) && text.contains("BEDS-0034"), "{text}");
    let (code, text) = said(&["ls", "--state", "gone"])?;
    ensure!(code == Some(64), "{text}");
    Ok(())
}
