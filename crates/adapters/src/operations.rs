//! What REC and REL share about a template's operations: the table of what is bound, paging, and "no such record".

use std::collections::{BTreeMap, HashMap};

use beds_core::catalogue::quote;
use beds_core::message::{DEFAULT_LIMIT, MAX_LIMIT};
use beds_core::reply::Answer;
use beds_core::template::Offer;
use beds_core::{BedsError, Description, ErrorKind, Fields, Operation, Result, Template, TemplateDescription};
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

fn is_empty(answer: &Answer) -> bool {
    answer.records.is_empty() && answer.out.is_none() && answer.result_sets.is_empty()
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

pub(crate) fn missing(field: &str) -> BedsError {
    BedsError::new(ErrorKind::MissingParameter, format!("`{field}` is missing")).with_field(field)
}
