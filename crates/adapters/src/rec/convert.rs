//! JSON to BSON values, such that every value survives exactly or is refused: Decimal128 comes as text, `ObjectId` as
//! hexadecimal, Date as ISO 8601, binary as base64. `rel/convert.rs` does the same for SQL.
//!
//! Not here: the way back, which is `json`'s.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use beds_core::number::exact_double;
use beds_core::{Fields, Result};
use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Decimal128, Document};
use serde_json::{Map, Value as Json};

use crate::iso;
use crate::operations::{bad_value, double, missing, out_of_range, unknown_field, wrong_type};

/// A parameter as the DBA declared it in `beds_objects`.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) kind: Kind,
    pub(super) is_required: bool,
    /// Null may stand in a match, where it selects documents that lack the field.
    pub(super) is_nullable: bool,
    pub(super) default: Option<Bson>,
    max_length: Option<i64>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    choices: Vec<Bson>,
    /// The fields of a document; none means any.
    pub(super) properties: BTreeMap<String, Spec>,
    pub(super) items: Option<Box<Spec>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Int,
    Long,
    Double,
    Decimal,
    Bool,
    Date,
    ObjectId,
    Uuid,
    Binary,
    Document,
    Array,
}

impl Kind {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Kind::String,
            "int" => Kind::Int,
            "long" => Kind::Long,
            "double" => Kind::Double,
            "decimal" => Kind::Decimal,
            "bool" => Kind::Bool,
            "date" => Kind::Date,
            "objectId" => Kind::ObjectId,
            "uuid" => Kind::Uuid,
            "binary" => Kind::Binary,
            "document" => Kind::Document,
            "array" => Kind::Array,
            _ => return None,
        })
    }

    pub(super) fn words(self) -> String {
        let words = match self {
            Kind::String => "a string",
            Kind::Int | Kind::Long => "a whole number",
            Kind::Double => "a number",
            Kind::Decimal => "a decimal number as text, such as \"10.50\"",
            Kind::Bool => "true or false",
            Kind::Date => "a date such as \"2026-11-23\" or \"2026-11-23T10:00:00Z\"",
            Kind::ObjectId => "24 hexadecimal digits",
            Kind::Uuid => "a UUID",
            Kind::Binary => "bytes in base64",
            Kind::Document => "an object",
            Kind::Array => "an array",
        };
        words.to_owned()
    }
}

