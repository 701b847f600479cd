//! The command line, as an operator and a DBA use it.

use anyhow::Result;
use serde_json::Value;

use crate::rig::World;

fn write(world: &World, file: &str, text: &str) -> Result<()> {
    Ok(std::fs::write(world.folder.join(file), text)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_each_fault_with_its_file_and_line() -> Result<()> {
    let world = World::new().await?;
    let clean = world.beds(&["check"])?;
    assert_eq!(clean.status.code(), Some(0), "{}", String::from_utf8_lossy(&clean.stderr));
    assert!(String::from_utf8_lossy(&clean.stdout).contains("amount: decimal(30,10)"));

    let head = "name = \"Bad\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[objects]\n";
    world.template("bad",
        &format!(
            "{head}create = \"things_commits\"\nfetch = \"no_such\"\nupdate = \"things_twice\"\ndelete = \"things_sets\"\n\
             [jobs]\nx = \"no_job\"\n[fields.emial]\nsensitive = true\n"
        ),
    )?;
    world.template(
        "worse",
        "name = \"Worse\"\nstore = \"rec\"\ndatabase = \"other\"\nid = \"_id\"\n",
    )?;
    world.template("rec",
        "name = \"Rec\"\nstore = \"rec\"\ndatabase = \"main\"\nid = \"_id\"\n[objects]\nfetch = \"papers_create\"\n[fetches]\nx = \"none\"\n",
    )?;
    let output = world.beds(&["check", "--json"])?;
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout)?;
    let mistakes: Vec<String> = found["mistakes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            format!(
                "{}:{} {}",
                p["file"].as_str().unwrap().rsplit('/').next().unwrap(),
                p["line"],
                p["message"].as_str().unwrap()
            )
        })
        .collect();
    for expected in [
        "bad.toml:6 things_commits cannot run inside the transaction",
        "bad.toml:7 the database main has no procedure, function or view no_such",
        "bad.toml:8 things_twice is a function",
        "bad.toml:9 things_sets has no parameter p_id",
        "bad.toml:11 the database main has no procedure, function or view no_job",
        "bad.toml:12 no operation takes a field emial",
        "worse.toml:3 there is no [databases.rec.other]",
        "rec.toml:6 papers_create is of the kind \"create\"",
        "rec.toml:8 beds_objects of the database main has no none",
    ] {
        assert!(
            mistakes.iter().any(|p| p.starts_with(expected)),
            "{expected} is not in {mistakes:#?}"
        );
    }
    assert_eq!(mistakes.len(), 9, "{mistakes:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_when_it_could_not_check() -> Result<()> {
    let world = World::new().await?;
    let text = std::fs::read_to_string(world.config_file())?;
    let line = text.lines().find(|line| line.contains("mysql://")).unwrap().to_owned();
    write(&world, "beds.toml", &text.replace(&line, "url = \"mysql://u:p@127.0.0.1:1/x\""))?;
    let output = world.beds(&["check"])?;
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not checked: databases.rel.main at 127.0.0.1:1"), "{said}");
    assert!(!said.contains("u:p@"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_could_not_find_out_ends_with_2_and_a_wrong_one_with_64() -> Result<()> {
    let world = World::new().await?;
    let code = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let output = world.beds(arguments)?;
        let said = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat();
        Ok((output.status.code(), said))
    };
    for wrong in
        [&["chekc"][..], &["check", "--nope"], &["audit"], &["audit", "ls", "--limit", "many"], &[]]
    {
        assert_eq!(code(wrong)?.0, Some(64), "{wrong:?}");
    }
    for right in [["--help"], ["--version"]] {
        assert_eq!(code(&right)?.0, Some(0), "{right:?}");
    }
    world.change_config(
        "[services.admin]\n",
        "[services.admin]\nsigning_key_file = \"keys/audit.key\"\n",
    )?;
    let (found, said) = code(&["check"])?;
    assert!(
        found == Some(1) && said.contains("keys is not there") && said.contains("Fix: make it"),
        "{said}"
    );
    world.write("keys/note", "")?;
    assert_eq!(code(&["check"])?.0, Some(0));
    // Another vhost, which RabbitMQ opens to no login.
    world.change_config(
        &format!("/{}\"\n[services.appserver]", world.name),
        "/nowhere\"\n[services.appserver]",
    )?;
    let (found, said) = code(&["check"])?;
    assert!(
        found == Some(2) && said.contains("not checked: RabbitMQ at ") && said.contains("nowhere"),
        "{said}"
    );
    let key = "0".repeat(64);
    for arguments in
        [&["audit", "verify", "--public-key", &key][..], &["audit", "heads"], &["audit", "ls"]]
    {
        let (found, said) = code(arguments)?;
        assert!(found == Some(2) && said.contains("RabbitMQ at "), "{arguments:?}: {said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_ends_with_64_and_every_mistake() -> Result<()> {
    let world = World::new().await?;
    write(&world, "beds.toml", "[node]\nnaem = \"x\"\n[services.rel]\nis_local = \"yes\"\n")?;
    let output = world.beds(&["run"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    for part in ["beds.toml:2", "did you mean `name`", "beds.toml:4", "[amqp] has no url"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_production_a_service_that_is_away_ends_the_start() -> Result<()> {
    let world = World::new().await?;
    let text = std::fs::read_to_string(world.config_file())?;
    let text = text
        .replace("[services.appserver]\nis_local = true", "[services.appserver]\nis_local = false");
    write(&world, "beds.toml", &text.replace("[node]", "[node]\nenvironment = \"production\""))?;
    let line = text.lines().find(|line| line.contains("mysql://")).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_beds"))
        .args(["run"])
        .current_dir(&world.folder)
        .env("BEDS__DATABASES__REL__MAIN__URL", "mysql://u:hidden@127.0.0.1:1/x")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{line} {said}");
    assert!(said.contains("IPL failed: the database databases.rel.main at 127.0.0.1:1"), "{said}");
    assert!(!said.contains("hidden"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_files_are_applied_once_and_a_changed_one_is_noticed() -> Result<()> {
    let world = World::new().await?;
    let apply = |extra: &[&str]| {
        world.beds(
            &[&["schema", "apply", "--credentials", "dba.toml", "--schema", "schema"], extra]
                .concat(),
        )
    };
    let again = String::from_utf8(apply(&[])?.stdout)?;
    assert!(
        again.lines().count() > 5 && again.lines().all(|line| line.ends_with("already there")),
        "{again}"
    );
    write(
        &world,
        "schema/rel/main/0960_fn.sql",
        "CREATE OR REPLACE FUNCTION f960() RETURNS INT DETERMINISTIC RETURN 1;\n",
    )?;
    assert!(String::from_utf8(apply(&[])?.stdout)?.contains("0960_fn.sql: applied\n"));
    write(
        &world,
        "schema/rel/main/0960_fn.sql",
        "CREATE OR REPLACE FUNCTION f960() RETURNS INT DETERMINISTIC RETURN 2;\n",
    )?;
    let changed = apply(&[])?;
    assert!(
        !changed.status.success() && String::from_utf8_lossy(&changed.stderr).contains("--redo")
    );
    assert!(String::from_utf8(apply(&["--redo"])?.stdout)?.contains("0960_fn.sql: applied again"));
    assert_eq!(world.sql("SELECT f960()")?, "2");
    write(&world, "schema/rel/main/0970_bad.sql", "-- first\nSELECT 1;\n\nSELEC 2;\n")?;
    let bad = apply(&[])?;
    let said = String::from_utf8_lossy(&bad.stderr);
    assert!(!bad.status.success() && said.contains("0970_bad.sql:4"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_killed_and_started_again_loses_and_doubles_nothing() -> Result<()> {
    let world = World::new().await?;
    let _process = world.process("").await?;
    let rows: String = (1..=3000).map(|n| format!("row {n},{n},{n}.25\n")).collect();
    write(&world, "rows.csv", &format!("name,count,amount\n{rows}"))?;
    let mut load = std::process::Command::new(env!("CARGO_BIN_EXE_beds"))
        .args(["load", "Things", "rows.csv", "--concurrency", "16"])
        .current_dir(&world.folder)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    crate::rig::eventually("some rows are there", async || {
        Ok(world.sql("SELECT COUNT(*) FROM things")?.parse::<u32>()? > 300)
    })
    .await?;
    load.kill()?;
    load.wait()?;
    assert_ne!(world.sql("SELECT COUNT(*) FROM things")?, "3000", "it was killed in the middle");
    let again = world.beds(&["load", "Things", "rows.csv"])?;
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(
        world.sql("SELECT COUNT(*), SUM(count), SUM(amount) FROM things")?,
        "3000\t4501500\t4502250.0000000000"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_refused_are_kept_with_the_reason() -> Result<()> {
    let world = World::new().await?;
    let _process = world.process("").await?;
    write(
        &world,
        "rows.ndjson",
        "{\"name\":\"a\"}\n{\"name\":\"a\"}\nnot json\n{\"name\":\"b\",\"count\":\"x\"}\n{\"name\":\"c\"}\n",
    )?;
    let output = world.beds(&["load", "Things", "rows.ndjson", "--concurrency", "1"])?;
    assert_eq!(output.status.code(), Some(1));
    let rejects =
        std::fs::read_to_string(world.folder.join("loads/rows.ndjson.Things.rejects.ndjson"))?;
    let reasons: Vec<Value> =
        rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reasons: Vec<(u64, &str)> =
        reasons.iter().map(|r| (r["row"].as_u64().unwrap(), r["code"].as_str().unwrap())).collect();
    assert_eq!(reasons, [(2, "BEDS-0008"), (3, "BEDS-0005"), (4, "BEDS-0003")]);
    assert_eq!(world.sql("SELECT GROUP_CONCAT(name ORDER BY id) FROM things")?, "a,c");
    // Nothing is left to do, and the rejected rows still are: said again, and written once.
    let again = world.beds(&["load", "Things", "rows.ndjson"])?;
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("3 rows were rejected"));
    assert_eq!(
        std::fs::read_to_string(world.folder.join("loads/rows.ndjson.Things.rejects.ndjson"))?,
        rejects
    );
    Ok(())
}
