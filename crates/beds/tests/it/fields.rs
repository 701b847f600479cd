//! Fields by role: a value that a caller may not read is in no kind of answer.
//!
//! Not here: rights on operations (rights.rs), the cut itself (`core::rights`' own tests).

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::rig::issuer::Issuer;
use crate::rig::{Answer, World, as_caller, envelope, eventually};

const CANARY: &str = "canary-4711";

/// A domain whose objects answer in each of the forms.
const SQL: &str = "CREATE TABLE staff (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) NOT NULL, salary VARCHAR(40) NULL) ENGINE = InnoDB;
    DELIMITER //
    CREATE PROCEDURE staff_create(IN p_name VARCHAR(40), IN p_salary VARCHAR(40))
    BEGIN INSERT INTO staff (name, salary) VALUES (p_name, COALESCE(p_salary, 'canary-4711')); SELECT * FROM staff WHERE id = LAST_INSERT_ID(); END //
    CREATE PROCEDURE staff_fetch(IN p_id INT) BEGIN SELECT * FROM staff WHERE id = p_id; END //
    CREATE PROCEDURE staff_list(IN p_limit INT) BEGIN SELECT * FROM staff ORDER BY id LIMIT p_limit; END //
    CREATE PROCEDURE staff_update(IN p_id INT, IN p_name VARCHAR(40))
    BEGIN
      IF p_name = 'forbidden' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'this name is not allowed'; END IF;
      UPDATE staff SET name = p_name WHERE id = p_id; SELECT * FROM staff WHERE id = p_id;
    END //
    CREATE PROCEDURE staff_delete(IN p_id INT) BEGIN SELECT * FROM staff WHERE id = p_id FOR UPDATE; DELETE FROM staff WHERE id = p_id; END //
    CREATE PROCEDURE staff_by_name(IN p_name VARCHAR(40)) BEGIN SELECT id, name, SALARY, salary AS Salary FROM staff WHERE name = p_name; END //
    CREATE PROCEDURE staff_by_salary(IN p_salary VARCHAR(40)) BEGIN SELECT id FROM staff WHERE salary = p_salary; END //
    CREATE PROCEDURE staff_all(OUT p_salary VARCHAR(40)) BEGIN SELECT * FROM staff; SELECT * FROM staff; SET p_salary = 'canary-4711'; END //
    DELIMITER ;
    GRANT EXECUTE ON PROCEDURE staff_create TO beds_runtime; GRANT EXECUTE ON PROCEDURE staff_fetch TO beds_runtime;
    GRANT EXECUTE ON PROCEDURE staff_list TO beds_runtime; GRANT EXECUTE ON PROCEDURE staff_update TO beds_runtime;
    GRANT EXECUTE ON PROCEDURE staff_delete TO beds_runtime; GRANT EXECUTE ON PROCEDURE staff_by_name TO beds_runtime;
    GRANT EXECUTE ON PROCEDURE staff_by_salary TO beds_runtime; GRANT EXECUTE ON PROCEDURE staff_all TO beds_runtime;";

const TEMPLATE: &str = "name = \"Staff\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n\
    [objects]\ncreate = \"staff_create\"\nfetch = \"staff_fetch\"\nlist = \"staff_list\"\nupdate = \"staff_update\"\ndelete = \"staff_delete\"\n\
    [fetches]\nname = \"staff_by_name\"\nsalary = \"staff_by_salary\"\nall = { object = \"staff_all\", answer = \"all\" }\n\
    [access]\nread = [\"clerk\", \"chief\"]\nwrite = [\"clerk\", \"chief\"]\n\
    [fields.salary]\nread = [\"chief\"]\nwrite = [\"chief\"]\n";

