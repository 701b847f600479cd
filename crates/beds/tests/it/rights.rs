//! Rights of roles: each door does the declared things and no others, and tells a caller nothing of the rest.
//!
//! Not here: credentials (identity.rs), rows of callers.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use beds::settings;
use beds_core::{Operation, Template};
use serde_json::{Value, json};

use crate::audit::search;
use crate::rig::issuer::Issuer;
use crate::rig::{Answer, Api, World, as_caller, eventually};

/// A template with an exact right for each of its operations.
pub(crate) const EXACT: &str = "name = \"Exact\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n\
    [objects]\ncreate = \"things_create\"\nfetch = \"things_fetch\"\nlist = \"things_list\"\nupdate = \"things_update\"\ndelete = \"things_delete\"\n\
    [fetches]\nname = \"things_by_name\"\nview = \"things_view\"\n\
    [access]\nread = [\"reader\"]\nwrite = [\"writer\"]\ndelete = [\"chief\"]\nlist = [\"lister\", \"reader\"]\n\
    [access.fetches]\nview = [\"viewer\"]\n";

pub(crate) const ROLES: [&str; 9] =
    ["reader", "writer", "chief", "lister", "viewer", "tester", "clerk", "analyst", "stranger"];

/// Records of refusals that a caller has of one code in a minute.
const RECORDED: usize = 100;

/// True for a template with which tests attack the trail: here, all refusals are to be found in it.
pub(crate) fn is_attack(template: &Template) -> bool {
    template.database == "attacks"
}

/// Asks for an offer of a template, with an id and fields that fit no record.
async fn ask(
    api: &Api,
    template: &str,
    operation: Operation,
    name: Option<&str>,
) -> Result<Answer> {
    let path = format!("/v1/records/{template}");
    match (operation, name) {
        (Operation::Create, _) => api.post(&path, &json!({"no_such_field": 1})).await,
        (Operation::List, _) => api.get(&format!("{path}?limit=0")).await,
        (Operation::Fetch, Some(name)) => {
            api.get(&format!("{path}/by/{name}?no_such_field=1")).await
        }
        (Operation::Fetch, None) => api.get(&format!("{path}/0")).await,
        (Operation::Update, _) => {
            api.patch(&format!("{path}/0"), &json!({"no_such_field": 1})).await
        }
        (Operation::Delete, _) => api.delete(&format!("{path}/0")).await,
        (Operation::Job, name) => {
            let path = format!("{path}/jobs/{}", name.unwrap_or_default());
            api.post(&path, &json!({"no_such_field": 1})).await
        }
    }
}

