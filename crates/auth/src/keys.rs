//! Keys of programs: 256 random bits each, of which a node keeps a hash. The file is written by `beds keys` and read at start and
//! reload.
//!
//! Not here: reading and writing the file, which is the binary's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use beds_core::Mistake;
use beds_core::actor::{Actor, Claim};
use beds_core::digest::hex;
use beds_core::gate::Unproved;
use beds_core::toml_check::{Key, Kind, check};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::names::{is_plain, is_role};

/// The beginning of each key, by which scanners of repositories know one.
pub const PREFIX: &str = "beds_";
/// The beginning of the subject of each key: no token of an issuer can name such a subject.
const SUBJECT: &str = "app:";
/// Random bytes in a key, and in its id.
const SECRET_BYTES: usize = 32;
const ID_BYTES: usize = 4;

const KEYS: &[Key] = &[
    Key { path: "key.*.sha256", kind: Kind::Text },
    Key { path: "key.*.subject", kind: Kind::Text },
    Key { path: "key.*.roles", kind: Kind::Texts },
    Key { path: "key.*.claims", kind: Kind::Table },
    Key { path: "key.*.expires", kind: Kind::Text },
    Key { path: "key.*.note", kind: Kind::Text },
];

/// The content of a file of keys, by the ids of the keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct KeyFile {
    #[serde(default)]
    pub key: BTreeMap<String, StoredKey>,
}

/// A key as the file keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredKey {
    /// Of the whole key, in hexadecimal.
    pub sha256: String,
    pub subject: String,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Claim>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl KeyFile {
    /// Reads a file of keys, or reports every mistake in it.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let checked = check(file, text, KEYS, &mut mistakes);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let line = |path: &str| checked.line(path);
        let keys: Self = toml::Value::Table(checked.table.clone()).try_into().map_err(
            |e: toml::de::Error| {
                vec![Mistake::new(file, line("key"), e.message().to_owned(), "correct the value")]
            },
        )?;
        for (id, key) in &keys.key {
            if let Some((what, fix)) = key.mistake() {
                let message = format!("the key {id} {what}");
                mistakes.push(Mistake::new(file, line(&format!("key.{id}")), message, fix));
            }
        }
        if mistakes.is_empty() { Ok(keys) } else { Err(mistakes) }
    }

    /// The file as text. It holds no secret: a hash of 256 random bits tells nothing of them.
    pub fn text(&self) -> String {
        let head = "# Keys of programs, written by `beds keys`. A node reads them at start and at `beds reload`.\n\n";
        format!("{head}{}", toml::to_string(self).unwrap_or_default())
    }

    /// Adds a new key; answers its id and the key itself, which is kept nowhere.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes.
    pub fn add(&mut self, key: StoredKey) -> Result<(String, String), Unspecified> {
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        aws_lc_rs::rand::fill(&mut id)?;
        aws_lc_rs::rand::fill(&mut secret)?;
        let id = hex(&id);
        let text = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        self.key.insert(id.clone(), StoredKey { sha256: hash(&text), ..key });
        Ok((id, text))
    }
}

impl StoredKey {
    /// The mistake in it, and its fix.
    pub fn mistake(&self) -> Option<(String, &'static str)> {
        let is_hash = self.sha256.len() == 64 && self.sha256.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hash {
            let text = "has a sha256 that is not 64 hexadecimal digits".to_owned();
            return Some((text, "make a new key with `beds keys new`"));
        }
        self.identity_mistake()
    }

    /// The mistake in everything but its hash.
    pub fn identity_mistake(&self) -> Option<(String, &'static str)> {
        let name = self.subject.strip_prefix(SUBJECT).unwrap_or_default();
        let is_claim_plain = |claim: &Claim| match claim {
            Claim::Whole(_) => true,
            Claim::Text(text) => is_plain(text),
        };
        if !self.claims.values().all(is_claim_plain) {
            let text = "has a claim that begins or ends with a space, or holds a control character";
            return Some((text.to_owned(), "write it without"));
        }
        if name.is_empty() || !is_plain(&self.subject) {
            let text = format!("has the subject {:?}", self.subject);
            return Some((text, "begin it with app:, which no token of an issuer can have"));
        }
        if let Some(role) = self.roles.iter().find(|role| !is_role(role)) {
            return Some((format!("has the role {role:?}"), "use 1 to 64 letters, digits, - or _"));
        }
        let actor = self.actor();
        actor.excess().map(|text| (format!("is too large: {text}"), "shorten it"))
    }

