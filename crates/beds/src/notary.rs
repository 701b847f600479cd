//! Signs the heads of the audit chains that this node writes. A person with access to the database cannot sign, so a chain
//! that was made anew does not fit. Not here: the chain itself (crate trail).

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use beds_broker::Pools;
use beds_core::digest::hex;
use beds_trail::audit::Head;
use beds_transport::Reports;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// The head of a chain as it was at a time, signed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignedHead {
    #[serde(flatten)]
    pub head: Head,
    pub at: Timestamp,
    /// Ed25519, 32 bytes in hexadecimal.
    pub public_key: String,
    /// 64 bytes in hexadecimal, of [`Head::message`].
    pub signature: String,
}

impl SignedHead {
    /// True where the head was signed with one of these keys.
    pub fn holds(&self, public_keys: &[String]) -> bool {
        is_signed(&self.head.message(self.at), &self.signature, public_keys)
    }
}

/// An operator's signed word that some records of a chain are known to be gone or changed, such as by a restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignedGap {
    pub chain: String,
    /// The first and the last place that it is about.
    pub from: u64,
    pub to: u64,
    pub reason: String,
    pub by: String,
    pub at: Timestamp,
    /// As of a [`SignedHead`].
    pub public_key: String,
    pub signature: String,
}

impl SignedGap {
    /// True where it was signed with one of these keys.
    pub fn holds(&self, public_keys: &[String]) -> bool {
        is_signed(&self.message(), &self.signature, public_keys)
    }

    fn message(&self) -> String {
        let Self { chain, from, to, reason, by, at, .. } = self;
        format!("beds audit gap\n{chain}\n{from}\n{to}\n{by}\n{at}\n{reason}")
    }
}

fn is_signed(message: &str, signature: &str, public_keys: &[String]) -> bool {
    let signature = unhex(signature).unwrap_or_default();
    public_keys.iter().filter_map(|key| unhex(key)).any(|key| {
        UnparsedPublicKey::new(&ED25519, key).verify(message.as_bytes(), &signature).is_ok()
    })
}

/// The key of this node's signatures.
pub struct Key(Ed25519KeyPair);

impl Key {
    /// Reads the key (PKCS #8).
    pub fn read(path: &Path) -> std::io::Result<Self> {
        Self::of(&std::fs::read(path)?)
    }

    fn of(bytes: &[u8]) -> std::io::Result<Self> {
        let refused = |_| std::io::Error::other("it is not an Ed25519 key as PKCS #8");
        Ed25519KeyPair::from_pkcs8(bytes).map(Self).map_err(refused)
    }

    /// Reads the key, or makes one if there is no file. Only the owner can read a file that was made.
    pub fn read_or_make(path: &Path) -> std::io::Result<Self> {
        match Self::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
                    .map_err(|_| std::io::Error::other("no key could be made"))?;
                // Beside it first: another node that starts now reads a whole key, or makes one and finds this.
                let mut beside = path.as_os_str().to_owned();
                beside.push(format!(".{}.new", std::process::id()));
                let mut file = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&beside)?;
                file.write_all(made.as_ref())?;
                let linked = std::fs::hard_link(&beside, path);
                std::fs::remove_file(&beside)?;
                match linked {
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
                    _ => Self::read(path),
                }
            }
            read => read,
        }
    }

    /// The public half, in hexadecimal.
    pub fn public(&self) -> String {
        hex(self.0.public_key().as_ref())
    }

    /// Signs an operator's word about a gap.
    pub fn sign_gap(&self, chain: &str, from: u64, to: u64, reason: &str, by: &str) -> SignedGap {
        let mut gap = SignedGap {
            chain: chain.to_owned(),
            from,
            to,
            reason: reason.to_owned(),
            by: by.to_owned(),
            at: Timestamp::now(),
            public_key: self.public(),
            signature: String::new(),
        };
        gap.signature = hex(self.0.sign(gap.message().as_bytes()).as_ref());
        gap
    }

    /// Signs a head.
    pub fn sign(&self, head: Head) -> SignedHead {
        let at = Timestamp::now();
        let signature = hex(self.0.sign(head.message(at).as_bytes()).as_ref());
        SignedHead { head, at, public_key: self.public(), signature }
    }
}

/// Signs the heads of the chains that the pools of this node write.
pub struct Notary {
    key: Key,
    pools: Arc<Pools>,
    reports: Reports,
    /// By chain: the place up to which it is signed.
    signed: Mutex<HashMap<String, u64>>,
}

impl Notary {
    pub fn new(key: Key, pools: Arc<Pools>, reports: Reports) -> Self {
        Self { key, pools, reports, signed: Mutex::default() }
    }

    /// Signs each head that has grown, again and again, and once more at the end.
    pub async fn serve(self: Arc<Self>, interval: Duration, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        let mut is_last = false;
        while !is_last {
            tokio::select! {
                () = stop.cancelled() => is_last = true,
                _ = ticks.tick() => {}
            }
            for head in self.pools.audit_heads() {
                let (chain, seq) = (head.chain.clone(), head.seq);
                if self.signed.lock().unwrap_or_else(PoisonError::into_inner).get(&chain)
                    == Some(&seq)
                {
                    continue;
                }
                match self.reports.audit_head(&json!(self.key.sign(head))).await {
                    Ok(()) => drop(
                        self.signed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(chain, seq),
                    ),
                    Err(error) => {
                        tracing::warn!(chain, %error, "The head of an audit chain could not be reported yet.")
                    }
                }
            }
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
