//! Schema files as DBAs and their dump tools write them: a file that is reported as applied is applied and recorded.
//!
//! Not here: how a file is split into statements, which is tested beside its code.

use anyhow::Result;
use std::process::{Command, Stdio};

use crate::rig::World;

fn apply(world: &World) -> Result<(bool, String)> {
    let output =
        world.beds(&["schema", "apply", "--credentials", "dba.toml", "--schema", "schema"])?;
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    Ok((output.status.success(), said))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_reported_as_applied_is_committed_and_recorded() -> Result<()> {
    let world = World::new().await?;
    world.write(
        "schema/rel/main/0961_table.sql",
        "CREATE TABLE ac (a INT PRIMARY KEY) ENGINE=InnoDB;",
    )?;
    world.write(
        "schema/rel/main/0962_off.sql",
        "SET autocommit = 0; INSERT INTO ac VALUES (1),(2);",
    )?;
    world
        .write("schema/rel/main/0963_begun.sql", "START TRANSACTION; INSERT INTO ac VALUES (3);")?;
    world.write(
        "schema/rel/main/0964_locked.sql",
        "LOCK TABLES ac WRITE; INSERT INTO ac VALUES (4);",
    )?;
    let (is_done, said) = apply(&world)?;
    assert!(is_done, "{said}");
    assert_eq!(world.sql("SELECT GROUP_CONCAT(a) FROM ac")?, "1,2,3,4");
    assert_eq!(world.sql("SELECT COUNT(*) FROM beds_schema WHERE file LIKE '096%'")?, "4");
    let (is_done, said) = apply(&world)?;
    assert!(is_done && said.lines().all(|line| line.ends_with("already there")), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_file_begins_with_a_fresh_strict_session() -> Result<()> {
    let world = World::new().await?;
    let header = "SET SQL_MODE=\"NO_AUTO_VALUE_ON_ZERO\"; SET FOREIGN_KEY_CHECKS=0; SET time_zone=\"+02:00\"; SET @x = 1;\n";
    world.write(
        "schema/rel/main/0961_dump.sql",
        format!("{header}CREATE TABLE shop (id INT) ENGINE=InnoDB;"),
    )?;
    world.write(
        "schema/rel/main/0962_next.sql",
        "CREATE TABLE seen AS SELECT @@sql_mode AS mode, @@foreign_key_checks AS checks, @@time_zone AS zone, @x AS x;\n\
         CREATE PROCEDURE shop_list() READS SQL DATA SELECT * FROM shop;",
    )?;
    let (is_done, said) = apply(&world)?;
    assert!(is_done, "{said}");
    assert_eq!(
        world.sql("SELECT mode LIKE '%STRICT_ALL_TABLES%', checks, zone, x IS NULL FROM seen")?,
        "1\t1\t+00:00\t1"
    );
    let mode = "SELECT SQL_MODE LIKE '%STRICT_ALL_TABLES%' FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE() AND ROUTINE_NAME = 'shop_list'";
    assert_eq!(world.sql(mode)?, "1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_taken_is_refused_with_its_line_before_any_is_applied() -> Result<()>
{
    let world = World::new().await?;
    world.write("schema/rel/main/0961_good.sql", "CREATE TABLE good (a INT);")?;
    for (name, text, words) in [
        (
            "0962_use.sql",
            "-- x\nUSE elsewhere;\n".as_bytes(),
            "0962_use.sql:2: a schema file does not make or name its database",
        ),
        (
            "0962_make.sql",
            b"\n\nCREATE DATABASE /*!32312 IF NOT EXISTS*/ elsewhere;",
            "0962_make.sql:3: a schema file does not make",
        ),
        ("0962_latin.sql", b"SELECT 1;\nSELECT 'caf\xe9';", "0962_latin.sql:2: not UTF-8"),
        (
            "0962_empty.sql",
            b"SELECT 1;\nDELIMITER \nSELECT 2;",
            "0962_empty.sql:2: DELIMITER names no delimiter",
        ),
        ("0961_same.sql", b"SELECT 1;", "0961_good.sql and 0961_same.sql have one number"),
    ] {
        world.write(&format!("schema/rel/main/{name}"), text)?;
        let (is_done, said) = apply(&world)?;
        assert!(!is_done && said.contains(words), "{words}\n{said}");
        assert!(!said.contains("0961_good.sql: applied"), "{said}");
        std::fs::remove_file(world.folder.join("schema/rel/main").join(name))?;
    }
    // A mistake that only the server knows is said with the line, too.
    world
        .write("schema/rel/main/0963_gone.sql", "SELECT 1;\nDROP PROCEDURE beds_schema_record;")?;
    let (is_done, said) = apply(&world)?;
    assert!(
        !is_done
            && said.contains("0963_gone.sql:2: the file was applied but could not be recorded"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_drops_a_table_is_not_applied_again() -> Result<()> {
    let world = World::new().await?;
    let dump = "-- a dump\nDROP TABLE IF EXISTS shop;\nCREATE TABLE shop (id INT);\nINSERT INTO shop VALUES (1);\n";
    world.write("schema/rel/main/0961_dump.sql", dump)?;
    let (is_done, said) = apply(&world)?;
    assert!(is_done, "{said}");
    world.sql("INSERT INTO shop VALUES (2)")?;
    world.write("schema/rel/main/0961_dump.sql", format!("{dump}-- changed\n"))?;
    let output = world.beds(&[
        "schema",
        "apply",
        "--credentials",
        "dba.toml",
        "--schema",
        "schema",
        "--redo",
    ])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success()
            && said.contains("0961_dump.sql:1: --redo would run this DROP TABLE"),
        "{said}"
    );
    assert_eq!(world.sql("SELECT COUNT(*) FROM shop")?, "2");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_other_tools_are_read() -> Result<()> {
    let world = World::new().await?;
    let body = "CREATE PROCEDURE p1() BEGIN SELECT 'a;b'; END";
    world.write(
        "schema/rel/main/0961_bom.sql",
        format!("\u{feff}-- made elsewhere\r\nDELIMITER\t$$\r\n{body} $$\r\nDELIMITER ; -- done\r\nSELECT 1;\r\n"),
    )?;
    let line = "(1,'it''s a row of a dump; it goes on'),".repeat(60_000);
    let dump = format!(
        "CREATE TABLE wide (a INT, b VARCHAR(60));\nLOCK TABLES wide WRITE;\nINSERT INTO wide VALUES {line}(2,'end');\nUNLOCK TABLES;\n"
    );
    world.write("schema/rel/main/0962_wide.sql", dump)?;
    world.write("schema/rec/main/0961_bom.json", "\u{feff}[{\"create\": \"fresh\"}]")?;
    let (is_done, said) = apply(&world)?;
    assert!(is_done, "{said}");
    assert_eq!(world.sql("SELECT COUNT(*) FROM wide")?, "60001");
    assert_eq!(world.sql("CALL p1()")?, "a;b");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_apply_a_file_once() -> Result<()> {
    let world = World::new().await?;
    world.write(
        "schema/rel/main/0961_seed.sql",
        "CREATE TABLE IF NOT EXISTS seeds (n INT); DO SLEEP(0.5); INSERT INTO seeds VALUES (1);",
    )?;
    world.write(
        "schema/rec/main/0961_seed.json",
        r#"[{"insert": "seeds", "documents": [{"n": 1}]}]"#,
    )?;
    let run = || {
        Command::new(env!("CARGO_BIN_EXE_beds"))
            .args(["schema", "apply", "--credentials", "dba.toml", "--schema", "schema"])
            .current_dir(&world.folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    };
    let runs = (0..4).map(|_| run()).collect::<std::io::Result<Vec<_>>>()?;
    let mut applied = [0, 0];
    for run in runs {
        let output = run.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        for (count, file) in applied
            .iter_mut()
            .zip(["rel/main/0961_seed.sql: applied", "rec/main/0961_seed.json: applied"])
        {
            *count += said.lines().filter(|line| *line == file).count();
        }
    }
    assert_eq!((applied, world.sql("SELECT COUNT(*) FROM seeds")?.as_str()), ([1, 1], "1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_with_other_options_than_what_exists_is_an_error() -> Result<()> {
    let world = World::new().await?;
    let view = |fields: &str| {
        format!(
            r#"[{{"create": "people", "viewOn": "users", "pipeline": [{{"$project": {{{fields}}}}}]}}]"#
        )
    };
    world.write("schema/rec/main/0961_view.json", view(r#""password_hash": 0"#))?;
    world.write("schema/rec/main/0962_same.json", view(r#""password_hash": 0"#))?;
    let (is_done, said) = apply(&world)?;
    assert!(is_done, "the same again is no harm: {said}");
    for (text, key) in [
        (view(r#""password_hash": 0, "ssn": 0"#), "(pipeline)"),
        (r#"[{"create": "people"}]"#.to_owned(), ""),
        (r#"[{"create": "users", "capped": true, "size": 4096}]"#.to_owned(), "(capped)"),
    ] {
        world.write("schema/rec/main/0963_other.json", text)?;
        let (is_done, said) = apply(&world)?;
        assert!(
            !is_done
                && said.contains("0963_other.json: command 1: ")
                && said.contains("exists with other options"),
            "{said}"
        );
        assert!(said.contains(key), "{said}");
    }
    world.write("schema/rec/main/0963_other.json", r#"[{"noSuchCommand": 1}]"#)?;
    let (_, said) = apply(&world)?;
    assert!(
        said.contains("command 1: error 59: no such command") && !said.contains("RawDocument"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_dropped_where_it_is_and_missed_where_it_is_not() -> Result<()> {
    let world = World::new().await?;
    let index = r#"{"createIndexes": "shelf", "indexes": [{"name": "old", "key": {"a": 1}}]}"#;
    let drop = r#"{"dropIndexes": "shelf", "index": "old"}"#;
    // Under the name, a second index with another key is refused: the first drop has had its effect.
    let other = r#"{"createIndexes": "shelf", "indexes": [{"name": "old", "key": {"b": 1}}]}"#;
    let file = format!(r#"[{{"create": "shelf"}}, {index}, {drop}, {drop}, {other}]"#);
    world.write("schema/rec/main/0961_index.json", file)?;
    let (is_done, said) = apply(&world)?;
    assert!(is_done, "{said}");
    let gone = r#"[{"dropIndexes": "nothing", "index": "old"}]"#;
    world.write("schema/rec/main/0962_gone.json", gone)?;
    let (is_done, said) = apply(&world)?;
    assert!(!is_done && said.contains("0962_gone.json"), "{said}");
    Ok(())
}
