//! [`Reloading`]: a node reads its credentials and its templates again, in the name of the user who asked for it.
//!
//! Not here: the socket and the signal that ask (control.rs, commands/run.rs).

use std::sync::Arc;

use beds_core::Outcome;
use beds_transport::Reports;
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use crate::callers::Callers;
use crate::certificate::Certificate;
use crate::domains::{Domains, Reloaded};

/// The parts of a node that a reload renews.
#[derive(Clone)]
pub struct Reloading {
    pub domains: Arc<Domains>,
    pub callers: Arc<Callers>,
    pub certificate: Option<Arc<Certificate>>,
    pub reports: Reports,
    /// Of two at once, the one that has read older files could be the last to take them.
    pub one_at_a_time: Arc<Mutex<()>>,
    /// A reload is seen through, whoever asked for it.
    pub tasks: TaskTracker,
}

impl Reloading {
    /// Reads everything again. The audit trail keeps the name of the user.
    pub async fn run(&self, actor: &str) -> Reloaded {
        let _turn = self.one_at_a_time.lock().await;
        // First, and for itself: a key is revoked also while a template has a mistake.
        let mut refused = match self.callers.reload() {
            Ok(access) => {
                self.domains.take_access(access);
                Vec::new()
            }
            Err(mistakes) => mistakes,
        };
        let certificate = self.certificate.as_ref().map(|certificate| certificate.reload());
        refused.extend(certificate.and_then(Result::err).unwrap_or_default());
        let mut reloaded = self.domains.reload().await;
        reloaded.credentials = refused.is_empty();
        reloaded.mistakes.extend(refused.iter().map(ToString::to_string));
        let is_whole = reloaded.applied && reloaded.credentials;
        let outcome = if is_whole { Outcome::Ok } else { Outcome::Failed };
        self.reports.act(actor, "reload", outcome).await;
        reloaded
    }
}
