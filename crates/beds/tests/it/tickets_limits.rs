//! The limits of tickets: those that are not begun in time, results that are too large or too old, rights that shrink; the login of jobs,
//! and failed ones that an operator tries again.
//!
//! Not here: owners and their turns (`tickets_more.rs`).

use std::num::NonZeroU16;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::audit::search;
use crate::rig::{World, eventually};
use crate::tickets::{ask, ended};
use crate::tickets_end::{at_work, begun};

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_is_not_begun_in_time_never_is() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world
        .node_with(|config| {
            config.services.calgon.instances.work = NonZeroU16::MIN;
            config.services.calgon.start_within = Duration::from_secs(1);
        })
        .await?;
    let first = ask(&live.api, "/v1/records/Works/jobs/wait", &json!({"tenths": 3000})).await?;
    begun(&world, &first).await?;
    let late = ask(&live.api, "/v1/records/Works/jobs/wait", &json!({"tenths": 1})).await?;
    let told = ended(&live.api, &late).await?;
    assert_eq!((&told["state"], &told["attempt"]), (&json!("lapsed"), &json!(0)), "{told}");
    let result = live.api.get(&format!("{late}/result")).await?;
    assert_eq!((result.status, result.code()), (410, "BEDS-0036"), "{}", result.text);
    // Cancelled now, it stays what it is. The one that runs has begun in time, and goes on.
    assert_eq!(live.api.delete(&late).await?.body["state"], "lapsed");
    assert_eq!(live.api.get(&first).await?.body["state"], "running");
    assert_eq!(live.api.delete(&first).await?.status, 202);
    eventually("cancelling is in the trail", async || {
        let found = search(&live.api, "&template=Tickets&subject=app:tests").await?;
        Ok(found.iter().filter(|found| found["record"]["operation"] == "delete").count() == 2)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_has_a_largest_size_and_an_end() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let small = "/v1/records/Works/jobs/small";
    let path = ask(&live.api, small, &json!({"count": 2000, "width": 1000})).await?;
    let told = ended(&live.api, &path).await?;
    assert_eq!(told["problem"]["code"], "BEDS-0025", "{told}");
    ensure!(told["problem"]["detail"].as_str().unwrap_or_default().contains("1 MiB"), "{told}");
    assert_eq!(at_work(&world, &path)?, None, "the call has ended");
    let path = ask(&live.api, small, &json!({"count": 1, "width": 1})).await?;
    assert_eq!(ended(&live.api, &path).await?["state"], "done");
    eventually("its time is over", async || {
        let result = live.api.get(&format!("{path}/result")).await?;
        Ok((result.status, result.code()) == (410, "BEDS-0036"))
    })
    .await?;
    assert_eq!(live.api.get(&path).await?.body["state"], "done");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_may_read_less_by_now_does_not_get_the_result_of_before() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let body = json!({"count": 2, "width": 1});
    let path = ask(&live.api, "/v1/records/Works/jobs/numbers", &body).await?;
    assert_eq!(ended(&live.api, &path).await?["state"], "done");
    let file = "templates/works.toml";
    let text = std::fs::read_to_string(world.folder.join(file))?;
    world.write(file, format!("{text}\n[fields.filler]\nread = [\"chief\"]\n"))?;
    let node = live.node.domains();
    node.reload().await;
    let refused = live.api.get(&format!("{path}/result")).await?;
    assert_eq!((refused.status, refused.code()), (403, "BEDS-0031"), "{}", refused.text);
    ensure!(refused.text.contains("ask for the work again"), "{}", refused.text);
    let path = ask(&live.api, "/v1/records/Works/jobs/numbers", &body).await?;
    assert_eq!(ended(&live.api, &path).await?["state"], "done");
    let result = live.api.get(&format!("{path}/result")).await?;
    assert_eq!(result.body["records"], json!([{"id": 1}, {"id": 2}]), "{}", result.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_have_a_login_of_their_own_where_the_operator_gives_one() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let login = format!("j{}", &world.name[..20]);
    world.sql_server(&format!(
        "CREATE USER {login}@'%' IDENTIFIED BY 'secret'; GRANT ALL ON {}.* TO {login}@'%'",
        world.name
    ))?;
    let text = std::fs::read_to_string(world.config_file())?;
    let (_, place) = world.maria.rsplit_once('@').unwrap_or_default();
    let jobs = format!(
        "[databases.rel.main.jobs]\nurl = \"mysql://{login}:secret@{place}/{}\"\n[databases.rec.main]",
        world.name
    );
    std::fs::write(world.config_file(), text.replacen("[databases.rec.main]", &jobs, 1))?;
    let live = world.node().await?;
    let path = ask(&live.api, "/v1/records/Works/jobs/who", &json!({})).await?;
    let told = ended(&live.api, &path).await?;
    assert_eq!(told["state"], "done", "{told}");
    let result = live.api.get(&format!("{path}/result")).await?;
    assert_eq!(result.body["records"], json!([{"id": 1, "login": login}]), "{}", result.text);
    // It is ended by that login too.
    let path = ask(&live.api, "/v1/records/Works/jobs/stubborn", &json!({"tenths": 3000})).await?;
    begun(&world, &path).await?;
    assert_eq!(live.api.delete(&path).await?.status, 202);
    assert_eq!(ended(&live.api, &path).await?["state"], "cancelled");
    assert_eq!(at_work(&world, &path)?, None);
    world.sql_server(&format!("DROP USER {login}@'%'"))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lets_a_failed_ticket_run_again_until_its_values_are_removed() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    let live = world.node().await?;
    let retry = |id: &str| -> Result<(Option<i32>, String)> {
        let output = world.beds(&["tickets", "retry", id])?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    };
    let path = ask(&live.api, "/v1/records/Works/jobs/fail", &json!({"kind": "rule"})).await?;
    let id = path.rsplit('/').next().unwrap_or_default().to_owned();
    assert_eq!(ended(&live.api, &path).await?["state"], "failed");
    let (code, text) = retry(&id)?;
    ensure!(code == Some(0) && text.contains("queued"), "{text}");
    eventually("it was tried again", async || {
        let told = live.api.get(&path).await?.body;
        Ok(told["state"] == "failed" && told["attempt"] == 2)
    })
    .await?;
    assert_eq!(live.api.delete(&format!("{path}/result")).await?.status, 200);
    let (code, text) = retry(&id)?;
    ensure!(code == Some(1) && text.contains("still has its values"), "{text}");
    let done =
        ask(&live.api, "/v1/records/Works/jobs/numbers", &json!({"count": 1, "width": 1})).await?;
    assert_eq!(ended(&live.api, &done).await?["state"], "done");
    let (code, text) = retry(done.rsplit('/').next().unwrap_or_default())?;
    ensure!(code == Some(1), "{text}");
    // An owner asks anew, and cannot do this.
    let told = live.api.patch(&path, &json!({})).await?;
    ensure!(told.status == 405 || told.status == 404, "{}", told.text);
    Ok(())
}
