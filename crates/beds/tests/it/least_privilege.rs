//! A node whose logins have the role `beds_runtime` and nothing else.

use anyhow::{Context, Result};
use serde_json::json;

use crate::rig::{World, eventually, mariadb, variable};

#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_only_the_role_can_call_the_objects_and_touch_no_table() -> Result<()> {
    let world = World::new().await?;
    let login = restrict(&world)?;
    let live = world.node().await?;
    let created =
        live.api.post("/v1/records/Airlines", &json!({"carrier": "ZZ", "name": "Zed"})).await?;
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(live.api.get("/v1/records/Airlines/ZZ").await?.body["name"], "Zed");
    for sql in [
        "SELECT * FROM airlines",
        "DELETE FROM airlines",
        "SELECT * FROM beds_inbox",
        "DROP TABLE airlines",
    ] {
        let refused = login.sql(sql).unwrap_err().to_string();
        assert!(refused.contains("command denied"), "{sql}: {refused}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_not_granted_is_found_before_a_request_is() -> Result<()> {
    let world = World::new().await?;
    let _login = restrict(&world)?;
    // The objects of the tests' own domain are granted to no login.
    let check = world.beds(&["check"])?;
    assert_eq!(check.status.code(), Some(1));
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&check.stdout),
        String::from_utf8_lossy(&check.stderr)
    );
    let told = "this login may not use things_create of the database main. Fix: ask the DBA for GRANT EXECUTE ON PROCEDURE things_create TO beds_runtime";
    assert!(said.contains("things.toml") && said.contains(told), "{said}");
    assert!(!said.contains("airlines_create"), "{said}");
    let live = world.node().await?;
    let refused = live.api.post("/v1/records/Things", &json!({})).await?;
    assert_eq!((refused.status, refused.code()), (503, "BEDS-0023"), "{}", refused.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongodb_login_with_only_the_role_serves_the_sample_and_the_trail_and_changes_neither()
-> Result<()> {
    let world = World::new().await?;
    restrict_documents(&world)?;
    let live = world.node().await?;
    let user = json!({"email": "ana@example.com", "name": "Ana", "roles": ["clerk"]});
    let created = live.api.post("/v1/records/Users", &user).await?;
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(live.api.get(created.header("location")).await?.body["name"], "Ana");
    assert_eq!(
        live.api.patch(created.header("location"), &json!({"name": "Bea"})).await?.status,
        200
    );
    let listed = live.api.get("/v1/records/Users?limit=5").await?;
    assert_eq!(listed.body["records"][0]["name"], "Bea", "{}", listed.text);
    assert_eq!(live.api.delete(created.header("location")).await?.status, 200);
    let mut seq = json!(null);
    eventually("the trail is stored", async || {
        let records = crate::audit::search(&live.api, "&template=Users").await?;
        seq = records.first().map(|record| record["_id"].clone()).unwrap_or_default();
        Ok(!seq.is_null())
    })
    .await?;
    eventually("so is the tree", async || {
        Ok(live.api.get(&format!("/v1/lineage/{}", created.header("beds-event-id"))).await?.status
            == 200)
    })
    .await?;
    // The role may see how long the inbox keeps its keys, so `beds check` can compare it.
    world.change_config("[reports]", "[inbox]\nkeep_days = 30\n[reports]")?;
    let (_, said) = world.check()?;
    for database in ["main", "msLogs"] {
        assert!(
            said.contains(&format!(
                "databases.rec.{database}: the inbox forgets keys after 604800 s"
            )),
            "{said}"
        );
    }
    // The rights for the tests' own operations are not granted.
    let path = format!("/v1/records/Attacker/{}", seq.as_str().context("an id")?);
    let forged = live.api.patch(&path, &json!({"actor_name": "x"})).await?;
    assert_eq!((forged.status, forged.code()), (503, "BEDS-0023"), "{}", forged.text);
    let foreign = live.api.post("/v1/records/Papers", &json!({"name": "x"})).await?;
    assert_eq!((foreign.status, foreign.code()), (503, "BEDS-0023"), "{}", foreign.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_gone_for_a_while_are_told_once() -> Result<()> {
    let world = World::new().await?;
    let _login = restrict(&world)?;
    // The tests' own objects are not granted: the node as a whole is not ready.
    let process = world.role("worker", &[])?;
    let rights = |word: &str, from: &str| -> Result<()> {
        let each = ["beds_catalog", "beds_catalog_version"].map(|name| {
            format!("{word} EXECUTE ON PROCEDURE {}.{name} {from} beds_runtime", world.name)
        });
        world.sql_server(&each.join(";")).map(drop)
    };
    let is_there = async || -> Result<bool> {
        let Ok(readiness) = process.api.get("/readyz").await else { return Ok(false) };
        let services = readiness.body["services"].as_array().cloned().unwrap_or_default();
        Ok(services
            .iter()
            .any(|service| service["name"] == "databases.rel.main" && service["ready"] == true))
    };
    eventually("the database is there", is_there).await?;
    rights("REVOKE", "FROM")?;
    eventually("it is not there", async || Ok(!is_there().await?)).await?;
    // Some pulses go by.
    for _ in 0..15 {
        assert_eq!(world.check()?.0, 2);
    }
    rights("GRANT", "TO")?;
    eventually("it is there again", is_there).await?;
    let mut log = String::new();
    for said in ["A database went away.", "The templates of a database were bound."] {
        // The state is shown a moment before it is said.
        eventually(said, async || {
            log = std::fs::read_to_string(world.folder.join("worker.log"))?;
            Ok(log.contains(said))
        })
        .await?;
    }
    for said in ["A database is there.", "A database cannot be bound yet."] {
        assert!(log.matches(said).count() <= 1, "{said}: {log}");
    }
    Ok(())
}

/// Gives the world's nodes MongoDB logins that have the role `beds_runtime` and nothing else.
pub(crate) fn restrict_documents(world: &World) -> Result<()> {
    let dba = variable("BEDS_TEST_MONGO_URL")?;
    for (folder, database) in
        [("main", world.name.clone()), ("msLogs", format!("{}_logs", world.name))]
    {
        let login = json!([{"createUser": "node", "pwd": "secret", "roles": ["beds_runtime"]}]);
        std::fs::write(
            world.folder.join(format!("schema/rec/{folder}/0990_login.json")),
            login.to_string(),
        )?;
        let (_, address) = dba.split_once('@').context("user:password@host:port")?;
        let (host, options) = address.split_once("/?").context("host/?options")?;
        let options = options.replace("authSource=admin", &format!("authSource={database}"));
        let url =
            |login: &str, options: &str| format!("mongodb://{login}{host}/{database}?{options}");
        let of_dba = dba.replacen("/?", &format!("/{database}?"), 1);
        world.change_config(&of_dba, &url("node:secret@", &options))?;
    }
    world.apply()
}

/// Gives the world's nodes a MariaDB login that has the role `beds_runtime` and nothing else.
pub(crate) fn restrict(world: &World) -> Result<Login> {
    let name = format!("u{}", &world.name[..30]);
    world.sql_server(&format!(
        "CREATE USER {name}@'%' IDENTIFIED BY 'secret'; GRANT beds_runtime TO {name}@'%'; SET DEFAULT ROLE beds_runtime FOR {name}@'%'"
    ))?;
    let (_, address) = world.maria.split_once('@').context("user:password@host:port")?;
    let login =
        Login { url: format!("mysql://{name}:secret@{address}"), database: world.name.clone() };
    world.change_config(&world.maria, &login.url)?;
    Ok(login)
}

/// A login of a world's database.
pub(crate) struct Login {
    url: String,
    database: String,
}

impl Login {
    fn sql(&self, sql: &str) -> Result<String> {
        mariadb(&self.url, Some(&self.database), sql)
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let name = self.url.trim_start_matches("mysql://").split(':').next().unwrap_or_default();
        drop(
            variable("BEDS_TEST_MARIA_URL")
                .and_then(|url| mariadb(&url, None, &format!("DROP USER {name}@'%'"))),
        );
    }
}
