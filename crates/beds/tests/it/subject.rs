//! The acts on a record: each read and each write of it is found by its id, and the trail holds no id.
//!
//! Not here: the trail as a whole (audit.rs), the hashes themselves (`trail/record_keys.rs`).

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::rig::issuer::Issuer;
use crate::rig::{Api, World, as_caller, callers, eventually};

/// The acts on a record, as the command prints them, once there are so many; and its remarks.
async fn acts(world: &World, record: &str, count: usize) -> Result<(Vec<String>, String)> {
    let mut found = (Vec::new(), String::new());
    eventually("the acts are stored", async || {
        let output = world.beds(&["audit", "subject", record])?;
        let text = String::from_utf8(output.stdout)?;
        found = (text.lines().map(str::to_owned).collect(), String::from_utf8(output.stderr)?);
        ensure!(output.status.success() && found.0.len() <= count, "{record}: {found:#?}");
        Ok(found.0.len() == count)
    })
    .await
    .with_context(|| format!("{record}: {found:#?}"))?;
    Ok(found)
}

async fn created(api: &Api, records: &str, name: &str) -> Result<String> {
    let created = api.post(records, &json!({"name": name})).await?;
    ensure!(created.status == 201, "{}", created.text);
    let location = created.header("location");
    Ok(location.rsplit('/').next().context("an id")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_read_and_each_write_of_a_record_is_found_by_its_id() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let mut process = world.process("").await?;
    let api = process.api.clone();
    let ana = as_caller(&api, &issuer.token("ana", &["tester"]))?;
    for template in ["Things", "Papers"] {
        let records = format!("/v1/records/{template}");
        let [one, other] =
            [created(&ana, &records, "one").await?, created(&ana, &records, "other").await?];
        for path in [format!("{records}/{one}"), records.clone(), format!("{records}?limit=1")] {
            let read = api.get(&path).await?;
            ensure!(read.status == 200, "{}", read.text);
        }
        ana.patch(&format!("{records}/{one}"), &json!({"name": "changed"})).await?;
        ana.delete(&format!("{records}/{one}")).await?;
        // Created, fetched, listed twice, updated, deleted; the other one created and listed once.
        let (of_one, _) = acts(&world, &format!("{template}/{one}"), 6).await?;
        let (of_other, _) = acts(&world, &format!("{template}/{other}"), 2).await?;
        let count = |of: &[String], text: &str| of.iter().filter(|act| act.contains(text)).count();
        for operation in ["create", "fetch", "update", "delete"] {
            assert_eq!(count(&of_one, &format!("{template}.{operation}")), 1, "{of_one:#?}");
        }
        assert_eq!(count(&of_one, &format!("{template}.list")), 2, "{of_one:#?}");
        assert_eq!(
            (count(&of_one, "ana"), count(&of_one, callers::SUBJECT)),
            (3, 3),
            "{of_one:#?}"
        );
        assert_eq!(count(&of_other, "create"), 1, "{of_other:#?}");
        acts(&world, &format!("{template}/{one}0"), 0).await?;
    }
    // A key that comes before it makes the hashes from then on, and the old one still finds.
    let id = created(&ana, "/v1/records/Things", "one").await?;
    acts(&world, &format!("Things/{id}"), 1).await?;
    process.signal("TERM")?;
    process.ended().await?;
    let made = world.beds(&["keys", "hash", "new.key"])?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    world.change_config("[\"hash.key\"]", "[\"new.key\", \"hash.key\"]")?;
    let live = world.node().await?;
    live.api.get(&format!("/v1/records/Things/{id}")).await?;
    acts(&world, &format!("Things/{id}"), 2).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_were_dropped_are_in_the_trail_as_a_number() -> Result<()> {
    let world = World::new().await?;
    // The records of the first two reads find no room, and so does the word about it, twice.
    let process = world.process("no room=4*return").await?;
    let id = created(&process.api, "/v1/records/Things", "one").await?;
    for _ in 0..4 {
        process.api.get(&format!("/v1/records/Things/{id}")).await?;
    }
    let record = format!("Things/{id}");
    acts(&world, &record, 3).await?;
    let mut remarks = String::new();
    eventually("the number is stored", async || {
        remarks = acts(&world, &record, 3).await?.1;
        Ok(!remarks.starts_with("0 records"))
    })
    .await?;
    assert!(remarks.contains("2 records found no room"), "{remarks}");
    let things = world.folder.join("templates/things.toml");
    let text = std::fs::read_to_string(&things)?;
    std::fs::write(&things, text.replacen("\n[", "\naudit = \"required\"\n[", 1))?;
    let (_, remarks) = acts(&world, &record, 3).await?;
    assert!(remarks.contains("no answer leaves without its record"), "{remarks}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_named_in_one_form_and_found_with_the_key_only() -> Result<()> {
    let world = World::new().await?;
    let _live = world.node().await?;
    for record in ["Things", "Things/", "7"] {
        let output = world.beds(&["audit", "subject", record])?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(64) && said.contains("TEMPLATE/ID"), "{said}");
    }
    world.change_config("hash_keys = [\"hash.key\"]", "hash_keys = []")?;
    let output = world.beds(&["audit", "subject", "Things/7"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("reports.hash_keys"), "{said}");
    world.change_config("hash_keys = []", "hash_keys = [\"keys.toml\", \"absent.key\"]")?;
    let (code, said) = world.check()?;
    assert!(code != 0 && said.contains("absent.key") && said.contains("beds keys hash"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_act_hides_behind_another_spelling_a_refusal_or_a_row_without_an_id() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    world.domain(
        "CREATE PROCEDURE nameless() READS SQL DATA SELECT name FROM things;
         GRANT EXECUTE ON PROCEDURE nameless TO beds_runtime;",
        &[],
    )?;
    let things = world.folder.join("templates/things.toml");
    let text = std::fs::read_to_string(&things)?;
    let text = text.replacen("[fetches]\n", "[fetches]\nnameless = \"nameless\"\n", 1);
    std::fs::write(&things, text.replacen("read = [", "read = [\"reader\", ", 1))?;
    let live = world.node().await?;
    let id = created(&live.api, "/v1/records/Things", "one").await?;
    // The same record in other words, and a caller without the right to it.
    let spelled = live.api.get(&format!("/v1/records/Things/00{id}")).await?;
    assert_eq!(spelled.status, 200, "{}", spelled.text);
    let stranger = as_caller(&live.api, &issuer.token("eve", &["stranger"]))?;
    let refused = stranger.get(&format!("/v1/records/Things/{id}")).await?;
    assert_eq!(refused.status, 404, "{}", refused.text);
    // One that may read it and not change it is refused by the gateway.
    let reader = as_caller(&live.api, &issuer.token("rob", &["reader"]))?;
    let path = format!("/v1/records/Things/{id}");
    assert_eq!(reader.patch(&path, &json!({"name": "x"})).await?.status, 403);
    let gone = live.api.delete(&format!("/v1/records/Things/000{id}")).await?;
    assert_eq!(gone.status, 200, "{}", gone.text);
    let again = live.api.delete(&format!("/v1/records/Things/0{id}")).await?;
    assert_eq!(again.status, 404, "{}", again.text);
    // Created, fetched, refused, deleted, not there any more. To eve the template is none, so her request has no record of it.
    let (found, _) = acts(&world, &format!("Things/{id}"), 5).await?;
    let of = |name: &str| found.iter().filter(|act| act.contains(name)).count();
    assert_eq!((of("corp/eve"), of("corp/rob")), (0, 1), "{found:#?}");
    let nameless = live.api.get("/v1/records/Things/by/nameless").await?;
    assert_eq!(nameless.status, 200, "{}", nameless.text);
    created(&live.api, "/v1/records/Things", "two").await?;
    live.api.get("/v1/records/Things/by/nameless").await?;
    let mut remarks = String::new();
    eventually("the rows without an id are told", async || {
        remarks = acts(&world, &format!("Things/{id}"), 5).await?.1;
        Ok(remarks.contains("1 acts in this time handed out rows"))
    })
    .await
    .with_context(|| remarks.clone())
}
