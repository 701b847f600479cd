//! [`Hub`]: gives each change to the subscriptions that want it and whose callers may hear of it, and ends those whose callers may no more.
//!
//! Not here: the reading of the stream (reader.rs), a subscription as its caller sees it (subscription.rs).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use beds_core::access::has_one;
use beds_core::{Actor, Change, Operation, Rights, Template, Templates};
use bytes::Bytes;
use metrics::{counter, gauge};
use tokio::sync::{mpsc, watch};

use super::cursor::Cursor;

/// Frames that wait for one subscription. A reader that is slower is closed, with its cursor.
const WAITING: usize = 256;

/// The change, or word of a gap, with the place from which a reader goes on.
#[derive(Debug, Clone)]
pub(crate) enum Frame {
    Change {
        cursor: Cursor,
        id: Arc<str>,
        json: Bytes,
    },
    /// Changes cannot be told: read the records again.
    Gap {
        cursor: Cursor,
    },
}

/// The reason why a subscription ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The caller did not take its frames.
    Slow,
    /// The credential expired, or was revoked.
    Credential,
    /// The caller has no right to the changes any more.
    Right,
    /// The stream could not be read any further.
    Lost,
    /// The node stops.
    Stopping,
}

impl Ending {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Ending::Slow => "slow",
            Ending::Credential => "credential",
            Ending::Right => "right",
            Ending::Lost => "lost",
            Ending::Stopping => "stopping",
        }
    }

    /// The next step of the caller.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Ending::Slow => "frames were not taken in time; subscribe again with the last cursor",
            Ending::Credential => "the credential is not accepted any more; show another one",
            Ending::Right => "the caller has no right to these changes any more",
            Ending::Lost => {
                "the stream of changes could not be read; subscribe again with the last cursor"
            }
            Ending::Stopping => "this node is stopping; subscribe again with the last cursor",
        }
    }
}

/// The changes that a subscription is about.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) template: String,
    /// One record of it.
    pub(crate) id: Option<String>,
}

impl Topic {
    /// True for a change of the records that it names, whoever may hear of it.
    pub(crate) fn is(&self, change: &Change) -> bool {
        let is_record = |id: &String| change.record.as_ref().is_none_or(|record| record == id);
        change.template == self.template && self.id.as_ref().is_none_or(is_record)
    }
}

/// The proof of a caller, to be looked at again and again.
pub(crate) trait Proof: Send + Sync {
    /// The caller as it is now; none where it is not believed any more.
    fn caller(&self) -> Option<Arc<Actor>>;
}

/// A subscription, as the hub has it.
struct Subscriber {
    topic: Topic,
    actor: Arc<Actor>,
    proof: Arc<dyn Proof>,
    frames: mpsc::Sender<Frame>,
    ending: Arc<OnceLock<Ending>>,
}

/// A subscription, as its caller has it. It ends when this is dropped.
pub(crate) struct Registered {
    pub(crate) frames: mpsc::Receiver<Frame>,
    pub(crate) ending: Arc<OnceLock<Ending>>,
    hub: Hub,
    number: u64,
}

