//! [`Awaited`]: a confirm of RabbitMQ that is seen through.
//!
//! Not here: the meaning of a confirm (publish.rs).

use lapin::{Confirmation, PublisherConfirm};
use tokio_util::task::TaskTracker;

/// A confirm that is waited for to its end, even if its publisher stops waiting: lapin keeps a confirm that is dropped too
/// early for as long as the channel lives, and callers that go away would make it grow.
pub(crate) struct Awaited<'t> {
    confirm: Option<PublisherConfirm>,
    tasks: &'t TaskTracker,
}

impl<'t> Awaited<'t> {
    pub(crate) fn new(confirm: PublisherConfirm, tasks: &'t TaskTracker) -> Self {
        Self { confirm: Some(confirm), tasks }
    }

    pub(crate) async fn wait(&mut self) -> lapin::Result<Confirmation> {
        let Some(confirm) = &mut self.confirm else { return Ok(Confirmation::NotRequested) };
        let confirmation = confirm.await;
        self.confirm = None;
        confirmation
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if let Some(confirm) = self.confirm.take() {
            self.tasks.spawn(async move { drop(confirm.await) });
        }
    }
}
