//! Rows belong to the DBA: the objects choose them by facts about the caller that no request can send.
//!
//! Not here: rights of roles (rights.rs), the sample's SQL (`0006_bookings.sql`).

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::rig::issuer::Issuer;
use crate::rig::{Api, World, as_caller};

/// A caller of a tenant.
pub(crate) fn caller(
    api: &Api,
    issuer: &Issuer,
    name: &str,
    role: &str,
    tenant: Value,
) -> Result<Api> {
    let mut payload = issuer.payload(name, &[role]);
    payload["org"] = tenant;
    as_caller(api, &issuer.signed(&payload))
}

/// A flight on which seats can be booked.
pub(crate) async fn flight(world: &World, api: &Api) -> Result<u64> {
    world.sql(
        "INSERT INTO airlines VALUES ('UA', 'United'); \
         INSERT INTO airports (faa, name, lat, lon, alt, tz, dst) VALUES ('EWR', 'Newark', 40, -74, 5, -5, 'A')",
    )?;
    let body = json!({"year": 2013, "month": 1, "day": 1, "sched_dep_time": 515, "sched_arr_time": 819, "carrier": "UA",
        "flight": 1545, "origin": "EWR", "dest": "IAH", "distance": 1400, "hour": 5, "minute": 15, "time_hour": "2013-01-01T10:00:00"});
    let created = api.post("/v1/records/Flights", &body).await?;
    ensure!(created.status == 201, "{}", created.text);
    Ok(created.body["flight_id"].as_u64().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_callers_swapped_on_every_operation_see_no_row_of_the_other() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node().await?;
    let flight = flight(&world, &live.api).await?;
    let of = |name: &str, role: &str, tenant: &str| {
        caller(&live.api, &issuer, name, role, json!(tenant))
    };
    let callers = [
        of("ana", "traveller", "acme")?,
        of("bob", "traveller", "acme")?,
        of("ana", "traveller", "globex")?,
        of("eve", "clerk", "globex")?,
    ];
    let clerk = of("carl", "clerk", "acme")?;
    let mut booked = Vec::new();
    for (number, api) in callers.iter().enumerate() {
        let body = json!({"flight_id": flight, "seat": format!("{}A", number + 1), "passenger": format!("passenger {number}")});
        let created = api.post("/v1/records/Bookings", &body).await?;
        assert_eq!(created.status, 201, "{}", created.text);
        booked.push(created);
    }
    for (number, own) in booked.iter().enumerate() {
        let path = own.header("location");
        for (other, api) in callers.iter().enumerate() {
            // Globex's clerk sees the bookings of its whole tenant.
            let may = other == number || (other == 3 && number == 2);
            let wanted = if may { 200 } else { 404 };
            let fetched = api.get(path).await?;
            assert_eq!(fetched.status, wanted, "{other} reads {number}: {}", fetched.text);
            if !may {
                let changed = api.patch(path, &json!({"passenger": "Mallory"})).await?;
                assert_eq!(
                    (changed.status, changed.code()),
                    (404, "BEDS-0007"),
                    "{}",
                    changed.text
                );
                let deleted = api.delete(path).await?;
                assert_eq!(
                    (deleted.status, deleted.code()),
                    (404, "BEDS-0007"),
                    "{}",
                    deleted.text
                );
            }
            for list in [String::new(), format!("/by/flight?flight_id={flight}")] {
                let listed = api.get(&format!("/v1/records/Bookings{list}")).await?;
                let is_listed = listed.text.contains(&format!("passenger {number}"));
                assert_eq!(is_listed, may, "{other} lists {number}: {}", listed.text);
            }
        }
    }
    let seen = clerk.get("/v1/records/Bookings").await?;
    assert_eq!(seen.body["records"].as_array().map(Vec::len), Some(2), "{}", seen.text);
    let untouched =
        world.sql("SELECT GROUP_CONCAT(passenger ORDER BY booking_id) FROM bookings")?;
    assert_eq!(untouched, "passenger 0,passenger 1,passenger 2,passenger 3");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_claim_is_403_and_a_sent_one_is_400() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node().await?;
    let flight = flight(&world, &live.api).await?;
    let mut payload = issuer.payload("ana", &["traveller"]);
    drop(payload.as_object_mut().unwrap().remove("org"));
    let without = as_caller(&live.api, &issuer.signed(&payload))?;
    let body = json!({"flight_id": flight, "seat": "1A", "passenger": "Ana"});
    for answer in [
        without.get("/v1/records/Bookings").await?,
        without.get("/v1/records/Bookings/1").await?,
        without.post("/v1/records/Bookings", &body).await?,
        without.delete("/v1/records/Bookings/1").await?,
    ] {
        assert_eq!((answer.status, answer.code()), (403, "BEDS-0032"), "{}", answer.text);
        assert!(answer.text.contains("no claim `tenant`"), "{}", answer.text);
    }
    let ana = caller(&live.api, &issuer, "ana", "traveller", json!("acme"))?;
    for name in ["claim_tenant", "claim_other", "actor", "event_id", "beds_roles"] {
        let mut forged = body.clone();
        forged[name] = json!("globex");
        let refused = ana.post("/v1/records/Bookings", &forged).await?;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "BEDS-0002"),
            "{name}: {}",
            refused.text
        );
        let refused = ana.get(&format!("/v1/records/Bookings?{name}=globex")).await?;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "BEDS-0002"),
            "{name}: {}",
            refused.text
        );
        // An object that takes all fields as one document takes none of these either.
        let whole =
            live.api.post("/v1/records/Papers", &json!({"name": "x", name: "globex"})).await?;
        assert_eq!((whole.status, whole.code()), (400, "BEDS-0002"), "{name}: {}", whole.text);
    }
    assert_eq!(world.sql("SELECT COUNT(*) FROM bookings")?, "0");
    let described = ana.get("/v1/templates/Bookings").await?;
    assert!(
        !described.text.contains("claim_") && !described.text.contains("beds_roles"),
        "{}",
        described.text
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_does_not_fit_its_parameter_is_403() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    world.domain(
        "CREATE PROCEDURE branches(IN p_claim_tenant INT) SELECT 1 AS id, p_claim_tenant AS tenant;
         GRANT EXECUTE ON PROCEDURE branches TO beds_runtime;",
        &[("branches", "name = \"Branches\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[fetches]\nmine = \"branches\"\n[rows]\nclaims = [\"tenant\"]\n")],
    )?;
    let live = world.node().await?;
    for (tenant, status) in
        [(json!(7), 200), (json!("7"), 200), (json!("acme"), 403), (json!(1_u64 << 40), 403)]
    {
        let api = caller(&live.api, &issuer, "ana", "tester", tenant.clone())?;
        let answer = api.get("/v1/records/Branches/by/mine").await?;
        assert_eq!(answer.status, status, "{tenant}: {}", answer.text);
        if status == 200 {
            assert_eq!(answer.body["records"][0]["tenant"], 7);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn named_operations_choose_documents_by_the_same_facts() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let operation = |name: &str, kind: &str, params: Value, command: Value| {
        json!({"update": "beds_objects", "updates": [{"q": {"_id": name}, "upsert": true, "u": {
            "_id": name, "kind": kind, "params": params, "command": command}}]})
    };
    let facts = json!({"claim_tenant": {"type": "string"}, "actor": {"type": "string"}, "beds_roles": {"type": "array"}});
    let mut create = facts.clone();
    create["text"] = json!({"type": "string", "required": true});
    let document = json!({"tenant": "$$claim_tenant", "owner": "$$actor", "roles": "$$beds_roles", "text": "$$text"});
    let files = json!([
        {"create": "memos"},
        operation("memos_create", "create", create, json!({"insert": "memos", "documents": [document]})),
        operation("memos_list", "list", json!({"claim_tenant": {"type": "string"}, "actor": {"type": "string"}}),
            json!({"find": "memos", "filter": {"tenant": "$$claim_tenant", "owner": "$$actor"}})),
    ]);
    world.write("schema/rec/main/0950_memos.json", files.to_string())?;
    world.apply()?;
    world.template("memos", "name = \"Memos\"\nstore = \"rec\"\ndatabase = \"main\"\nid = \"_id\"\n[objects]\ncreate = \"memos_create\"\nlist = \"memos_list\"\n[rows]\nclaims = [\"tenant\"]\nowner = true\n")?;
    let live = world.node().await?;
    let of = |name: &str, tenant: Value| caller(&live.api, &issuer, name, "tester", tenant);
    let (ana, twin, bob) =
        (of("ana", json!("acme"))?, of("ana", json!("globex"))?, of("bob", json!("acme"))?);
    let created = ana.post("/v1/records/Memos", &json!({"text": "mine"})).await?;
    assert_eq!(created.status, 201, "{}", created.text);
    assert_eq!(
        (&created.body["tenant"], &created.body["owner"], &created.body["roles"]),
        (&json!("acme"), &json!("corp/ana"), &json!(["tester"])),
    );
    for (api, count) in [(&ana, 1), (&twin, 0), (&bob, 0)] {
        let listed = api.get("/v1/records/Memos").await?;
        assert_eq!(listed.body["records"].as_array().map(Vec::len), Some(count), "{}", listed.text);
    }
    let none = live.api.get("/v1/records/Memos").await?;
    assert_eq!((none.status, none.code()), (403, "BEDS-0032"), "{}", none.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_one_tenant_never_gives_the_answer_of_another() -> Result<()> {
    let world = World::new().await?;
    let issuer = Issuer::new("one")?;
    issuer.join(&world)?;
    let live = world.node().await?;
    let flight = flight(&world, &live.api).await?;
    let of =
        |name: &str, tenant: &str| caller(&live.api, &issuer, name, "traveller", json!(tenant));
    let body = json!({"flight_id": flight, "seat": "1A", "passenger": "secret"});
    let path = "/v1/records/Bookings";
    let first = of("ana", "acme")?.post_with_key(path, "k", &body).await?;
    assert_eq!(first.status, 201, "{}", first.text);
    let again = of("ana", "acme")?.post_with_key(path, "k", &body).await?;
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, "true"));
    // The same subject of another tenant: another request under the same key.
    let other = of("ana", "globex")?.post_with_key(path, "k", &body).await?;
    assert_eq!((other.status, other.code()), (422, "BEDS-0010"), "{}", other.text);
    // Another subject: a key of its own, and the seat is taken.
    let bob = of("bob", "acme")?.post_with_key(path, "k", &body).await?;
    assert_eq!((bob.status, bob.code()), (409, "BEDS-0008"), "{}", bob.text);
    assert!(!other.text.contains("secret") && !bob.text.contains("secret"));
    assert_eq!(world.sql("SELECT COUNT(*) FROM bookings")?, "1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_without_the_demanded_parameters_is_refused() -> Result<()> {
    let world = World::new().await?;
    let text = "name = \"Open\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[objects]\nlist = \"things_list\"\n[fetches]\nview = \"things_view\"\n[rows]\nclaims = [\"tenant\"]\nowner = true\n";
    world.template("open", text)?;
    world.template("papers2", "name = \"Papers2\"\nstore = \"rec\"\ndatabase = \"main\"\nid = \"_id\"\n[objects]\nlist = \"papers_list\"\n[rows]\nowner = true\n")?;
    let (code, said) = world.check()?;
    assert_eq!(code, 1, "{said}");
    for expected in [
        "templates/open.toml:6: things_list has no parameter claim_tenant, which [rows] demands",
        "templates/open.toml:8: things_view has no parameter claim_tenant",
        "templates/papers2.toml:6: papers_list has no parameter actor",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_a_proved_fact_in_other_letters_is_refused() -> Result<()> {
    let world = World::new().await?;
    world.domain(
        "CREATE PROCEDURE near1(IN p_Actor VARCHAR(40)) SELECT 1 AS id;
         CREATE PROCEDURE near2(IN P_CLAIM_TENANT VARCHAR(40)) SELECT 1 AS id;
         CREATE PROCEDURE told(IN p_claim_tenant VARCHAR(40)) SELECT 1 AS id;
         GRANT EXECUTE ON PROCEDURE told TO beds_runtime;
         GRANT EXECUTE ON PROCEDURE near1 TO beds_runtime; GRANT EXECUTE ON PROCEDURE near2 TO beds_runtime;",
        &[("near", "name = \"Near\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n[fetches]\none = \"near1\"\ntwo = \"near2\"\nthree = \"told\"\n")],
    )?;
    let (code, said) = world.check()?;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("warning: told takes claim_tenant, which is filled from"), "{said}");
    for name in ["near1 has the parameter Actor", "near2 has the parameter CLAIM_TENANT"] {
        assert!(said.contains(name), "{name}: {said}");
    }
    Ok(())
}
