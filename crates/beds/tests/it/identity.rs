//! Callers over HTTP: the credentials that are accepted, and the end of each.
//!
//! Not here: single faults of a token, which are `auth::token`'s own tests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::audit::search;
use crate::rig::callers::{KEY, SUBJECT};
use crate::rig::issuer::Issuer;
use crate::rig::{Api, World, as_caller, eventually};

/// A request without any credential.
fn unknown(api: &Api) -> Api {
    Api { url: api.url.clone(), http: reqwest::Client::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_credential_is_the_same_401() -> Result<()> {
    let world = World::new().await?;
    let (issuer, other) = (Issuer::new("one")?, Issuer::new("one")?);
    issuer.join(&world)?;
    let live = world.node().await?;
    let good = issuer.token("ana", &["clerk"]);
    assert_eq!(as_caller(&live.api, &good)?.get("/v1/templates").await?.status, 200);
    let of = |change: &dyn Fn(&mut Value)| {
        let mut payload = issuer.payload("ana", &["clerk"]);
        change(&mut payload);
        issuer.signed(&payload)
    };
    let now = Timestamp::now().as_second();
    let payload = issuer.payload("ana", &[]);
    let under = |header: Value| issuer.signed_under(&header, &payload);
    let bad = [
        ("none at all", String::new()),
        ("garbage", "garbage".to_owned()),
        ("another key of the same name", other.token("ana", &["clerk"])),
        ("expired", of(&|p| p["exp"] = json!(now - 31))),
        ("not good yet", of(&|p| p["nbf"] = json!(now + 300))),
        ("good for too long", of(&|p| p["exp"] = json!(now + 90_000))),
        ("another issuer", of(&|p| p["iss"] = json!("https://evil.example"))),
        ("a list of issuers", of(&|p| p["iss"] = json!([crate::rig::issuer::NAME]))),
        ("another audience", of(&|p| p["aud"] = json!("other"))),
        ("a time as a text", of(&|p| p["exp"] = json!("9999999999"))),
        ("a subject of a program", of(&|p| p["sub"] = json!("app:tests"))),
        ("alg none", under(json!({"alg": "none", "kid": "one"}))),
        ("another alg", under(json!({"alg": "HS256", "kid": "one"}))),
        ("a critical extension", under(json!({"alg": "EdDSA", "kid": "one", "crit": ["x"]}))),
        ("16 KiB", of(&|p| p["x"] = json!("x".repeat(16 << 10)))),
        ("a key that is not there", format!("{}B", &KEY[..KEY.len() - 1])),
        ("an id that is not there", KEY.replace("7e577e57", "00000000")),
    ];
    let mut bodies = Vec::new();
    let place = format!("{}/.well-known/oauth-protected-resource", live.api.url);
    let named = format!("resource_metadata=\"{place}\"");
    for (fault, credential) in &bad {
        let mut answer = as_caller(&live.api, credential)?.get("/v1/records/Things").await?;
        assert_eq!((answer.status, answer.code()), (401, "BEDS-0030"), "{fault}: {}", answer.text);
        let asked = match credential.is_empty() {
            true => answer.header("www-authenticate").to_owned(),
            false => format!("Bearer error=\"invalid_token\", {named}"),
        };
        assert_eq!(answer.header("www-authenticate"), asked, "{fault}");
        drop(answer.body.as_object_mut().unwrap().remove("event_id"));
        bodies.push(answer.body);
    }
    assert!(bodies[1..].iter().all(|body| *body == bodies[1]), "{bodies:#?}");
    let nothing = unknown(&live.api).get("/v1/records/Things").await?;
    assert_eq!(
        (nothing.status, nothing.header("www-authenticate")),
        (401, format!("Bearer {named}").as_str())
    );
    // A megabyte is no request any more.
    let huge = as_caller(&live.api, &"x".repeat(1 << 20))?.get("/v1/records/Things").await;
    assert!(huge.is_err() || huge.is_ok_and(|answer| answer.status == 431));
    let request = unknown(&live.api).request("GET", "/v1/records/Things");
    let request = request.header("Authorization", format!("Bearer {good}"));
    let twice = live.api.send(request.header("Authorization", format!("Bearer {KEY}"))).await?;
    assert_eq!((twice.status, twice.code()), (400, "BEDS-0019"), "{}", twice.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_trail_names_the_proved_caller_and_counts_the_unknown() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node().await?;
    let ana = as_caller(&live.api, &issuer.token("ana", &["tester"]))?;
    for (api, name) in [(&live.api, SUBJECT), (&ana, "corp/ana")] {
        let created = api.post("/v1/records/Things", &json!({"name": name})).await?;
        assert_eq!(created.status, 201, "{}", created.text);
        eventually("the act has its record", async || {
            Ok(!search(&live.api, &format!("&subject={name}")).await?.is_empty())
        })
        .await?;
    }
    for _ in 0..20 {
        assert_eq!(unknown(&live.api).get("/v1/records/Things").await?.status, 401);
    }
    let mut denied = Vec::new();
    eventually("the first refusal has its record", async || {
        denied = search(&live.api, "&outcome=failed").await?;
        Ok(!denied.is_empty())
    })
    .await?;
    ensure!(denied.len() == 1, "one record a minute and address: {denied:#?}");
    let record = &denied[0]["record"];
    assert_eq!((&record["operation"], &record["code"]), (&json!("enter"), &json!("BEDS-0030")));
    assert_eq!(record["address"], "127.0.0.1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_by_the_clock_also_where_it_is_remembered() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node_with(|config| config.auth.leeway = Duration::from_millis(1)).await?;
    let mut payload = issuer.payload("ana", &["tester"]);
    let end = Timestamp::now().as_second() + 3;
    payload["exp"] = json!(end);
    let ana = as_caller(&live.api, &issuer.signed(&payload))?;
    assert_eq!(ana.get("/v1/records/Things").await?.status, 200);
    let mut last = (Timestamp::now(), 200);
    eventually("it has ended", async || {
        let asked = Timestamp::now();
        last = (asked, ana.get("/v1/records/Things").await?.status);
        ensure!(last.1 == 401 || asked.as_second() < end, "good after its end: {last:?}");
        Ok(last.1 == 401)
    })
    .await?;
    assert!(last.0.as_second() >= end - 1, "not before its end: {last:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_ends_keys_tokens_and_subjects_at_once() -> Result<()> {
    let world = World::new().await?;
    let (issuer, next) = (Issuer::new("one")?, Issuer::new("two")?);
    issuer.join(&world)?;
    let process = world.process("").await?;
    let ask = async |credential: &str| -> Result<u16> {
        Ok(as_caller(&process.api, credential)?.get("/v1/records/Things").await?.status)
    };
    let reload = || -> Result<()> {
        let output = world.beds(&["reload"])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    // A key is made, is good at once, is listed without its secret, and ends with its revocation.
    let made = world.beds(&[
        "keys",
        "new",
        "--subject",
        "app:loader",
        "--role",
        "tester",
        "--claim",
        "tenant=acme",
        "--note",
        "nightly",
    ])?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let key = String::from_utf8(made.stdout)?.trim().to_owned();
    assert_eq!(ask(&key).await?, 200);
    let listed = String::from_utf8(world.beds(&["keys", "ls"])?.stdout)?;
    assert!(listed.contains("app:loader  roles tester  tenant=acme  nightly"), "{listed}");
    assert!(!listed.contains(&key[14..]), "{listed}");
    let id = key.split('_').nth(1).unwrap_or_default();
    let revoked = world.beds(&["keys", "revoke", id])?;
    ensure!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    assert_eq!(ask(&key).await?, 401);
    assert_eq!(world.beds(&["keys", "revoke", id])?.status.code(), Some(1));
    // A subject is denied.
    let (ana, bob) = (issuer.token("ana", &["tester"]), issuer.token("bob", &["tester"]));
    assert_eq!((ask(&ana).await?, ask(&bob).await?), (200, 200));
    world.change_config("prefix = \"corp/\"\n", "prefix = \"corp/\"\ndenied = [\"corp/ana\"]\n")?;
    reload()?;
    assert_eq!((ask(&ana).await?, ask(&bob).await?), (401, 200));
    // The issuer's key is changed, and no remembered token lives on.
    world.write("corp.jwks", next.jwks().to_string())?;
    reload()?;
    assert_eq!((ask(&bob).await?, ask(&next.token("bob", &["tester"])).await?), (401, 200));
    // A file with a mistake changes nothing, and is told.
    world.write("corp.jwks", "{}")?;
    let refused = world.beds(&["reload"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("the credentials are those of before"), "{said}");
    assert!(said.contains("no JSON object with an array `keys`"), "{said}");
    assert_eq!(ask(&next.token("bob", &["tester"])).await?, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_tokens_each_is_its_own_caller() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    // Fewer are remembered than are used.
    let live = world.node_with(|config| config.auth.cache = 100).await?;
    world.domain(
        "DELIMITER //
         CREATE PROCEDURE whoami(IN p_actor VARCHAR(300)) BEGIN SELECT 1 AS id, p_actor AS actor; END //
         DELIMITER ;
         GRANT EXECUTE ON PROCEDURE whoami TO beds_runtime;",
        &[("whoami", "name = \"Whoami\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[fetches]\nme = \"whoami\"\n")],
    )?;
    ensure!(live.node.reload().await.mistakes.is_empty());
    let callers: Vec<(String, Api)> = (0..1000)
        .map(|number| {
            let name = format!("user{number}");
            let api = as_caller(&live.api, &issuer.token(&name, &["tester"]))?;
            Ok((format!("corp/{name}"), api))
        })
        .collect::<Result<_>>()?;
    // Each twice: once verified, once perhaps remembered. Never one after the other.
    let asked = futures_util::stream::iter((0..2000).map(|number| &callers[(number * 617) % 1000]));
    let asked = asked.map(async |(name, api)| {
        let me = api.get("/v1/records/Whoami/by/me").await?;
        ensure!(me.body["records"][0]["actor"] == name.as_str(), "{name}: {}", me.text);
        Ok(())
    });
    asked.buffer_unordered(64).try_collect::<Vec<()>>().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_keys_change_under_load_no_old_token_is_good_behind_the_reload() -> Result<()> {
    let world = World::new().await?;
    let (issuer, next) = (Issuer::new("one")?, Issuer::new("two")?);
    issuer.join(&world)?;
    let process = world.process("").await?;
    let (is_changed, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let callers: Vec<Api> = (0..32)
        .map(|number| as_caller(&process.api, &issuer.token(&format!("user{number}"), &["tester"])))
        .collect::<Result<_>>()?;
    let ask = async |api: &Api| -> Result<(u64, u64)> {
        let (mut good, mut refused) = (0, 0);
        while !is_over.load(Ordering::Relaxed) {
            let was_changed = is_changed.load(Ordering::Acquire);
            match api.get("/v1/templates").await?.status {
                200 if was_changed => anyhow::bail!("an old token was good behind the reload"),
                200 => good += 1,
                // Behind the reload, so many bad tokens come from one address that they are not looked at any more.
                401 | 429 if was_changed => refused += 1,
                401 | 429 => {}
                status => anyhow::bail!("{status}"),
            }
        }
        Ok((good, refused))
    };
    let asking = futures_util::future::try_join_all(callers.iter().map(ask));
    let changing = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.write("corp.jwks", next.jwks().to_string())?;
        let config = world.folder.clone();
        let reload = tokio::task::spawn_blocking(move || {
            std::process::Command::new(env!("CARGO_BIN_EXE_beds"))
                .arg("reload")
                .current_dir(config)
                .status()
        });
        ensure!(reload.await??.success(), "the reload failed");
        is_changed.store(true, Ordering::Release);
        tokio::time::sleep(Duration::from_millis(500)).await;
        is_over.store(true, Ordering::Relaxed);
        Ok(())
    };
    let (counts, ()) = tokio::try_join!(asking, changing)?;
    ensure!(counts.iter().all(|(good, refused)| *good > 0 && *refused > 0), "{counts:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_was_taken_away_ends_also_while_a_template_has_a_mistake() -> Result<()> {
    let world = World::new().await?;
    let process = world.process("").await?;
    let trail = "/v1/records/Audit/by/search";
    assert_eq!(process.api.get(trail).await?.status, 200);
    let things = world.folder.join("templates/things.toml");
    let text = std::fs::read_to_string(&things)?;
    std::fs::write(&things, format!("{text}\n[nonsense]\n"))?;
    let config = std::fs::read_to_string(world.config_file())?;
    std::fs::write(world.config_file(), format!("{config}\n[access]\naudit = []\n"))?;
    let refused = world.beds(&["reload"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("nonsense"), "{said}");
    // By the gateway, and by the worker for one who comes another way.
    let gone = process.api.get(trail).await?;
    assert_eq!((gone.status, gone.code()), (404, "BEDS-0001"), "{}", gone.text);
    assert_eq!(process.api.get("/v1/records/Things").await?.status, 200);
    // A node of production does not become one of development by a reload, nor the other way round.
    std::fs::write(&things, text)?;
    world.change_config("[node]\n", "[node]\nenvironment = \"production\"\n")?;
    world.change_config("[services.rec]\n", "behind_proxy = true\n[services.rec]\n")?;
    let refused = world.beds(&["reload"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("node.environment is another one"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_keys_that_are_made_at_once_none_is_lost() -> Result<()> {
    let world = World::new().await?;
    let commands: Vec<_> = (0..8)
        .map(|number| {
            std::process::Command::new(env!("CARGO_BIN_EXE_beds"))
                .args(["keys", "new", "--subject", &format!("app:p{number}")])
                .current_dir(&world.folder)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
        })
        .collect::<std::io::Result<_>>()?;
    for mut command in commands {
        command.wait()?;
    }
    let listed = String::from_utf8(world.beds(&["keys", "ls"])?.stdout)?;
    let missing: Vec<_> =
        (0..8).filter(|number| !listed.contains(&format!("app:p{number} "))).collect();
    ensure!(missing.is_empty(), "{missing:?} of\n{listed}");
    Ok(())
}
