//! [`Factory`]: template name to adapter, at run time.
//!
//! Not here: the adapters, which the factory does not know.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use beds_core::members::id_of;
use beds_core::reply::Answer;
use beds_core::template::job::Job;
use beds_core::text::quote;
use beds_core::{
    BedsError, ErrorKind, Event, Result, Rights, RoutingKey, Store, TemplateAdapter,
    TemplateDescription, Templates,
};
use serde_json::value::RawValue;

use crate::calgon::Calgon;

/// One template, as the factory knows it.
#[derive(Clone)]
pub struct Slot {
    pub store: Store,
    pub database: String,
    /// None while the template's database has not been reached yet.
    pub adapter: Option<Arc<dyn TemplateAdapter>>,
    /// The member of a record that is its id.
    pub id_field: String,
    /// Its requests are refused while no audit record can be queued.
    pub is_audit_required: bool,
    /// The roles that may use it, and its fields.
    pub rights: Arc<Rights>,
    /// Its work that takes long, by name.
    pub jobs: Arc<BTreeMap<String, Job>>,
}

/// The templates of this node. Replaced as a whole by a reload, without holding up events.
#[derive(Default)]
pub struct Factory {
    slots: ArcSwap<HashMap<String, Slot>>,
    /// On a node that takes requests for tickets.
    calgon: OnceLock<Calgon>,
}

impl Factory {
    pub fn replace(&self, slots: HashMap<String, Slot>) {
        self.slots.store(Arc::new(slots));
    }

    /// The node takes requests for tickets.
    pub fn serve_tickets(&self, calgon: Calgon) {
        // Set once, at the start of a node.
        drop(self.calgon.set(calgon));
    }

    /// The settings of tickets.
    pub(crate) fn calgon(&self) -> Result<&Calgon> {
        let text = "this node takes no requests for tickets";
        self.calgon.get().ok_or_else(|| BedsError::new(ErrorKind::Unavailable, text))
    }

    /// Puts adapters in beside the others, such as when a database came back.
    pub fn add(&self, adapters: Vec<(String, Slot)>) {
        self.slots.rcu(|slots| {
            let mut slots = HashMap::clone(slots);
            slots.extend(adapters.iter().cloned());
            slots
        });
    }

    /// The adapter for an event that came through the queue of `key`.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownTemplate`]; [`ErrorKind::BadEvent`] where the template is of another database;
    /// [`ErrorKind::StoreUnavailable`] while its database has not been reached.
    pub(crate) fn adapter(
        &self,
        event: &Event,
        key: &RoutingKey,
    ) -> Result<Arc<dyn TemplateAdapter>> {
        let slots = self.slots.load();
        let slot = slots.get(&event.template).ok_or_else(|| unknown(&event.template))?;
        // RabbitMQ's rights go by key: an event must not
        // reach a database that its key does not name.
        if (slot.store, slot.database.as_str()) != (key.store(), key.database()) {
            let (template, store, database) = (&event.template, slot.store, &slot.database);
            let text = format!(
                "{template} is a template of the {store} database {database}, and came through {key}"
            );
            return Err(BedsError::new(ErrorKind::BadEvent, text));
        }
        bound(slot, &event.template)
    }

    /// The adapter of a template, whichever its database: for work that came through no queue of one.
    pub(crate) fn adapter_of(&self, template: &str) -> Result<Arc<dyn TemplateAdapter>> {
        let slots = self.slots.load();
        bound(slots.get(template).ok_or_else(|| unknown(template))?, template)
    }

    /// Store and name of the database of a template, as `rel.main`.
    pub(crate) fn database(&self, template: &str) -> Result<String> {
        let slots = self.slots.load();
        let slot = slots.get(template).ok_or_else(|| unknown(template))?;
        Ok(place(slot))
    }

    /// The member of a template's records that is their id.
    pub(crate) fn id_field(&self, template: &str) -> String {
        self.slots.load().get(template).map(|slot| slot.id_field.clone()).unwrap_or_default()
    }

    /// The databases that this node has reached, as `rel.main`.
    pub(crate) fn databases(&self) -> BTreeSet<String> {
        let slots = self.slots.load();
        slots.values().filter(|slot| slot.adapter.is_some()).map(place).collect()
    }

    /// A job of a template.
    pub(crate) fn job(&self, template: &str, job: &str) -> Result<Job> {
        let slots = self.slots.load();
        let slot = slots.get(template).ok_or_else(|| unknown(template))?;
        slot.jobs.get(job).cloned().ok_or_else(|| {
            let text = format!("{template} has no job {}", quote(job));
            BedsError::new(ErrorKind::NoSuchOperation, text)
        })
    }

