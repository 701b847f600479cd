//! [`Store`]: the moves of tickets in their database, through BEDS's own templates as any other work. Each move names the state and the
//! attempt that it changes, so that one that comes too late changes nothing.
//!
//! Not here: the decisions which move is due (desk.rs, runner.rs).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use beds_core::reply::Answer;
use beds_core::ticket::{Checkpoint, Problem, Progress, ResultNote, Ticket, TicketState};
use beds_core::{
    Actor, Attempt, BedsError, ErrorKind, Event, EventId, Fields, Operation, Result,
    TICKET_RESULTS, TICKETS, config,
};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Factory;

/// How long the database may take for one move.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Store<'f>(pub(super) &'f Factory);

/// A ticket to be.
pub(super) struct Asked<'e> {
    pub(super) id: &'e str,
    pub(super) event: &'e Event,
    pub(super) schedule: Option<&'e str>,
    pub(super) text: &'e str,
    pub(super) database: String,
    pub(super) definition: String,
    pub(super) once: String,
    pub(super) turn: i64,
    /// The node whose idle task gets it at once.
    pub(super) begun_by: Option<&'e str>,
    pub(super) config: &'e config::Calgon,
}

impl Store<'_> {
    /// Keeps a new ticket, or answers the one that the same request got before.
    pub(super) async fn submit(&self, asked: &Asked<'_>) -> Result<Ticket> {
        let (event, config) = (asked.event, asked.config);
        let fields = json!({
            "order": format!("{:.6}.{}", Timestamp::now(), asked.id),
            "ticket": asked.id,
            "owner": event.actor.subject,
            "once": &asked.once,
            "fingerprint": event.fingerprint(),
            "place": place(&event.template, event.name()),
            "template": event.template,
            "operation": event.operation,
            "database": &asked.database,
            "event": asked.text,
            "asked_by": event.event_id,
            "definition": &asked.definition,
            "turn": asked.turn,
            "start_within": seconds(config.start_within),
            "keep": seconds(config.start_within + config.keep),
        });
        let mut fields = fields_of(fields);
        insert(&mut fields, "job", event.job.as_deref());
        insert(&mut fields, "fetch", event.fetch.as_deref());
        insert(&mut fields, "schedule", asked.schedule);
        insert(&mut fields, "node", asked.begun_by);
        insert(&mut fields, "lease", asked.begun_by.map(|_| seconds(config.lease)));
        self.act(TICKETS, "submit", fields).await?.ok_or_else(unread)
    }

    /// The ticket that the same request got before.
    pub(super) async fn asked(&self, owner: &str, once: &str) -> Result<Option<Ticket>> {
        self.fetch("asked", json!({"owner": owner, "once": once})).await.map(first)
    }

    /// How many tickets of an owner wait, at most `most`, and the turn for its next one.
    pub(super) async fn load(&self, owner: &str, most: u32) -> Result<(u32, i64)> {
        #[derive(serde::Deserialize)]
        struct Load {
            _id: String,
            #[serde(default)]
            queued: u32,
            turn: i64,
        }
        let found: Vec<Load> = self.fetch("load", json!({"owner": owner, "most": most})).await?;
        let queued = found.iter().map(|load| load.queued).max().unwrap_or(0);
        // Behind the owner's own, and not before the ones that are worked on: owners take turns.
        let turn = found.iter().map(|load| load.turn).max().unwrap_or(0);
        Ok((queued, turn + 1))
    }

    /// How many tickets wait.
    pub(super) async fn queued(&self) -> Result<u32> {
        #[derive(serde::Deserialize)]
        struct Queued {
            queued: u32,
        }
        let found: Vec<Queued> = self.fetch("queued", json!({})).await?;
        Ok(first(found).map_or(0, |found: Queued| found.queued))
    }

    /// The places with as many runs as they may have; with `more`, those that have more.
    pub(super) async fn full(
        &self,
        limits: &BTreeMap<String, u16>,
        more: bool,
    ) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Running {
            _id: String,
            running: u32,
        }
        if limits.is_empty() {
            return Ok(Vec::new());
        }
        let places: Vec<&String> = limits.keys().collect();
        let found: Vec<Running> = self.fetch("running", json!({"places": places})).await?;
        let is_full = |found: &Running| {
            limits
                .get(&found._id)
                .is_some_and(|most| found.running >= u32::from(*most) + u32::from(more))
        };
        Ok(found.into_iter().filter(is_full).map(|found| found._id).collect())
    }

    /// Takes the next ticket that waits.
    pub(super) async fn claim(
        &self,
        node: &str,
        lease: Duration,
        full: &[String],
    ) -> Result<Option<Ticket>> {
        let databases = self.0.databases();
        let fields =
            json!({"node": node, "databases": databases, "full": full, "lease": seconds(lease)});
        self.act(TICKETS, "claim", fields_of(fields)).await
    }

    /// Takes over a ticket whose node has fallen silent.
    pub(super) async fn take_over(&self, node: &str, lease: Duration) -> Result<Option<Ticket>> {
        let databases = self.0.databases();
        let fields = json!({"node": node, "databases": databases, "lease": seconds(lease)});
        self.act(TICKETS, "take-over", fields_of(fields)).await
    }

    /// Makes the lease longer, and says how far the work is. None where the ticket is another node's by now.
    pub(super) async fn beat(
        &self,
        ticket: &Ticket,
        lease: Duration,
        progress: Option<&Progress>,
    ) -> Result<Option<TicketState>> {
        let mut fields = of_attempt(ticket, json!({"lease": seconds(lease)}));
        if let Some(Progress { done, total, text, .. }) = progress {
            fields.insert("done".into(), (*done).into());
            insert(&mut fields, "total", *total);
            insert(&mut fields, "text", text.as_deref());
        }
        self.state_after("beat", fields).await
    }

    /// Keeps how many steps were done. None where the ticket is another node's by now.
    pub(super) async fn step(
        &self,
        ticket: &Ticket,
        lease: Duration,
        at: &Checkpoint,
    ) -> Result<Option<TicketState>> {
        let step = json!({"lease": seconds(lease), "number": at.number, "done": at.done});
        let mut fields = of_attempt(ticket, step);
        insert(&mut fields, "after", at.after.as_deref());
        insert(&mut fields, "total", at.total);
        self.state_after("step", fields).await
    }

    async fn state_after(&self, act: &'static str, fields: Fields) -> Result<Option<TicketState>> {
        #[derive(serde::Deserialize)]
        struct After {
            state: TicketState,
        }
        let after: Option<After> = self.act(TICKETS, act, fields).await?;
        Ok(after.map(|after| after.state))
    }

    /// Ends a ticket. False where it is another node's by now.
    pub(super) async fn end(
        &self,
        ticket: &Ticket,
        end: &End,
        result_ttl: Duration,
        keep: Duration,
    ) -> Result<bool> {
        let (state, result, problem) = match end {
            End::Done(note) => (TicketState::Done, Some(note), None),
            End::Failed(problem) => (TicketState::Failed, None, Some(problem)),
            End::Cancelled => (TicketState::Cancelled, None, None),
        };
        let times =
            json!({"state": state, "result_ttl": seconds(result_ttl), "keep": seconds(keep)});
        let mut fields = of_attempt(ticket, times);
        if let Some(result) = result {
            fields.insert("result".into(), json!(result));
        }
        if let Some(problem) = problem {
            fields.insert("problem".into(), json!(problem));
        }
        let ended: Option<Ticket> = self.act(TICKETS, "end", fields).await?;
        Ok(ended.is_some())
    }

    /// Lets another task have the ticket, after a pause. `failed` where this attempt counts. False where it is another node's by now.
    pub(super) async fn give_back(
        &self,
        ticket: &Ticket,
        failed: bool,
        pause: Duration,
    ) -> Result<bool> {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let fields = of_attempt(ticket, json!({"failed": failed, "pause": millis}));
        let given: Option<Value> = self.act(TICKETS, "give-back", fields).await?;
        Ok(given.is_some())
    }

    /// Cancels a ticket of the owner, or of any where none is named. None where there is no such one.
    pub(super) async fn cancel(
        &self,
        ticket: &str,
        owner: Option<&str>,
        keep: Duration,
    ) -> Result<Option<Ticket>> {
        let owner_name = owner.unwrap_or_default();
        let fields = json!({"ticket": ticket, "owner": owner_name, "of_any": owner.is_none(), "keep": seconds(keep)});
        self.act(TICKETS, "cancel", fields_of(fields)).await
    }

    /// Removes the result and the values of an ended ticket. None where there is no such one.
    pub(super) async fn drop_result(&self, ticket: &str, owner: &str) -> Result<Option<Ticket>> {
        let fields = || fields_of(json!({"ticket": ticket, "owner": owner}));
        let found: Option<Ticket> = self.act(TICKETS, "drop", fields()).await?;
        if found.as_ref().is_some_and(|ticket| !ticket.state.is_active()) {
            let _: Option<Value> = self.act(TICKET_RESULTS, "drop", fields()).await?;
        }
        Ok(found)
    }

    /// Ends the tickets that were not begun in time, and removes the values of those that failed long ago.
    pub(super) async fn sweep(&self, keep: Duration) -> Result<()> {
        let _: Option<Value> =
            self.act(TICKETS, "lapse", fields_of(json!({"keep": seconds(keep)}))).await?;
        let _: Option<Value> = self.act(TICKETS, "blank", Fields::new()).await?;
        Ok(())
    }

    /// Lets a ticket that failed wait once more. None where there is no such one, or its values were removed.
    pub(super) async fn retry(
        &self,
        ticket: &str,
        start_within: Duration,
        keep: Duration,
    ) -> Result<Option<Ticket>> {
        let fields = json!({"ticket": ticket, "start_within": seconds(start_within), "keep": seconds(start_within + keep)});
        self.act(TICKETS, "retry", fields_of(fields)).await
    }

    /// How many tickets are in the states that change, or that an operator looks at.
    pub(super) async fn crowd(&self) -> Result<Vec<Crowded>> {
        self.fetch("crowd", json!({})).await
    }

    /// Since when a schedule is known, and the last instant that was decided. Known from now on where it was not.
    pub(super) async fn see_schedule(&self, name: &str) -> Result<Seen> {
        let seen = self.act(TICKETS, "see-schedule", fields_of(json!({"schedule": name}))).await?;
        seen.ok_or_else(unread)
    }

    /// Keeps that it was decided whether an instant has a ticket.
    pub(super) async fn decide_schedule(&self, name: &str, due: Timestamp) -> Result<()> {
        let fields = json!({"schedule": name, "due": format!("{due:.3}")});
        let _: Option<Value> = self.act(TICKETS, "decide-schedule", fields_of(fields)).await?;
        Ok(())
    }

    /// True while a ticket of the schedule has not ended.
    pub(super) async fn is_active(&self, schedule: &str) -> Result<bool> {
        let found: Vec<Value> = self.fetch("of-schedule", json!({"schedule": schedule})).await?;
        Ok(!found.is_empty())
    }

    /// Keeps a piece of a result.
    pub(super) async fn piece(&self, fields: Value) -> Result<()> {
        self.work(event(TICKET_RESULTS, Operation::Create, fields_of(fields))).await.map(drop)
    }

    async fn act<T: DeserializeOwned>(
        &self,
        template: &str,
        act: &'static str,
        fields: Fields,
    ) -> Result<Option<T>> {
        let event = Event { act: Some(act), ..event(template, Operation::Update, fields) };
        let answer = self.work(event).await?;
        records(&answer).map(first)
    }

    async fn fetch<T: DeserializeOwned>(&self, name: &str, fields: Value) -> Result<Vec<T>> {
        let event = event(TICKETS, Operation::Fetch, fields_of(fields));
        let event = Event { fetch: Some(name.to_owned()), ..event };
        records(&self.work(event).await?)
    }

    async fn work(&self, event: Event) -> Result<Answer> {
        let adapter = self.0.adapter_of(&event.template)?;
        adapter.work(&Arc::new(Attempt::new(event, PATIENCE))).await
    }
}

