//! A new domain by configuration alone: the DBA's file and one TOML file, while the node runs.

use anyhow::Result;
use serde_json::json;

use crate::rig::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_relational_domain_answers_without_rebuild_or_restart() -> Result<()> {
    let world = World::new().await?;
    let process = world.process("").await?;
    assert_eq!(process.api.get("/v1/records/Pets").await?.code(), "BEDS-0001");
    std::fs::write(
        world.folder.join("schema/rel/main/0950_pets.sql"),
        "CREATE TABLE pets (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20) NOT NULL);\nDELIMITER //\n\
         CREATE PROCEDURE pets_create(IN p_name VARCHAR(20))\nBEGIN\n  INSERT INTO pets (name) VALUES (p_name);\n\
           SELECT * FROM pets WHERE id = LAST_INSERT_ID();\nEND //\nDELIMITER ;\n\
         CREATE PROCEDURE pets_fetch(IN p_id INT) SELECT * FROM pets WHERE id = p_id;\n",
    )?;
    world.template("pets",
        "name = \"Pets\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[objects]\ncreate = \"pets_create\"\nfetch = \"pets_fetch\"\n",
    )?;
    world.apply()?;
    let reload = world.beds(&["reload"])?;
    assert!(reload.status.success(), "{}", String::from_utf8_lossy(&reload.stderr));
    let created = process.api.post("/v1/records/Pets", &json!({"name": "Rex"})).await?;
    assert_eq!(
        (created.status, &created.body),
        (201, &json!({"id": 1, "name": "Rex"})),
        "{}",
        created.text
    );
    assert_eq!(process.api.get("/v1/records/Pets/1").await?.body["name"], "Rex");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_document_domain_answers_without_rebuild_or_restart() -> Result<()> {
    let world = World::new().await?;
    let process = world.process("").await?;
    let operation = |id: &str, operation: serde_json::Value| json!({"update": "beds_objects", "updates": [{"q": {"_id": id}, "u": operation, "upsert": true}]});
    let schema = json!([
        {"create": "songs"},
        operation("songs_create", json!({"_id": "songs_create", "kind": "create",
            "params": {"title": {"type": "string", "required": true}, "year": {"type": "int"}},
            "command": {"insert": "songs", "documents": [{"title": "$$title", "year": "$$year"}]}})),
        operation("songs_by_year", json!({"_id": "songs_by_year", "kind": "fetch", "params": {"year": {"type": "int", "required": true}},
            "command": {"find": "songs", "filter": {"year": "$$year"}}})),
    ]);
    std::fs::write(world.folder.join("schema/rec/main/0950_songs.json"), schema.to_string())?;
    world.template("songs",
        "name = \"Songs\"\nstore = \"rec\"\ndatabase = \"main\"\nid = \"_id\"\n[objects]\ncreate = \"songs_create\"\n[fetches]\nyear = \"songs_by_year\"\n",
    )?;
    world.apply()?;
    process.signal("HUP")?;
    crate::rig::eventually("SIGHUP reloads too", async || {
        Ok(process.api.get("/v1/templates/Songs").await?.status == 200)
    })
    .await?;
    assert_eq!(
        process.api.post("/v1/records/Songs", &json!({"title": "Hey", "year": 1968})).await?.status,
        201
    );
    let found = process.api.get("/v1/records/Songs/by/year?year=1968").await?;
    assert_eq!(found.body["records"][0]["title"], "Hey", "{}", found.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_template_stops_the_reload_and_takes_nothing_away() -> Result<()> {
    let world = World::new().await?;
    let process = world.process("").await?;
    world.template("things", "name = \"Things\"\nstor = \"rel\"\n")?;
    let reload = world.beds(&["reload"])?;
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert_eq!(reload.status.code(), Some(1));
    assert!(said.contains("things.toml:2") && said.contains("did you mean `store`"), "{said}");
    assert_eq!(process.api.get("/v1/records/Things").await?.status, 200);
    Ok(())
}