/// An answer that came, with nothing of the canary in it.
fn clean(kind: &str, answer: &Answer, status: u16) -> Result<()> {
    ensure!(answer.status == status, "{kind}: {}", answer.text);
    ensure!(
        !answer.text.contains(CANARY) && !answer.text.to_lowercase().contains("salary"),
        "{kind}: {}",
        answer.text
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_others_is_in_no_kind_of_answer() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    world.domain(SQL, &[("staff", TEMPLATE)])?;
    let live = world.node().await?;
    let clerk = as_caller(&live.api, &issuer.token("ana", &["clerk"]))?;
    let chief = as_caller(&live.api, &issuer.token("bob", &["chief"]))?;
    let path = "/v1/records/Staff";
    let created = clerk.post_with_key(path, "k", &json!({"name": "one"})).await?;
    clean("create", &created, 201)?;
    let again = clerk.post_with_key(path, "k", &json!({"name": "one"})).await?;
    ensure!(again.header("idempotent-replayed") == "true", "{}", again.text);
    clean("a repeat by key", &again, 201)?;
    let one = created.header("location").to_owned();
    clean("fetch", &clerk.get(&one).await?, 200)?;
    clean("list", &clerk.get(path).await?, 200)?;
    clean("a named fetch", &clerk.get(&format!("{path}/by/name?name=one")).await?, 200)?;
    clean("result sets and out", &clerk.get(&format!("{path}/by/all")).await?, 200)?;
    clean("update", &clerk.patch(&one, &json!({"name": "two"})).await?, 200)?;
    clean("an error", &clerk.patch(&one, &json!({"name": "forbidden"})).await?, 422)?;
    let described = clerk.get("/v1/templates/Staff").await?;
    let of_salary = described.body["operations"]
        .as_array()
        .context("operations")?
        .iter()
        .find(|op| op["name"] == "salary");
    ensure!(of_salary.is_some_and(|op| op["parameters"] == json!({})), "{}", described.text);
    ensure!(described.body["fields"].get("salary").is_none(), "{}", described.text);
    // The whole value for the role that may read it, in each of these.
    for answer in [
        chief.get(&one).await?,
        chief.get(path).await?,
        chief.get(&format!("{path}/by/all")).await?,
        chief.get(&format!("{path}/by/salary?salary={CANARY}")).await?,
    ] {
        ensure!(answer.status == 200, "{}", answer.text);
    }
    let whole = chief.get(&format!("{path}/by/all")).await?;
    assert_eq!(whole.text.matches(CANARY).count(), 3, "{}", whole.text);
    // A value is not told by asking, and not sent.
    for refused in [
        clerk.get(&format!("{path}/by/salary?salary={CANARY}")).await?,
        clerk.post(path, &json!({"name": "x", "salary": "1"})).await?,
    ] {
        assert_eq!(
            (refused.status, refused.code(), &refused.body["field"]),
            (403, "BEDS-0031", &json!("salary")),
            "{}",
            refused.text
        );
    }
    clean("delete", &clerk.delete(&one).await?, 200)?;
    assert_eq!(world.sql("SELECT COUNT(*) FROM staff")?, "0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_others_is_in_no_reply_and_in_no_dead_letter() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    world.domain(SQL, &[("staff", TEMPLATE)])?;
    let live = world.node().await?;
    world.own_queue("mine").await?;
    world.sql(&format!("INSERT INTO staff (name, salary) VALUES ('one', '{CANARY}')"))?;
    let of_client = |mut event: Value| {
        event["deadline"] =
            json!((jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string());
        event
    };
    let list = of_client(envelope("py.list", "Staff", "list", json!({}))).to_string();
    for (role, is_whole) in [("clerk", false), ("chief", true)] {
        let headers = json!({"authorization": format!("Bearer {}", issuer.token("ana", &[role]))});
        let properties = json!({"reply_to": "mine", "message_id": "py.list", "headers": headers});
        ensure!(world.publish_unproved("beds.events", "rel.read.main", &list, properties).await?);
        let mut replies = Vec::new();
        eventually("the reply is there", async || {
            replies.extend(world.take("mine").await?);
            Ok(!replies.is_empty())
        })
        .await?;
        let reply: Value =
            serde_json::from_str(replies[0]["payload"].as_str().context("a payload")?)?;
        assert_eq!(reply["status"], 200, "{reply}");
        assert_eq!(reply.to_string().contains(CANARY), is_whole, "{role}: {reply}");
    }
    // A write of a chief that failed for good.
    let write =
        envelope("py.dead", "Staff", "update", json!({"name": "forbidden", "salary": CANARY}));
    let mut write = of_client(write);
    write["id"] = json!("1");
    let headers = json!({"authorization": format!("Bearer {}", issuer.token("bob", &["chief"]))});
    let properties = json!({"message_id": "py.dead", "headers": headers});
    ensure!(
        world
            .publish_unproved("beds.events", "rel.write.main", &write.to_string(), properties)
            .await?
    );
    let mut listed = Value::Null;
    eventually("the dead letter is listed", async || {
        listed = live.api.get("/v1/dead-letters").await?.body;
        Ok(listed["dead_letters"].as_array().is_some_and(|letters| !letters.is_empty()))
    })
    .await?;
    ensure!(!listed.to_string().contains(CANARY), "{listed}");
    let shown = live.api.get("/v1/dead-letters/py.dead").await?;
    ensure!(shown.status == 200 && !shown.text.contains(CANARY), "{}", shown.text);
    Ok(())
}
