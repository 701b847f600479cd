//! [`Changes`]: the part `[changes]` of a template: whether its writes are told, and to which of the callers with the right to hear of them.
//!
//! Not here: the form of a change (../change.rs), rights of roles (../access.rs).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Template;
use crate::actor::Claim;
use crate::change::{CHANGE_VERSION, Change, ChangeKind};
use crate::event::is_proved;
use crate::members::Members;
use crate::reply::Answer;
use crate::{Actor, Event, Operation};

/// Stands for the subject of a caller in a scope.
pub const SUBJECT: &str = "@subject";
/// The member of an answer in which an object tells the scope of a record before its update.
pub const SCOPE_BEFORE: &str = "scope_before";

/// `[changes]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Changes {
    /// Whether writes are told.
    pub on: bool,
    /// Field of a record, and the claim of a caller that must have the same value, or [`SUBJECT`].
    pub scope: BTreeMap<String, String>,
}

impl Changes {
    /// True where the change is for this caller: all of its scope is the caller's. A change that tells less than the template demands is
    /// for none but those with every right.
    pub fn are_for(&self, actor: &Actor, change: &Change) -> bool {
        let is_own = |(field, by): (&String, &String)| {
            let value = change.scope.get(field);
            value.is_some_and(|value| own(actor, by).is_some_and(|own| own == value.as_str()))
        };
        actor.has_every_right() || self.scope.iter().all(is_own)
    }

    /// The first claim that a caller lacks, without which no change is for it.
    pub fn missing(&self, actor: &Actor) -> Option<&str> {
        if actor.has_every_right() {
            return None;
        }
        self.scope.values().map(String::as_str).find(|by| own(actor, by).is_none())
    }
}

/// The changes of a write that is about to be committed; none where the template tells none.
pub fn changes_of(template: &Template, event: &Event, answer: &Answer) -> Vec<Change> {
    if !template.changes.on {
        return Vec::new();
    }
    let record = answer.records.first().map(|record| &**record);
    let members = record.map(members).unwrap_or_default();
    let (scope, before) = (scope(template, event, &members), scope_before(template, &members));
    let is_of_many = event.operation == Operation::Job || answer.rows.is_some_and(|rows| rows != 1);
    let id = event.record_id().map(str::to_owned).or_else(|| answer.id.clone());
    let id = id.filter(|_| !is_of_many);
    let kind = match event.operation {
        _ if id.is_none() => ChangeKind::Many,
        Operation::Create => ChangeKind::Create,
        Operation::Delete => ChangeKind::Delete,
        _ => ChangeKind::Update,
    };
    let sent = event.params.keys().filter(|name| !is_proved(name)).cloned();
    let fields: Vec<String> = sent.collect::<BTreeSet<_>>().into_iter().collect();
    let change = |number: u8, operation, scope| Change {
        v: CHANGE_VERSION,
        id: format!("{}:{number}", event.event_id.0),
        seq: 0,
        template: template.name.clone(),
        operation,
        record: id.clone(),
        fields: fields.clone(),
        scope,
        at: Timestamp::now(),
        event_id: event.event_id.0.clone(),
        root_id: event.root_id.0.clone(),
    };
    match before.filter(|before| *before != scope) {
        Some(before) if kind == ChangeKind::Update => {
            vec![change(1, ChangeKind::Leave, before), change(2, ChangeKind::Enter, scope)]
        }
        _ => vec![change(1, kind, scope)],
    }
}

/// The value that a caller has for a claim.
fn own<'a>(actor: &'a Actor, by: &str) -> Option<Cow<'a, str>> {
    if by == SUBJECT {
        return (!actor.subject.is_empty()).then_some(Cow::Borrowed(&actor.subject));
    }
    Some(match actor.claims.get(by)? {
        Claim::Text(text) => Cow::Borrowed(text),
        Claim::Whole(number) => Cow::Owned(number.to_string()),
    })
}

type MemberTable<'m> = BTreeMap<String, &'m RawValue>;

fn members(record: &RawValue) -> MemberTable<'_> {
    let read = serde_json::from_str::<Members<'_>>(record.get());
    let members = read.map(|Members(members)| members).unwrap_or_default();
    members.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

/// The scope of the record as it is now: as its object answers it, else as the caller has it, by whose claims the object chose the
/// record.
fn scope(
    template: &Template,
    event: &Event,
    members: &MemberTable<'_>,
) -> BTreeMap<String, String> {
    let value = |(field, by): (&String, &String)| {
        let told = members.get(&field.to_ascii_lowercase()).map(|value| text(value));
        let value = match told {
            Some(told) => told,
            None => own(&event.actor, by).map(Cow::into_owned),
        };
        Some((field.clone(), value?))
    };
    template.changes.scope.iter().filter_map(value).collect()
}

