//! [`Gatekeeper`]: from a credential to the caller whom it proves; [`Seal`]: the mark of a node on its messages.
//!
//! Not here: tokens, keys and seals themselves (crate auth), rights (access.rs).

use std::sync::Arc;

use crate::Actor;

/// Knows the credentials that a node accepts.
pub trait Gatekeeper: Send + Sync {
    /// False where a caller without a credential may do everything, which is for development only.
    fn is_required(&self) -> bool;

    /// The caller whom a bearer credential proves: a token of an issuer, or a key.
    ///
    /// # Errors
    /// [`Unproved`] with the reason, which is for the node's log and never for the caller.
    fn caller(&self, credential: &str) -> Result<Arc<Actor>, Unproved>;

    /// The same without a look at a signature: keys, and tokens that were accepted before.
    fn known(&self, credential: &str) -> Option<Arc<Actor>>;

    /// The caller for whom a client certificate with these names stands, which an authority of the gateway has signed.
    fn certificate(&self, names: &[String]) -> Option<Arc<Actor>>;

    /// The caller whom a key with this subject proves, for work that the node itself begins in its name. None where no key that is still
    /// good has it.
    fn identity(&self, subject: &str) -> Option<Arc<Actor>>;

    /// The `iss` of the issuers whose tokens are accepted.
    fn issuers(&self) -> Vec<String>;

    /// The caller for whom a login of RabbitMQ stands, which RabbitMQ has checked.
    fn login(&self, login: &str) -> Option<Arc<Actor>>;
}

/// The parts of a message beside its body that its seal covers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place<'m> {
    /// The exchange that it is meant for in the end.
    pub exchange: &'m str,
    pub routing_key: &'m str,
    pub reply_to: &'m str,
    pub correlation_id: &'m str,
    /// The caller whom a node has proved, as JSON, where it is not the one that the body names.
    pub actor: &'m str,
}

/// The beginning of each seal, by which it is told from another text.
pub const SEAL_BEGINS: &str = "beds-seal-";

/// The mark of a node on its messages: only a node of the same installation can make it.
pub trait Seal: Send + Sync {
    /// False where a message without proof is believed, which is for the time of an upgrade and for development.
    fn needs_proof(&self) -> bool;

    /// The mark on a message; none where the node has no key.
    fn seal(&self, place: &Place<'_>, body: &[u8]) -> Option<String>;

    /// True for a mark that a node made on this message.
    fn is_sealed(&self, place: &Place<'_>, body: &[u8], seal: &str) -> bool;
}

/// The one reason that takes time to find.
pub const BAD_SIGNATURE: Unproved = Unproved("no key of an issuer verifies the signature");

/// The reason why a credential proves no caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unproved(pub &'static str);
