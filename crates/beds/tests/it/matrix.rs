//! The rights of roles over AMQP and the command line: by each door a caller may do the declared things and no others, and each refusal
//! is recorded.
//!
//! Not here: the same over HTTP, and the reading of templates (rights.rs).

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use beds::callers::Callers;
use beds::settings;
use beds_core::{Operation, Place, Seal, Template};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::Method;
use serde_json::{Value, json};

use crate::audit::search;
use crate::rig::issuer::Issuer;
use crate::rig::{World, envelope, eventually};
use crate::rights::{EXACT, ROLES, declared, is_attack};

/// Requests on their way at once.
const AT_ONCE: usize = 16;

/// One way into the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// A node has sealed the event and names its actor.
    Sealed,
    /// A client shows a token.
    Token,
    /// RabbitMQ vouches for the login.
    Login,
}

impl Door {
    const ALL: [Door; 3] = [Door::Sealed, Door::Token, Door::Login];

    /// The caller of a role, as the trail names it.
    fn subject(self, role: &str) -> String {
        match self {
            Door::Sealed => format!("sealed-{role}"),
            Door::Token => format!("corp/{role}"),
            Door::Login => format!("app:{role}"),
        }
    }
}

/// A cell: an offer of a template, asked for by a role.
struct Cell {
    id: String,
    key: String,
    event: Value,
    door: Door,
    role: &'static str,
    /// Whether the template's file allows it, and whether it allows the role anything.
    may: bool,
    knows: bool,
}

/// The world of the matrix, with a login of RabbitMQ for each role.
struct Matrix {
    world: World,
    issuer: Issuer,
    callers: Callers,
}

impl Matrix {
    async fn new() -> Result<Self> {
        let world = World::new().await?.with_tickets()?;
        world.template("exact", EXACT)?;
        let issuer = Issuer::new("one")?;
        issuer.join(&world)?;
        let mut text = std::fs::read_to_string(world.config_file())?;
        for role in ROLES {
            let login = login(&world, role);
            text.push_str(&format!(
                "\n[trust.logins.{login}]\nsubject = \"app:{role}\"\nroles = [\"{role}\"]\n"
            ));
            let user = json!({"password": "p", "tags": "management"});
            world.rabbit(Method::PUT, &format!("/api/users/{login}"), Some(user)).await?;
            let rights = json!({"configure": "^$", "write": ".*", "read": ".*"});
            let path = format!("/api/permissions/{}/{login}", world.name);
            world.rabbit(Method::PUT, &path, Some(rights)).await?;
        }
        std::fs::write(world.config_file(), text)?;
        world.own_queue("mine").await?;
        let config = settings::load(&world.config_file()).map_err(|p| anyhow::anyhow!("{p:?}"))?;
        let callers = Callers::read(&config).map_err(|p| anyhow::anyhow!("{p:?}"))?;
        Ok(Self { world, issuer, callers })
    }

    fn cells(&self) -> Result<Vec<Cell>> {
        let (templates, _) = settings::templates(&self.world.folder.join("templates"));
        let mut cells = Vec::new();
        for template in templates.iter().filter(|t| !t.is_of_nodes && !is_attack(t)) {
            let text = std::fs::read_to_string(&template.source.file)?;
            let offers = template.offers();
            for role in ROLES {
                let may = |operation, name| declared(&text, operation, name).contains(role);
                let knows = offers.iter().any(|offer| may(offer.operation, offer.name));
                for offer in &offers {
                    for door in Door::ALL {
                        let id = format!("py.{}", cells.len());
                        let event = event(&id, template, offer.operation, offer.name);
                        let kind = if offer.operation.is_write() { "write" } else { "read" };
                        let key = match offer.operation {
                            Operation::Job => "calgon".to_owned(),
                            _ => format!("{}.{kind}.{}", template.store, template.database),
                        };
                        let may = may(offer.operation, offer.name);
                        cells.push(Cell { id, key, event, door, role, may, knows });
                    }
                }
            }
        }
        Ok(cells)
    }

    async fn send(&self, cell: &Cell) -> Result<()> {
        let Self { world, issuer, callers } = self;
        let (key, body) = (cell.key.as_str(), cell.event.to_string());
        let mut properties = json!({"reply_to": "mine", "correlation_id": cell.id, "message_id": cell.id, "headers": {}});
        let routed = match cell.door {
            Door::Sealed => {
                let subject = cell.door.subject(cell.role);
                let actor = json!({"subject": subject, "roles": [cell.role]}).to_string();
                let place = Place {
                    exchange: "beds.events",
                    routing_key: key,
                    reply_to: "mine",
                    correlation_id: &cell.id,
                    actor: &actor,
                };
                properties["headers"] = json!({"beds-actor": actor});
                properties["app_id"] = json!(callers.door.seal(&place, body.as_bytes()));
                world.publish_unproved("beds.events", key, &body, properties).await?
            }
            Door::Token => {
                let token = issuer.token(cell.role, &[cell.role]);
                properties["headers"] = json!({"authorization": format!("Bearer {token}")});
                world.publish_unproved("beds.events", key, &body, properties).await?
            }
            Door::Login => {
                let login = login(world, cell.role);
                properties["user_id"] = json!(login);
                world.publish_as(&login, "p", key, &body, properties).await?
            }
        };
        ensure!(routed, "{key} leads nowhere");
        Ok(())
    }

