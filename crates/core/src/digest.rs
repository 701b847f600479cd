//! Digests of messages, and bytes as hexadecimal text.
//!
//! Not here: the choice of the parts (event.rs, fields.rs), hashes that stand for records (`trail/record_keys.rs`).

use sha2::{Digest, Sha256};

/// Tells a message from another one with the same event id: 32 hexadecimal digits of its body's hash. Two messages with the
/// same digits would share a record, and cannot be made.
pub fn digest(body: &[u8]) -> String {
    hex(&Sha256::digest(body)[..16])
}

/// Feeds texts into a hash, each behind its length, so that no two lists are the same bytes.
pub(crate) fn hash_parts(hash: &mut Sha256, parts: &[&str]) {
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
