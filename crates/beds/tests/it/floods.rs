//! Callers that ask too much: each is stopped for itself, and the others go on.
//!
//! Not here: connections and bodies (front.rs), credentials themselves (identity.rs).

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt};

use crate::audit::search;
use crate::rig::issuer::Issuer;
use crate::rig::{Answer, Api, World, as_caller, callers, eventually};

/// The same gateway for a caller at another address of this machine.
fn from_address(api: &Api, address: [u8; 4], credential: &str) -> Result<Api> {
    let http = callers::builder(credential)?.local_address(IpAddr::from(address)).build()?;
    Ok(Api { url: api.url.clone(), http })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_credentials_ends_at_its_address_and_good_callers_go_on() -> Result<()> {
    let world = World::new().await?;
    let (issuer, other) = (Issuer::new("one")?, Issuer::new("one")?);
    issuer.join(&world)?;
    let live = world.node().await?;
    let path = "/v1/templates";
    let seen_before = as_caller(&live.api, &issuer.token("ana", &["clerk"]))?;
    assert_eq!(seen_before.get(path).await?.status, 200);
    // Many at once: a bucket fills again with time.
    let floods = (0..300).map(async |number| {
        let bad = as_caller(&live.api, &other.token(&format!("eve {number}"), &["clerk"]))?;
        bad.get(path).await
    });
    let answers: Vec<Answer> =
        futures_util::stream::iter(floods).buffer_unordered(32).try_collect().await?;
    let stopped: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 429).collect();
    let refused = answers.iter().filter(|answer| answer.status == 401).count();
    ensure!(refused >= 100 && refused + stopped.len() == 300, "{refused} {}", stopped.len());
    let told = stopped.first().context("some are not looked at")?;
    assert_eq!((told.code(), told.header("retry-after")), ("BEDS-0033", "1"));
    // At that address, those that were accepted before go on, and a key needs no look at a signature.
    assert_eq!(seen_before.get(path).await?.status, 200);
    assert_eq!(live.api.get(path).await?.status, 200);
    // At another address, new tokens are looked at.
    let elsewhere = from_address(&live.api, [127, 0, 0, 2], &issuer.token("bob", &["clerk"]))?;
    assert_eq!(elsewhere.get(path).await?.status, 200);
    let late = as_caller(&live.api, &issuer.token("carl", &["clerk"]))?;
    eventually("new tokens are looked at again", async || Ok(late.get(path).await?.status == 200))
        .await?;
    // One record a minute and address, whatever the number.
    let told = search(&live.api, "&outcome=failed").await?;
    let entered = told.iter().filter(|record| record["record"]["operation"] == "enter").count();
    assert!(entered <= 2, "{told:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_takes_its_own_places_and_no_more() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live =
        world.node_with(|config| config.services.appserver.per_subject_in_flight = 1).await?;
    let slow = live.api.get("/v1/records/Things/by/sleep?seconds=1.5");
    let others = async {
        while !world.is_asleep()? {
            tokio::task::yield_now().await;
        }
        let again = live.api.get("/v1/records/Things/1").await?;
        let other = as_caller(&live.api, &issuer.token("ana", &["tester"]))?;
        anyhow::Ok((again, other.get("/v1/records/Things/1").await?))
    };
    let (slow, others) = tokio::join!(slow, others);
    assert_eq!(slow?.status, 200);
    let (again, other) = others?;
    assert_eq!(
        (again.status, again.code(), again.header("retry-after")),
        (429, "BEDS-0033", "1"),
        "{}",
        again.text
    );
    assert_eq!(other.status, 404, "{}", other.text);
    assert_eq!(live.api.get("/v1/records/Things/1").await?.status, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_keeps_its_place_when_its_caller_goes_away() -> Result<()> {
    let world = World::new().await?;
    let live =
        world.node_with(|config| config.services.appserver.per_subject_in_flight = 1).await?;
    // The name makes the procedure slow.
    let body = serde_json::json!({"name": "slow one"});
    let slow = live.api.post("/v1/records/Things", &body);
    let asleep = async {
        while !world.is_asleep()? {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(())
    };
    // Its connection ends with the request that is dropped here.
    tokio::select! {
        answer = slow => anyhow::bail!("it was not slow: {answer:?}"),
        asleep = asleep => asleep?,
    }
    let mut statuses = Vec::new();
    eventually("the place is free again", async || {
        let status = live.api.get("/v1/records/Things/999999").await?.status;
        statuses.push(status);
        Ok(status == 404)
    })
    .await?;
    ensure!(statuses.first() == Some(&429), "{statuses:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_no_caller_is_stopped_for_the_others() -> Result<()> {
    let world = World::new().await?;
    let (issuer, other) = (Issuer::new("one")?, Issuer::new("one")?);
    issuer.join(&world)?;
    for proxies in [Vec::new(), vec![IpAddr::from([127, 0, 0, 1])]] {
        let name = format!("behind{}", proxies.len());
        let live = world
            .node_with(|config| {
                config.node.name = name;
                config.node.control = None;
                config.services.appserver.behind_proxy = true;
                config.services.appserver.proxies = proxies.clone();
            })
            .await?;
        let ask = async |token: String, from: &str| -> Result<u16> {
            let request = callers::client(&token)?.get(format!("{}/v1/templates", live.api.url));
            Ok(live.api.send(request.header("X-Forwarded-For", from)).await?.status)
        };
        let floods = (0..200)
            .map(|number| ask(other.token(&format!("eve {number}"), &[]), "10.0.0.66:4711"));
        futures_util::stream::iter(floods).buffer_unordered(32).try_collect::<Vec<u16>>().await?;
        let evil = ask(other.token("eve", &[]), "10.0.0.66:4712").await?;
        // Without the proxy's name, the address of a caller is not known, and none is stopped.
        assert_eq!(evil, if proxies.is_empty() { 401 } else { 429 });
        assert_eq!(
            ask(issuer.token(&format!("ana{}", proxies.len()), &["clerk"]), "10.0.0.7").await?,
            200
        );
    }
    Ok(())
}