    /// The codes of the answers, by event; empty for a good one.
    async fn answers(&self, count: usize) -> Result<HashMap<String, String>> {
        let mut codes = HashMap::new();
        eventually("each event is answered", async || {
            for reply in self.world.take("mine").await? {
                let body: Value =
                    serde_json::from_str(reply["payload"].as_str().context("a payload")?)?;
                let id = reply["properties"]["correlation_id"].as_str().context("an id")?;
                let code = body["error"]["code"].as_str().unwrap_or_default();
                codes.insert(id.to_owned(), code.to_owned());
            }
            Ok(codes.len() == count)
        })
        .await?;
        Ok(codes)
    }

    async fn end(&self) -> Result<()> {
        for role in ROLES {
            let path = format!("/api/users/{}", login(&self.world, role));
            self.world.rabbit(Method::DELETE, &path, None).await?;
        }
        Ok(())
    }
}

fn login(world: &World, role: &str) -> String {
    format!("{role}-{}", world.name)
}

/// An event of a client with an id and fields that fit no record.
fn event(id: &str, template: &Template, operation: Operation, name: Option<&str>) -> Value {
    let params = match operation {
        Operation::List => json!({"limit": 0}),
        Operation::Delete => json!({}),
        Operation::Fetch if name.is_none() => json!({}),
        _ => json!({"no_such_field": 1}),
    };
    let mut event = envelope(id, &template.name, operation.as_str(), params);
    let is_of_one = matches!(operation, Operation::Update | Operation::Delete)
        || (operation == Operation::Fetch && name.is_none());
    if is_of_one {
        event["id"] = json!("0");
    }
    if let Some(name) = name {
        let member = if operation == Operation::Job { "job" } else { "fetch" };
        event[member] = json!(name);
    }
    let deadline = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    event["deadline"] = json!(deadline.to_string());
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn by_each_door_a_role_may_do_the_declared_things_and_no_others() -> Result<()> {
    let matrix = Matrix::new().await?;
    let live = matrix.world.node().await?;
    let cells = matrix.cells()?;
    ensure!(cells.len() > 1_000 && cells.iter().filter(|cell| cell.may).count() > 150);
    // In parts, so that no answer waits longer than its queue is looked at.
    for part in cells.chunks(200) {
        futures_util::stream::iter(part)
            .map(|cell| matrix.send(cell))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        let codes = matrix.answers(part.len()).await?;
        for cell in part {
            let code = codes[&cell.id].as_str();
            let is_refused = matches!(code, "BEDS-0001" | "BEDS-0030" | "BEDS-0031");
            let wanted = match (cell.may, cell.knows) {
                (true, _) => !is_refused,
                (false, true) => code == "BEDS-0031",
                (false, false) => code == "BEDS-0001",
            };
            ensure!(wanted, "{:?} {}: {code:?}: {}", cell.door, cell.role, cell.event);
        }
    }
    for door in Door::ALL {
        for role in ROLES {
            let denied =
                cells.iter().filter(|cell| cell.door == door && cell.role == role && !cell.may);
            let denied = denied.count();
            let query = format!("&outcome=failed&subject={}", door.subject(role));
            let mut told = 0;
            eventually("each refusal is recorded", async || {
                let found = search(&live.api, &query).await?;
                let code = |record: &Value| record["record"]["code"].clone();
                let refused = ["BEDS-0001", "BEDS-0031"].map(Value::from);
                told = found.iter().filter(|record| refused.contains(&code(record))).count();
                Ok(told >= denied)
            })
            .await
            .with_context(|| format!("{door:?} {role}: {told} of {denied}"))?;
            assert_eq!(told, denied, "{door:?} {role}");
        }
    }
    matrix.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_has_the_right_to_each_template() -> Result<()> {
    let world = World::new().await?;
    let _live = world.node().await?;
    world.write("rows.csv", "no_such_field\n1\n")?;
    let (templates, _) = settings::templates(&world.folder.join("templates"));
    let creates = templates.iter().filter(|template| {
        let offers = template.offers();
        !template.is_of_nodes && offers.iter().any(|offer| offer.operation == Operation::Create)
    });
    let mut tried = 0;
    for template in creates {
        let output = world.beds(&["load", &template.name, "rows.csv"])?;
        ensure!(output.status.code() == Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        let rejects = format!("loads/rows.csv.{}.rejects.ndjson", template.name);
        let said = std::fs::read_to_string(world.folder.join(rejects))?;
        let is_refused =
            ["BEDS-0001", "BEDS-0030", "BEDS-0031"].iter().any(|code| said.contains(code));
        ensure!(!is_refused && said.contains("no_such_field"), "{}: {said}", template.name);
        tried += 1;
    }
    ensure!(tried > 8, "{tried} templates");
    Ok(())
}
