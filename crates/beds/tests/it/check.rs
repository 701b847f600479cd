//! `beds check` tells the findings of the templates, each with its place and the next step.
//!
//! Not here: refusals (wall.rs, values.rs).

use anyhow::Result;

use crate::rig::World;

fn template(name: &str, id: &str, rest: &str) -> String {
    format!("name = \"{name}\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"{id}\"\n{rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_domain_has_no_problem() -> Result<()> {
    let world = World::new().await?;
    let (code, said) = world.check()?;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(" 0 mistake(s)"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_not_rolled_back_and_rights_that_are_not_the_dbas_are_warned_of()
-> Result<()> {
    let world = World::new().await?;
    world.domain(
        "CREATE TABLE legacy (n INT) ENGINE = MyISAM;
         CREATE TABLE orders (order_id INT AUTO_INCREMENT PRIMARY KEY, qty INT CHECK (qty > 0)) ENGINE = InnoDB;
         CREATE TABLE audit_of_orders (n INT) ENGINE = Aria;
         CREATE TRIGGER orders_trigger AFTER INSERT ON orders FOR EACH ROW INSERT INTO audit_of_orders VALUES (NEW.qty);
         DELIMITER //
         CREATE PROCEDURE orders_create(IN p_qty INT)
         BEGIN INSERT INTO legacy VALUES (p_qty); INSERT INTO orders (qty) VALUES (p_qty); SELECT * FROM orders WHERE order_id = LAST_INSERT_ID(); END //
         CREATE PROCEDURE orders_list() READS SQL DATA SQL SECURITY INVOKER SELECT * FROM orders //
         CREATE DEFINER = 'nobody_here'@'%' PROCEDURE orders_fetch(IN p_id INT) READS SQL DATA SELECT * FROM orders WHERE order_id = p_id //
         CREATE SQL SECURITY INVOKER VIEW orders_view AS SELECT * FROM orders //
         DELIMITER ;",
        &[("orders", &template("Orders", "order_id", "[objects]\ncreate = \"orders_create\"\nlist = \"orders_list\"\nfetch = \"orders_fetch\"\n[fetches]\nview = \"orders_view\"\n"))],
    )?;
    let (code, said) = world.check()?;
    assert_eq!(code, 0, "warnings are no mistakes: {said}");
    for part in [
        "orders.toml:6: warning: orders_create writes audit_of_orders (Aria), legacy (MyISAM), which is not rolled back",
        "orders.toml:7: warning: orders_list is SQL SECURITY INVOKER",
        "orders.toml:8: warning: orders_fetch runs with the rights of nobody_here@%",
        "orders.toml:10: warning: orders_view is SQL SECURITY INVOKER",
        "Fix: ask the DBA to make it an InnoDB table",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_nothing_answers_is_a_problem_and_a_sensitive_result_is_none() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "CREATE TABLE artists (ArtistId INT PRIMARY KEY, Name VARCHAR(40), Secret VARCHAR(40)) ENGINE = InnoDB;
         CREATE PROCEDURE artists_list(IN p_limit INT, IN p_after INT) READS SQL DATA SELECT * FROM artists WHERE ArtistId > COALESCE(p_after, 0) LIMIT p_limit;
         CREATE PROCEDURE artists_named() READS SQL DATA SELECT CONCAT(ArtistId, '-', Name) AS slug FROM artists;",
        &[
            ("a1", &template("A1", "artistid", "[objects]\nlist = \"artists_list\"\n")),
            ("a2", &template("A2", "nonsense", "[objects]\nlist = \"artists_list\"\n")),
            ("a3", &template("A3", "slug", "[fetches]\nnamed = \"artists_named\"\n[fields.Secret]\nsensitive = true\n")),
            ("a4", &template("A4", "ArtistId", "[objects]\nlist = \"artists_list\"\n[fields.Secrte]\nsensitive = true\n")),
        ],
    )?;
    let (code, said) = world.check()?;
    assert_eq!(code, 1, "{said}");
    for part in [
        "a1.toml:4: no object of the template can answer a column `artistid`. Fix: write id = \"ArtistId\"",
        "a2.toml:4: no object of the template can answer a column `nonsense`",
        "a4.toml:7: no operation takes a field Secrte",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert!(
        !said.contains("a3.toml"),
        "an alias is an id, and a column of a result can be sensitive: {said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_needs_no_database_and_a_node_checks_what_it_serves() -> Result<()> {
    let world = World::new().await?;
    let config = std::fs::read_to_string(world.config_file())?;
    let (front, databases) = config.split_once("[databases.rel.main]").unwrap_or((&config, ""));
    let gateway = front
        .replace("[services.rec]\nis_local = true", "[services.rec]\nis_local = false")
        .replace("[services.rel]\nis_local = true", "[services.rel]\nis_local = false")
        .replace("[services.admin]\nis_local = true", "[services.admin]\nis_local = false");
    std::fs::write(world.config_file(), &gateway)?;
    let (code, said) = world.check()?;
    assert_eq!(code, 0, "{said}");
    assert!(
        !said.contains("[databases."),
        "no login of a database is proposed to a gateway: {said}"
    );
    // A worker of documents does without MariaDB.
    let documents =
        databases.split_once("[databases.rec.main]").map(|(_, rest)| rest).unwrap_or_default();
    let worker =
        gateway.replace("[services.rec]\nis_local = false", "[services.rec]\nis_local = true");
    std::fs::write(world.config_file(), format!("{worker}[databases.rec.main]{documents}"))?;
    let (code, said) = world.check()?;
    assert_eq!(code, 0, "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_that_nothing_prunes_or_that_forgets_too_soon_is_told() -> Result<()> {
    let world = World::new().await?;
    world.sql("INSERT INTO beds_inbox (inbox_key, fingerprint, claimed_at) VALUES (REPEAT('a', 64), REPEAT('b', 64), NOW() - INTERVAL 40 DAY)")?;
    let (code, said) = world.check()?;
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains(
            "databases.rel.main: warning: the inbox has keys of 40 days, and inbox.keep_days is 7: nothing prunes it"
        ),
        "{said}"
    );
    world.sql("ALTER EVENT beds_inbox_hourly DISABLE")?;
    let (code, said) = world.check()?;
    assert!(
        code == 0
            && said.contains(
                "the inbox keeps keys and answers for ever: the event beds_inbox_hourly is disabled"
            ),
        "{said}"
    );
    world.change_config("[reports]", "[inbox]\nkeep_days = 30\n[reports]")?;
    let (code, said) = world.check()?;
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains(
            "databases.rec.main: the inbox forgets keys after 604800 s, and inbox.keep_days is 30"
        ),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn production_is_told_everything_at_once_that_keeps_it_from_its_start() -> Result<()> {
    let world = World::new().await?;
    world.change_config("[node]\n", "[node]\nenvironment = \"production\"\n")?;
    world.change_config("hash_keys = [\"hash.key\"]", "hash_keys = []")?;
    world.change_config("[\"seal.key\"]", "[\"absent.key\"]\nrequire_seal = false")?;
    let text = std::fs::read_to_string(world.config_file())?;
    let issuer = "[auth.issuers.corp]\nissuer = \"https://id.example\"\naudience = \"beds\"\njwks_file = \"absent.jwks\"\nroles = \"realm\"\n";
    std::fs::write(world.config_file(), format!("{text}\n{issuer}"))?;
    let (code, said) = world.check()?;
    for part in [
        "would take credentials in plain text in production",
        "reports.hash_keys is not set",
        "trust.require_seal is false in production",
        "absent.key",
        "absent.jwks",
        "no JSON pointer",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert_eq!(code, 1, "{said}");
    Ok(())
}
