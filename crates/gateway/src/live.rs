//! Live: changes as they happen, to callers who may hear of them.
//!
//! ```text
//! beds.changes.log -> reader -> hub -> subscription -> server-sent events, or a frame of a WebSocket
//!        \_________________________________/   a subscription with a cursor reads the stream itself, until it has caught up
//! ```
//!
//! Not here: the rules of a template (core/template/changes.rs), the stream (crate transport).

pub(crate) mod cursor;
pub(crate) mod events;
pub(crate) mod hub;
mod reader;
pub(crate) mod replay;
mod seen;
pub(crate) mod socket;
pub(crate) mod subscription;
mod ticket;

pub(crate) use hub::Hub;

use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwap;
use beds_core::{BedsError, ErrorKind, Result, Templates};
use beds_transport::Client;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::caller::Caller;
use crate::shares::{Share, Shares};
use crate::{Lent, Room, limits};
use subscription::Source;

/// Callers that read old changes at once.
const REPLAYS: usize = 8;
/// Sockets without a caller at once: anyone can open one, and keep it for 5 s.
const UNKNOWN: usize = 256;

/// The part of the gateway that tells changes.
pub(crate) struct Live {
    pub(crate) source: Source,
    /// Connections that are told of changes or tickets.
    places: Arc<Semaphore>,
    /// The same by caller.
    shares: Arc<Shares>,
    /// Sockets whose callers have shown no credential yet.
    pub(crate) unknown: Arc<Semaphore>,
}

/// A place among the connections that are told, for as long as the value lives.
pub(crate) struct LivePlace {
    _of_all: OwnedSemaphorePermit,
    _of_caller: Option<Share>,
}

impl Live {
    pub(crate) fn new(client: &Client, templates: &Arc<ArcSwap<Templates>>, most: usize) -> Self {
        let source = Source {
            hub: Hub::default(),
            client: client.clone(),
            templates: Arc::clone(templates),
            turns: replay::Turns::new(REPLAYS),
        };
        Self {
            source,
            places: Arc::new(Semaphore::new(most)),
            shares: Arc::default(),
            unknown: Arc::new(Semaphore::new(UNKNOWN)),
        }
    }

    /// The work that reads the stream.
    pub(crate) fn reader(
        &self,
        lent: &Lent,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let reader = reader::Reader {
            hub: self.source.hub.clone(),
            client: lent.client.clone(),
            templates: Arc::clone(&lent.templates),
            stop,
        };
        let guards = lent.client.guards().clone();
        async move { guards.forever("the stream of changes", || reader.serve()).await }
    }
}

/// A place for one more connection of the caller.
pub(crate) fn place(room: &Room, caller: &Caller) -> Result<LivePlace> {
    limits::is_open(room)?;
    let most = room.config.live_per_subject;
    let of_caller = match caller.judged() {
        None => None,
        Some(actor) => Some(room.live.shares.take(&actor.subject, 1, most).ok_or_else(|| {
            let text = format!("this caller has {most} connections that are told of changes");
            BedsError::new(ErrorKind::TooMany, text)
        })?),
    };
    let of_all = Arc::clone(&room.live.places).try_acquire_owned().map_err(|_| {
        BedsError::new(
            ErrorKind::Unavailable,
            "too many connections are told of changes; try again later",
        )
    })?;
    Ok(LivePlace { _of_all: of_all, _of_caller: of_caller })
}
