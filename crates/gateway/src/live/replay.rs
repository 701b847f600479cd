//! [`Replay`]: reads the stream behind a cursor, until the hub is reached. The place of the cursor is read first: only the very message
//! there proves that nothing between it and the next one is missing.
//!
//! Not here: which of the changes a caller gets (subscription.rs).

use std::sync::Arc;
use std::time::{Duration, Instant};

use beds_core::{BedsError, ErrorKind, Result};
use beds_transport::{ChangeLog, Client, LogStart, Logged};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::cursor::Cursor;
use super::hub::Hub;
use crate::shares::{Share, Shares};

/// How long a replay waits for its turn, and for the place of its cursor.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a replay has its turn: a caller that takes its frames slowly must not keep it from others.
const LONGEST: Duration = Duration::from_mins(5);
/// Turns of one caller at once.
const TURNS_OF_ONE: usize = 2;
/// The same where the hub has not read so far.
const AHEAD: Duration = Duration::from_secs(2);

pub(super) struct Replay {
    log: ChangeLog,
    /// The last message that was read.
    place: Cursor,
    begun: Instant,
    _turn: OwnedSemaphorePermit,
    _of_caller: Share,
}

/// The turns of replays, of all callers and of each. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Turns {
    of_all: Arc<Semaphore>,
    of_callers: Arc<Shares>,
}

impl Turns {
    pub(super) fn new(most: usize) -> Self {
        Self { of_all: Arc::new(Semaphore::new(most)), of_callers: Arc::default() }
    }
}

/// A step of a replay.
pub(super) enum Step {
    Message(Logged, Cursor),
    /// Messages in front of this place were not read.
    Gap(Cursor),
}

impl Replay {
    /// Finds the place of a cursor.
    ///
    /// # Errors
    /// [`ErrorKind::ChangesGone`] where it is not in the stream; [`ErrorKind::Unavailable`] where that cannot be told now.
    pub(super) async fn begin(
        client: &Client,
        hub: &Hub,
        turns: &Turns,
        (subject, cursor): (&str, Cursor),
    ) -> Result<Self> {
        let of_caller = turns.of_callers.take(subject, 1, TURNS_OF_ONE).ok_or_else(|| {
            let text = format!("this caller reads old changes {TURNS_OF_ONE} times at once; try again when one has caught up");
            BedsError::new(ErrorKind::TooMany, text).with_retry_after(1)
        })?;
        let of_all = Arc::clone(&turns.of_all).acquire_owned();
        let turn = tokio::time::timeout(PATIENCE, of_all).await;
        let Ok(Ok(turn)) = turn else {
            return Err(unavailable("too many callers read old changes at once"));
        };
        let opened = client.change_log(LogStart::At(cursor.offset));
        let log = tokio::time::timeout(PATIENCE, opened).await;
        let Ok(Ok(mut log)) = log else {
            return Err(unavailable("the stream of changes cannot be read"));
        };
        // Nothing comes for a place behind the end. Another gateway may be a moment ahead of this one's hub.
        let is_ahead = || hub.place().is_some_and(|place| place.offset < cursor.offset);
        let patience = if is_ahead() { AHEAD } else { PATIENCE };
        match tokio::time::timeout(patience, log.next()).await {
            Err(_) if is_ahead() => Err(gone()),
            Ok(Some(first)) if Cursor::of(first.offset, &first.body) == cursor => {
                let begun = Instant::now();
                Ok(Self { log, place: cursor, begun, _turn: turn, _of_caller: of_caller })
            }
            Ok(Some(_)) => Err(gone()),
            Ok(None) | Err(_) => Err(unavailable("the stream of changes cannot be read")),
        }
    }

    /// The last message that was read.
    pub(super) fn place(&self) -> &Cursor {
        &self.place
    }

    /// The next step; none where the channel or the turn has ended.
    pub(super) async fn next(&mut self) -> Option<Step> {
        if self.begun.elapsed() > LONGEST {
            return None;
        }
        let message = self.log.next().await?;
        let cursor = Cursor::of(message.offset, &message.body);
        let is_next = cursor.offset == self.place.offset + 1;
        self.place = cursor.clone();
        Some(if is_next { Step::Message(message, cursor) } else { Step::Gap(cursor) })
    }
}

/// The error of a cursor that is in no stream of today.
pub(crate) fn gone() -> BedsError {
    let text = "the changes behind this cursor are gone, or it is none: read the records again, then subscribe without a cursor";
    BedsError::new(ErrorKind::ChangesGone, text)
}

fn unavailable(text: &str) -> BedsError {
    BedsError::new(ErrorKind::Unavailable, format!("{text}; try again")).with_retry_after(1)
}
