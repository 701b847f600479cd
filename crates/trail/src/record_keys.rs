//! [`RecordKeys`]: hashes that stand for records in the audit trail. Only a holder of a key can tell which record one stands
//! for, so the trail answers who saw a record and shows no id.
//!
//! Not here: the records that an event touched (crate broker), the search for one (`beds audit subject`).

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use beds_core::message::MAX_LIMIT;
use beds_core::secret_keys::read_keys;
use serde::{Deserialize, Serialize};

/// The bytes of a hash that are kept: with ten million records, two of one hash are not to be expected.
const BYTES: usize = 12;
/// The same as characters of base64url.
const CHARACTERS: usize = 16;
/// The bytes in front of everything: a hash is of no use for another purpose of the same key.
const PURPOSE: &[u8] = b"beds-record-1";
/// Hashes in one audit record, at most: those of the largest page.
const MOST: usize = MAX_LIMIT as usize;

/// The keys of a node. The first makes hashes, all find them.
#[derive(Default)]
pub struct RecordKeys(Vec<(String, Key)>);

/// The records that an answer handed out, where it may be more than one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The name of the key.
    pub key: String,
    /// The hashes, 16 characters each, one behind the other.
    pub hashes: String,
    /// Records beyond them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u32,
    /// A hash over the ids of these, in their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl RecordKeys {
    /// Reads keys as [`read_keys`] does.
    ///
    /// # Errors
    /// The positions of the texts that are no keys.
    pub fn of<'t>(texts: impl Iterator<Item = &'t str>) -> Result<Self, Vec<usize>> {
        let keys = read_keys(texts)?.into_iter();
        Ok(Self(keys.map(|(name, key)| (name, Key::new(HMAC_SHA256, &key))).collect()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hash of a record, behind the name of its key; none without a key.
    pub fn hash(&self, template: &str, id: &str) -> Option<String> {
        let (name, key) = self.0.first()?;
        Some(named(name, &hash(key, &[template, id])))
    }

    /// The hashes that a record can have: one under each key.
    pub fn hashes(&self, template: &str, id: &str) -> Vec<String> {
        self.0.iter().map(|(name, key)| named(name, &hash(key, &[template, id]))).collect()
    }

    /// The hashes of records that were handed out together; none without a key or a record.
    pub fn seen(&self, template: &str, ids: &[String]) -> Option<Seen> {
        let (name, key) = self.0.first().filter(|_| !ids.is_empty())?;
        let (kept, rest) = ids.split_at(ids.len().min(MOST));
        let digest = (!rest.is_empty()).then(|| {
            let parts: Vec<&str> =
                std::iter::once(template).chain(rest.iter().map(String::as_str)).collect();
            hash(key, &parts)
        });
        Some(Seen {
            key: name.clone(),
            hashes: kept.iter().map(|id| hash(key, &[template, id])).collect(),
            more: u32::try_from(rest.len()).unwrap_or(u32::MAX),
            digest,
        })
    }
}

impl Seen {
    /// The hashes, each behind the name of its key.
    pub fn named(&self) -> impl Iterator<Item = String> {
        let hashes = self.hashes.as_bytes().chunks(CHARACTERS);
        hashes.map(|hash| named(&self.key, &String::from_utf8_lossy(hash)))
    }
}

fn named(key: &str, hash: &str) -> String {
    format!("{key}.{hash}")
}

fn hash(key: &Key, parts: &[&str]) -> String {
    let mut hash = Context::with_key(key);
    hash.update(PURPOSE);
    for part in parts {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(&hash.sign().as_ref()[..BYTES])
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(of: &[u8]) -> RecordKeys {
        let texts: Vec<String> =
            of.iter().map(|byte| URL_SAFE_NO_PAD.encode([*byte; 32])).collect();
        RecordKeys::of(texts.iter().map(String::as_str)).unwrap()
    }

    #[test]
    fn a_record_is_found_under_each_key_and_under_no_other_name() {
        let (old, both) = (keys(&[1]), keys(&[2, 1]));
        let before = old.hash("Users", "7").unwrap();
        assert!(both.hashes("Users", "7").contains(&before));
        assert_ne!(both.hash("Users", "7").unwrap(), before);
        for (template, id) in [("Users", "8"), ("User", "s7"), ("Users7", "")] {
            assert!(!both.hashes(template, id).contains(&before), "{template}/{id}");
        }
        assert_eq!(keys(&[]).hash("Users", "7"), None);
        assert_eq!(RecordKeys::of(["short"].into_iter()).err(), Some(vec![0]));
    }

    #[test]
    fn the_records_of_a_page_are_named_and_those_beyond_it_are_counted() {
        let keys = keys(&[1]);
        let ids: Vec<String> = (0..MOST + 2).map(|id| id.to_string()).collect();
        let seen = keys.seen("Users", &ids).unwrap();
        assert_eq!((seen.named().count(), seen.more), (MOST, 2));
        assert_eq!(seen.named().nth(7), keys.hash("Users", "7"));
        assert!(seen.digest.is_some());
        let page = keys.seen("Users", &ids[..MOST]).unwrap();
        assert_eq!((page.more, page.digest), (0, None));
        assert_eq!(keys.seen("Users", &[]), None);
    }
}
