//! Rights over the door of changes: each change is for those who may hear of it when it is told, and a right that goes ends the stream.
//!
//! Not here: the changes themselves (live.rs), rights over the other doors (rights.rs, rows.rs).

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::live::{create, tell};
use crate::rig::events::Events;
use crate::rig::issuer::Issuer;
use crate::rig::{Api, World, as_caller};
use crate::rows::{caller, flight};

async fn book(api: &Api, flight: u64, seat: &str) -> Result<String> {
    let body = json!({"flight_id": flight, "seat": seat, "passenger": "a canary"});
    let booked = api.post("/v1/records/Bookings", &body).await?;
    ensure!(booked.status == 201, "{}", booked.text);
    Ok(booked.body["booking_id"].to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_for_the_tenant_and_the_owner_of_the_row_also_a_delete() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node().await?;
    let flight = flight(&world, &live.api).await?;
    let of = |name: &str, role: &str, tenant: &str| {
        caller(&live.api, &issuer, name, role, json!(tenant))
    };
    let (ana, bob) = (of("ana", "traveller", "acme")?, of("bob", "traveller", "acme")?);
    let (twin, clerk) = (of("ana", "traveller", "globex")?, of("carl", "clerk", "acme")?);
    let query = "template=Bookings";
    let (mut of_ana, begin) = Events::of(&ana, query, None).await?;
    let (mut of_bob, _) = Events::of(&bob, query, None).await?;
    let (mut of_twin, _) = Events::of(&twin, query, None).await?;
    let first = book(&ana, flight, "1A").await?;
    // The clerk takes away a row that is another's: its owner hears of it.
    let path = format!("/v1/records/Bookings/{first}");
    assert_eq!(clerk.delete(&path).await?.status, 200);
    let (second, third) = (book(&bob, flight, "2B").await?, book(&twin, flight, "3C").await?);
    let told = of_ana.change().await?;
    assert_eq!(told.moved(), ("create", first.as_str()));
    assert!(!told.data.to_string().contains("canary") && told.data["scope"] == Value::Null);
    assert_eq!(of_ana.change().await?.moved(), ("delete", first.as_str()));
    // The first change that the others hear of is their own.
    assert_eq!(of_bob.change().await?.moved(), ("create", second.as_str()));
    assert_eq!(of_twin.change().await?.moved(), ("create", third.as_str()));
    // The same over the way of a cursor.
    for (api, record) in [(&ana, &first), (&bob, &second), (&twin, &third)] {
        let (mut again, _) = Events::of(api, query, Some(&begin)).await?;
        assert_eq!(again.change().await?.moved(), ("create", record.as_str()));
    }
    let last = book(&ana, flight, "4D").await?;
    assert_eq!(of_ana.change().await?.moved(), ("create", last.as_str()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_or_the_claim_nothing_is_told() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    tell(&world)?;
    let live = world.node().await?;
    let mut payload = issuer.payload("ana", &["traveller"]);
    drop(payload.as_object_mut().unwrap().remove("org"));
    let without_claim = as_caller(&live.api, &issuer.signed(&payload))?;
    let analyst = as_caller(&live.api, &issuer.token("amy", &["analyst"]))?;
    let stranger =
        as_caller(&live.api, "beds_00000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")?;
    for (api, template, status, code) in [
        (&without_claim, "Bookings", 403, "BEDS-0032"),
        (&analyst, "Bookings", 404, "BEDS-0001"),
        (&analyst, "LiveThings", 404, "BEDS-0001"),
        (&stranger, "LiveThings", 401, "BEDS-0030"),
    ] {
        let refused = api.get(&format!("/v1/changes?template={template}")).await?;
        assert_eq!(
            (refused.status, refused.code()),
            (status, code),
            "{template}: {}",
            refused.text
        );
    }
    let text = std::fs::read_to_string(world.folder.join("templates/livethings.toml"))?;
    world.write(
        "templates/livethings.toml",
        text.replace("changes = [\"tester\"]", "changes = [\"chief\"]"),
    )?;
    ensure!(live.node.reload().await.mistakes.is_empty());
    let refused = live.api.get("/v1/changes?template=LiveThings").await?;
    assert_eq!((refused.status, refused.code()), (403, "BEDS-0031"), "{}", refused.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_fields_that_a_caller_may_not_read_are_not_told() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    tell(&world)?;
    let text = std::fs::read_to_string(world.folder.join("templates/livethings.toml"))?;
    let text = text.replace("[\"tester\"]", "[\"tester\", \"chief\"]");
    world.write("templates/livethings.toml", text + "[fields.note]\nread = [\"chief\"]\n")?;
    let live = world.node().await?;
    let chief = as_caller(&live.api, &issuer.token("amy", &["chief"]))?;
    let (mut all, begin) = Events::of(&chief, "template=LiveThings", None).await?;
    let (mut some, _) = Events::of(&live.api, "template=LiveThings", None).await?;
    let created =
        chief.post("/v1/records/LiveThings", &json!({"name": "one", "note": "two"})).await?;
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(all.change().await?.data["fields"], json!(["name", "note"]));
    assert_eq!(some.change().await?.data["fields"], json!(["name"]));
    let (mut again, _) = Events::of(&live.api, "template=LiveThings", Some(&begin)).await?;
    assert_eq!(again.change().await?.data["fields"], json!(["name"]));
    Ok(())
}

/// The reason with which a stream ends.
async fn end(events: &mut Events) -> Result<String> {
    let last = events.next().await?;
    ensure!(last.name == "end", "{last:?}");
    ensure!(events.next_if_any().await?.is_none(), "the answer goes on behind its end");
    Ok(last.data["reason"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_a_revoked_and_a_rightless_caller_is_told_no_more() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    tell(&world)?;
    let key = "beds_11111111_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
    let keys = std::fs::read_to_string(world.folder.join("keys.toml"))?;
    let hash = beds_core::digest::hex(&Sha256::digest(key));
    let more = format!(
        "[key.11111111]\nsha256 = \"{hash}\"\nsubject = \"app:more\"\nroles = [\"tester\"]\n"
    );
    world.write("keys.toml", format!("{keys}{more}"))?;
    let live = world.node_with(|config| config.auth.leeway = std::time::Duration::ZERO).await?;
    let query = "template=LiveThings";
    let mut payload = issuer.payload("ana", &["tester"]);
    payload["exp"] = json!(jiff::Timestamp::now().as_second() + 3);
    let short = as_caller(&live.api, &issuer.signed(&payload))?;
    let (mut expiring, _) = Events::of(&short, query, None).await?;
    let (mut revoked, _) = Events::of(&as_caller(&live.api, key)?, query, None).await?;
    let (mut kept, _) = Events::of(&live.api, query, None).await?;
    assert_eq!(end(&mut expiring).await?, "credential");
    assert_eq!(short.get("/v1/changes?template=LiveThings").await?.status, 401);
    world.write("keys.toml", keys)?;
    let output = world.beds(&["reload"])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(end(&mut revoked).await?, "credential");
    let id = create(&live.api, "LiveThings", "still told").await?;
    assert_eq!(kept.change().await?.moved(), ("create", id.as_str()));
    let text = std::fs::read_to_string(world.folder.join("templates/livethings.toml"))?;
    world.write("templates/livethings.toml", text.replace("on = true", "on = false"))?;
    ensure!(live.node.reload().await.mistakes.is_empty());
    assert_eq!(end(&mut kept).await?, "right");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_has_its_number_of_streams_and_gives_them_back() -> Result<()> {
    let world = World::new().await?;
    tell(&world)?;
    let live = world.node_with(|config| config.services.appserver.live_per_subject = 2).await?;
    let query = "template=LiveThings";
    let first = Events::of(&live.api, query, None).await?;
    let second = Events::of(&live.api, query, None).await?;
    let refused = live.api.get(&format!("/v1/changes?{query}")).await?;
    assert_eq!((refused.status, refused.code()), (429, "BEDS-0033"), "{}", refused.text);
    drop(first);
    crate::rig::eventually("the place is free again", async || {
        Ok(Events::of(&live.api, query, None).await.is_ok())
    })
    .await?;
    drop(second);
    Ok(())
}
