//! The form of an answer is decided when a template is bound, never by how many rows were touched.
//!
//! Not here: the values in an answer, which is `values`'s.

use anyhow::Result;
use serde_json::{Value, json};

use crate::rig::World;

const ROWS: &str = "
CREATE TABLE rows_ (RowId INT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL) ENGINE = InnoDB;
INSERT INTO rows_ (n) VALUES (1), (1), (2), (3);
DELIMITER //
CREATE PROCEDURE rows_create(IN p_n INT) BEGIN INSERT INTO rows_ (n) VALUES (p_n); SELECT * FROM rows_ WHERE n = p_n; END //
CREATE PROCEDURE rows_mute(IN p_n INT) BEGIN INSERT INTO rows_ (n) VALUES (p_n); END //
CREATE PROCEDURE rows_fetch(IN p_id INT) READS SQL DATA SELECT * FROM rows_ WHERE n = p_id //
CREATE PROCEDURE rows_update(IN p_id INT, IN p_n INT) BEGIN UPDATE rows_ SET n = p_n WHERE n = p_id; SELECT * FROM rows_ WHERE n = p_n; END //
CREATE PROCEDURE rows_two(IN p_id INT, IN p_n INT)
BEGIN UPDATE rows_ SET n = p_n WHERE RowId = p_id; SELECT * FROM rows_ WHERE RowId = p_id; SELECT COUNT(*) AS c FROM rows_; END //
CREATE PROCEDURE rows_out(IN p_id INT, INOUT p_n INT)
BEGIN UPDATE rows_ SET n = p_n WHERE RowId = p_id; SELECT * FROM rows_ WHERE RowId = p_id; END //
CREATE PROCEDURE rows_list(IN p_limit INT, IN p_after INT) READS SQL DATA
  SELECT * FROM rows_ WHERE RowId > COALESCE(p_after, 0) ORDER BY RowId LIMIT p_limit //
CREATE PROCEDURE rows_bare(IN p_limit INT, IN p_after INT) READS SQL DATA SELECT n FROM rows_ LIMIT p_limit //
CREATE PROCEDURE rows_same(IN p_limit INT, IN p_after INT) READS SQL DATA
  SELECT n AS RowId FROM rows_ WHERE n > COALESCE(p_after, 0) ORDER BY n LIMIT p_limit //
CREATE PROCEDURE rows_some(IN p_limit INT) READS SQL DATA SELECT * FROM rows_ LIMIT p_limit //
CREATE PROCEDURE rows_twice() READS SQL DATA SELECT a.n, b.n FROM rows_ a JOIN rows_ b USING (RowId) //
CREATE PROCEDURE rows_sets() READS SQL DATA BEGIN SELECT 1 AS a; SELECT 2 AS b; END //
DELIMITER ;";

