//! `[auth]`: the credentials that a node accepts.
//!
//! Not here: the check of a credential (crate auth), rights of roles (`[access]` of a template).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::duration;
use crate::access::Roles;
use crate::actor::Claim;

/// `[auth]`.
#[derive(Debug, Clone, Deserialize)]
pub struct Auth {
    /// False: a caller without a credential may do everything. Production cannot set it.
    pub required: bool,
    /// How far the clocks of issuers may be apart from this node's.
    #[serde(deserialize_with = "duration")]
    pub leeway: Duration,
    /// A token that is good for longer is refused.
    #[serde(deserialize_with = "duration")]
    pub max_lifetime: Duration,
    /// How many verified tokens are remembered.
    pub cache: usize,
    /// Keys of programs, as `beds keys new` writes them.
    pub keys_file: Option<PathBuf>,
    #[serde(default)]
    pub issuers: BTreeMap<String, Issuer>,
    /// Client certificates that an authority of `services.appserver.tls.client_ca_file` has signed.
    #[serde(default)]
    pub certificates: BTreeMap<String, TrustedCertificate>,
}

/// `[access]`: the roles of the things that are no template of the user's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeAccess {
    /// Trees of all events, log lines and metrics. Each caller sees the trees that it began.
    pub lineage: Roles,
    /// The audit trail.
    pub audit: Roles,
    /// Messages that could not be worked on: to read, to replay, to discard.
    pub dead_letters: Roles,
    /// The tickets of all callers. Each caller has its own.
    pub tickets: Roles,
    /// The console, and documents of the API. Kept for the releases that have them.
    pub console: Roles,
    pub documents: Roles,
}

/// `[trust]`: the proof of an event behind RabbitMQ.
#[derive(Debug, Clone, Deserialize)]
pub struct Trust {
    /// Files with the keys of the seal. The first seals; all are believed.
    #[serde(default)]
    pub seal_keys: Vec<PathBuf>,
    /// False: an event without proof is believed, and its `actor` with it.
    pub require_seal: bool,
    /// RabbitMQ's logins of other programs, and the callers for whom they stand.
    #[serde(default)]
    pub logins: BTreeMap<String, TrustedLogin>,
}

/// `[trust.logins.NAME]`.
#[derive(Debug, Clone, Deserialize)]
pub struct TrustedLogin {
    pub subject: String,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default)]
    pub claims: BTreeMap<String, Claim>,
}

/// `[auth.certificates.NAME]`: a client certificate, and the caller for whom it stands.
#[derive(Debug, Clone, Deserialize)]
pub struct TrustedCertificate {
    /// A name that it has as an alternative name of its subject: of DNS, or a URI. To the letter.
    pub san: String,
    #[serde(flatten)]
    pub caller: TrustedLogin,
}

/// `[auth.issuers.NAME]`: an authority whose tokens are accepted.
#[derive(Debug, Clone, Deserialize)]
pub struct Issuer {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` that its tokens must name.
    pub audience: String,
    /// Its public keys, as a JSON Web Key Set.
    pub jwks_file: PathBuf,
    /// A JSON pointer to the roles in its tokens, such as `/realm_access/roles`. Without it its callers have none.
    pub roles: Option<String>,
    /// The issuer's role to that of the templates. Where it is given, no other role passes.
    #[serde(default)]
    pub map_roles: BTreeMap<String, String>,
    /// Stands before each `sub`, which is unique within its issuer only.
    #[serde(default)]
    pub prefix: String,
    /// Claims that go with the caller: the name, and a JSON pointer to a text or a whole number.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// A token that was issued before is refused.
    pub not_before: Option<Timestamp>,
    /// Subjects, with their prefix, that are refused.
    #[serde(default)]
    pub denied: BTreeSet<String>,
}

impl Trust {
    /// Takes the files from a folder.
    pub(super) fn below(&mut self, base: &Path) {
        self.seal_keys.iter_mut().for_each(|file| *file = base.join(&*file));
    }
}

impl Auth {
    /// Takes the files from a folder.
    pub(super) fn below(&mut self, base: &Path) {
        self.keys_file = self.keys_file.take().map(|file| base.join(file));
        for issuer in self.issuers.values_mut() {
            issuer.jwks_file = base.join(&issuer.jwks_file);
        }
    }
}

/// True for a name that can be a part of a parameter's name.
pub fn is_claim(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=32).contains(&name.len()) && name.bytes().all(fits)
}