#[derive(Default)]
struct State {
    next: u64,
    subscribers: HashMap<u64, Subscriber>,
    /// By template: the numbers of its subscribers.
    of: HashMap<String, Vec<u64>>,
    /// The last message that was read of the stream.
    place: Option<Cursor>,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hub {
    state: Arc<Mutex<State>>,
    /// Whether the reader is at the end of the stream.
    is_live: watch::Sender<bool>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { state: Arc::default(), is_live: watch::Sender::new(false) }
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the reader is at the end of the stream.
    pub(crate) async fn live(&self) {
        // The sender lives as long as this value.
        drop(self.is_live.subscribe().wait_for(|is_live| *is_live).await);
    }

    pub(super) fn set_live(&self, is_live: bool) {
        self.is_live.send_if_modified(|was| std::mem::replace(was, is_live) != is_live);
    }

    /// The last message that was read; none before the first.
    pub(crate) fn place(&self) -> Option<Cursor> {
        self.lock().place.clone()
    }

    /// Registers a subscription, if nothing was read behind `after`; with none, from now on. Answers the place from which it is told.
    pub(crate) fn register(
        &self,
        topic: &Topic,
        (actor, proof): (Arc<Actor>, Arc<dyn Proof>),
        after: Option<u64>,
    ) -> Option<(Registered, Cursor)> {
        let mut state = self.lock();
        let place = state.place.clone()?;
        if after.is_some_and(|after| after < place.offset) {
            return None;
        }
        let number = state.next;
        state.next += 1;
        let (sender, frames) = mpsc::channel(WAITING);
        let ending = Arc::new(OnceLock::new());
        let subscriber = Subscriber {
            topic: topic.clone(),
            actor,
            proof,
            frames: sender,
            ending: Arc::clone(&ending),
        };
        state.subscribers.insert(number, subscriber);
        state.of.entry(topic.template.clone()).or_default().push(number);
        gauge!("beds_live_subscriptions").set(state.subscribers.len() as f64);
        Some((Registered { frames, ending, hub: self.clone(), number }, place))
    }

    /// Tells a change that is new to those who may hear of it.
    pub(super) fn tell(&self, cursor: Cursor, change: &Change, templates: &Templates) {
        let mut state = self.lock();
        state.place = Some(cursor.clone());
        let Ok(template) = templates.get(&change.template) else { return };
        let Some(numbers) = state.of.get(&change.template) else { return };
        let (rights, mut slow) = (Rights::given_by(template), Vec::new());
        let id: Arc<str> = Arc::from(change.id.as_str());
        let mut written: Vec<(Vec<&str>, Bytes)> = Vec::new();
        for number in numbers {
            let Some(subscriber) = state.subscribers.get(number) else { continue };
            if !subscriber.topic.is(change) || !may_hear(template, &subscriber.actor, change) {
                continue;
            }
            // Written once for all readers of the same fields.
            let hidden = rights.hidden(&subscriber.actor, Operation::Fetch, None);
            let json = match written.iter().find(|(of, _)| *of == hidden) {
                Some((_, json)) => json.clone(),
                None => {
                    let json = json(change, &hidden);
                    written.push((hidden, json.clone()));
                    json
                }
            };
            let frame = Frame::Change { cursor: cursor.clone(), id: Arc::clone(&id), json };
            if subscriber.frames.try_send(frame).is_err() {
                slow.push(*number);
            }
        }
        state.end_all(slow, Ending::Slow);
    }

    /// Notes a message that is for no subscription.
    pub(super) fn pass(&self, cursor: Cursor) {
        self.lock().place = Some(cursor);
    }

    /// Tells that changes are missing: of the templates that `is_of` names.
    pub(super) fn tell_gap(&self, cursor: &Cursor, is_of: impl Fn(&str) -> bool) {
        let mut state = self.lock();
        let mut slow = Vec::new();
        for (number, subscriber) in &state.subscribers {
            let frame = Frame::Gap { cursor: cursor.clone() };
            if is_of(&subscriber.topic.template) && subscriber.frames.try_send(frame).is_err() {
                slow.push(*number);
            }
        }
        state.end_all(slow, Ending::Slow);
    }

    /// Looks at each caller again: at the credential, and at the rights of today.
    pub(super) fn judge(&self, templates: &Templates) {
        let callers: Vec<(u64, Arc<dyn Proof>)> = {
            let state = self.lock();
            let proofs = state.subscribers.iter();
            proofs.map(|(number, of)| (*number, Arc::clone(&of.proof))).collect()
        };
        for (number, proof) in callers {
            // Without the lock: a signature can be looked at here.
            let caller = proof.caller();
            let mut state = self.lock();
            let Some(subscriber) = state.subscribers.get_mut(&number) else { continue };
            let ending = match caller {
                Some(actor) if actor.subject == subscriber.actor.subject => {
                    let may = may_subscribe(templates, &subscriber.topic.template, &actor);
                    subscriber.actor = actor;
                    (!may).then_some(Ending::Right)
                }
                _ => Some(Ending::Credential),
            };
            if let Some(ending) = ending {
                state.end_all(vec![number], ending);
            }
        }
    }

    /// Ends all subscriptions.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        let all = state.subscribers.keys().copied().collect();
        state.end_all(all, Ending::Stopping);
    }
}

impl State {
    fn end_all(&mut self, numbers: Vec<u64>, ending: Ending) {
        for number in numbers {
            if let Some(subscriber) = self.remove(number) {
                // Set before the sender goes, which its reader sees.
                subscriber.ending.get_or_init(|| ending);
                counter!("beds_live_ended_total", "reason" => ending.code()).increment(1);
            }
        }
    }

    fn remove(&mut self, number: u64) -> Option<Subscriber> {
        let subscriber = self.subscribers.remove(&number)?;
        let template = &subscriber.topic.template;
        if let Some(numbers) = self.of.get_mut(template) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.of.remove(template);
            }
        }
        gauge!("beds_live_subscriptions").set(self.subscribers.len() as f64);
        Some(subscriber)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.hub.lock().remove(self.number);
    }
}

/// True where the template tells its changes and the caller has the right to hear of some.
pub(crate) fn may_subscribe(templates: &Templates, template: &str, actor: &Actor) -> bool {
    templates.get(template).is_ok_and(|template| {
        template.changes.on
            && has_one(actor, &template.access.changes)
            && template.changes.missing(actor).is_none()
    })
}

/// True where the caller may hear of this change.
pub(crate) fn may_hear(template: &Template, actor: &Actor, change: &Change) -> bool {
    template.changes.on
        && has_one(actor, &template.access.changes)
        && template.changes.are_for(actor, change)
}

