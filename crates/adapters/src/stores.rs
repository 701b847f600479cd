//! [`Stores`]: the databases of a node by name. Connects, binds templates, and says which database is away.
//!
//! Not here: statements and commands (rel.rs, rec.rs).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use beds_core::{
    BedsError, ChangeFeed, Config, ErrorKind, Mistake, Result, Store, Template, Templates, config,
};

use crate::bound::Bound;
use crate::schema::{Applied, File, Wishes};
use crate::{rec, rel};

/// How long a database may take to say which objects it has.
const CATALOG_PATIENCE: Duration = Duration::from_secs(15);

/// The databases of the stores that are local to this node.
pub struct Stores {
    rec: BTreeMap<String, Arc<rec::Database>>,
    rel: BTreeMap<String, Arc<rel::Database>>,
}

impl Stores {
    /// Prepares the databases of the local services. Connects to nothing yet.
    pub async fn new(config: &Config) -> Result<Self> {
        let (mut rec, mut rel) = (BTreeMap::new(), BTreeMap::new());
        let (service, admin) = (&config.services.rec, &config.services.admin);
        for (name, database) in &config.databases.rec {
            let is_logs = name == config::LOGS_DATABASE;
            let is_tickets = name == config::TICKETS_DATABASE && config.services.calgon.is_local;
            // An admin node stores reports in msLogs and one of tickets these in beds, also where it serves no other database.
            if service.is_local || (admin.is_local && is_logs) || is_tickets {
                let tasks =
                    if service.is_local { config.instances(Store::Rec, name).total() } else { 0 };
                let scribes = if is_logs { admin.instances.total() } else { 0 };
                let calgon = if is_tickets { config.services.calgon.instances.total() } else { 0 };
                let connections = tasks + scribes + calgon + config.jobs();
                let database = rec::Database::new(name, database, connections, config).await?;
                rec.insert(name.clone(), Arc::new(database));
            }
        }
        if config.services.rel.is_local {
            for (name, database) in &config.databases.rel {
                let (instances, jobs) = (config.instances(Store::Rel, name), config.jobs());
                let database = rel::Database::new(name, database, instances, jobs, config.inbox)?;
                rel.insert(name.clone(), Arc::new(database));
            }
        }
        Ok(Self { rec, rel })
    }

    /// Store, name and address of each database.
    pub fn names(&self) -> Vec<(Store, String, String)> {
        let rec = self.rec.values().map(|db| (Store::Rec, db.name.clone(), db.address.clone()));
        rec.chain(self.rel.values().map(|db| (Store::Rel, db.name.clone(), db.address.clone())))
            .collect()
    }

    /// Asks whether a database answers.
    pub async fn ping(&self, store: Store, name: &str) -> Result<()> {
        let (pong, pulse) = match store {
            Store::Rel => (self.rel[name].ping().await, &self.rel[name].pulse),
            Store::Rec => (self.rec[name].ping().await, &self.rec[name].pulse),
        };
        pulse.note(pong.is_ok());
        pong
    }

    /// How far a database's clock was ahead of this node's when it was asked last, in seconds.
    pub fn clock_ahead(&self, store: Store, name: &str) -> Option<f64> {
        match store {
            Store::Rel => self.rel[name].pulse.clock_ahead(),
            Store::Rec => self.rec[name].pulse.clock_ahead(),
        }
    }

    /// Binds the templates of one database, and reports findings about the database itself. Fails as a whole only if the
    /// database cannot be asked.
    pub async fn bind(
        &self,
        store: Store,
        name: &str,
        templates: &Templates,
    ) -> Result<(Vec<Bound>, Vec<Mistake>)> {
        let templates: Vec<Arc<Template>> =
            templates.iter().filter(|t| t.store == store && t.database == name).cloned().collect();
        let binding = async {
            match store {
                Store::Rel => rel::bind(&self.rel[name], &templates).await,
                Store::Rec => rec::bind(&self.rec[name], &templates).await,
            }
        };
        let late = || {
            let text = format!(
                "the database {name} did not tell its objects within {} s",
                CATALOG_PATIENCE.as_secs()
            );
            BedsError::new(ErrorKind::StoreUnavailable, text)
        };
        tokio::time::timeout(CATALOG_PATIENCE, binding).await.map_err(|_| late())?
    }

    /// The changes of a database that are not published, from the oldest on.
    pub fn changes(&self, store: Store, name: &str) -> Box<dyn ChangeFeed> {
        match store {
            Store::Rel => Box::new(rel::Feed::new(Arc::clone(&self.rel[name]))),
            Store::Rec => Box::new(rec::Feed::new(Arc::clone(&self.rec[name]))),
        }
    }

    /// A text that changes whenever the objects of a database do; none while that cannot be told.
    pub async fn version(&self, store: Store, name: &str) -> Result<Option<String>> {
        match store {
            Store::Rel => rel::version(&self.rel[name]).await,
            Store::Rec => rec::version(&self.rec[name]).await,
        }
    }

    pub async fn close(&self) {
        for database in self.rec.values() {
            database.close().await;
        }
        for database in self.rel.values() {
            database.close().await;
        }
    }
}

/// Applies schema files to one database with the DBA's login.
pub async fn apply_schema(
    store: Store,
    name: &str,
    database: &config::Database,
    files: &[File],
    wishes: Wishes,
    report: impl FnMut(&File, Applied),
) -> Result<()> {
    match store {
        Store::Rel => rel::apply(database, files, wishes, report).await,
        Store::Rec => rec::apply(database, name, files, wishes, report).await,
    }
}