/// The roles that a template's file gives for an offer, read as TOML and by no code of BEDS.
pub(crate) fn declared(text: &str, operation: Operation, name: Option<&str>) -> BTreeSet<String> {
    let file: toml::Table = text.parse().unwrap();
    let access = &file["access"];
    let roles = |value: &toml::Value| -> BTreeSet<String> {
        value.as_array().unwrap().iter().map(|role| role.as_str().unwrap().to_owned()).collect()
    };
    if operation == Operation::Job {
        let jobs = access.get("jobs");
        return jobs
            .map(|jobs| jobs.get(name.unwrap_or_default()).map_or_else(|| roles(jobs), roles))
            .unwrap_or_default();
    }
    if let Some(exact) = name.and_then(|name| access.get("fetches")?.get(name)) {
        return roles(exact);
    }
    let exact = access.get(operation.as_str()).filter(|_| name.is_none());
    let general = if operation.is_write() { "write" } else { "read" };
    exact.or_else(|| access.get(general)).map(roles).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_the_declared_things_and_no_others() -> Result<()> {
    let world = World::new().await?.with_tickets()?;
    world.template("exact", EXACT)?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node().await?;
    let (templates, _) = settings::templates(&world.folder.join("templates"));
    let templates: Vec<&Template> =
        templates.iter().map(|t| &**t).filter(|t| !t.is_of_nodes && !is_attack(t)).collect();
    let (mut cells, mut allowed) = (0, 0);
    for role in ROLES {
        let api = as_caller(&live.api, &issuer.token(role, &[role]))?;
        let listed = api.get("/v1/templates").await?;
        let mut denied = std::collections::BTreeMap::new();
        for template in &templates {
            let text = std::fs::read_to_string(&template.source.file)?;
            let offers = template.offers();
            let may = |operation, name| declared(&text, operation, name).contains(role);
            let knows = offers.iter().any(|offer| may(offer.operation, offer.name));
            let shown: Vec<&Value> = listed.body["templates"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|t| t["name"] == template.name.as_str())
                .collect();
            ensure!(shown.len() == usize::from(knows), "{role} {}: {}", template.name, listed.text);
            for offer in &offers {
                let answer = ask(&api, &template.name, offer.operation, offer.name).await?;
                let place = format!(
                    "{role} {} {} {:?}: {}",
                    template.name, offer.operation, offer.name, answer.text
                );
                cells += 1;
                if !may(offer.operation, offer.name) {
                    *denied.entry(if knows { "BEDS-0031" } else { "BEDS-0001" }).or_insert(0) += 1;
                }
                match (may(offer.operation, offer.name), knows) {
                    (true, _) => {
                        allowed += 1;
                        ensure!(
                            !matches!(answer.code(), "BEDS-0001" | "BEDS-0030" | "BEDS-0031"),
                            "{place}"
                        );
                    }
                    (false, true) => {
                        ensure!((answer.status, answer.code()) == (403, "BEDS-0031"), "{place}")
                    }
                    (false, false) => {
                        ensure!((answer.status, answer.code()) == (404, "BEDS-0001"), "{place}")
                    }
                }
                let operations =
                    shown.first().map(|t| t["operations"].to_string()).unwrap_or_default();
                let word = match offer.name {
                    Some(name) => format!("\"name\":\"{name}\""),
                    None => format!("\"operation\":\"{}\"", offer.operation),
                };
                ensure!(
                    offer.name.is_none() && offer.operation == Operation::Fetch
                        || operations.contains(&word) == may(offer.operation, offer.name),
                    "{place}: {operations}"
                );
            }
        }
        let query = format!("&outcome=failed&subject=corp/{role}");
        eventually("each refusal is recorded", async || {
            let found = search(&live.api, &query).await?;
            let told = |code: &str| found.iter().filter(|r| r["record"]["code"] == code).count();
            // A caller has a hundred records of a code in a minute; the others are counted.
            Ok(denied.iter().all(|(code, denied)| told(code) == RECORDED.min(*denied)))
        })
        .await?;
    }
    ensure!(cells > 300 && allowed > 60, "{cells} cells, {allowed} of them allowed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_roles_give_the_rights_of_both_and_no_more() -> Result<()> {
    let world = World::new().await?;
    world.template("exact", EXACT)?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node().await?;
    let api = as_caller(&live.api, &issuer.token("ana", &["lister", "chief"]))?;
    for (operation, name, status) in [
        (Operation::List, None, 400),
        (Operation::Delete, None, 404),
        (Operation::Update, None, 403),
        (Operation::Fetch, None, 403),
        (Operation::Fetch, Some("name"), 403),
    ] {
        let answer = ask(&api, "Exact", operation, name).await?;
        assert_eq!(answer.status, status, "{operation} {name:?}: {}", answer.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_without_a_right_is_as_one_that_is_not_there() -> Result<()> {
    let world = World::new().await?;
    world.template("exact", EXACT)?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node().await?;
    let api = as_caller(&live.api, &issuer.token("ana", &["tester"]))?;
    for path in ["/v1/templates/", "/v1/records/"] {
        let mut answers = Vec::new();
        for template in ["Exact", "Exbct"] {
            let answer = api.get(&format!("{path}{template}")).await?;
            let mut body = answer.body;
            drop(body.as_object_mut().unwrap().remove("event_id"));
            answers.push((answer.status, body.to_string().replace(template, "X")));
        }
        assert_eq!(answers[0], answers[1]);
    }
    let all = api.get("/v1/templates").await?;
    assert!(!all.text.contains("Exact") && all.text.contains("Things"), "{}", all.text);
    // Texts name only the things that the caller may use.
    let viewer = as_caller(&live.api, &issuer.token("bob", &["viewer"]))?;
    let unknown = viewer.get("/v1/records/Exact/by/nme").await?;
    assert!(unknown.text.contains("it has: view\""), "{}", unknown.text);
    // Nor does the tree of the caller's own request tell that it is there.
    let mut trees = Vec::new();
    for template in ["Exact", "Exbct"] {
        let asked = api.get(&format!("/v1/records/{template}")).await?;
        let path = format!("/v1/lineage/{}?format=text", asked.header("beds-event-id"));
        let mut text = String::new();
        eventually("the tree is there", async || {
            let tree = api.get(&path).await?;
            text = tree.text;
            Ok(tree.status == 200)
        })
        .await?;
        trees.push(text.contains("Exact"));
    }
    assert_eq!(trees, [false, false]);
    // A refusal is recorded with the name of the caller.
    eventually("the refusals have records", async || {
        let found = search(&live.api, "&subject=corp/ana").await?;
        Ok(found.iter().any(|record| record["record"]["code"] == "BEDS-0001"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_all_trees_and_each_caller_its_own() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node().await?;
    let as_role = |name: &str, role: &str| as_caller(&live.api, &issuer.token(name, &[role]));
    let (ana, bob, operator) =
        (as_role("ana", "tester")?, as_role("bob", "tester")?, as_role("op", "operator")?);
    let created = ana.post("/v1/records/Things", &json!({"name": "mine"})).await?;
    assert_eq!(created.status, 201, "{}", created.text);
    let tree = format!("/v1/lineage/{}", created.header("beds-event-id"));
    eventually("the tree is stored", async || Ok(ana.get(&tree).await?.status == 200)).await?;
    assert_eq!(operator.get(&tree).await?.status, 200);
    let foreign = bob.get(&tree).await?;
    let unknown = bob.get("/v1/lineage/ms.development.0").await?;
    assert_eq!((foreign.status, foreign.code()), (unknown.status, unknown.code()));
    assert_eq!(foreign.status, 404, "{}", foreign.text);
    for path in ["/v1/dead-letters", "/v1/dead-letters/x"] {
        let refused = bob.get(path).await?;
        assert_eq!((refused.status, refused.code()), (403, "BEDS-0031"), "{}", refused.text);
        assert_ne!(operator.get(path).await?.status, 403);
    }
    for path in ["/v1/dead-letters/replay?cause=x", "/v1/dead-letters/x/replay"] {
        assert_eq!(bob.post(path, &json!({})).await?.status, 403, "{path}");
    }
    assert_eq!(bob.delete("/v1/dead-letters/x").await?.status, 403);
    let audit = "/v1/records/Audit/by/search?limit=1";
    assert_eq!((bob.get(audit).await?.status, operator.get(audit).await?.status), (404, 404));
    assert_eq!(as_role("eve", "auditor")?.get(audit).await?.status, 200);
    Ok(())
}
