//! Databases beside each other: each has queues, tasks and a fate of its own, and a node takes only what it can work on.
//!
//! Not here: the outage of a whole service (outages.rs), the rest of several nodes (`several_nodes.rs`).

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::{Live, Process, World, envelope, eventually};

const SIDE: &str = "CREATE TABLE sides (id INT AUTO_INCREMENT PRIMARY KEY, label VARCHAR(40) NOT NULL) ENGINE = InnoDB;
    DELIMITER //
    CREATE PROCEDURE sides_create(IN p_label VARCHAR(40))
    BEGIN INSERT INTO sides (label) VALUES (p_label); SELECT * FROM sides WHERE id = LAST_INSERT_ID(); END //
    CREATE PROCEDURE sides_fetch(IN p_id INT) READS SQL DATA SELECT * FROM sides WHERE id = p_id //
    DELIMITER ;";

/// A world with a second MariaDB database, `side`, which a node enters with a login of its own.
struct TwoDatabases {
    world: World,
    database: String,
}

impl TwoDatabases {
    async fn new() -> Result<Self> {
        let world = World::new().await?;
        let database = format!("{}_side", world.name);
        let login = format!("s{}", &world.name[1..]);
        world.sql_server(&format!(
            "CREATE DATABASE {database}; CREATE USER {login} IDENTIFIED BY 'side'; GRANT ALL ON {database}.* TO {login};"
        ))?;
        let beds = std::fs::read_to_string(world.folder.join("schema/rel/main/0001_beds.sql"))?;
        world.write("schema/rel/side/0001_beds.sql", beds)?;
        world.write("schema/rel/side/0002_side.sql", SIDE)?;
        world.template("sides",
            "name = \"Sides\"\nstore = \"rel\"\ndatabase = \"side\"\nid = \"id\"\n[objects]\ncreate = \"sides_create\"\n\
             fetch = \"sides_fetch\"\n",
        )?;
        let (_, host) = world.maria.split_once('@').context("a login")?;
        for (file, login) in [
            ("dba.toml", world.maria.clone()),
            ("beds.toml", format!("mysql://{login}:side@{host}")),
        ] {
            let text = std::fs::read_to_string(world.folder.join(file))?;
            let side = format!(
                "[databases.rel.side]\nurl = \"{login}/{database}\"\ninstances = {{ read = 1 }}\n"
            );
            world.write(file, text + &side)?;
        }
        world.apply()?;
        Ok(Self { world, database })
    }

    fn count(&self) -> Result<String> {
        self.world.sql_server(&format!("SELECT COUNT(*) FROM {}.sides", self.database))
    }

    /// Locks the login of `side` and ends its sessions, or lets it in again.
    fn lock(&self, is_locked: bool) -> Result<()> {
        let login = format!("s{}", &self.world.name[1..]);
        let (word, then) = if is_locked {
            ("LOCK", format!("KILL USER {login};"))
        } else {
            ("UNLOCK", String::new())
        };
        self.world.sql_server(&format!("ALTER USER {login} ACCOUNT {word}; {then}")).map(drop)
    }

    /// The queues of `side` that have a consumer.
    async fn consumed(&self) -> Result<Vec<String>> {
        let consumers = self.world.prefetches().await?.into_iter().map(|(queue, _)| queue);
        Ok(consumers.filter(|queue| queue.ends_with(".side")).collect())
    }
}

impl Drop for TwoDatabases {
    fn drop(&mut self) {
        let login = format!("s{}", &self.world.name[1..]);
        let gone =
            format!("DROP DATABASE IF EXISTS {}; DROP USER IF EXISTS {login};", self.database);
        drop(self.world.sql_server(&gone));
    }
}

/// A node with a gateway alone.
async fn gateway(world: &World) -> Result<Live> {
    world
        .node_with(|config| {
            config.node.name = "gw".to_owned();
            config.node.control = None;
            config.services.rel.is_local = false;
            config.services.rec.is_local = false;
            config.services.admin.is_local = false;
        })
        .await
}