    fn actor(&self) -> Actor {
        Actor {
            subject: self.subject.clone(),
            roles: self.roles.clone(),
            claims: self.claims.clone(),
        }
    }
}

/// The keys of a node, ready to be looked up.
#[derive(Debug, Default)]
pub(crate) struct Keys(HashMap<String, KnownKey>);

#[derive(Debug)]
struct KnownKey {
    sha256: String,
    actor: Arc<Actor>,
    expires: Option<Timestamp>,
}

impl Keys {
    pub(crate) fn of(file: KeyFile) -> Self {
        let known = |key: StoredKey| KnownKey {
            actor: Arc::new(key.actor()),
            sha256: key.sha256.to_lowercase(),
            expires: key.expires,
        };
        Self(file.key.into_iter().map(|(id, key)| (id, known(key))).collect())
    }

    /// The program whose key this is.
    pub(crate) fn caller(&self, key: &str, now: Timestamp) -> Result<Arc<Actor>, Unproved> {
        let id = key.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next());
        let known = id.and_then(|id| self.0.get(id)).ok_or(Unproved("there is no such key"))?;
        if verify_slices_are_equal(hash(key).as_bytes(), known.sha256.as_bytes()).is_err() {
            return Err(Unproved("the key is not the one with its id"));
        }
        if known.expires.is_some_and(|end| end <= now) {
            return Err(Unproved("the key has expired"));
        }
        Ok(Arc::clone(&known.actor))
    }

    /// The program with this subject. Of several keys, such as during a rotation, the one that is good for longest.
    pub(crate) fn identity(&self, subject: &str, now: Timestamp) -> Option<Arc<Actor>> {
        let end = |known: &KnownKey| known.expires.unwrap_or(Timestamp::MAX);
        let good = self.0.iter().filter(|(_, known)| known.actor.subject == subject);
        let good = good.filter(|(_, known)| end(known) > now);
        // Of two that end together the one with the later id, so that all nodes choose the same.
        let longest = good.max_by_key(|(id, known)| (end(known), *id));
        longest.map(|(_, known)| Arc::clone(&known.actor))
    }
}

fn hash(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> StoredKey {
        StoredKey {
            sha256: String::new(),
            subject: "app:loader".to_owned(),
            roles: vec!["clerk".to_owned()],
            claims: BTreeMap::from([
                ("tenant".to_owned(), Claim::Text("acme".to_owned())),
                ("branch".to_owned(), Claim::Whole(7)),
            ]),
            expires: Some("2100-01-01T00:00:00Z".parse().unwrap()),
            note: "the nightly load".to_owned(),
        }
    }

    #[test]
    fn a_key_opens_until_it_is_revoked_or_expires() {
        let mut file = KeyFile::default();
        let (id, key) = file.add(stored()).unwrap();
        assert_eq!((key.len(), key.starts_with(&format!("beds_{id}_"))), (5 + 8 + 1 + 43, true));
        let written = file.text();
        assert!(!written.contains(&key[14..]), "{written}");
        let mut read = KeyFile::parse("keys.toml", &written).unwrap();
        let now = Timestamp::now();
        let keys = Keys::of(read.clone());
        let caller = keys.caller(&key, now).unwrap();
        assert_eq!(
            (caller.subject.as_str(), &caller.claims["branch"]),
            ("app:loader", &Claim::Whole(7))
        );
        let mut wrong = key.clone();
        wrong.pop();
        for bad in [wrong.as_str(), "beds_", "beds__x", "beds_ffffffff_x", "", "x"] {
            assert!(keys.caller(bad, now).is_err(), "{bad}");
        }
        let end = "2100-01-01T00:00:00Z".parse().unwrap();
        assert!(keys.caller(&key, end).is_err());
        assert_eq!(keys.identity("app:loader", now).unwrap().subject, "app:loader");
        assert!(
            keys.identity("app:loader", end).is_none() && keys.identity("app:x", now).is_none()
        );
        read.key.remove(&id);
        assert!(Keys::of(read).caller(&key, now).is_err());
    }

    #[test]
    fn every_mistake_in_a_file_of_keys_has_its_line() {
        let text = "[key.a]\nsha256 = \"00\"\nsubject = \"app:x\"\n[key.b]\nsha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\nsubject = \"ana\"\n";
        let mistakes: Vec<String> =
            KeyFile::parse("k", text).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        assert!(mistakes[0].starts_with("k:1: the key a has a sha256"), "{mistakes:?}");
        assert!(mistakes[1].starts_with("k:4: the key b has the subject \"ana\""), "{mistakes:?}");
    }
}
