//! Attacks on the stored audit trail of a node, found by `beds audit verify`. A thousand more, on the chain alone, are in
//! `core/src/audit/tests.rs`.

use anyhow::{Result, ensure};
use beds_core::EventId;
use beds_core::Outcome;
use beds_trail::audit::{AuditRecord, Head, SealedBatch};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::audit::search;
use crate::rig::{Api, Live, World, eventually};

/// A node that signs its chain, with five records of `Things` that a signed head covers.
async fn signed(world: &World) -> Result<(Live, Vec<Value>)> {
    let key = world.folder.join("audit.key");
    let live = world
        .node_with(|config| {
            config.services.admin.signing_key_file = Some(key.clone());
            config.services.admin.signing_interval = std::time::Duration::from_millis(200);
        })
        .await?;
    world.change_config(
        "[services.admin]\n",
        "[services.admin]\nsigning_key_file = \"audit.key\"\n",
    )?;
    for number in 0..5 {
        live.api.post("/v1/records/Things", &json!({"name": format!("n{number}")})).await?;
    }
    let mut records = Vec::new();
    eventually("the records are stored", async || {
        records = search(&live.api, "&template=Things").await?;
        Ok(records.len() == 5)
    })
    .await?;
    let newest =
        records.iter().filter_map(|record| record["seq"].as_u64()).max().unwrap_or_default();
    eventually("a head that covers them is signed", async || {
        let (code, text) = verify(world)?;
        ensure!(code == Some(0), "{text}");
        Ok(signed_up_to(&text) >= Some(newest))
    })
    .await?;
    Ok((live, records))
}

