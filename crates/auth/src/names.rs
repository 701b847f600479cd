//! Names that a caller or a role may have, whoever gives them.
//!
//! Not here: the issuers and keys that give them (token.rs, keys.rs).

use beds_core::actor::MAX_ROLE_BYTES;
use beds_core::template::RESERVED_ROLES;
use beds_core::text::{is_name, is_unseen};

/// True for a name that a role may have in a file.
pub(crate) fn is_role(role: &str) -> bool {
    is_name(role) && role.len() <= MAX_ROLE_BYTES && !RESERVED_ROLES.contains(&role)
}

/// True for a text that a database takes for no other one: MariaDB does not look at spaces at the end.
pub(crate) fn is_plain(text: &str) -> bool {
    text.trim() == text && !text.contains(is_unseen)
}
