//! What REC and REL share about a template's operations: the table of what is bound, paging, and "no such record".

use std::collections::{BTreeMap, HashMap};

use beds_core::catalogue::quote;
use beds_core::message::{DEFAULT_LIMIT, MAX_LIMIT};
use beds_core::reply::Answer;
use beds_core::template::Offer;
use beds_core::{BedsError, Description, ErrorKind, Fields, Operation, Problem, Result, Template, TemplateDescription};
use serde_json::Value;

/// The operations of one template that fit the database.
pub(crate) struct Operations<B> {
    basic: HashMap<Operation, B>,
    named: HashMap<String, B>,
}

impl<B> Operations<B> {
    /// Binds every offer of a template. An offer that does not fit is left out; `bind` has reported why.
    pub(crate) fn bind(template: &Template, mut bind: impl FnMut(&Offer<'_>) -> Option<B>) -> Self {
        let (mut basic, mut named) = (HashMap::new(), HashMap::new());
        for offer in template.offers() {
            let Some(binding) = bind(&offer) else { continue };
            match offer.name {
                Some(name) => drop(named.insert(name.to_owned(), binding)),
                None => drop(basic.insert(offer.operation, binding)),
            }
        }
        Self { basic, named }
    }

    pub(crate) fn get(&self, template: &Template, operation: Operation, name: Option<&str>) -> Result<&B> {
        let binding = match name {
            Some(name) => self.named.get(name),
            None => self.basic.get(&operation),
        };
        binding.ok_or_else(|| match template.object(operation, name) {
            Some(object) => {
                let text = format!("{object} does not fit the database; `beds check` says why");
                BedsError::new(ErrorKind::TemplateUnusable, text)
            }
            None => {
                let what = name.map_or_else(|| operation.to_string(), |name| format!("the fetch {}", quote(name)));
                BedsError::new(ErrorKind::NoSuchOperation, format!("{} does not offer {what}", template.name))
            }
        })
    }

    pub(crate) fn bindings(&self) -> impl Iterator<Item = &B> {
        self.basic.values().chain(self.named.values())
    }

    pub(crate) fn describe(&self, parameters: impl Fn(&B) -> BTreeMap<String, String>) -> TemplateDescription {
        let basic = self.basic.iter().map(|(operation, binding)| (*operation, None, binding));
        let named = self.named.iter().map(|(name, binding)| (Operation::Fetch, Some(name.clone()), binding));
        let mut operations: Vec<Description> = basic
            .chain(named)
            .map(|(operation, name, binding)| Description { operation, name, parameters: parameters(binding) })
            .collect();
        operations.sort_by(|a, b| (a.operation, &a.name).cmp(&(b.operation, &b.name)));
        TemplateDescription { operations }
    }
}

/// What of a template names something that is not there, besides its operations: the objects of jobs, and fields that are
/// sensitive under a name that no operation takes. `takes_any_field` where an operation leaves the fields open.
pub(crate) fn check_rest(
    template: &Template,
    description: &TemplateDescription,
    takes_any_field: bool,
    has_object: impl Fn(&str) -> bool,
) -> Vec<Problem> {
    let absent = template.jobs.iter().filter(|(_, object)| !has_object(object)).map(|(job, object)| {
        let message = format!("the database {} has no {object} that this login may use", template.database);
        template.problem(&format!("jobs.{job}"), message, "ask the DBA to create it, or correct the name")
    });
    let takes = |name: &String| description.operations.iter().any(|operation| operation.parameters.contains_key(name));
    let is_lost = |name: &String, is_sensitive: bool| is_sensitive && !takes_any_field && !takes(name);
    let lost = template.fields.iter().filter(|(name, field)| is_lost(name, field.sensitive)).map(|(name, _)| {
        let message = format!("no operation takes a field {name}, so nothing is kept secret by it");
        template.problem(&format!("fields.{name}"), message, "correct the name")
    });
    absent.chain(lost).collect()
}

/// The page size that a caller asks for, from a JSON number or from the text of a URL.
pub(crate) fn limit(params: &Fields) -> Result<u32> {
    let asked = match params.get("limit") {
        None | Some(Value::Null) => return Ok(DEFAULT_LIMIT),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    asked.and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=MAX_LIMIT).contains(n)).ok_or_else(|| {
        BedsError::new(ErrorKind::ValueOutOfRange, format!("`limit` is a number from 1 to {MAX_LIMIT}"))
            .with_field("limit")
    })
}

