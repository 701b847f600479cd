//! [`Subscription`]: the changes of one caller, one after the other: those behind its cursor first, then those that come. Each is judged
//! by the rights that the caller has when it is given out.
//!
//! Not here: the form on the wire (events.rs, sockets).

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use beds_core::{Actor, BedsError, ErrorKind, Operation, Result, Rights, Templates};
use beds_transport::Client;

use super::cursor::Cursor;
use super::hub::{self, Ending, Frame, Hub, Proof, Registered, Topic};
use super::reader::{Message, read_message};
use super::replay::{Replay, Step, Turns};
use super::seen::Seen;

/// How long a caller waits until the hub reads.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at the caller of a replay.
const JUDGED: Duration = Duration::from_millis(400);
/// Messages in front of a gap in a replay that are read between two looks at the hub.
const LOOKED_EACH: u32 = 16;

/// The parts of the gateway that subscriptions use. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) hub: Hub,
    pub(crate) client: Client,
    pub(crate) templates: Arc<ArcSwap<Templates>>,
    /// Replays at once.
    pub(crate) turns: Turns,
}

/// The next thing for a caller.
pub(crate) enum Next {
    Frame(Frame),
    End(Ending),
}

pub(crate) struct Subscription {
    source: Source,
    topic: Topic,
    actor: Arc<Actor>,
    proof: Arc<dyn Proof>,
    judged: Instant,
    phase: Phase,
    /// Of a replay: a change can stand in the stream twice.
    seen: Option<Seen>,
}

enum Phase {
    Replay(Box<Replay>),
    /// Frames at this place and before it were given out already.
    Live(Registered, u64),
}

impl Subscription {
    /// Begins, behind a cursor or from now on. Answers the place from which it is told, when that is true.
    ///
    /// # Errors
    /// [`ErrorKind::ChangesGone`] for a cursor of no use; [`ErrorKind::Unavailable`] while the stream cannot be read.
    pub(crate) async fn begin(
        source: Source,
        topic: Topic,
        (actor, proof): (Arc<Actor>, Arc<dyn Proof>),
        after: Option<Cursor>,
    ) -> Result<(Self, Cursor)> {
        let waiting = tokio::time::timeout(PATIENCE, source.hub.live()).await;
        let unavailable = || {
            let text = "the stream of changes cannot be read now; try again";
            BedsError::new(ErrorKind::Unavailable, text).with_retry_after(2)
        };
        waiting.map_err(|_| unavailable())?;
        let (phase, place, seen) = match after {
            Some(cursor) => {
                let asked = (&*actor.subject, cursor.clone());
                let replay = Replay::begin(&source.client, &source.hub, &source.turns, asked);
                (Phase::Replay(Box::new(replay.await?)), cursor, Some(Seen::default()))
            }
            None => {
                let caller = (Arc::clone(&actor), Arc::clone(&proof));
                let registered = source.hub.register(&topic, caller, None);
                let (registered, place) = registered.ok_or_else(unavailable)?;
                (Phase::Live(registered, place.offset), place, None)
            }
        };
        let judged = Instant::now();
        Ok((Self { source, topic, actor, proof, judged, phase, seen }, place))
    }

    /// The next thing for the caller. After an end there is none.
    pub(crate) async fn next(&mut self) -> Next {
        let mut unlooked = 0;
        loop {
            match &mut self.phase {
                Phase::Live(registered, after) => match registered.frames.recv().await {
                    None => {
                        return Next::End(*registered.ending.get().unwrap_or(&Ending::Stopping));
                    }
                    Some(Frame::Gap { cursor }) => {
                        // The stream behind it can be another one, whose places begin anew.
                        *after = cursor.offset;
                        return Next::Frame(Frame::Gap { cursor });
                    }
                    Some(Frame::Change { cursor, .. }) if cursor.offset <= *after => {}
                    Some(Frame::Change { id, .. })
                        if self.seen.as_mut().is_some_and(|seen| !seen.note(&id)) => {}
                    Some(frame) => return Next::Frame(frame),
                },
                Phase::Replay(replay) => {
                    if unlooked == 0 {
                        let (after, caller) = (
                            replay.place().offset,
                            (Arc::clone(&self.actor), Arc::clone(&self.proof)),
                        );
                        if let Some((registered, _)) =
                            self.source.hub.register(&self.topic, caller, Some(after))
                        {
                            self.phase = Phase::Live(registered, after);
                            continue;
                        }
                        unlooked = LOOKED_EACH;
                    }
                    unlooked -= 1;
                    let step = tokio::time::timeout(PATIENCE, replay.next()).await;
                    let Ok(Some(step)) = step else { return Next::End(Ending::Lost) };
                    if let Some(next) = self.replayed(step) {
                        return next;
                    }
                }
            }
        }
    }

    /// A step of the replay, as far as it is for the caller.
    fn replayed(&mut self, step: Step) -> Option<Next> {
        if let Err(ending) = self.judge() {
            return Some(Next::End(ending));
        }
        let (message, cursor) = match step {
            Step::Gap(cursor) => return Some(Next::Frame(Frame::Gap { cursor })),
            Step::Message(message, cursor) => (message, cursor),
        };
        let templates = self.source.templates.load();
        let template = templates.get(&self.topic.template).ok()?;
        match read_message(&message, self.source.client.needs_proof())? {
            Message::Gap(database) => {
                let own = format!("{}.{}", template.store, template.database);
                (own == database).then_some(Next::Frame(Frame::Gap { cursor }))
            }
            Message::Change(change) => {
                let is_for =
                    self.topic.is(&change) && hub::may_hear(template, &self.actor, &change);
                if !is_for || self.seen.as_mut().is_some_and(|seen| !seen.note(&change.id)) {
                    return None;
                }
                let rights = Rights::given_by(template);
                let hidden = rights.hidden(&self.actor, Operation::Fetch, None);
                let (id, json) = (Arc::from(change.id.as_str()), hub::json(&change, &hidden));
                Some(Next::Frame(Frame::Change { cursor, id, json }))
            }
        }
    }

    /// Looks at the caller again, now and then.
    fn judge(&mut self) -> std::result::Result<(), Ending> {
        if self.judged.elapsed() < JUDGED {
            return Ok(());
        }
        self.judged = Instant::now();
        let actor = self.proof.caller().filter(|actor| actor.subject == self.actor.subject);
        self.actor = actor.ok_or(Ending::Credential)?;
        let templates = self.source.templates.load();
        match hub::may_subscribe(&templates, &self.topic.template, &self.actor) {
            true => Ok(()),
            false => Err(Ending::Right),
        }
    }
}
