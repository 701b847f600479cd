//! A real schema as a new domain: a dump with tables, triggers, views, functions and procedures, and the rights of
//! applications.
//!
//! Not here: single statements of schema files, which are `schema_files`'s.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::rig::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_becomes_a_domain() -> Result<()> {
    let world = World::new().await?;
    for file in Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/domain/dump").read_dir()? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        let folder = if name.ends_with(".sql") { "schema/rel/main" } else { "templates" };
        world.write(&format!("{folder}/{name}"), std::fs::read(file.path())?)?;
    }
    world.apply()?;
    let (_, said) = world.check()?;
    let mistakes: Vec<&str> =
        said.lines().filter(|l| l.contains("rental_") && !l.contains("warning")).collect();
    assert!(mistakes.is_empty(), "{mistakes:#?}");
    assert!(said.contains("rental_titles.toml") && said.contains("(MyISAM)"), "{said}");

    let live = world.node().await?;
    let title = json!({"name": "Harbour", "blurb": "A quay", "made_in": 1987, "tongue_id": 1, "age_class": "12+",
        "extras": "Trailers,Cut Scenes", "aspect": 1.85, "score": 7.25, "facts": {"cast": ["Ana", "Bo"], "n": 1.5}});
    let made = live.api.post("/v1/records/Titles", &title).await?;
    assert_eq!(made.status, 201, "{}", made.text);
    let read = live.api.get(made.header("location")).await?;
    assert_eq!(read.body, made.body);
    for (field, value) in title.as_object().into_iter().flatten() {
        assert_eq!(&read.body[field], value, "{field}");
    }
    let page = live.api.get("/v1/records/Titles?limit=2").await?;
    assert_eq!(
        (page.body["records"].as_array().map(Vec::len), &page.body["more"]),
        (Some(2), &json!(true))
    );
    // A title that has copies: the row is selected, and then the foreign key refuses.
    let kept = live.api.delete("/v1/records/Titles/1").await?;
    assert_eq!((kept.status, kept.code()), (422, "BEDS-0022"), "{}", kept.text);
    assert_eq!(live.api.delete(made.header("location")).await?.status, 200);

    for path in [
        "Titles/by/summary",
        "Titles/by/takings",
        "Members/by/names",
        "Titles/by/overview?title_id=1",
    ] {
        let answer = live.api.get(&format!("/v1/records/{path}")).await?;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    let genre = live.api.post("/v1/records/Genres", &json!({"name": "Noir"})).await?;
    assert_eq!(
        (genre.status, &genre.body["out"]["genre_id"]),
        (201, &genre.body["record"]["genre_id"]),
        "{}",
        genre.text
    );
    let again = live.api.post("/v1/records/Genres", &json!({"name": "Noir"})).await?;
    assert_eq!(again.body["record"], genre.body["record"], "{}", again.text);
    Ok(())
}
