//! [`Tools`]: everything that a task needs for the work of tickets.
//!
//! Not here: the work itself (runner.rs, run.rs).

use std::sync::Arc;

use beds_transport::{Notices, Publisher, Reports};
use tokio_util::sync::CancellationToken;

use super::Calgon;
use crate::Factory;

#[derive(Clone)]
pub(crate) struct Tools {
    /// Of the task, in the lineage.
    pub(crate) name: String,
    pub(crate) calgon: Calgon,
    pub(crate) factory: Arc<Factory>,
    pub(crate) publisher: Publisher,
    pub(crate) reports: Reports,
    pub(crate) notices: Notices,
    pub(crate) stop: CancellationToken,
}
