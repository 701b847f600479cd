//! The things that REC and REL share about a template's operations: the table of bound operations, paging, and refusals of
//! values.
//!
//! Not here: the form of an answer, which is `answer`'s.

use std::collections::{BTreeMap, HashMap};

use beds_core::message::{DEFAULT_LIMIT, MAX_LIMIT};
use beds_core::template::{Field, JobPart, Offer};
use beds_core::text::quote;
use beds_core::{
    BedsError, Description, ErrorKind, Event, Fields, Mistake, Operation, Result, Template,
    TemplateDescription,
};
use serde_json::Value;

use crate::misfit::Misfit;

/// The operations of one template that fit the database.
pub(crate) struct Operations<B> {
    basic: HashMap<Operation, B>,
    /// By operation and name: fetches, jobs, and acts of BEDS's own templates.
    named: HashMap<Operation, HashMap<String, B>>,
}

impl<B> Operations<B> {
    /// Binds every offer of a template. An offer that does not fit is left out, and its misfit is a mistake at the key that
    /// names the object.
    pub(crate) fn bind(
        template: &Template,
        mistakes: &mut Vec<Mistake>,
        bind: impl Fn(&Offer<'_>, &mut Vec<Mistake>) -> std::result::Result<B, Misfit>,
    ) -> Self {
        let mut basic = HashMap::new();
        let mut named: HashMap<Operation, HashMap<String, B>> = HashMap::new();
        for offer in template.to_bind() {
            match (bind(&offer, mistakes), offer.name) {
                (Ok(binding), Some(name)) => {
                    let named = named.entry(offer.operation).or_default();
                    drop(named.insert(offer.part.name(name).into_owned(), binding));
                }
                (Ok(binding), None) => drop(basic.insert(offer.operation, binding)),
                (Err(Misfit { message, fix }), _) => {
                    mistakes.push(template.mistake(&offer.key, message, fix));
                }
            }
        }
        Self { basic, named }
    }

    /// The operation that an event asks for.
    pub(crate) fn of(&self, template: &Template, event: &Event) -> Result<&B> {
        let (operation, name) = (event.operation, event.name());
        let binding = match name {
            Some(name) => self.named.get(&operation).and_then(|named| named.get(name)),
            None => self.basic.get(&operation),
        };
        binding.ok_or_else(|| match template.object(operation, name) {
            Some(object) => {
                let text = format!("{object} does not fit the database; `beds check` says why");
                BedsError::new(ErrorKind::TemplateUnusable, text)
            }
            None => {
                let what = name.map_or_else(
                    || operation.to_string(),
                    |name| format!("the {operation} {}", quote(name)),
                );
                BedsError::new(
                    ErrorKind::NoSuchOperation,
                    format!("{} does not offer {what}", template.name),
                )
            }
        })
    }

    pub(crate) fn bindings(&self) -> impl Iterator<Item = &B> {
        self.basic.values().chain(self.named.values().flat_map(HashMap::values))
    }

    pub(crate) fn describe(
        &self,
        parameters: impl Fn(&B) -> BTreeMap<String, String>,
    ) -> TemplateDescription {
        let basic = self.basic.iter().map(|(operation, binding)| (*operation, None, binding));
        // No caller can ask for an act, or for a part of a job.
        let shown = self.named.iter().filter(|(operation, _)| **operation != Operation::Update);
        let named = shown.flat_map(|(operation, named)| {
            let named = named.iter().filter(|(name, _)| !JobPart::is_part(name));
            named.map(|(name, binding)| (*operation, Some(name.clone()), binding))
        });
        let mut operations: Vec<Description> = basic
            .chain(named)
            .map(|(operation, name, binding)| Description {
                operation,
                name,
                parameters: parameters(binding),
            })
            .collect();
        operations.sort_by(|a, b| (a.operation, &a.name).cmp(&(b.operation, &b.name)));
        TemplateDescription { operations }
    }
}

/// Sensitive fields, and fields of some roles, under a name that neither an operation takes nor, as far as the store can tell (`answers`), an object
/// answers.
pub(crate) fn lost_fields(
    template: &Template,
    description: &TemplateDescription,
    answers: impl Fn(&str) -> bool,
) -> impl Iterator<Item = Mistake> {
    let takes = |name: &String| {
        description.operations.iter().any(|operation| operation.parameters.contains_key(name))
    };
    let is_ruled = |field: &Field| field.sensitive || field.read.is_some() || field.write.is_some();
    let sensitive = template.fields.iter().filter(move |(_, field)| is_ruled(field));
    sensitive.filter(move |(name, _)| !takes(name) && !answers(name)).map(|(name, _)| {
        let message = format!("no operation takes a field {name}, so nothing is kept secret by it");
        template.mistake(&format!("fields.{name}"), message, "correct the name")
    })
}

/// The type of `limit` in a description.
pub(crate) fn limit_words() -> String {
    format!("1 to {MAX_LIMIT}")
}

/// The page size that a caller asks for, from a JSON number or from the text of a URL.
pub(crate) fn limit(params: &Fields) -> Result<u32> {
    let asked = match params.get("limit") {
        None | Some(Value::Null) => return Ok(DEFAULT_LIMIT),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    asked.and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=MAX_LIMIT).contains(n)).ok_or_else(
        || {
            BedsError::new(
                ErrorKind::ValueOutOfRange,
                format!("`limit` is a number from 1 to {MAX_LIMIT}"),
            )
            .with_field("limit")
        },
    )
}

/// The id is not repeated: it may be a value that no log should hold.
pub(crate) fn no_such_record() -> BedsError {
    BedsError::new(ErrorKind::NoSuchRecord, "there is no record with this id")
}

pub(crate) fn unknown_field(name: &str, known: &[&str]) -> BedsError {
    let text =
        format!("there is no field {}; it takes: {}", quote(name), beds_core::text::list(known));
    BedsError::new(ErrorKind::UnknownField, text)
        .with_field(name.chars().take(64).collect::<String>())
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

/// A number as a double, unless that would be another number. Digits that its text had are `Fields::check_exact`'s.
pub(crate) fn double(field: &str, number: &serde_json::Number) -> Result<f64> {
    let double = number.as_f64().unwrap_or(f64::NAN);
    let is_same = match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) => double as i128 == i128::from(whole),
        (_, Some(whole)) => double as i128 == i128::from(whole),
        (None, None) => double.is_finite(),
    };
    if is_same {
        Ok(double)
    } else {
        Err(out_of_range(field, "is a number that 64 bits of floating point can hold"))
    }
}

/// Values that cannot be handed to the database as they are.
pub(crate) fn unwritten(error: impl std::error::Error + Send + Sync + 'static) -> BedsError {
    BedsError::new(ErrorKind::Internal, "the fields could not be written for the database")
        .with_source(error)
}

/// The object chooses rows by a claim, and the caller has no such one.
pub(crate) fn missing_claim(claim: &str) -> BedsError {
    let text = format!("the caller has no claim `{claim}`, by which the rows are chosen");
    BedsError::new(ErrorKind::MissingClaim, text)
}

/// The claim is not of the type that the object takes.
pub(crate) fn unfit_claim(claim: &str) -> BedsError {
    let text = format!("the caller's claim `{claim}` has another form than the object takes");
    BedsError::new(ErrorKind::MissingClaim, text)
}

pub(crate) fn missing(field: &str) -> BedsError {
    BedsError::new(ErrorKind::MissingParameter, format!("`{field}` is missing")).with_field(field)
}