/// A process that works on MariaDB alone.
fn worker(world: &World, name: &str, keys: &[(&str, String)]) -> Result<Process> {
    let mut all = vec![
        ("BEDS__SERVICES__APPSERVER__IS_LOCAL", "false".to_owned()),
        ("BEDS__SERVICES__REC__IS_LOCAL", "false".to_owned()),
        ("BEDS__SERVICES__ADMIN__IS_LOCAL", "false".to_owned()),
    ];
    all.extend(keys.iter().cloned());
    world.role(name, &all)
}

async fn is_ready(process: &Process) -> Result<bool> {
    let asked = process.api.get("/readyz").await;
    Ok(asked.is_ok_and(|answer| answer.status == 200))
}

/// True while the node reaches the database `side`.
async fn is_there(live: &Live) -> Result<bool> {
    let readiness = live.api.get("/readyz").await?.body;
    Ok(service(&readiness, "databases.rel.side")["ready"] == true)
}

fn service(readiness: &Value, name: &str) -> Value {
    let services = readiness["services"].as_array().into_iter().flatten();
    services.clone().find(|service| service["name"] == name).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_under_the_key_of_another_database_is_refused_and_not_executed() -> Result<()> {
    let two = TwoDatabases::new().await?;
    let world = &two.world;
    let _live = world.node().await?;
    world.own_queue("mine").await?;
    // The seed's key is that of `main`.
    for key in ["rel.write", "rel.write.main", "rel.write.side"] {
        let event = envelope(&format!("py.{key}"), "Sides", "create", json!({"label": key}));
        assert!(
            world
                .publish(key, &event.to_string(), json!({"reply_to": "mine", "delivery_mode": 2}))
                .await?
        );
    }
    let mut replies = Vec::new();
    eventually("three answers", async || {
        replies.extend(world.take("mine").await?);
        Ok(replies.len() == 3)
    })
    .await?;
    for reply in replies {
        let payload: Value = serde_json::from_str(reply["payload"].as_str().context("a payload")?)?;
        let expected = match payload["event_id"] == "py.rel.write.side" {
            true => (json!(201), Value::Null),
            false => (json!(400), json!("BEDS-0024")),
        };
        assert_eq!(
            (&payload["status"], &payload["error"]["code"]),
            (&expected.0, &expected.1),
            "{payload}"
        );
    }
    assert_eq!(two.count()?, "1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_pauses_its_own_queues_and_no_other() -> Result<()> {
    let two = TwoDatabases::new().await?;
    let world = &two.world;
    let live = world.node().await?;
    world.all_consume().await?;
    let prefetches = world.prefetches().await?;
    // One task for its reads, as its own `instances` say, with four messages at hand for each.
    assert!(prefetches.contains(&("rel.read.side".to_owned(), 4)), "{prefetches:?}");
    assert!(prefetches.contains(&("rel.read.main".to_owned(), 8)), "{prefetches:?}");
    assert_eq!(live.api.post("/v1/records/Sides", &json!({"label": "before"})).await?.status, 201);
    // A connection that is just being renewed has no user, and the first KILL passes it by.
    eventually("its queues have no consumer", async || {
        two.lock(true)?;
        Ok(two.consumed().await?.is_empty())
    })
    .await?;
    // Refused at once: the caller would wait for a minute.
    let patient = live.api.request("GET", "/v1/records/Sides/1").header("Beds-Timeout", "60s");
    let refused = live.api.send(patient).await?;
    assert_eq!((refused.status, refused.code()), (503, "BEDS-0016"), "{}", refused.text);
    assert!(
        refused.text.contains("side") && !refused.header("retry-after").is_empty(),
        "{}",
        refused.text
    );
    let refused = live.api.post("/v1/records/Sides", &json!({"label": "refused"})).await?;
    assert_eq!((refused.status, refused.code()), (503, "BEDS-0016"), "{}", refused.text);
    assert_eq!(
        live.api.post("/v1/records/Things", &json!({"name": "meanwhile"})).await?.status,
        201
    );
    // Without a requester, it waits for the database.
    let event = envelope("py.side.waits", "Sides", "create", json!({"label": "waited"}));
    assert!(
        world.publish("rel.write.side", &event.to_string(), json!({"delivery_mode": 2})).await?
    );
    let ready = live.api.get("/readyz").await?;
    assert_eq!(service(&ready.body, "databases.rel.side")["ready"], false, "{}", ready.text);
    assert_eq!(service(&ready.body, "queues")["ready"], true, "{}", ready.text);
    two.lock(false)?;
    eventually("it was worked on", async || Ok(two.count()? == "2")).await?;
    eventually("requests are answered", async || {
        Ok(live.api.get("/v1/records/Sides/1").await?.status == 200)
    })
    .await?;
    // One that comes and goes leaves no consumer behind whose messages no task settles.
    for _ in 0..8 {
        two.lock(true)?;
        eventually("it is noticed", async || Ok(!is_there(&live).await?)).await?;
        two.lock(false)?;
        eventually("it is noticed", async || is_there(&live).await).await?;
    }
    eventually("all consumers are back", async || Ok(world.prefetches().await? == prefetches))
        .await?;
    assert_eq!(live.api.post("/v1/records/Sides", &json!({"label": "after"})).await?.status, 201);
    assert!(world.take("beds.dead").await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_no_node_would_take_is_refused_at_once() -> Result<()> {
    let world = World::new().await?;
    let gateway = gateway(&world).await?;
    let api = &gateway.api;
    let patient = async || {
        let asked = api.request("GET", "/v1/records/Things?limit=1").header("Beds-Timeout", "60s");
        api.send(asked).await
    };
    let refused = patient().await?;
    assert_eq!((refused.status, refused.code()), (503, "BEDS-0016"), "{}", refused.text);
    let ready = api.get("/readyz").await?;
    assert_eq!(
        (ready.status, &service(&ready.body, "queues")["ready"]),
        (503, &json!(false)),
        "{}",
        ready.text
    );
    let process = worker(&world, "wk", &[])?;
    eventually("the worker is ready", async || is_ready(&process).await).await?;
    eventually("requests are answered", async || Ok(patient().await?.status == 200)).await?;
    let ready = api.get("/readyz").await?;
    assert_eq!(ready.status, 200, "MariaDB can be reached: {}", ready.text);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_enter_its_database_takes_no_request_from_one_that_can() -> Result<()>
{
    let world = World::new().await?;
    let gateway = gateway(&world).await?;
    let (_, host) = world.maria.split_once('@').context("a login")?;
    let url = format!("mysql://nobody:wrong@{host}/{}", world.name);
    let outside = worker(&world, "wk2", &[("BEDS__DATABASES__REL__MAIN__URL", url)])?;
    eventually("it says that it is outside", async || {
        let Ok(readiness) = outside.api.get("/readyz").await else { return Ok(false) };
        Ok(service(&readiness.body, "databases.rel.main")["detail"].is_string())
    })
    .await?;
    let inside = worker(&world, "wk1", &[])?;
    eventually("the other is ready", async || is_ready(&inside).await).await?;
    let list = "/v1/records/Things?limit=1";
    eventually("requests are answered", async || Ok(gateway.api.get(list).await?.status == 200))
        .await?;
    for number in 0..40 {
        let read = gateway.api.get(list).await?;
        assert_eq!(read.status, 200, "{}", read.text);
        let write =
            gateway.api.post("/v1/records/Things", &json!({"name": format!("n{number}")})).await?;
        assert_eq!(write.status, 201, "{}", write.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_waits_when_the_last_worker_goes_is_503_at_its_deadline() -> Result<()> {
    let world = World::new().await?;
    let gateway = gateway(&world).await?;
    let process =
        worker(&world, "wk", &[("BEDS__SERVICES__REL__INSTANCES__READ", "1".to_owned())])?;
    eventually("requests are answered", async || {
        Ok(gateway.api.get("/v1/records/Things?limit=1").await?.status == 200)
    })
    .await?;
    let ask = |method, path| gateway.api.request(method, path).header("Beds-Timeout", "15s");
    let slow = gateway.api.send(ask("GET", "/v1/records/Things/by/sleep?seconds=30"));
    let waits = async |queue: &str, least: u64| {
        Ok(world.queue(queue).await?["messages"].as_u64() >= Some(least))
    };
    let others = async {
        eventually("the one task is busy", async || world.is_asleep()).await?;
        // From here on it takes messages and works on none.
        process.signal("STOP")?;
        let end = async {
            eventually("a read waits", async || waits("rel.read.main", 2).await).await?;
            eventually("a write waits", async || waits("rel.write.main", 1).await).await?;
            process.signal("KILL")
        };
        let write = ask("POST", "/v1/records/Things").json(&json!({"name": "waits"}));
        tokio::try_join!(
            gateway.api.send(ask("GET", "/v1/records/Things?limit=1")),
            gateway.api.send(write),
            end
        )
    };
    let (slow, others) = tokio::join!(slow, others);
    let (waiting, write, ()) = others?;
    // For all that the gateway knows, it was done and its answer was lost.
    assert_eq!((write.status, write.code()), (504, "BEDS-0014"), "{}", write.text);
    for answer in [slow?, waiting] {
        assert_eq!((answer.status, answer.code()), (503, "BEDS-0016"), "{}", answer.text);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queues_of_an_earlier_release_lose_their_keys_and_go_when_they_are_empty() -> Result<()>
{
    let world = World::new().await?;
    // As that release left them; one with a message.
    let exchange = format!("/api/exchanges/{}/beds.events", world.name);
    world.rabbit(Method::PUT, &exchange, Some(json!({"type": "topic", "durable": true}))).await?;
    let old = ["rel.read", "rel.write", "rec.write"];
    for queue in old {
        let kind = if queue.ends_with("write") { "quorum" } else { "classic" };
        let declare = json!({"durable": true, "arguments": {"x-queue-type": kind, "x-max-length": 1, "x-overflow": "reject-publish"}});
        world
            .rabbit(Method::PUT, &format!("/api/queues/{}/{queue}", world.name), Some(declare))
            .await?;
        let bind = format!("/api/bindings/{}/e/beds.events/q/{queue}", world.name);
        world.rabbit(Method::POST, &bind, Some(json!({"routing_key": queue}))).await?;
    }
    let left = envelope("py.left", "Papers", "create", json!({"name": "left"}));
    assert!(world.publish("rec.write", &left.to_string(), json!({"delivery_mode": 2})).await?);
    let live = world.node().await?;
    let queues = async || {
        let all = world.rabbit(Method::GET, &format!("/api/queues/{}", world.name), None).await?;
        let names = all
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|queue| queue["name"].as_str().map(str::to_owned));
        anyhow::Ok(names.filter(|name| old.contains(&name.as_str())).collect::<Vec<_>>())
    };
    eventually("the empty ones are gone", async || Ok(queues().await? == ["rec.write"])).await?;
    let ready = live.api.get("/readyz").await?;
    let told =
        service(&ready.body, "earlier queues")["detail"].as_str().unwrap_or_default().to_owned();
    assert!(
        ready.status == 200 && told.starts_with("rec.write is a queue of an earlier release"),
        "{}",
        ready.text
    );
    // The old queue is full. It refuses nothing, because the seed's key leads elsewhere.
    let event = envelope("py.new", "Papers", "create", json!({"name": "new"}));
    assert!(world.publish("rec.write", &event.to_string(), json!({"delivery_mode": 2})).await?);
    eventually("it is done", async || Ok(live.api.done("rec.write.main").await? == 1)).await?;
    assert_eq!(world.take("rec.write").await?.len(), 1, "the message of before is where it was");
    eventually("empty at last, it goes too", async || Ok(queues().await?.is_empty())).await?;
    eventually("and nothing is told", async || {
        Ok(service(&live.api.get("/readyz").await?.body, "earlier queues").is_null())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_sent_to_the_database_of_its_template() -> Result<()> {
    let two = TwoDatabases::new().await?;
    let world = &two.world;
    let live = world.node().await?;
    world.all_consume().await?;
    // Of an earlier release, in which one queue was for all databases.
    let event = envelope("py.old.1", "Sides", "create", json!({"label": "late"}));
    let properties = json!({"message_id": "py.old.1", "delivery_mode": 2, "headers": {
        "beds-reason": "panic", "beds-detail": "BEDS-0017 internal", "beds-queue": "rel.write"}});
    assert!(world.publish_to("beds.dead", "rel.write", &event.to_string(), properties).await?);
    let output = world.beds(&["dead", "replay", "py.old.1"])?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    eventually("it is done", async || Ok(two.count()? == "1")).await?;
    assert_eq!(live.api.done("rel.write.side").await?, 1);
    Ok(())
}
