//! Each state of a ticket and each move, also those that come too late: the store's own guards decide, in its own schema file.
//!
//! Not here: the moves that nodes make, and when (the other tests of tickets).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use beds::settings;
use beds_adapters::Stores;
use beds_core::{
    Actor, Attempt, Event, EventId, Fields, Operation, Store, TICKETS, TemplateAdapter,
};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::rig::{World, eventually};

const STATES: [&str; 7] =
    ["queued", "running", "cancelling", "done", "failed", "cancelled", "lapsed"];

/// A move, and the state behind it for each state before it, in the order of [`STATES`].
const MOVES: [(&str, [&str; 7]); 11] = [
    ("submit", STATES),
    ("claim", ["running", "running", "cancelling", "done", "failed", "cancelled", "lapsed"]),
    // Its node has spoken a moment ago.
    ("take-over", STATES),
    ("beat", STATES),
    ("step", STATES),
    ("end", ["queued", "done", "done", "done", "failed", "cancelled", "lapsed"]),
    ("give-back", ["queued", "queued", "cancelling", "done", "failed", "cancelled", "lapsed"]),
    ("cancel", ["cancelled", "cancelling", "cancelling", "done", "failed", "cancelled", "lapsed"]),
    ("drop", STATES),
    ("retry", ["queued", "running", "cancelling", "done", "queued", "cancelled", "lapsed"]),
    ("lapse", STATES),
];

/// The moves that name an attempt: with another number, they change nothing at all.
const OF_ATTEMPT: [&str; 4] = ["beat", "step", "end", "give-back"];

struct Desk(Arc<dyn TemplateAdapter>);

impl Desk {
    async fn ask(
        &self,
        operation: Operation,
        name: &'static str,
        fields: Value,
    ) -> Result<Option<Value>> {
        let Value::Object(members) = fields else { bail!("no fields") };
        let event = Event {
            act: (operation == Operation::Update).then_some(name),
            fetch: (operation == Operation::Fetch).then(|| name.to_owned()),
            params: Fields::from_iter(members),
            actor: Arc::new(Actor::of_node("tests")),
            ..Event::root(
                EventId("tests".into()),
                TICKETS,
                operation,
                SignedDuration::from_secs(20),
            )
        };
        let attempt = Arc::new(Attempt::new(event, Duration::from_secs(20)));
        let answer =
            self.0.work(&attempt).await.map_err(|error| anyhow::anyhow!("{name}: {error:?}"))?;
        answer.records.first().map(|record| Ok(serde_json::from_str(record.get())?)).transpose()
    }

    async fn act(&self, name: &'static str, fields: Value) -> Result<Option<Value>> {
        self.ask(Operation::Update, name, fields).await
    }

    async fn read(&self, id: &str) -> Result<Value> {
        let found = self.ask(Operation::Fetch, "one", json!({"ticket": id})).await?;
        found.context("the ticket is not there")
    }

    async fn submit(&self, id: &str, start_within: u64) -> Result<()> {
        let fields = json!({
            "order": format!("1.{id}"), "ticket": id, "owner": "ana", "once": id, "fingerprint": "f", "place": id,
            "template": "Works", "operation": "job", "job": "numbers", "database": id, "event": "{}", "asked_by": "e",
            "definition": "d", "turn": 1, "start_within": start_within, "keep": 1000,
        });
        self.act("submit", fields).await.map(drop)
    }

    async fn make(&self, move_: &'static str, id: &str, epoch: i64) -> Result<Option<Value>> {
        let fields = match move_ {
            "submit" => return self.submit(id, 1000).await.map(|()| None),
            "claim" => json!({"node": "n", "databases": [id], "full": [], "lease": 1000}),
            "take-over" => json!({"node": "n", "databases": [id], "lease": 1000}),
            "beat" => json!({"ticket": id, "epoch": epoch, "lease": 1000, "done": 7}),
            "step" => {
                json!({"ticket": id, "epoch": epoch, "lease": 1000, "number": 1, "after": "7", "done": 7})
            }
            "end" => {
                json!({"ticket": id, "epoch": epoch, "state": "done", "result_ttl": 1000, "keep": 1000})
            }
            "give-back" => json!({"ticket": id, "epoch": epoch, "failed": false, "pause": 0}),
            "cancel" => json!({"ticket": id, "owner": "ana", "of_any": false, "keep": 1000}),
            "drop" => json!({"ticket": id, "owner": "ana"}),
            "retry" => json!({"ticket": id, "start_within": 1000, "keep": 1000}),
            "lapse" => json!({"keep": 1000}),
            other => bail!("no move {other}"),
        };
        self.act(move_, fields).await
    }

    /// A ticket in a state, by the moves that lead there.
    async fn bring(&self, id: &str, state: &str) -> Result<()> {
        self.submit(id, if state == "lapsed" { 1 } else { 1000 }).await?;
        if state == "lapsed" {
            return eventually("it lapses", async || {
                self.make("lapse", id, 0).await?;
                Ok(self.read(id).await?["state"] == "lapsed")
            })
            .await;
        }
        if state != "queued" {
            self.make("claim", id, 0).await?;
        }
        if state == "cancelling" {
            self.make("cancel", id, 1).await?;
        }
        if matches!(state, "done" | "failed" | "cancelled") {
            let fields =
                json!({"ticket": id, "epoch": 1, "state": state, "result_ttl": 1000, "keep": 1000});
            self.act("end", fields).await?;
        }
        assert_eq!(self.read(id).await?["state"], state);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_move_leads_where_it_may_and_one_that_comes_too_late_changes_nothing() -> Result<()> {
    let world = World::new().await?;
    let config = settings::load(&world.config_file()).map_err(|p| anyhow::anyhow!("{p:?}"))?;
    let (templates, _) = settings::templates(&config.templates.path);
    let stores = Stores::new(&config).await?;
    let (bound, _) = stores.bind(Store::Rec, "beds", &templates).await?;
    let bound = bound.into_iter().find(|bound| bound.template.name == TICKETS);
    let desk = Desk(bound.context("the tickets are bound")?.adapter);
    for (at, before) in STATES.into_iter().enumerate() {
        for (move_, behind) in MOVES {
            let id = format!("{before}-{move_}");
            desk.bring(&id, before).await?;
            let epoch = desk.read(&id).await?["epoch"].as_i64().context("an attempt")?;
            let untouched = desk.read(&id).await?;
            if OF_ATTEMPT.contains(&move_) {
                for wrong in [epoch - 1, epoch + 1] {
                    assert_eq!(desk.make(move_, &id, wrong).await?, None, "{id}, attempt {wrong}");
                    assert_eq!(desk.read(&id).await?, untouched, "{id}, attempt {wrong}");
                }
            }
            if matches!(move_, "cancel" | "drop") {
                let fields = json!({"ticket": id, "owner": "eve", "of_any": false, "keep": 1000});
                let fields =
                    if move_ == "drop" { json!({"ticket": id, "owner": "eve"}) } else { fields };
                assert_eq!(desk.act(move_, fields).await?, None, "{id}, by another");
                assert_eq!(desk.read(&id).await?, untouched, "{id}, by another");
            }
            desk.make(move_, &id, epoch).await?;
            let found = desk.read(&id).await?;
            assert_eq!(found["state"], behind[at], "{move_} of a ticket that is {before}: {found}");
            // An end is an end: also its times, its result and its reason stay.
            let is_end = !matches!(before, "queued" | "running" | "cancelling");
            if is_end && behind[at] == before && move_ != "drop" {
                assert_eq!(found, untouched, "{id}");
            }
        }
    }
    stores.close().await;
    Ok(())
}
