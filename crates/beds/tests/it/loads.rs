//! `beds load` tells the truth: about files that would be read otherwise than meant, and about the result of each row.
//!
//! Not here: a load that is killed, which is `command_line`'s and the fault runs'.

use anyhow::Result;
use serde_json::{Value, json};

use crate::rig::World;

fn load(world: &World, arguments: &[&str]) -> Result<(i32, String)> {
    let output = world.beds(&[&["load", "Things"], arguments].concat())?;
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    Ok((output.status.code().unwrap_or(-1), said))
}

fn rejects(world: &World, file: &str) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(world.folder.join("loads").join(file))?;
    Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_would_be_read_otherwise_is_refused_before_its_first_row() -> Result<()> {
    let world = World::new().await?;
    let _process = world.process("").await?;
    for (file, text, words) in [
        (
            "open.csv",
            "name,count,note\na,2,\"unclosed\nb,4,5\nc,7,8\n",
            "open.csv: line 2 begins a text in quotes that does not end",
        ),
        (
            "twice.csv",
            "name,name,count\nfirst,second,1\n",
            "twice.csv:1: the name \"name\" stands twice in the header",
        ),
        ("empty.csv", "name,,count\na,b,1\n", "empty.csv:1: column 2 has no name"),
        ("rows.txt", "name\na\n", "rows.txt ends neither in .csv nor in .ndjson"),
    ] {
        world.write(file, text)?;
        let (code, said) = load(&world, &[file])?;
        assert!(code == 1 && said.contains(words), "{file}: {said}");
    }
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_counted_for_what_became_of_it_and_kept_where_it_was_refused() -> Result<()> {
    let world = World::new().await?;
    let process = world.process("").await?;
    let text = b"name,count,note\n\"a\nb\",1,x\n\nc,x,y\nd,4\n\"e\"f,5,z\ng,6,caf\xe9\nh,7,ok\n";
    world.write("ROWS.CSV", text)?;
    let (code, said) = load(&world, &["ROWS.CSV", "--ordered"])?;
    assert!(
        code == 1 && said.contains("Things: 2 created, 0 repeated, 1 rejected, 3 unreadable"),
        "{said}"
    );
    let kept: Vec<_> = rejects(&world, "ROWS.CSV.Things.rejects.ndjson")?
        .into_iter()
        .map(|row| {
            (row["row"].clone(), row["line"].clone(), row["code"].clone(), row["text"].clone())
        })
        .collect();
    let expected = [
        (2, 5, "BEDS-0003", "c,x,y"),
        (3, 6, "BEDS-0005", "d,4"),
        (4, 7, "BEDS-0005", "\"e\"f,5,z"),
        (5, 8, "BEDS-0005", "g,6,caf\u{fffd}"),
    ];
    assert_eq!(
        kept,
        expected.map(|(row, line, code, text)| (json!(row), json!(line), json!(code), json!(text)))
    );
    // The writes carry the name of the command's user.
    let mut actors = Vec::new();
    crate::rig::eventually("the trail has the creates", async || {
        let found = crate::audit::search(&process.api, "&template=Things").await?;
        actors = found.iter().map(|entry| entry["record"]["actor"].clone()).collect();
        Ok(actors.len() >= 3)
    })
    .await?;
    assert!(
        actors.iter().all(|actor| actor.as_str().is_some_and(|name| !name.is_empty())),
        "{actors:?}"
    );
    // NDJSON of other tools: a byte order mark, empty lines, no line end at the end.
    world.write(
        "rows.ndjson",
        "\u{feff}{\"name\":\"n1\"}\n\n  \n{\"name\":\"n2\",\"ratio\":0.12345678901234567890}\n{\"name\":\"n3\"}",
    )?;
    let (code, said) = load(&world, &["rows.ndjson"])?;
    assert!(
        code == 1 && said.contains("2 created, 0 repeated, 0 rejected, 1 unreadable"),
        "{said}"
    );
    assert_eq!(rejects(&world, "rows.ndjson.Things.rejects.ndjson")?[0]["line"], 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_load_created_is_repeated_and_not_created() -> Result<()> {
    let world = World::new().await?;
    let process = world.process("").await?;
    world.write("rows.csv", "name,flag\na,TRUE\nb,false\nc,1\n")?;
    let (code, said) = load(&world, &["rows.csv"])?;
    assert!(
        code == 0 && said.contains("3 created, 0 repeated, 0 rejected, 0 unreadable ("),
        "{said}"
    );
    for id in 1..=3 {
        assert_eq!(process.api.delete(&format!("/v1/records/Things/{id}")).await?.status, 200);
    }
    let (code, said) = load(&world, &["rows.csv"])?;
    assert!(
        code == 0
            && said.contains("0 created, 0 repeated, 0 rejected, 0 unreadable, 3 done before")
            && said.contains("--again"),
        "{said}"
    );
    let (code, said) = load(&world, &["rows.csv", "--restart"])?;
    assert!(code == 0 && said.contains("0 created, 3 repeated"), "{said}");
    std::fs::copy(world.folder.join("rows.csv"), world.folder.join("copy.csv"))?;
    let (_, said) = load(&world, &["copy.csv"])?;
    assert!(said.contains("0 created, 3 repeated"), "{said}");
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "0");
    let (code, said) = load(&world, &["rows.csv", "--again"])?;
    assert!(code == 0 && said.contains("3 created, 0 repeated"), "{said}");
    assert_eq!(world.sql("SELECT COUNT(*) FROM things")?, "3");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_depend_on_rows_before_them_go_in_order() -> Result<()> {
    let world = World::new().await?;
    let _process = world.process("").await?;
    let rows: String = (2..=60).map(|n| format!("n{n},{}\n", n - 1)).collect();
    world.write("tree.csv", format!("name,parent\nn1,\n{rows}"))?;
    let (code, said) = load(&world, &["tree.csv", "--ordered"])?;
    assert!(code == 0 && said.contains("60 created"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_row_is_tried_again_and_the_file_of_another_run_is_left_alone() -> Result<()> {
    let world = World::new().await?;
    let _process = world.process("").await?;
    world.write("rows.csv", "name,count\na,1\nforbidden,2\n")?;
    let (code, said) = load(&world, &["rows.csv"])?;
    assert!(code == 1 && said.contains("1 created, 0 repeated, 1 rejected"), "{said}");
    let first = rejects(&world, "rows.csv.Things.rejects.ndjson")?;
    world.sql("CREATE OR REPLACE PROCEDURE things_create(IN p_name VARCHAR(40), IN p_count INT) INSERT INTO things (name, count) VALUES (p_name, p_count) RETURNING *")?;
    let (code, said) = load(&world, &["rows.csv", "--restart"])?;
    assert!(code == 0 && said.contains("1 created, 1 repeated, 0 rejected"), "{said}");
    assert_eq!(rejects(&world, "rows.csv.Things.rejects.ndjson")?, first);
    world.write("rows.csv", "name,count\na,1\n")?;
    let (_, said) = load(&world, &["rows.csv"])?;
    assert!(said.contains("rows.csv.Things.rejects.2.ndjson"), "{said}");
    assert_eq!(
        rejects(&world, "rows.csv.Things.rejects.ndjson")?,
        first,
        "another content, another file"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_the_inbox_has_forgotten_goes_on_by_demand_only() -> Result<()> {
    let world = World::new().await?;
    let _process = world.process("").await?;
    world.write("rows.csv", "name\na\nb\n")?;
    let (code, said) = load(&world, &["rows.csv", "--limit", "1"])?;
    assert!(code == 0 && said.contains("1 created"), "{said}");
    let note = world.folder.join("loads/rows.csv.Things.progress");
    let mut kept: Value = serde_json::from_str(&std::fs::read_to_string(&note)?)?;
    kept["began"] = json!("2020-01-01T00:00:00Z");
    std::fs::write(&note, kept.to_string())?;
    let (code, said) = load(&world, &["rows.csv"])?;
    assert!(code == 1 && said.contains("rows that took effect could do so twice"), "{said}");
    let (code, said) = load(&world, &["rows.csv", "--even-if-it-may-happen-twice"])?;
    assert!(
        code == 0
            && said.contains("1 created, 0 repeated, 0 rejected, 0 unreadable, 1 done before"),
        "{said}"
    );
    Ok(())
}
