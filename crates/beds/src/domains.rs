//! [`Domains`]: the templates of a node and their bindings, kept true. A database that was away is bound when it comes
//! back, and anew when its objects change; a reload replaces everything at once, or nothing.
//!
//! Not here: the regular look at each database (domains/pulse.rs), how a template is bound (crate adapters).

mod pulse;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use beds_adapters::{Bound, Stores};
use beds_broker::{Factory, Slot};
use beds_core::config::{LOGS_DATABASE, NodeAccess};
use beds_core::template::AuditPolicy;
use beds_core::{
    ChangeFeed, Config, Mistake, Result, Rights, Store, Template, TemplateAdapter, Templates,
};
use beds_gateway::Service;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::settings;

/// Seconds that clocks may be apart before the node is not ready: more than the deadlines of some requests.
const CLOCK_UNREADY: f64 = 5.0;

pub struct Domains {
    folder: PathBuf,
    access: ArcSwap<NodeAccess>,
    /// Store and name of each database in `beds.toml` whose templates this node serves.
    served: HashSet<(Store, String)>,
    local: Vec<Store>,
    stores: Stores,
    pub templates: Arc<ArcSwap<Templates>>,
    pub factory: Arc<Factory>,
    state: Mutex<BTreeMap<(Store, String), State>>,
    /// Whether each database can be worked with: while it cannot, its queues are left to other nodes.
    reached: BTreeMap<(Store, String), watch::Sender<bool>>,
    /// Mistakes in the template files.
    mistakes: Mutex<Vec<String>>,
    /// Held while templates are bound: an earlier reading never replaces a later one.
    binding: tokio::sync::Mutex<()>,
}

/// The state of one database.
#[derive(Debug, Clone, Default)]
struct State {
    is_bound: bool,
    /// Of the objects that were bound; none where they may have changed since.
    version: Option<String>,
    /// Why it is not there, if so.
    missing: Option<String>,
    /// The mistakes of its templates.
    mistakes: Vec<String>,
    /// None of its templates can be used, though it has some.
    is_useless: bool,
    /// How far its clock is ahead of this node's, in seconds.
    clock_ahead: f64,
    is_clock_apart: bool,
}

