//! The door: tokens of issuers and keys of programs, from a text to a proved caller; and the seal of nodes on their messages. The only crate that knows credentials. Bytes of
//! files are handed in; nothing here does I/O.
//!
//! Not here: rights of roles (core/access.rs), the header that carries a credential (crate gateway).

mod door;
mod issuer;
mod keys;
mod names;
mod seal;
mod token;

pub use door::{Door, Files, has_shared_secret};
pub use keys::{KeyFile, PREFIX, StoredKey};
pub use seal::new_secret_key;