/// A fetch by id answers exactly one record, or says that there is none.
pub(crate) fn found(mut answer: Answer) -> Result<Answer> {
    if is_empty(&answer) {
        return Err(no_such_record());
    }
    answer.records.truncate(1);
    answer.next = None;
    Ok(answer)
}

/// An update or delete that touched nothing is "no such record", and is rolled back.
pub(crate) fn touched(answer: Answer, operation: Operation) -> Result<Answer> {
    match operation {
        Operation::Update | Operation::Delete if is_empty(&answer) => Err(no_such_record()),
        _ => Ok(answer),
    }
}

/// Only an object that answers no set of records at all may say with something else that it found one.
fn is_empty(answer: &Answer) -> bool {
    answer.records.is_empty() && (answer.has_set || answer.out.is_none() && answer.result_sets.is_empty())
}

/// The id is not repeated: it may be a value that no log should hold.
fn no_such_record() -> BedsError {
    BedsError::new(ErrorKind::NoSuchRecord, "there is no record with this id")
}

pub(crate) fn unknown_field(name: &str, known: &[&str]) -> BedsError {
    let text = format!("there is no field {}; it takes: {}", quote(name), beds_core::catalogue::list(known));
    BedsError::new(ErrorKind::UnknownField, text).with_field(name.chars().take(64).collect::<String>())
}

pub(crate) fn wrong_type(field: &str, wanted: &str, value: &Value) -> BedsError {
    let text = format!("`{field}` takes {wanted}, not {}", beds_core::fields::kind_of(value));
    BedsError::new(ErrorKind::WrongType, text).with_field(field)
}

pub(crate) fn bad_value(field: &str, wanted: &str) -> BedsError {
    BedsError::new(ErrorKind::WrongType, format!("`{field}` takes {wanted}")).with_field(field)
}

pub(crate) fn out_of_range(field: &str, rule: &str) -> BedsError {
    BedsError::new(ErrorKind::ValueOutOfRange, format!("`{field}` {rule}")).with_field(field)
}

/// Refuses numbers within a free value that were rounded when they were read: whole ones of more than 64 bits.
pub(crate) fn exact(field: &str, value: &Value) -> Result<()> {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(n) if number.is_f64() && n.fract() == 0.0 && n.abs() >= 2f64.powi(63) => {
                Err(out_of_range(field, "has whole numbers of at most 64 bits; send larger ones as text"))
            }
            _ => Ok(()),
        },
        Value::Array(items) => items.iter().try_for_each(|item| exact(field, item)),
        Value::Object(map) => map.values().try_for_each(|item| exact(field, item)),
        _ => Ok(()),
    }
}

/// A number as a double, unless that would be another number.
pub(crate) fn double(field: &str, number: &serde_json::Number) -> Result<f64> {
    let double = number.as_f64().unwrap_or(f64::NAN);
    let is_same = match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) => double as i128 == i128::from(whole),
        (_, Some(whole)) => double as i128 == i128::from(whole),
        (None, None) => double.is_finite(),
    };
    if is_same { Ok(double) } else { Err(out_of_range(field, "is a number that 64 bits of floating point can hold")) }
}

pub(crate) fn missing(field: &str) -> BedsError {
    BedsError::new(ErrorKind::MissingParameter, format!("`{field}` is missing")).with_field(field)
}