/// The result of a reload.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reloaded {
    pub templates: usize,
    /// The templates were taken.
    pub applied: bool,
    /// The credentials were taken.
    #[serde(default)]
    pub credentials: bool,
    pub mistakes: Vec<String>,
    /// Warnings: parts that work and should be known.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Domains {
    pub fn new(config: &Config, stores: Stores) -> Self {
        let of_each = || stores.names().into_iter().map(|(store, name, _)| (store, name));
        let state = of_each().map(|database| (database, State::default())).collect();
        let reached = of_each().map(|database| (database, watch::Sender::new(false))).collect();
        let local: Vec<Store> =
            Store::ALL.into_iter().filter(|store| config.services.store(*store).is_local).collect();
        let names = |store: &Store| {
            config.databases.of(*store).keys().map(|name| (*store, name.clone())).collect()
        };
        Self {
            folder: config.templates.path.clone(),
            access: ArcSwap::from_pointee(config.access.clone()),
            served: local.iter().flat_map(|store| -> Vec<_> { names(store) }).collect(),
            local,
            stores,
            templates: Arc::default(),
            factory: Arc::default(),
            state: Mutex::new(state),
            reached,
            mistakes: Mutex::default(),
            binding: tokio::sync::Mutex::default(),
        }
    }

    /// Reads the template files and takes those without mistakes.
    pub fn read(&self) -> Vec<Mistake> {
        let (templates, told) = self.read_files();
        let (mistakes, warnings) = sorted(told);
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        *self.mistakes.lock().unwrap_or_else(PoisonError::into_inner) = texts(&mistakes);
        self.factory.replace(self.unbound(&templates));
        self.templates.store(Arc::new(templates));
        mistakes
    }

    /// Store, name and address of each database of this node.
    pub fn databases(&self) -> Vec<(Store, String, String)> {
        self.stores.names()
    }

    /// Whether a database can be worked with, as it changes; none where this node does not have it.
    pub fn reached(&self, store: Store, name: &str) -> Option<watch::Receiver<bool>> {
        self.reached.get(&(store, name.to_owned())).map(watch::Sender::subscribe)
    }

    pub async fn ping(&self, store: Store, name: &str) -> Result<()> {
        let pong = self.stores.ping(store, name).await;
        self.note(store, name, |state| {
            state.missing = pong.as_ref().err().map(|error| error.message.clone())
        });
        pong
    }

    /// Binds the templates of one database and puts them into the factory.
    pub async fn bind(&self, store: Store, name: &str) -> Result<Vec<Mistake>> {
        let _one_at_a_time = self.binding.lock().await;
        // Asked first: a change from here on has another version.
        let version = self.stores.version(store, name).await?;
        let (bound, told) = self.stores.bind(store, name, &self.templates.load()).await?;
        let (slots, mistakes, is_useless) = slots(bound);
        self.factory.add(slots);
        let (mistakes, mut warnings) = sorted(mistakes);
        warnings.extend(told);
        self.note(store, name, |state| {
            // Said when it is news, and not at each change of an object.
            if !state.is_bound {
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            }
            *state = State {
                clock_ahead: state.clock_ahead,
                is_clock_apart: state.is_clock_apart,
                is_useless,
                ..State::bound(&mistakes, version)
            };
        });
        Ok(mistakes)
    }

    /// The changes of a database that are not published.
    pub fn changes(&self, store: Store, name: &str) -> Box<dyn ChangeFeed> {
        self.stores.changes(store, name)
    }

    /// True where a template of the database tells its changes, and the database is reached.
    pub fn tells_changes(&self, store: Store, name: &str) -> bool {
        let tells = |t: &Arc<Template>| t.changes.on && t.store == store && t.database == name;
        self.reached(store, name).is_some_and(|reached| *reached.borrow())
            && self.templates.load().iter().any(tells)
    }

    /// Takes other rights on BEDS's own templates and routes. At once: a role that was taken away must not live on while a
    /// template has a mistake.
    pub fn take_access(&self, access: NodeAccess) {
        self.access.store(Arc::new(access.clone()));
        let templates = Templates::clone(&self.templates.load()).with_access(access);
        self.factory.renew_rights(&templates);
        self.templates.store(Arc::new(templates));
    }

    /// Reads the files again and binds them. A file with mistakes stops the reload: running work goes on as it was.
    pub async fn reload(&self) -> Reloaded {
        let _one_at_a_time = self.binding.lock().await;
        let (templates, told) = self.read_files();
        let (mistakes, mut warnings) = sorted(told);
        if !mistakes.is_empty() {
            let (mistakes, warnings) = (texts(&mistakes), texts(&warnings));
            return Reloaded {
                templates: self.templates.load().len(),
                applied: false,
                credentials: false,
                mistakes,
                warnings,
            };
        }
        self.mistakes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut found = Vec::new();
        let mut fresh = self.unbound(&templates);
        for (store, name, _) in self.stores.names() {
            match self.stores.bind(store, &name, &templates).await {
                Ok((bound, told)) => {
                    let (slots, mistakes, is_useless) = slots(bound);
                    fresh.extend(slots);
                    let (mistakes, of_templates) = sorted(mistakes);
                    found.extend(texts(&mistakes));
                    warnings.extend(of_templates.into_iter().chain(told));
                    // The pulse learns the version, and binds once more if it has to.
                    self.note(store, &name, |state| {
                        *state = State { is_useless, ..State::bound(&mistakes, None) }
                    });
                }
                Err(error) => {
                    found.push(format!(
                        "databases.{store}.{name}: {}; its templates are bound when it is back",
                        error.message
                    ));
                    self.note(store, &name, |state| *state = State::missing(error.message));
                }
            }
        }
        let count = templates.len();
        self.templates.store(Arc::new(templates));
        self.factory.replace(fresh);
        tracing::info!(templates = count, mistakes = found.len(), "Templates were reloaded.");
        Reloaded {
            templates: count,
            applied: true,
            credentials: false,
            mistakes: found,
            warnings: texts(&warnings),
        }
    }

    /// The databases as `/readyz` shows them.
    pub fn services(&self) -> Vec<Service> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let service = |((store, name), state): (&(Store, String), &State)| Service {
            name: format!("databases.{store}.{name}"),
            // Records wait in their queues while it is away, and requests go on.
            ready: name == LOGS_DATABASE || (state.is_bound && state.missing.is_none()),
            detail: state
                .missing
                .clone()
                .or_else(|| (!state.is_bound).then(|| "not bound yet".to_owned())),
        };
        let mut services: Vec<Service> = state.iter().map(service).collect();
        let mut mistakes = self.mistakes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        mistakes.extend(state.values().flat_map(|state| state.mistakes.iter().cloned()));
        let detail = mistakes.first().map(|first| match mistakes.len() {
            1 => first.clone(),
            number => format!("{number} mistakes, which `beds check` lists; the first: {first}"),
        });
        services.push(Service { name: "templates".to_owned(), ready: detail.is_none(), detail });
        let apart = state.iter().find(|(_, state)| state.clock_ahead.abs() > CLOCK_UNREADY);
        let detail = apart.map(|((store, name), state)| {
            format!(
                "the clock of databases.{store}.{name} is {:.1} s ahead of this node's; use NTP on both",
                state.clock_ahead
            )
        });
        services.push(Service { name: "clock".to_owned(), ready: detail.is_none(), detail });
        services
    }

    pub async fn close(&self) {
        self.stores.close().await;
    }

    /// The templates of the folder, and their mistakes: those of the files, and databases that this node does not have.
    fn read_files(&self) -> (Templates, Vec<Mistake>) {
        let (templates, mut mistakes) = settings::templates(&self.folder);
        let served = templates.iter().filter(|template| self.local.contains(&template.store));
        mistakes.extend(settings::without_database(served, |template| {
            self.served.contains(&(template.store, template.database.clone()))
        }));
        (templates.with_access(NodeAccess::clone(&self.access.load())), mistakes)
    }

    /// A place for each template of a local store, until its database is bound.
    fn unbound(&self, templates: &Templates) -> HashMap<String, Slot> {
        let local: Vec<Store> =
            self.stores.names().into_iter().map(|(store, _, _)| store).collect();
        templates
            .iter()
            .filter(|template| local.contains(&template.store))
            .map(|template| (template.name.clone(), slot(template, None)))
            .collect()
    }

    fn is_bound(&self, store: Store, name: &str) -> bool {
        self.note(store, name, |state| state.is_bound)
    }

    fn is_missing(&self, store: Store, name: &str) -> bool {
        self.note(store, name, |state| state.missing.is_some())
    }

    fn note<T>(&self, store: Store, name: &str, note: impl FnOnce(&mut State) -> T) -> T {
        let database = (store, name.to_owned());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = state.entry(database.clone()).or_default();
        let noted = note(state);
        let is_reached = state.is_bound && state.missing.is_none() && !state.is_useless;
        if let Some(reached) = self.reached.get(&database) {
            // Tells changes only: each one makes a consumer come or go.
            reached.send_if_modified(|was| std::mem::replace(was, is_reached) != is_reached);
        }
        noted
    }
}