impl Spec {
    /// Reads a declaration; the error completes the sentence "the parameter x …".
    pub(super) fn parse(spec: &Bson) -> Result<Self, String> {
        let Bson::Document(spec) = spec else {
            return Err("must be declared by a document".to_owned());
        };
        const KNOWN: &[&str] = &[
            "type",
            "required",
            "nullable",
            "default",
            "maxLength",
            "minimum",
            "maximum",
            "enum",
            "properties",
            "items",
            "description",
        ];
        if let Some(unknown) = spec.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!("has an unknown key {unknown:?}; known: {}", KNOWN.join(", ")));
        }
        let name = spec.get_str("type").unwrap_or_default();
        let kind = Kind::parse(name).ok_or_else(|| format!("has the unknown type {name:?}"))?;
        let mut properties = BTreeMap::new();
        for (name, property) in spec.get_document("properties").into_iter().flatten() {
            properties.insert(
                name.clone(),
                Spec::parse(property).map_err(|e| format!("has a property {name} which {e}"))?,
            );
        }
        if (spec.contains_key("minimum") || spec.contains_key("maximum"))
            && !matches!(kind, Kind::Int | Kind::Long | Kind::Double)
        {
            return Err(format!("is of the type {name}, which takes no minimum and no maximum"));
        }
        Ok(Self {
            kind,
            is_required: spec.get_bool("required").unwrap_or(false),
            is_nullable: spec.get_bool("nullable").unwrap_or(false),
            // A null default would let a match select documents that lack the field.
            default: spec.get("default").filter(|value| **value != Bson::Null).cloned(),
            max_length: spec.get("maxLength").and_then(number).map(|n| n as i64),
            minimum: spec.get("minimum").and_then(number),
            maximum: spec.get("maximum").and_then(number),
            choices: spec.get_array("enum").cloned().unwrap_or_default(),
            properties,
            items: spec.get("items").map(Spec::parse).transpose()?.map(Box::new),
        })
    }

    /// A value that can only be text where it comes from: in a path or a query string.
    pub(super) fn read(&self, field: &str, text: &str) -> Result<Bson> {
        let invalid = || bad_value(field, &self.kind.words());
        let json = match self.kind {
            Kind::Int | Kind::Long => Json::from(text.parse::<i64>().map_err(|_| invalid())?),
            Kind::Double => {
                if text.parse::<f64>().is_ok_and(f64::is_finite) && exact_double(text).is_none() {
                    return Err(out_of_range(
                        field,
                        "has more digits than a number with a floating point keeps",
                    ));
                }
                exact_double(text)
                    .and_then(serde_json::Number::from_f64)
                    .map(Json::Number)
                    .ok_or_else(invalid)?
            }
            // Spreadsheets write them in capitals.
            Kind::Bool => Json::Bool(text.to_ascii_lowercase().parse().map_err(|_| invalid())?),
            Kind::Document | Kind::Array => Fields::value_of(text).map_err(|_| invalid())?,
            _ => Json::String(text.to_owned()),
        };
        self.convert(field, &json)
    }

    /// The whole payload as a document of this type.
    pub(super) fn convert_whole(&self, fields: &Fields, is_text: bool) -> Result<Bson> {
        self.document("", fields, is_text)
    }

    /// A JSON value as this type, or its mistake.
    pub(super) fn convert(&self, field: &str, value: &Json) -> Result<Bson> {
        let wrong = || wrong_type(field, &self.kind.words(), value);
        let invalid = || bad_value(field, &self.kind.words());
        let converted = match (self.kind, value) {
            (_, Json::Null) if self.is_required => return Err(missing(field)),
            (_, Json::Null) => return Ok(Bson::Null),
            (Kind::String, Json::String(text)) => Bson::String(text.clone()),
            (Kind::Int, Json::Number(number)) => {
                let wide = number.as_i64().ok_or_else(wrong)?;
                Bson::Int32(
                    i32::try_from(wide)
                        .map_err(|_| out_of_range(field, "is a number of 32 bits"))?,
                )
            }
            (Kind::Long, Json::Number(number)) => Bson::Int64(number.as_i64().ok_or_else(wrong)?),
            (Kind::Double, Json::Number(number)) => Bson::Double(double(field, number)?),
            (Kind::Decimal, Json::String(text)) => {
                Bson::Decimal128(decimal(text).ok_or_else(invalid)?)
            }
            (Kind::Decimal, Json::Number(number)) if number.is_i64() || number.is_u64() => {
                Bson::Decimal128(decimal(&number.to_string()).ok_or_else(invalid)?)
            }
            (Kind::Bool, Json::Bool(flag)) => Bson::Boolean(*flag),
            (Kind::Date, Json::String(text)) => Bson::DateTime(date(text).ok_or_else(invalid)?),
            (Kind::ObjectId, Json::String(text)) => {
                Bson::ObjectId(ObjectId::parse_str(text).map_err(|_| invalid())?)
            }
            (Kind::Uuid, Json::String(text)) => {
                Bson::from(bson::Uuid::parse_str(text).map_err(|_| invalid())?)
            }
            (Kind::Binary, Json::String(text)) => {
                let bytes = BASE64.decode(text).map_err(|_| invalid())?;
                Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes })
            }
            (Kind::Document, Json::Object(map)) => self.document(field, map, false)?,
            (Kind::Array, Json::Array(items)) => {
                let item = |value: &Json| match &self.items {
                    Some(spec) => spec.convert(field, value),
                    None => any(field, value),
                };
                Bson::Array(items.iter().map(item).collect::<Result<_>>()?)
            }
            _ => return Err(wrong()),
        };
        self.check(field, &converted)?;
        Ok(converted)
    }

    fn document(&self, field: &str, map: &Map<String, Json>, is_text: bool) -> Result<Bson> {
        let path =
            |name: &str| if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
        let mut document = Document::new();
        for (name, value) in map {
            let path = path(name);
            let value = match (self.properties.get(name), value) {
                (Some(spec), Json::String(text)) if is_text => spec.read(&path, text)?,
                (Some(spec), value) => spec.convert(&path, value)?,
                (None, value) if self.properties.is_empty() => {
                    check_key(&path, name)?;
                    any(&path, value)?
                }
                (None, _) => {
                    let known: Vec<&str> = self.properties.keys().map(String::as_str).collect();
                    return Err(unknown_field(&path, &known));
                }
            };
            document.insert(name, value);
        }
        for (name, spec) in &self.properties {
            if !document.contains_key(name) {
                match &spec.default {
                    Some(default) => drop(document.insert(name, default.clone())),
                    None if spec.is_required => return Err(missing(&path(name))),
                    None => {}
                }
            }
        }
        Ok(Bson::Document(document))
    }

    /// Whether the value keeps to the limits that the DBA declared.
    pub(super) fn check(&self, field: &str, value: &Bson) -> Result<()> {
        let length = match value {
            Bson::String(text) => Some(text.chars().count()),
            Bson::Binary(binary) => Some(binary.bytes.len()),
            Bson::Array(items) => Some(items.len()),
            _ => None,
        };
        if let (Some(length), Some(most)) = (length, self.max_length)
            && length as i64 > most
        {
            return Err(out_of_range(field, &format!("has a length of at most {most}")));
        }
        let size = number(value);
        if let (Some(size), Some(least)) = (size, self.minimum)
            && size < least
        {
            return Err(out_of_range(field, &format!("is at least {least}")));
        }
        if let (Some(size), Some(most)) = (size, self.maximum)
            && size > most
        {
            return Err(out_of_range(field, &format!("is at most {most}")));
        }
        let is_choice = |choice: &Bson| {
            choice == value || number(choice).is_some_and(|choice| number(value) == Some(choice))
        };
        if !self.choices.is_empty() && !self.choices.iter().any(is_choice) {
            let choices: Vec<String> = self.choices.iter().map(ToString::to_string).collect();
            return Err(out_of_range(field, &format!("is one of {}", choices.join(", "))));
        }
        Ok(())
    }
}

