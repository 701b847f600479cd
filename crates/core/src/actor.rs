//! [`Actor`]: the identity in whose name an event is worked on. It is proved before an event leaves a gateway, and travels with
//! the event.
//!
//! Not here: the proof itself (crate auth), rights of roles (access.rs).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The longest name of an actor, in bytes.
pub const MAX_SUBJECT_BYTES: usize = 254;
/// The most roles and claims of an actor, and the longest of each, in bytes.
pub const MAX_ROLES: usize = 64;
pub const MAX_ROLE_BYTES: usize = 64;
pub const MAX_CLAIMS: usize = 32;
pub const MAX_CLAIM_BYTES: usize = 256;

/// The identity that asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Its name, such as `corp/ana`. Unique over all issuers of a node.
    pub subject: String,
    #[serde(default)]
    pub roles: Vec<String>,
    /// Proved facts about it, by which a DBA's objects choose rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Claim>,
}

/// The value of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Claim {
    Text(String),
    Whole(i64),
}

/// The role of nodes and of the command line of a node, which may do everything. No issuer and no key can give it: it is no name of
/// a role, and travels in sealed events only.
pub const NODE_ROLE: &str = "node:all";

impl Actor {
    /// One with a name and nothing else.
    pub fn of(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), ..Self::default() }
    }

    /// A node, or a user at its command line.
    pub fn of_node(subject: impl Into<String>) -> Self {
        Self { roles: vec![NODE_ROLE.to_owned()], ..Self::of(subject) }
    }

    /// The same caller, with every right. For acts that the node itself has allowed.
    #[must_use]
    pub fn with_every_right(mut self) -> Self {
        self.roles = vec![NODE_ROLE.to_owned()];
        self
    }

    /// True for one with every right.
    pub fn has_every_right(&self) -> bool {
        self.roles.iter().any(|role| role == NODE_ROLE)
    }

    /// The first of its parts that is longer than an event may carry, with the limit. None where all fit.
    pub fn excess(&self) -> Option<String> {
        let too_long = |what: &str, most: usize| Some(format!("{what} must have at most {most}"));
        if self.subject.len() > MAX_SUBJECT_BYTES {
            return too_long("actor.subject", MAX_SUBJECT_BYTES).map(|text| text + " bytes");
        }
        if self.roles.len() > MAX_ROLES || self.roles.iter().any(|role| role.len() > MAX_ROLE_BYTES)
        {
            let text = format!(
                "actor.roles must have at most {MAX_ROLES} names of at most {MAX_ROLE_BYTES} bytes"
            );
            return Some(text);
        }
        let is_long =
            |claim: &Claim| matches!(claim, Claim::Text(text) if text.len() > MAX_CLAIM_BYTES);
        if self.claims.len() > MAX_CLAIMS
            || self.claims.iter().any(|(name, claim)| name.len() > MAX_ROLE_BYTES || is_long(claim))
        {
            let text = format!(
                "actor.claims must have at most {MAX_CLAIMS} texts of at most {MAX_CLAIM_BYTES} bytes"
            );
            return Some(text);
        }
        None
    }
}