fn signed_up_to(text: &str) -> Option<u64> {
    text.split("signed up to ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok())
}

/// Exit code and output of `beds audit verify`.
fn verify(world: &World) -> Result<(Option<i32>, String)> {
    let output = world.beds(&["audit", "verify"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code(), text))
}

fn found(world: &World, expected: &str) -> Result<()> {
    let (code, text) = verify(world)?;
    ensure!(code == Some(1) && text.contains(expected), "expected {expected:?}: {code:?} {text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_or_deleted_record_is_found_and_named() -> Result<()> {
    let world = World::new().await?;
    let (live, records) = signed(&world).await?;
    let victim = &records[2];
    let (id, actor, seq) = (victim["_id"].as_str().unwrap(), &victim["actor"], &victim["seq"]);
    let path = format!("/v1/records/Attacker/{id}");
    let change = async |actor: &Value| live.api.patch(&path, &json!({"actor_name": actor})).await;
    assert_eq!(change(&json!("mallory")).await?.status, 200);
    found(&world, &format!("record {seq}: the record is not the one"))?;
    assert_eq!(change(actor).await?.status, 200);
    assert_eq!(verify(&world)?.0, Some(0), "as it was before");
    assert_eq!(live.api.delete(&format!("/v1/records/Attacker/{id}")).await?.status, 200);
    found(&world, &format!("record {seq}: the record is missing"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_was_cut_off_or_removed_is_found() -> Result<()> {
    let world = World::new().await?;
    let (live, records) = signed(&world).await?;
    let newest =
        records.iter().filter_map(|record| record["seq"].as_u64()).max().unwrap_or_default();
    // Nothing comes behind a cut: the node stops first.
    ensure!(live.node.shutdown().await, "a clean end");
    let attacker = attacker(&world).await?;
    let cut = attacker.api.delete(&format!("/v1/records/Forger/{}", newest - 1)).await?;
    assert_eq!(cut.status, 200, "{}", cut.text);
    found(&world, "the chain was cut off here: a signed head is further on")?;
    let removed = attacker.api.delete("/v1/records/Forger/0").await?;
    assert_eq!(removed.status, 200, "{}", removed.text);
    found(&world, "record 1: the chain was cut off here")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_record_is_found_though_it_fits_the_chain() -> Result<()> {
    let world = World::new().await?;
    let (live, _) = signed(&world).await?;
    ensure!(live.node.shutdown().await, "a clean end");
    let api = attacker(&world).await?.api;

    // Behind the end of the real chain, with the hash that fits.
    let last =
        api.get("/v1/records/Audit/by/head?chain=ms.audit-1").await?.body["records"][0].clone();
    let (seq, hash) = (
        last["seq"].as_u64().unwrap_or_default(),
        last["hash"].as_str().unwrap_or_default().to_owned(),
    );
    ensure!(seq > 0, "{last}");
    forge(&api, Head { chain: "ms.audit-1".into(), seq, hash }, AN_HOUR_AGO).await?;
    found(
        &world,
        &format!("chain ms.audit-1, record {}: no signed head covers the record", seq + 1),
    )?;

    // Instead of the real chain, one of a node that never was; and records of no chain.
    assert_eq!(api.delete("/v1/records/Forger/0").await?.status, 200);
    forge(&api, Head::start("elsewhere.audit-1"), AN_HOUR_AGO).await?;
    found(&world, "chain elsewhere.audit-1, record 1: no signed head covers the record")?;
    assert_eq!(api.delete("/v1/records/Forger/0").await?.status, 200);
    forge(&api, Head::start("elsewhere.audit-1"), IN_A_YEAR).await?;
    found(
        &world,
        "chain elsewhere.audit-1, record 1: no signed head covers the record, and it is of a time",
    )?;
    forge(&api, Head::start(&"x".repeat(300)), AN_HOUR_AGO).await?;
    found(&world, "belongs to no chain")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_lies_about_the_end_of_a_chain_hides_nothing() -> Result<()> {
    let world = World::new().await?;
    let (live, records) = signed(&world).await?;
    let victim = &records[2];
    ensure!(live.node.shutdown().await, "a clean end");
    let api = attacker(&world).await?.api;
    let deleted =
        api.delete(&format!("/v1/records/Attacker/{}", victim["_id"].as_str().unwrap())).await?;
    assert_eq!(deleted.status, 200, "{}", deleted.text);
    let mut liar = document(
        Head { chain: "ms.audit-1".into(), seq: 1 << 52, hash: String::new() },
        AN_HOUR_AGO,
    )?;
    liar["records"][0]["seq"] = json!(0);
    insert(&api, &liar).await?;
    found(&world, &format!("record {}: the record is missing", victim["seq"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_before_a_clean_end_is_signed() -> Result<()> {
    let world = World::new().await?;
    let key = world.folder.join("audit.key");
    let node = async || {
        world
            .node_with(|config| {
                config.services.admin.signing_key_file = Some(key.clone());
                config.services.admin.signing_interval = std::time::Duration::from_hours(24);
            })
            .await
    };
    world.change_config(
        "[services.admin]\n",
        "[services.admin]\nsigning_key_file = \"audit.key\"\n",
    )?;
    let first = node().await?;
    first.api.post("/v1/records/Things", &json!({"name": "last words"})).await?;
    let mut seq = 0;
    eventually("the record is stored", async || {
        let records = search(&first.api, "&template=Things").await?;
        seq = records.first().and_then(|record| record["seq"].as_u64()).unwrap_or_default();
        Ok(seq > 0)
    })
    .await?;
    ensure!(first.node.shutdown().await, "a clean end");
    let _second = node().await?;
    eventually("the signed head is stored", async || {
        Ok(signed_up_to(&verify(&world)?.1) >= Some(seq))
    })
    .await
}

/// A node beside the trail: it serves the attacker's templates and reports nothing.
async fn attacker(world: &World) -> Result<Live> {
    world
        .node_with(|config| {
            config.node.control = None;
            config.services.admin.is_local = false;
            config.reports.audit = false;
            config.reports.lineage = false;
        })
        .await
}

const AN_HOUR_AGO: SignedDuration = SignedDuration::from_hours(-1);
const IN_A_YEAR: SignedDuration = SignedDuration::from_hours(24 * 365);

/// Puts a record of some other time, with the right hashes, behind the end of a chain.
async fn forge(api: &Api, head: Head, from_now: SignedDuration) -> Result<()> {
    insert(api, &document(head, from_now)?).await
}

fn document(mut head: Head, from_now: SignedDuration) -> Result<Value> {
    let about = EventId::new("forged", "test");
    let mut record =
        AuditRecord::of_act(about.clone(), "mallory", "discard", Outcome::Ok, "forged");
    record.at = Timestamp::now().checked_add(from_now)?;
    let text = serde_json::to_string(&record)?;
    Ok(json!(SealedBatch::new(about, &mut head, &[(record, text)])))
}

async fn insert(api: &Api, document: &Value) -> Result<()> {
    let forged = api.post("/v1/records/Forger", document).await?;
    ensure!(forged.status == 201, "{}", forged.text);
    Ok(())
}