/// A value of a document whose fields are not declared: the JSON types as BSON's.
fn any(field: &str, value: &Json) -> Result<Bson> {
    Ok(match value {
        Json::Null => Bson::Null,
        Json::Bool(flag) => Bson::Boolean(*flag),
        Json::String(text) => Bson::String(text.clone()),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(n), _) => i32::try_from(n).map_or(Bson::Int64(n), Bson::Int32),
            // Digits that a double does not keep are refused where the text is read.
            (None, Some(n)) if !number.is_u64() => Bson::Double(n),
            _ => {
                return Err(out_of_range(
                    field,
                    "is a number of at most 64 bits with a sign; send larger ones as text",
                ));
            }
        },
        Json::Array(items) => {
            Bson::Array(items.iter().map(|item| any(field, item)).collect::<Result<_>>()?)
        }
        Json::Object(map) => {
            let mut document = Document::new();
            for (name, value) in map {
                let path = format!("{field}.{name}");
                check_key(&path, name)?;
                document.insert(name, any(&path, value)?);
            }
            Bson::Document(document)
        }
    })
}

/// A key with `$` or `.` could become an operator or a path.
fn check_key(path: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.starts_with('$') || name.contains('.') || name.contains('\0') {
        return Err(bad_value(
            &path.chars().take(64).collect::<String>(),
            "only names without `$` at the front, `.` and NUL",
        ));
    }
    Ok(())
}

fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(n) => Some(f64::from(*n)),
        Bson::Int64(n) => Some(*n as f64),
        Bson::Double(n) => Some(*n),
        _ => None,
    }
}

fn decimal(text: &str) -> Option<Decimal128> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && text.bytes().any(|b| b.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn date(text: &str) -> Option<DateTime> {
    let utc = match iso::date(text) {
        Some(day) => Some(day.to_datetime(jiff::civil::Time::midnight())),
        None => iso::instant(text),
    };
    // MongoDB keeps milliseconds; a value that would be cut off is refused.
    let millis = utc.map_or_else(|| iso::millis_of_far(text), iso::millis)?;
    Some(DateTime::from_millis(millis))
}

/// A whole number, whichever type MongoDB keeps it in.
pub(super) fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(n) => Some(i64::from(*n)),
        Bson::Int64(n) => Some(*n),
        Bson::Double(n) => Some(*n as i64),
        _ => None,
    }
}