/// The change as a caller sees it: without its scope, and without names of fields that the caller may not read.
pub(crate) fn json(change: &Change, hidden: &[&str]) -> Bytes {
    let is_shown = |name: &&String| !hidden.iter().any(|hidden| hidden.eq_ignore_ascii_case(name));
    let fields = change.fields.iter().filter(is_shown).cloned().collect();
    let shown = Change { scope: Default::default(), fields, ..change.clone() };
    // A struct of texts and numbers is always written.
    serde_json::to_vec(&shown).map(Bytes::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use beds_core::ChangeKind;

    use super::*;

    /// A caller that is believed for as long as it is here.
    struct Believed(Mutex<Option<Arc<Actor>>>);

    impl Proof for Believed {
        fn caller(&self) -> Option<Arc<Actor>> {
            self.0.lock().unwrap().clone()
        }
    }

    fn templates(on: bool) -> Templates {
        let text = format!(
            "name = 'T'\nstore = 'rel'\ndatabase = 'main'\nid = 'id'\n[access]\nchanges = ['clerk']\n[changes]\non = {on}\n"
        );
        Templates::parse(&[("t.toml".to_owned(), text)]).0
    }

    fn change(number: u64) -> (Cursor, Change) {
        let change = Change {
            v: 1,
            id: number.to_string(),
            seq: number,
            template: "T".into(),
            operation: ChangeKind::Update,
            record: Some("7".into()),
            fields: Vec::new(),
            scope: Default::default(),
            at: jiff::Timestamp::UNIX_EPOCH,
            event_id: String::new(),
            root_id: String::new(),
        };
        (Cursor::of(number, b""), change)
    }

    fn subscribed(hub: &Hub, id: Option<&str>) -> (Registered, Arc<Believed>) {
        let actor = Arc::new(Actor { roles: vec!["clerk".into()], ..Actor::of("ana") });
        let proof = Arc::new(Believed(Mutex::new(Some(Arc::clone(&actor)))));
        let topic = Topic { template: "T".into(), id: id.map(str::to_owned) };
        let of: Arc<dyn Proof> = Arc::<Believed>::clone(&proof);
        (hub.register(&topic, (actor, of), None).unwrap().0, proof)
    }

    #[test]
    fn a_reader_that_takes_nothing_is_ended_and_the_others_lose_nothing() {
        let hub = Hub::default();
        hub.pass(Cursor::of(0, b""));
        let ((mut slow, _), (mut good, _), (mut other, _)) =
            (subscribed(&hub, None), subscribed(&hub, Some("7")), subscribed(&hub, Some("8")));
        for number in 1..=2 * WAITING as u64 {
            let (cursor, change) = change(number);
            hub.tell(cursor, &change, &templates(true));
            assert!(good.frames.try_recv().is_ok(), "{number}");
        }
        assert!(other.frames.try_recv().is_err() && other.ending.get().is_none());
        assert_eq!(slow.ending.get(), Some(&Ending::Slow));
        // Those that wait for it are still there, so that its last cursor is a true one.
        assert_eq!(std::iter::from_fn(|| slow.frames.try_recv().ok()).count(), WAITING);
        assert_eq!(hub.lock().subscribers.len(), 2);
        drop((good, other));
        assert!(hub.lock().subscribers.is_empty() && hub.lock().of.is_empty());
    }

    #[test]
    fn a_caller_is_judged_again_by_its_credential_and_by_the_rights_of_today() {
        let hub = Hub::default();
        hub.pass(Cursor::of(0, b""));
        let ((gone, proof), (rightless, other)) = (subscribed(&hub, None), subscribed(&hub, None));
        hub.judge(&templates(true));
        assert!(gone.ending.get().is_none() && rightless.ending.get().is_none());
        *proof.0.lock().unwrap() = None;
        *other.0.lock().unwrap() = Some(Arc::new(Actor::of("ana")));
        hub.judge(&templates(true));
        assert_eq!(gone.ending.get(), Some(&Ending::Credential));
        assert_eq!(rightless.ending.get(), Some(&Ending::Right));
        let (off, _) = subscribed(&hub, None);
        hub.judge(&templates(false));
        assert_eq!(off.ending.get(), Some(&Ending::Right));
    }

    #[test]
    fn one_that_comes_from_behind_joins_where_nothing_is_missing() {
        let hub = Hub::default();
        let actor = Arc::new(Actor::of("ana"));
        let caller = || {
            let proof: Arc<dyn Proof> = Arc::new(Believed(Mutex::default()));
            (Arc::clone(&actor), proof)
        };
        let topic = Topic { template: "T".into(), id: None };
        assert!(hub.register(&topic, caller(), None).is_none(), "nothing was read yet");
        hub.pass(Cursor::of(5, b""));
        assert!(hub.register(&topic, caller(), Some(4)).is_none(), "the fifth would be missing");
        assert!(hub.register(&topic, caller(), Some(5)).is_some());
        assert!(hub.register(&topic, caller(), Some(6)).is_some());
    }
}
