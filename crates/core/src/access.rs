//! [`Access`]: the roles that may use the operations of a template. A role that is not named may do nothing, and a caller may
//! do the things that one of its roles may.
//!
//! Not here: the proof of a caller (crate auth), rows, which the DBA's objects choose.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Actor, BedsError, ErrorKind, Operation, Result};

/// Names of roles.
pub type Roles = BTreeSet<String>;

/// `[access]` of a template. A more exact key takes the place of a general one: `create` that of `write`, `fetches` that of
/// `read`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Access {
    /// Fetches by id, listings and named fetches.
    pub read: Roles,
    /// Creates, updates and deletes.
    pub write: Roles,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<Roles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch: Option<Roles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<Roles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<Roles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete: Option<Roles>,
    /// Fetches by their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetches: Option<ByName>,
    pub jobs: ByName,
    /// The stream of changes.
    pub changes: Roles,
    /// Reads that each known caller may do: operations, and named fetches. Of BEDS's own templates alone, whose objects choose rows by
    /// their owner.
    #[serde(skip)]
    pub everyone: Vec<&'static str>,
}

/// The roles of all things of a kind, or of each by its name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum ByName {
    All(Roles),
    Each(BTreeMap<String, Roles>),
}

impl Default for ByName {
    fn default() -> Self {
        ByName::All(Roles::new())
    }
}

impl ByName {
    /// The roles of a name; none where the name is not listed.
    fn of(&self, name: &str) -> Option<&Roles> {
        match self {
            ByName::All(roles) => Some(roles),
            ByName::Each(by_name) => by_name.get(name),
        }
    }

    fn sets(&self) -> impl Iterator<Item = &Roles> {
        let (all, each) = match self {
            ByName::All(roles) => (Some(roles), None),
            ByName::Each(by_name) => (None, Some(by_name.values())),
        };
        all.into_iter().chain(each.into_iter().flatten())
    }
}

impl Access {
    /// True where one of the caller's roles may do it. `name` is the named fetch, where one is meant.
    pub fn allows(&self, actor: &Actor, operation: Operation, name: Option<&str>) -> bool {
        let named = name.unwrap_or(operation.as_str());
        has_one(actor, self.roles(operation, name))
            || !operation.is_write() && self.everyone.contains(&named)
    }

    /// # Errors
    /// [`ErrorKind::NotAllowed`] where none of the caller's roles may do it.
    pub fn check(
        &self,
        actor: &Actor,
        operation: Operation,
        template: &str,
        name: Option<&str>,
    ) -> Result<()> {
        if self.allows(actor, operation, name) {
            return Ok(());
        }
        let text = format!("none of the caller's roles may {operation} {template} so");
        Err(BedsError::new(ErrorKind::NotAllowed, text))
    }

    /// True where the caller may do anything at all with the template: others must not learn that it is there.
    pub fn knows(&self, actor: &Actor) -> bool {
        let exact = [&self.create, &self.fetch, &self.list, &self.update, &self.delete];
        let sets =
            [&self.read, &self.write, &self.changes].into_iter().chain(exact.into_iter().flatten());
        let named = self.jobs.sets().chain(self.fetches.iter().flat_map(ByName::sets));
        !self.everyone.is_empty() || sets.chain(named).any(|roles| has_one(actor, roles))
    }

    /// The roles that may do it.
    pub fn roles(&self, operation: Operation, name: Option<&str>) -> &Roles {
        let exact = match (operation, name) {
            (Operation::Fetch, Some(name)) => {
                self.fetches.as_ref().and_then(|fetches| fetches.of(name))
            }
            (Operation::Fetch, None) => self.fetch.as_ref(),
            // No general right stands for a job.
            (Operation::Job, name) => {
                static NONE: Roles = Roles::new();
                return name.and_then(|name| self.jobs.of(name)).unwrap_or(&NONE);
            }
            (Operation::List, _) => self.list.as_ref(),
            (Operation::Create, _) => self.create.as_ref(),
            (Operation::Update, _) => self.update.as_ref(),
            (Operation::Delete, _) => self.delete.as_ref(),
        };
        exact.unwrap_or_else(|| if operation.is_write() { &self.write } else { &self.read })
    }
}

/// True where one of the caller's roles is among these.
pub fn has_one(actor: &Actor, roles: &Roles) -> bool {
    actor.has_every_right() || actor.roles.iter().any(|role| roles.contains(role))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(text: &str) -> Access {
        toml::from_str(text).unwrap()
    }

    fn actor(roles: &[&str]) -> Actor {
        Actor { roles: roles.iter().map(|role| (*role).to_owned()).collect(), ..Actor::of("ana") }
    }

    #[test]
    fn nothing_is_allowed_that_is_not_named() {
        let none = access("");
        let caller = actor(&["clerk"]);
        assert!(!none.allows(&caller, Operation::List, None) && !none.knows(&caller));
        assert!(!none.allows(&caller, Operation::Job, Some("any")));
        let read = access("read = ['clerk']");
        assert!(read.allows(&caller, Operation::Fetch, Some("by")) && read.knows(&caller));
        assert!(!read.allows(&caller, Operation::Delete, None));
        assert!(!read.knows(&actor(&[])) && !read.knows(&actor(&["Clerk", "cler"])));
    }

    #[test]
    fn a_more_exact_key_takes_the_place_of_a_general_one() {
        let text = "read = ['clerk']\nwrite = ['clerk']\ndelete = ['chief']\nlist = []\n\
                    [fetches]\nsecret = ['chief']\n[jobs]\nyear = ['chief']\n";
        let access = access(text);
        let allowed = |role: &str, operation, name| access.allows(&actor(&[role]), operation, name);
        assert!(
            allowed("clerk", Operation::Update, None) && !allowed("chief", Operation::Update, None)
        );
        assert!(
            !allowed("clerk", Operation::Delete, None) && allowed("chief", Operation::Delete, None)
        );
        assert!(!allowed("clerk", Operation::List, None));
        assert!(allowed("clerk", Operation::Fetch, Some("other")));
        assert!(!allowed("clerk", Operation::Fetch, Some("secret")));
        assert!(allowed("chief", Operation::Job, Some("year")));
        assert!(!allowed("chief", Operation::Job, Some("month")));
        // Of two roles, each gives its own rights and no more.
        assert!(access.allows(&actor(&["clerk", "chief"]), Operation::Delete, None));
    }
}
