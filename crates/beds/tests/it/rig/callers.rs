//! The callers of the tests: one key that each [`super::World`] accepts.
//!
//! Not here: tokens of issuers, which the tests of identity make.

use anyhow::Result;
use beds_core::digest::hex;
use beds_trail::record_keys::RecordKeys;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder};
use sha2::{Digest, Sha256};

use super::Api;

/// The key of the callers.
pub(crate) const KEY: &str = "beds_7e577e57_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The key as a line of a request that a test writes by hand.
pub(crate) const HEADER: &str =
    "Authorization: Bearer beds_7e577e57_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";

/// The name under which they are recorded.
pub(crate) const SUBJECT: &str = "app:tests";

/// Their roles: those of the sample templates, of the tests' own, and of operators.
pub(crate) const ROLES: [&str; 5] = ["tester", "clerk", "analyst", "operator", "auditor"];

/// The key with which the nodes of the tests seal, and their publishers too.
pub(crate) const SEAL_KEY: &str = "c2VhbCBvZiB0aGUgdGVzdHMsIHRoaXJ0eS10d28gYnl0ZXMh";

/// The key of the hashes that stand for records in the trail.
pub(crate) const HASH_KEY: &str = "aGFzaCBvZiB0aGUgdGVzdHMsIHRoaXJ0eS10d28gYnl0ZXMh";

/// The same, as a node uses it.
pub(crate) fn record_keys() -> RecordKeys {
    RecordKeys::of(std::iter::once(HASH_KEY)).unwrap_or_default()
}

/// A client whose requests show a credential.
pub(crate) fn client(credential: &str) -> Result<Client> {
    Ok(builder(credential)?.build()?)
}

/// The same, to be changed.
pub(crate) fn builder(credential: &str) -> Result<ClientBuilder> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {credential}"))?);
    Ok(Client::builder().default_headers(headers))
}

/// The API of a node as a caller with another credential asks it.
pub(crate) fn as_caller(api: &Api, credential: &str) -> Result<Api> {
    Ok(Api { url: api.url.clone(), http: client(credential)? })
}

/// The world's `keys.toml`.
pub(super) fn key_file() -> String {
    let hash = hex(&Sha256::digest(KEY));
    format!("[key.7e577e57]\nsha256 = \"{hash}\"\nsubject = \"{SUBJECT}\"\nroles = {ROLES:?}\n")
}
