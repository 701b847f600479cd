//! A node may start before its services: it names the missing service, and takes each up when it comes.

use anyhow::{Context, Result};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{World, eventually, variable};

#[tokio::test(flavor = "multi_thread")]
async fn services_may_start_in_any_order() -> Result<()> {
    let world = World::new().await?;
    let doors = ["BEDS_TEST_AMQP_URL", "BEDS_TEST_MARIA_URL", "BEDS_TEST_MONGO_URL"].map(Door::to);
    let [amqp, maria, mongo] = doors;
    let (amqp, maria, mongo) = (amqp?, maria?, mongo?);
    for door in [&amqp, &maria, &mongo] {
        world.change_config(&door.behind, &door.address()?)?;
    }
    let live = world.node().await?;
    let ready = live.api.get("/readyz").await?;
    assert_eq!(ready.status, 503);
    for service in ["amqp", "databases.rec.main", "databases.rel.main"] {
        let found = ready.body["services"]
            .as_array()
            .unwrap()
            .iter()
            .find(|s| s["name"] == service)
            .unwrap()
            .clone();
        assert_eq!(found["ready"], false, "{found}");
    }
    assert_eq!(live.api.post("/v1/records/Papers", &json!({"title": "x"})).await?.status, 503);

    maria.open().await?;
    amqp.open().await?;
    let airline = json!({"carrier": "ZZ", "name": "Zed"});
    eventually("MariaDB is taken up while MongoDB is away", async || {
        Ok(live.api.post("/v1/records/Airlines", &airline).await?.status == 201)
    })
    .await?;
    let away = live.api.get("/v1/records/Papers").await?;
    assert_eq!((away.status, away.code()), (503, "BEDS-0016"), "{}", away.text);

    mongo.open().await?;
    eventually("the node is ready", async || Ok(live.api.get("/readyz").await?.status == 200))
        .await?;
    assert_eq!(live.api.get("/v1/records/Papers").await?.status, 200);
    Ok(())
}

/// An address where connections wait, unanswered, until it is opened; then it leads to a service.
struct Door {
    behind: String,
    port: std::net::TcpListener,
}

impl Door {
    /// A closed door to the service that a variable of the environment names.
    fn to(variable_name: &str) -> Result<Self> {
        let url = variable(variable_name)?;
        let (_, address) = url.split_once('@').context("user:password@host:port")?;
        let behind = address.split(['/', '?']).next().unwrap_or(address).to_owned();
        Ok(Self { behind, port: std::net::TcpListener::bind("127.0.0.1:0")? })
    }

    fn address(&self) -> Result<String> {
        Ok(self.port.local_addr()?.to_string())
    }

    /// Leads every connection, those that wait too, to the service for as long as the test runs.
    async fn open(self) -> Result<()> {
        self.port.set_nonblocking(true)?;
        let (port, behind) = (TcpListener::from_std(self.port)?, self.behind);
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move {
            while let Ok((mut near, _)) = port.accept().await {
                let behind = behind.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(&behind).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
        Ok(())
    }
}
