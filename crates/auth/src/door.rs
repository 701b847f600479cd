//! [`Door`]: the credentials of a node, and the memory of tokens that were verified. A reload makes a new set and an empty memory, so
//! that no token outlives the key that signed it.
//!
//! Not here: the checks (token.rs, keys.rs), the files (the binary reads them).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use beds_core::config::{Auth, Trust, TrustedLogin};
use beds_core::gate::{Gatekeeper, Place, Seal, Unproved};
use beds_core::{Actor, Mistake};
use jiff::Timestamp;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use crate::issuer::{self, Issuer};
use crate::keys::{KeyFile, Keys, PREFIX};
use crate::names::is_role;
use crate::seal::Seals;
use crate::token::{self, Times};

/// The texts of the files that `[auth]` names.
#[derive(Debug, Default)]
pub struct Files {
    /// Name and text.
    pub keys: Option<(String, String)>,
    /// Name and text, by the names of the issuers.
    pub jwks: BTreeMap<String, (String, String)>,
    /// Name and text, in the order of `[trust] seal_keys`.
    pub seals: Vec<(String, String)>,
}

/// Everything by which this node knows its callers.
pub struct Door(ArcSwap<Known>);

struct Known {
    is_required: bool,
    needs_proof: bool,
    logins: HashMap<String, Arc<Actor>>,
    certificates: HashMap<String, Arc<Actor>>,
    seals: Seals,
    leeway: i64,
    max_lifetime: i64,
    keys: Keys,
    issuers: Vec<Issuer>,
    /// By the hash of the whole token: of two tokens that differ anywhere, neither stands for the other.
    verified: Cache<[u8; 32], Remembered>,
}

#[derive(Clone)]
struct Remembered {
    actor: Arc<Actor>,
    expires: i64,
}

impl Door {
    /// The door of a node, or every mistake in its files.
    pub fn new(auth: &Auth, trust: &Trust, files: Files) -> Result<Self, Vec<Mistake>> {
        Ok(Self(ArcSwap::from_pointee(known(auth, trust, &files)?)))
    }

    /// Takes new settings and files. With a mistake in them, the ones of before stay.
    pub fn replace(&self, auth: &Auth, trust: &Trust, files: Files) -> Result<(), Vec<Mistake>> {
        self.0.store(Arc::new(known(auth, trust, &files)?));
        Ok(())
    }
}

impl Gatekeeper for Door {
    fn is_required(&self) -> bool {
        self.0.load().is_required
    }

    fn caller(&self, credential: &str) -> Result<Arc<Actor>, Unproved> {
        let known = self.0.load();
        let now = Timestamp::now();
        if credential.starts_with(PREFIX) {
            return known.keys.caller(credential, now);
        }
        known.token(credential, known.times(now))
    }

    fn known(&self, credential: &str) -> Option<Arc<Actor>> {
        let known = self.0.load();
        let now = Timestamp::now();
        if credential.starts_with(PREFIX) {
            return known.keys.caller(credential, now).ok();
        }
        known.remembered(&hash(credential), known.times(now))?.ok()
    }

    fn certificate(&self, names: &[String]) -> Option<Arc<Actor>> {
        let known = self.0.load();
        names.iter().find_map(|name| known.certificates.get(name).cloned())
    }

    fn identity(&self, subject: &str) -> Option<Arc<Actor>> {
        self.0.load().keys.identity(subject, Timestamp::now())
    }

    fn issuers(&self) -> Vec<String> {
        self.0.load().issuers.iter().map(|issuer| issuer.rules.issuer.clone()).collect()
    }

    fn login(&self, login: &str) -> Option<Arc<Actor>> {
        self.0.load().logins.get(login).cloned()
    }
}

impl Seal for Door {
    fn needs_proof(&self) -> bool {
        self.0.load().needs_proof
    }

    fn seal(&self, place: &Place<'_>, body: &[u8]) -> Option<String> {
        self.0.load().seals.seal(place, body)
    }

    fn is_sealed(&self, place: &Place<'_>, body: &[u8], seal: &str) -> bool {
        self.0.load().seals.is_sealed(place, body, seal)
    }
}

impl Known {
    fn times(&self, now: Timestamp) -> Times {
        Times { now: now.as_second(), leeway: self.leeway, max_lifetime: self.max_lifetime }
    }

