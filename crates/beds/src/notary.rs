//! Signs the heads of the audit chains that this node writes. Who can change what is in the database cannot sign, so a
//! chain that was made anew does not fit. What a chain is, is `core::audit`'s.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use beds_broker::Pools;
use beds_core::audit::Head;
use beds_transport::Recorder;
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
        let (message, signature) = (self.head.message(self.at), unhex(&self.signature).unwrap_or_default());
        public_keys
            .iter()
            .filter_map(|key| unhex(key))
            .any(|key| UnparsedPublicKey::new(&ED25519, key).verify(message.as_bytes(), &signature).is_ok())
    }
}

/// The key of this node's signatures.
pub struct Key(Ed25519KeyPair);

impl Key {
    /// Reads the key (PKCS #8), or makes one if there is no file. Only the owner can read a file that was made.
    pub fn read_or_make(path: &Path) -> std::io::Result<Self> {
        let refused = |_| std::io::Error::other("it is not an Ed25519 key as PKCS #8");
        match std::fs::read(path) {
            Ok(bytes) => Ed25519KeyPair::from_pkcs8(&bytes).map(Self).map_err(refused),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
                    .map_err(|_| std::io::Error::other("no key could be made"))?;
                let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                file.write_all(made.as_ref())?;
                Ed25519KeyPair::from_pkcs8(made.as_ref()).map(Self).map_err(refused)
            }
            Err(error) => Err(error),
        }
    }

    /// The public half, in hexadecimal.
    pub fn public(&self) -> String {
        hex(self.0.public_key().as_ref())
    }

    /// Signs a head.
    pub fn sign(&self, head: Head) -> SignedHead {
        let at = Timestamp::now();
        let signature = hex(self.0.sign(head.message(at).as_bytes()).as_ref());
        SignedHead { head, at, public_key: self.public(), signature }
    }
}

/// Signs the heads of the chains that these pools write, each time that one has grown, and once more at the end.
pub async fn serve(key: Key, pools: Arc<Pools>, recorder: Recorder, interval: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(interval);
    let mut signed: HashMap<String, u64> = HashMap::new();
    let mut is_last = false;
    while !is_last {
        tokio::select! {
            () = stop.cancelled() => is_last = true,
            _ = ticks.tick() => {}
        }
        for head in pools.audit_heads() {
            if signed.get(&head.chain) == Some(&head.seq) {
                continue;
            }
            let (chain, seq) = (head.chain.clone(), head.seq);
            match recorder.audit_head(&json!(key.sign(head))).await {
                Ok(()) => drop(signed.insert(chain, seq)),
                Err(error) => tracing::warn!(chain, %error, "The head of an audit chain could not be reported yet."),
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
