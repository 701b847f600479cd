//! Keys in files: 32 random bytes or more as one line of base64url, and a name that tells two keys apart.
//!
//! Not here: the use of a key (crates auth and trail).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::digest::hex;

/// The fewest bytes of a key.
pub const FEWEST_BYTES: usize = 32;

/// A key and its name: eight hexadecimal digits, which tell nothing of the key.
pub type NamedKey = (String, Vec<u8>);

/// Reads keys, each 43 characters of base64url or more.
///
/// # Errors
/// The positions of the texts that are no keys.
pub fn read_keys<'t>(texts: impl Iterator<Item = &'t str>) -> Result<Vec<NamedKey>, Vec<usize>> {
    let (mut keys, mut wrong) = (Vec::new(), Vec::new());
    for (position, text) in texts.enumerate() {
        match URL_SAFE_NO_PAD.decode(text.trim()).ok().filter(|key| key.len() >= FEWEST_BYTES) {
            Some(key) => keys.push((hex(&Sha256::digest(&key)[..4]), key)),
            None => wrong.push(position),
        }
    }
    if wrong.is_empty() { Ok(keys) } else { Err(wrong) }
}