fn template(name: &str, id: &str, rest: &str) -> String {
    format!("name = \"{name}\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"{id}\"\n{rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_on_one_record_answers_the_bare_record_or_an_error() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        ROWS,
        &[
            (
                "rows",
                &template(
                    "Rows",
                    "RowId",
                    "[objects]\ncreate = \"rows_create\"\nfetch = \"rows_fetch\"\nupdate = \"rows_update\"\n",
                ),
            ),
            ("two", &template("Two", "RowId", "[objects]\ncreate = \"rows_mute\"\nupdate = \"rows_two\"\n")),
        ],
    )?;
    let live = world.node().await?;
    let wrong = async |method: &str, path: &str, body: Value, words: &str| -> Result<()> {
        let before = world.sql("SELECT GROUP_CONCAT(n ORDER BY RowId) FROM rows_")?;
        let answer = match method {
            "POST" => live.api.post(path, &body).await?,
            "PATCH" => live.api.patch(path, &body).await?,
            _ => live.api.get(path).await?,
        };
        assert_eq!((answer.status, answer.code()), (500, "BEDS-0027"), "{}", answer.text);
        assert!(answer.text.contains(words), "{words}: {}", answer.text);
        assert_eq!(
            world.sql("SELECT GROUP_CONCAT(n ORDER BY RowId) FROM rows_")?,
            before,
            "rolled back"
        );
        Ok(())
    };
    let (rows, two) = ("/v1/records/Rows", "/v1/records/Two");
    assert_eq!(live.api.post(rows, &json!({"n": 9})).await?.body, json!({"RowId": 5, "n": 9}));
    wrong("POST", rows, json!({"n": 9}), "rows_create answered a second row").await?;
    assert_eq!(live.api.get(&format!("{rows}/3")).await?.body, json!({"RowId": 4, "n": 3}));
    wrong("GET", &format!("{rows}/1"), json!({}), "rows_fetch answered a second row").await?;
    assert_eq!(
        live.api.patch(&format!("{rows}/3"), &json!({"n": 8})).await?.body,
        json!({"RowId": 4, "n": 8})
    );
    wrong("PATCH", &format!("{rows}/1"), json!({"n": 7}), "rows_update answered a second row")
        .await?;
    wrong("PATCH", &format!("{two}/1"), json!({"n": 7}), "rows_two answered a second result set")
        .await?;
    wrong("POST", two, json!({"n": 7}), "rows_mute answered no row").await?;
    assert_eq!(live.api.get(&format!("{rows}/77")).await?.code(), "BEDS-0007");
    assert_eq!(
        live.api.patch(&format!("{rows}/77"), &json!({"n": 1000})).await?.code(),
        "BEDS-0007"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_answers_everything_always_has_the_same_members() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        ROWS,
        &[
            ("all", &template("All", "RowId", "[objects.update]\nobject = \"rows_update\"\nanswer = \"all\"\n[objects.create]\nobject = \"rows_create\"\nanswer = \"all\"\n[objects]\nfetch = { object = \"rows_fetch\", answer = \"all\" }\n[fetches]\nsets = { object = \"rows_sets\", answer = \"all\" }\nbare = \"rows_sets\"\n")),
            ("out", &template("Out", "RowId", "[objects]\nupdate = \"rows_out\"\n")),
            ("both", &template("Both", "RowId", "[objects.update]\nobject = \"rows_two\"\nanswer = \"all\"\n")),
        ],
    )?;
    let live = world.node().await?;
    let row = |id: u32, n: u32| json!({"RowId": id, "n": n});
    let told = |answer: crate::rig::Answer| {
        let members: Vec<&str> = answer
            .body
            .as_object()
            .map(|map| map.keys().map(String::as_str).collect())
            .unwrap_or_default();
        assert_eq!(members, ["record", "result_sets", "out"], "{}", answer.text);
        answer.body
    };
    let one = told(live.api.patch("/v1/records/All/3", &json!({"n": 4})).await?);
    assert_eq!(one, json!({"record": row(4, 4), "result_sets": [[row(4, 4)]], "out": null}));
    let two = told(live.api.patch("/v1/records/All/1", &json!({"n": 6})).await?);
    assert_eq!(
        two,
        json!({"record": row(1, 6), "result_sets": [[row(1, 6), row(2, 6)]], "out": null})
    );
    assert_eq!(
        told(live.api.post("/v1/records/All", &json!({"n": 77})).await?)["record"],
        row(5, 77)
    );
    assert_eq!(
        told(live.api.get("/v1/records/All/77").await?)["result_sets"],
        json!([[row(5, 77)]])
    );
    let out = told(live.api.patch("/v1/records/Out/1", &json!({"n": 5})).await?);
    assert_eq!(out, json!({"record": row(1, 5), "result_sets": [[row(1, 5)]], "out": {"n": 5}}));
    let both = told(live.api.patch("/v1/records/Both/1", &json!({"n": 3})).await?);
    assert_eq!(both["result_sets"], json!([[row(1, 3)], [{"c": 5}]]));
    assert_eq!(
        live.api.patch("/v1/records/All/999", &json!({"n": 1000})).await?.code(),
        "BEDS-0007"
    );
    let sets = live.api.get("/v1/records/All/by/sets").await?;
    let expected = json!({"records": [{"a": 1}], "next": null, "more": false, "result_sets": [[{"b": 2}]], "out": null});
    assert_eq!(sets.body, expected);
    assert_eq!(live.api.get("/v1/records/All/by/bare").await?.code(), "BEDS-0027");
    // A repeat has the same form, and says that it is one.
    let body = json!({"n": 50});
    let first = live.api.post_with_key("/v1/records/All", "k", &body).await?;
    let again = live.api.post_with_key("/v1/records/All", "k", &body).await?;
    assert_eq!(
        (first.text.as_str(), first.header("idempotent-replayed")),
        (again.text.as_str(), "")
    );
    assert_eq!(again.header("idempotent-replayed"), "true");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_says_that_it_may_be_cut_and_how_it_goes_on() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        &format!("{ROWS}\nCREATE VIEW rows_view AS SELECT * FROM rows_;\nCREATE FUNCTION rows_count(p_n INT) RETURNS INT READS SQL DATA RETURN (SELECT COUNT(*) FROM rows_ WHERE n = p_n);"),
        &[
            ("rows", &template("Rows", "RowId", "[objects]\nlist = \"rows_list\"\n[fetches]\nview = \"rows_view\"\nsome = \"rows_some\"\nbare = \"rows_bare\"\nsame = \"rows_same\"\ntwice = \"rows_twice\"\ncount = \"rows_count\"\n")),
        ],
    )?;
    let live = world.node().await?;
    let page = async |path: &str| -> Result<(usize, Value, Value)> {
        let answer = live.api.get(&format!("/v1/records/Rows{path}")).await?;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        Ok((
            answer.body["records"].as_array().map_or(0, Vec::len),
            answer.body["next"].clone(),
            answer.body["more"].clone(),
        ))
    };
    assert_eq!(page("?limit=3").await?, (3, json!("3"), json!(true)));
    assert_eq!(page("?limit=3&after=3").await?, (1, Value::Null, json!(false)));
    assert_eq!(page("/by/view?limit=3").await?, (3, Value::Null, json!(true)));
    assert_eq!(
        page("/by/view?limit=4").await?,
        (4, Value::Null, json!(false)),
        "a view knows exactly"
    );
    assert_eq!(page("/by/some?limit=2").await?, (2, Value::Null, json!(true)));
    assert_eq!(page("/by/some").await?, (4, Value::Null, json!(false)));
    let lost = live.api.get("/v1/records/Rows/by/bare?limit=2").await?;
    assert!(
        lost.code() == "BEDS-0027"
            && lost.text.contains("rows_bare answered a full page without a usable `RowId`"),
        "{}",
        lost.text
    );
    assert_eq!(page("/by/bare").await?.0, 4, "a page that is not full needs no id");
    let same = live.api.get("/v1/records/Rows/by/same?limit=2").await?;
    assert!(
        same.code() == "BEDS-0027"
            && same.text.contains("rows_same answered a full page that ends in two"),
        "{}",
        same.text
    );
    assert_eq!(
        page("/by/same?limit=3").await?,
        (3, json!("2"), json!(true)),
        "the ids at the end differ"
    );
    let twice = live.api.get("/v1/records/Rows/by/twice").await?;
    assert!(
        twice.code() == "BEDS-0027" && twice.text.contains("two columns of the name \\\"n\\\""),
        "{}",
        twice.text
    );
    let count = live.api.get("/v1/records/Rows/by/count?n=1").await?;
    assert_eq!(count.body["records"], json!([{"rows_count": 2}]));
    // Documents, where the DBA's own number ends a page.
    for name in ["a", "b", "c"] {
        live.api.post("/v1/records/Papers", &json!({"name": name})).await?;
    }
    let papers = live.api.get("/v1/records/Papers?limit=2").await?;
    assert!(papers.body["next"].is_string() && papers.body["more"] == true, "{}", papers.text);
    Ok(())
}