    /// The caller of a token that was verified before, unless it has expired since; none where it was not.
    fn remembered(&self, hash: &[u8; 32], times: Times) -> Option<Result<Arc<Actor>, Unproved>> {
        let remembered = self.verified.get(hash)?;
        Some(match token::has_expired(remembered.expires, times) {
            true => Err(Unproved("the token has expired")),
            false => Ok(remembered.actor),
        })
    }

    fn token(&self, token: &str, times: Times) -> Result<Arc<Actor>, Unproved> {
        if token.len() > token::MAX_BYTES {
            return Err(Unproved("the token is too long"));
        }
        let hash = hash(token);
        if let Some(remembered) = self.remembered(&hash, times) {
            return remembered;
        }
        let verified = token::check(token, &self.issuers, times)?;
        let actor = Arc::new(verified.actor);
        let remembered = Remembered { actor: Arc::clone(&actor), expires: verified.expires };
        self.verified.insert(hash, remembered);
        Ok(actor)
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn known(auth: &Auth, trust: &Trust, files: &Files) -> Result<Known, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let keys = match files.keys.as_ref().map(|(file, text)| KeyFile::parse(file, text)) {
        None => KeyFile::default(),
        Some(Ok(keys)) => keys,
        Some(Err(found)) => {
            mistakes.extend(found);
            KeyFile::default()
        }
    };
    let issuers = issuers(auth, files, &mut mistakes);
    let seals =
        Seals::of(files.seals.iter().map(|(_, text)| text.as_str())).unwrap_or_else(|wrong| {
            for (file, _) in wrong.into_iter().filter_map(|position| files.seals.get(position)) {
                let text = "it is no key of a seal: 43 characters of base64url or more";
                mistakes.push(Mistake::new(file, 0, text, "make one with `beds keys seal FILE`"));
            }
            Seals::default()
        });
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let actor = |login: &TrustedLogin| {
        let TrustedLogin { subject, roles, claims } = login.clone();
        Arc::new(Actor { subject, roles, claims })
    };
    let certificates = auth.certificates.values();
    Ok(Known {
        is_required: auth.required,
        needs_proof: trust.require_seal,
        logins: trust.logins.iter().map(|(name, login)| (name.clone(), actor(login))).collect(),
        certificates: certificates.map(|of| (of.san.clone(), actor(&of.caller))).collect(),
        seals,
        leeway: i64::try_from(auth.leeway.as_secs()).unwrap_or(i64::MAX),
        max_lifetime: i64::try_from(auth.max_lifetime.as_secs()).unwrap_or(i64::MAX),
        keys: Keys::of(keys),
        issuers,
        verified: Cache::new(auth.cache),
    })
}

/// The issuers whose keys can be used.
fn issuers(auth: &Auth, files: &Files, mistakes: &mut Vec<Mistake>) -> Vec<Issuer> {
    let mut issuers = Vec::new();
    for (name, rules) in &auth.issuers {
        let Some((file, text)) = files.jwks.get(name) else { continue };
        let mut refuse = |message: String, fix: &str| {
            mistakes.push(Mistake::new(file, 0, message, fix));
        };
        match issuer::keys(text) {
            Ok(keys) => {
                let has_secret = keys.iter().any(issuer::IssuerKey::is_secret);
                if has_secret && (keys.len() > 1 || auth.issuers.len() > 1) {
                    let fix = "give the issuer keys of EdDSA, ES256 or RS256; HS256 is for development, alone";
                    refuse("HS256 stands beside another key".to_owned(), fix);
                }
                issuers.push(Issuer { rules: rules.clone(), keys });
            }
            Err(reasons) => {
                let fix = "write the issuer's public keys as a JSON Web Key Set, each with kid, kty and alg";
                reasons.into_iter().for_each(|reason| refuse(reason, fix));
            }
        }
        for role in rules.map_roles.values().filter(|role| !is_role(role)) {
            let message = format!("auth.issuers.{name}.map_roles gives the role {role:?}");
            refuse(message, "use 1 to 64 letters, digits, - or _");
        }
    }
    issuers
}

/// True where a secret that the node and the issuer share signs tokens: for development only.
pub fn has_shared_secret(text: &str) -> bool {
    issuer::keys(text).is_ok_and(|keys| keys.iter().any(issuer::IssuerKey::is_secret))
}