    /// The jobs that have a limit on their runs at a time, as `Template/job`.
    pub(crate) fn limited_jobs(&self) -> BTreeMap<String, u16> {
        let slots = self.slots.load();
        let limited = slots.iter().flat_map(|(template, slot)| {
            let limited = slot.jobs.iter().filter_map(|(name, job)| Some((name, job.max_running?)));
            limited.map(move |(name, most)| (format!("{template}/{name}"), most.get()))
        });
        limited.collect()
    }

    /// True for a job that has such a limit.
    pub(crate) fn is_limited(&self, template: &str, job: Option<&str>) -> bool {
        let slots = self.slots.load();
        let job = slots.get(template).zip(job).and_then(|(slot, job)| slot.jobs.get(job));
        job.is_some_and(|job| job.max_running.is_some())
    }

    /// An error unless a role of the event's actor may do it. A gateway has looked before; an event that came by AMQP has passed none,
    /// and roles can have changed meanwhile. To an actor without any right, the template is as one that is not there.
    ///
    /// Answers the rights on the template, for the fields of the answer.
    pub(crate) fn check_right(&self, event: &Event) -> Result<Arc<Rights>> {
        let slots = self.slots.load();
        let Some(slot) = slots.get(&event.template) else { return Err(unknown(&event.template)) };
        let (actor, access) = (&event.actor, &slot.rights.access);
        if !actor.has_every_right() && !access.knows(actor) {
            return Err(unknown(&event.template));
        }
        access.check(actor, event.operation, &event.template, event.name())?;
        slot.rights.check_fields(event)?;
        Ok(Arc::clone(&slot.rights))
    }

    /// Takes the rights that these templates give; all else stays.
    pub fn renew_rights(&self, templates: &Templates) {
        self.slots.rcu(|slots| {
            let mut slots = HashMap::clone(slots);
            for template in templates.iter() {
                if let Some(slot) = slots.get_mut(&template.name) {
                    slot.rights = Arc::new(Rights::given_by(template));
                }
            }
            slots
        });
    }

    /// True where this node knows the template.
    pub(crate) fn has(&self, template: &str) -> bool {
        self.slots.load().contains_key(template)
    }

    /// An answer of the inbox without the fields that the event's actor may not read.
    pub(crate) fn mask(&self, event: &Event, answer: Answer) -> Result<Answer> {
        let slots = self.slots.load();
        let slot = slots.get(&event.template).ok_or_else(|| unknown(&event.template))?;
        slot.rights.mask(event, answer)
    }

    /// True where requests of the template must not be worked on unless they can be recorded.
    pub fn is_audit_required(&self, template: &str) -> bool {
        self.slots.load().get(template).is_some_and(|slot| slot.is_audit_required)
    }

    /// The id that an event asks for, as its store writes it; where that cannot tell, as the caller has written it.
    pub(crate) fn asked_id(&self, event: &Event) -> Option<String> {
        let slots = self.slots.load();
        let adapter = slots.get(&event.template).and_then(|slot| slot.adapter.as_ref());
        let written = adapter.and_then(|adapter| adapter.asked_id(event));
        written.or_else(|| event.record_id().map(str::to_owned))
    }

    /// The ids of the rows in an answer, as far as they have one, and the number of all.
    pub(crate) fn ids(&self, template: &str, answer: &Answer) -> (Vec<String>, usize) {
        let slots = self.slots.load();
        let Some(slot) = slots.get(template) else { return (Vec::new(), 0) };
        let sets = answer.result_sets.iter().flatten();
        let sets = sets.filter_map(|set| serde_json::from_str::<Vec<&RawValue>>(set.get()).ok());
        let records = answer.records.iter().map(|record| &**record);
        let rows: Vec<&RawValue> = records.chain(sets.flatten()).collect();
        let ids = rows.iter().filter_map(|row| id_of(row, &slot.id_field)).collect();
        (ids, rows.len())
    }

    /// The operations of each bound template.
    pub fn describe(&self) -> HashMap<String, TemplateDescription> {
        let slots = self.slots.load();
        slots
            .iter()
            .filter_map(|(name, slot)| Some((name.clone(), slot.adapter.as_ref()?.describe())))
            .collect()
    }
}

fn place(slot: &Slot) -> String {
    format!("{}.{}", slot.store, slot.database)
}

fn bound(slot: &Slot, template: &str) -> Result<Arc<dyn TemplateAdapter>> {
    slot.adapter.clone().ok_or_else(|| {
        let text = format!("the database of {template} has not been reached yet; not executed");
        BedsError::new(ErrorKind::StoreUnavailable, text)
    })
}

fn unknown(template: &str) -> BedsError {
    BedsError::new(ErrorKind::UnknownTemplate, format!("there is no template {}", quote(template)))
}
