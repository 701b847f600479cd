//! [`Rights`]: the rights on one template, its fields among them. A field that no role of the caller's may read is in no answer.
//!
//! Not here: rights on operations (access.rs), the proof of a caller (crate auth).

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::access::{Access, Roles, has_one};
use crate::members::Members;
use crate::reply::Answer;
use crate::{Actor, BedsError, ErrorKind, Event, Operation, Result, Template};

/// The rights on a template.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    pub access: Access,
    fields: BTreeMap<String, OfField>,
}

/// The roles that may read and write a field; none where the rights on the operation are enough.
#[derive(Debug, Clone, Default)]
struct OfField {
    read: Option<Roles>,
    write: Option<Roles>,
}

impl Rights {
    /// Those that the template's file gives.
    pub fn given_by(template: &Template) -> Self {
        let ruled = template.fields.iter().filter_map(|(name, field)| {
            let of = OfField { read: field.read.clone(), write: field.write.clone() };
            (of.read.is_some() || of.write.is_some()).then(|| (name.clone(), of))
        });
        Self { access: template.access.clone(), fields: ruled.collect() }
    }

    /// True where the field may be in an answer of the operation to the caller. `name` is the named fetch, where one is meant.
    pub fn may_read(
        &self,
        actor: &Actor,
        operation: Operation,
        name: Option<&str>,
        field: &str,
    ) -> bool {
        let rule = self.of(field).and_then(|of| of.read.as_ref());
        rule.is_none_or(|roles| self.has_both(actor, operation, name, roles))
    }

    /// True where the caller may send the field with the operation.
    pub fn may_write(&self, actor: &Actor, operation: Operation, field: &str) -> bool {
        let rule = self.of(field).and_then(|of| of.write.as_ref());
        rule.is_none_or(|roles| self.has_both(actor, operation, None, roles))
    }

    /// True where the caller may use the field as a parameter of the operation. `name` is the named fetch, where one is meant.
    pub fn may_use(
        &self,
        actor: &Actor,
        operation: Operation,
        name: Option<&str>,
        field: &str,
    ) -> bool {
        match operation.is_write() {
            true => self.may_write(actor, operation, field),
            false => self.may_read(actor, operation, name, field),
        }
    }

    /// An error where the event holds a field that its actor may not write, or reads by one that it may not read: an answer that
    /// depends on a value tells it.
    pub fn check_fields(&self, event: &Event) -> Result<()> {
        let (actor, operation) = (&event.actor, event.operation);
        if self.fields.is_empty() {
            return Ok(());
        }
        let name = event.name();
        let is_allowed = |field: &&String| self.may_use(actor, operation, name, field);
        match event.params.keys().find(|field| !is_allowed(field)) {
            None => Ok(()),
            Some(field) => {
                let text = format!("none of the caller's roles may {operation} with `{field}`");
                Err(BedsError::new(ErrorKind::NotAllowed, text).with_field(field.as_str()))
            }
        }
    }

    /// The fields that may not be in an answer of the operation to the caller. `name` is that of the fetch or of the job.
    pub fn hidden(&self, actor: &Actor, operation: Operation, name: Option<&str>) -> Vec<&str> {
        let is_hidden = |field: &&String| !self.may_read(actor, operation, name, field);
        self.fields.keys().filter(is_hidden).map(String::as_str).collect()
    }

    /// The answer without the fields that the event's actor may not read.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where a record is no JSON object: nothing of it is given out then.
    pub fn mask(&self, event: &Event, mut answer: Answer) -> Result<Answer> {
        let hidden = self.hidden(&event.actor, event.operation, event.name());
        if hidden.is_empty() {
            return Ok(answer);
        }
        for record in &mut answer.records {
            *record = without(record, &hidden)?;
        }
        for set in answer.result_sets.iter_mut().flatten() {
            let rows: Vec<&RawValue> = serde_json::from_str(set.get()).map_err(unmasked)?;
            let rows: Vec<Box<RawValue>> =
                rows.into_iter().map(|row| without(row, &hidden)).collect::<Result<_>>()?;
            *set = serde_json::value::to_raw_value(&rows).map_err(unmasked)?;
        }
        if let Some(out) = &mut answer.out {
            *out = without(out, &hidden)?;
        }
        Ok(answer)
    }

    /// The error without names of fields that the event's actor may not use: texts of unknown and missing fields list them.
    pub fn quiet(&self, event: &Event, error: BedsError) -> BedsError {
        let (actor, operation, name) = (&event.actor, event.operation, event.name());
        let may_use = |field: &String| self.may_use(actor, operation, name, field);
        let tells = matches!(error.kind, ErrorKind::UnknownField | ErrorKind::MissingParameter);
        if !tells || self.fields.keys().all(may_use) {
            return error;
        }
        BedsError::new(
            error.kind,
            "the fields do not fit; GET /v1/templates lists those of the caller",
        )
    }