/// The tickets in one state.
#[derive(serde::Deserialize)]
pub(super) struct Crowded {
    #[serde(rename = "_id")]
    pub(super) state: TicketState,
    pub(super) count: u64,
    /// Since when the one that waits longest might have begun.
    pub(super) seconds: u64,
}

/// A schedule as it is kept.
#[derive(serde::Deserialize)]
pub(super) struct Seen {
    pub(super) since: Timestamp,
    #[serde(default)]
    pub(super) last: Option<Timestamp>,
}

/// The end of a ticket.
#[derive(Debug)]
pub(super) enum End {
    Done(ResultNote),
    Failed(Problem),
    Cancelled,
}

/// Template and name: the work whose runs at a time are counted.
pub(super) fn place(template: &str, name: Option<&str>) -> String {
    format!("{template}/{}", name.unwrap_or_default())
}

fn event(template: &str, operation: Operation, params: Fields) -> Event {
    let patience = SignedDuration::try_from(PATIENCE).unwrap_or(SignedDuration::MAX);
    let actor = Arc::new(Actor::of_node("calgon"));
    Event { params, actor, ..Event::root(EventId("calgon".into()), template, operation, patience) }
}

fn of_attempt(ticket: &Ticket, more: Value) -> Fields {
    let mut fields = fields_of(more);
    fields.insert("ticket".into(), ticket.id.as_str().into());
    fields.insert("epoch".into(), ticket.epoch.into());
    fields
}

fn fields_of(value: Value) -> Fields {
    match value {
        Value::Object(members) => Fields::from_iter(members),
        _ => Fields::new(),
    }
}

/// A member that may be missing.
fn insert(fields: &mut Fields, member: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        fields.insert(member.into(), value.into());
    }
}

fn seconds(duration: Duration) -> u64 {
    duration.as_secs().max(1)
}

fn first<T>(found: Vec<T>) -> Option<T> {
    found.into_iter().next()
}

fn records<T: DeserializeOwned>(answer: &Answer) -> Result<Vec<T>> {
    let read = answer.records.iter().map(|record| serde_json::from_str(record.get()));
    read.collect::<Result<_, _>>().map_err(|error| unread().with_source(error))
}

fn unread() -> BedsError {
    BedsError::new(ErrorKind::Internal, "the ticket could not be read")
}