/// The scope of the record before the update, where its object answers it: the value itself of a scope of one field, or an object by
/// fields.
fn scope_before(
    template: &Template,
    members: &MemberTable<'_>,
) -> Option<BTreeMap<String, String>> {
    let told = *members.get(SCOPE_BEFORE)?;
    let object = match serde_json::from_str::<String>(told.get()) {
        // An object can stand in a column as its text.
        Ok(text) if text.starts_with('{') => RawValue::from_string(text).ok(),
        _ => None,
    };
    let told = object.as_deref().unwrap_or(told);
    if told.get().starts_with('{') {
        let by_field = self::members(told);
        let value = |field: &String| {
            Some((field.clone(), text(by_field.get(&field.to_ascii_lowercase())?)?))
        };
        return Some(template.changes.scope.keys().filter_map(value).collect());
    }
    let field = template.changes.scope.keys().next()?;
    Some(BTreeMap::from([(field.clone(), text(told)?)]))
}

/// A text or a number as a text; none of null, and of values that are no single one.
fn text(value: &RawValue) -> Option<String> {
    match value.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        text if text.starts_with(['{', '[']) => None,
        text => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::EventId;

    fn template(scope: &str) -> Template {
        let is_owned = scope.contains(SUBJECT);
        let text = format!(
            "name = 'T'\nstore = 'rel'\ndatabase = 'main'\nid = 'id'\n[objects]\nupdate = 'u'\n[rows]\nclaims = ['tenant']\nowner = {is_owned}\n\
             [changes]\non = true\n{scope}"
        );
        Template::parse("t.toml", &text).unwrap()
    }

    fn event(operation: Operation) -> Event {
        let mut event =
            Event::root(EventId("e".into()), "T", operation, jiff::SignedDuration::from_secs(1));
        event.id = Some("7".into());
        event.params.insert("b".into(), 1.into());
        event.params.insert("a".into(), 1.into());
        let claims = BTreeMap::from([("tenant".to_owned(), Claim::Whole(5))]);
        event.actor = Arc::new(Actor { claims, ..Actor::of("ana") });
        event
    }

    fn answer(record: &str) -> Answer {
        let record = RawValue::from_string(record.to_owned()).unwrap();
        Answer { records: vec![record], ..Answer::default() }
    }

    const SCOPE: &str = "scope = { tenant = 'tenant', owner = '@subject' }\n";

    #[test]
    fn a_change_names_record_fields_and_scope_and_no_value() {
        let told = changes_of(
            &template(SCOPE),
            &event(Operation::Update),
            &answer(r#"{"id":7,"Tenant":9,"x":"secret"}"#),
        );
        let [change] = &told[..] else { panic!("{told:?}") };
        assert_eq!((change.id.as_str(), change.record.as_deref()), ("e:1", Some("7")));
        assert_eq!(
            (change.operation, &change.fields[..]),
            (ChangeKind::Update, &["a".to_owned(), "b".to_owned()][..])
        );
        let scope = [("owner".to_owned(), "ana".to_owned()), ("tenant".to_owned(), "9".to_owned())];
        assert_eq!(change.scope, BTreeMap::from(scope));
        assert!(!serde_json::to_string(change).unwrap().contains("secret"));
    }

    #[test]
    fn a_record_that_moves_leaves_one_scope_and_enters_another() {
        for (scope, before) in [
            ("scope = { tenant = 'tenant' }\n", "5"),
            ("scope = { tenant = 'tenant' }\n", r#"{"tenant":5}"#),
            ("scope = { tenant = 'tenant' }\n", r#""{\"tenant\":\"5\"}""#),
        ] {
            let record = format!(r#"{{"id":7,"tenant":9,"scope_before":{before}}}"#);
            let told = changes_of(&template(scope), &event(Operation::Update), &answer(&record));
            let moves: Vec<_> = told
                .iter()
                .map(|c| (c.operation, c.scope["tenant"].as_str(), c.id.as_str()))
                .collect();
            assert_eq!(
                moves,
                [(ChangeKind::Leave, "5", "e:1"), (ChangeKind::Enter, "9", "e:2")],
                "{before}"
            );
        }
        let same = answer(r#"{"id":7,"tenant":5,"scope_before":5}"#);
        let told = changes_of(
            &template("scope = { tenant = 'tenant' }\n"),
            &event(Operation::Update),
            &same,
        );
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].operation, ChangeKind::Update);
    }

    #[test]
    fn a_change_is_for_callers_with_all_of_its_scope() {
        let template = template(SCOPE);
        let told = changes_of(&template, &event(Operation::Delete), &answer("{}"));
        let caller = |subject: &str, tenant: Option<Claim>| Actor {
            claims: tenant.map(|tenant| ("tenant".to_owned(), tenant)).into_iter().collect(),
            ..Actor::of(subject)
        };
        let is_for = |actor: &Actor| template.changes.are_for(actor, &told[0]);
        assert!(is_for(&caller("ana", Some(Claim::Text("5".into())))));
        assert!(
            !is_for(&caller("bob", Some(Claim::Whole(5))))
                && !is_for(&caller("ana", Some(Claim::Whole(6))))
        );
        let without = caller("ana", None);
        assert!(!is_for(&without) && template.changes.missing(&without) == Some("tenant"));
        assert!(is_for(&Actor::of_node("n")));
        // A change without a scope is for none: it was announced without one.
        let open = Change { scope: BTreeMap::new(), ..told[0].clone() };
        assert!(!template.changes.are_for(&caller("ana", Some(Claim::Whole(5))), &open));
    }
}