    /// The rule of a field. Names of columns and parameters are the same in any mix of capitals, as MariaDB takes them.
    fn of(&self, field: &str) -> Option<&OfField> {
        self.fields.get(field).or_else(|| {
            let same = |(name, _): &(&String, &OfField)| name.eq_ignore_ascii_case(field);
            self.fields.iter().find(same).map(|(_, of)| of)
        })
    }

    /// True where one role of the caller's has the operation, and is among these.
    fn has_both(
        &self,
        actor: &Actor,
        operation: Operation,
        name: Option<&str>,
        roles: &Roles,
    ) -> bool {
        let of_operation = self.access.roles(operation, name);
        actor.has_every_right()
            || actor.roles.iter().any(|role| roles.contains(role) && of_operation.contains(role))
    }
}

/// True where a field may be shown outside of an operation, such as in a dead letter.
pub fn may_see(template: &Template, actor: &Actor, field: &str) -> bool {
    let named = template.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(field));
    let rule = named.and_then(|(_, field)| field.read.as_ref());
    rule.is_none_or(|roles| has_one(actor, roles))
}

/// A JSON object without some of its members. The others stay in their order, as they are written.
///
/// # Errors
/// [`ErrorKind::Internal`] where it is no JSON object.
pub fn without(object: &RawValue, hidden: &[&str]) -> Result<Box<RawValue>> {
    let Members(members) = serde_json::from_str(object.get()).map_err(unmasked)?;
    let mut text = String::with_capacity(object.get().len());
    text.push('{');
    for (name, value) in
        members.iter().filter(|(name, _)| !hidden.iter().any(|h| h.eq_ignore_ascii_case(name)))
    {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::to_string(name).map_err(unmasked)?);
        text.push(':');
        text.push_str(value.get());
    }
    text.push('}');
    RawValue::from_string(text).map_err(unmasked)
}

fn unmasked(error: serde_json::Error) -> BedsError {
    BedsError::new(ErrorKind::Internal, "the answer could not be cut down to the caller's fields")
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights() -> Rights {
        let text = "name = 'P'\nstore = 'rel'\ndatabase = 'main'\nid = 'id'\n[objects]\nlist = 'l'\nupdate = 'u'\n\
                    [access]\nread = ['clerk', 'chief']\nwrite = ['clerk']\n\
                    [fields.salary]\nread = ['chief']\nwrite = ['chief']\n";
        Rights::given_by(&Template::parse("p.toml", text).unwrap())
    }

    fn event(roles: &[&str], operation: Operation) -> Event {
        let mut event = Event::root(
            crate::EventId("e".into()),
            "P",
            operation,
            jiff::SignedDuration::from_secs(1),
        );
        std::sync::Arc::make_mut(&mut event.actor).roles =
            roles.iter().map(|role| (*role).to_owned()).collect();
        event
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_field_that_no_role_may_read_is_in_no_part_of_an_answer() {
        let row =
            "{\"id\":1,\"salary\":9e2,\"SALARY\":9e2,\"a\\u0062\":{\"salary\":1}, \"x\":\"\"}";
        let answer = || Answer {
            records: vec![raw(row)],
            result_sets: Some(vec![raw(&format!("[{row},{row}]")), raw("[]")]),
            out: Some(raw("{\"salary\":1}")),
            ..Answer::default()
        };
        let masked = rights().mask(&event(&["clerk"], Operation::List), answer()).unwrap();
        let kept = "{\"id\":1,\"ab\":{\"salary\":1},\"x\":\"\"}";
        assert_eq!(masked.records[0].get(), kept);
        let sets: Vec<&str> = masked.result_sets.iter().flatten().map(|set| set.get()).collect();
        assert_eq!(sets, [format!("[{kept},{kept}]").as_str(), "[]"]);
        assert_eq!(masked.out.unwrap().get(), "{}");
        for all in [&["chief"][..], &["clerk", "chief"], &[crate::actor::NODE_ROLE]] {
            let whole = rights().mask(&event(all, Operation::List), answer()).unwrap();
            assert_eq!(whole.records[0].get(), row);
        }
        // A role gives a field only together with the operation: a chief may not update.
        let mixed =
            rights().mask(&event(&["clerk", "chief"], Operation::Update), answer()).unwrap();
        assert_eq!(mixed.records[0].get(), kept);
        let odd = Answer { records: vec![raw("[1]")], ..Answer::default() };
        assert!(rights().mask(&event(&["clerk"], Operation::List), odd).is_err());
    }

    #[test]
    fn a_field_is_sent_and_asked_by_only_with_the_right_to_it() {
        let with = |roles: &[&str], operation| {
            let mut event = event(roles, operation);
            event.params.insert("salary".into(), 1.into());
            rights().check_fields(&event).is_ok()
        };
        assert!(!with(&["clerk"], Operation::Update) && !with(&["clerk"], Operation::List));
        assert!(with(&["chief"], Operation::List) && !with(&["clerk", "chief"], Operation::Update));
        assert!(rights().check_fields(&event(&["clerk"], Operation::Update)).is_ok());
    }
}