impl State {
    fn bound(mistakes: &[Mistake], version: Option<String>) -> Self {
        Self { is_bound: true, version, mistakes: texts(mistakes), ..Self::default() }
    }

    fn missing(why: String) -> Self {
        Self { missing: Some(why), ..Self::default() }
    }
}

/// Mistakes, and notes.
fn sorted(told: Vec<Mistake>) -> (Vec<Mistake>, Vec<Mistake>) {
    let (warnings, mistakes) = told.into_iter().partition(Mistake::is_warning);
    (mistakes, warnings)
}

fn texts(mistakes: &[Mistake]) -> Vec<String> {
    mistakes.iter().map(ToString::to_string).collect()
}

/// The places in the factory, the mistakes, and whether all of the templates are useless.
fn slots(bound: Vec<Bound>) -> (Vec<(String, Slot)>, Vec<Mistake>, bool) {
    let is_useless = !bound.is_empty() && bound.iter().all(Bound::is_useless);
    let mut mistakes = Vec::new();
    let slots = bound
        .into_iter()
        .map(|bound| {
            mistakes.extend(bound.mistakes);
            (bound.template.name.clone(), slot(&bound.template, Some(bound.adapter)))
        })
        .collect();
    (slots, mistakes, is_useless)
}

fn slot(template: &Template, adapter: Option<Arc<dyn TemplateAdapter>>) -> Slot {
    let database = template.database.clone();
    Slot {
        store: template.store,
        database,
        adapter,
        id_field: template.id.clone(),
        is_audit_required: template.audit == AuditPolicy::Required,
        rights: Arc::new(Rights::given_by(template)),
        jobs: Arc::new(template.jobs.clone()),
    }
}
