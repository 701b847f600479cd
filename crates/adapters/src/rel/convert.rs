//! JSON to MariaDB values and back, such that every value survives exactly: DECIMAL is text, BLOB is base64, DATE and
//! DATETIME are ISO 8601 without a zone, BOOL is true or false. `rec/convert.rs` does the same for BSON.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::civil;
use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::{Column, Row, Value as Sql};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value as Json;
use serde_json::value::{RawValue, to_raw_value};

use super::catalog::{Catalog, Parameter};
use crate::operations::{bad_value, out_of_range, wrong_type};

/// The character set number of binary data. The BINARY flag says nothing: JSON columns have it too.
const BINARY_CHARSET: u16 = 63;

/// A parameter's type, as far as values must be checked and converted for it.
#[derive(Debug, Clone)]
pub(super) struct SqlType {
    pub(super) declared: String,
    family: Family,
    max_length: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Smallest and largest value.
    Integer(i128, i128),
    Boolean,
    Decimal,
    Float,
    Text,
    Json,
    Date,
    DateTime,
    Time,
    Binary,
}

impl SqlType {
    /// The type of a page size.
    pub(super) const UNSIGNED: SqlType =
        SqlType { declared: String::new(), family: Family::Integer(0, u64::MAX as i128), max_length: None };

    pub(super) fn of(parameter: &Parameter) -> Self {
        let unsigned = parameter.declared.contains("unsigned");
        let integer = |bits: u32| match unsigned {
            true => Family::Integer(0, (1 << bits) - 1),
            false => Family::Integer(-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
        };
        let family = match parameter.data_type.as_str() {
            "tinyint" if parameter.declared.starts_with("tinyint(1)") => Family::Boolean,
            "tinyint" => integer(8),
            "smallint" => integer(16),
            "mediumint" => integer(24),
            "int" | "integer" => integer(32),
            "bigint" => integer(64),
            "bit" => Family::Integer(0, u64::MAX as i128),
            "year" => Family::Integer(0, 2155),
            "decimal" | "numeric" => Family::Decimal,
            "float" | "double" | "real" => Family::Float,
            "date" => Family::Date,
            "datetime" | "timestamp" => Family::DateTime,
            "time" => Family::Time,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Family::Binary,
            // JSON is LONGTEXT with this collation; information_schema shows no other difference.
            "longtext" if parameter.collation.as_deref() == Some("utf8mb4_bin") => Family::Json,
            _ => Family::Text,
        };
        Self { declared: parameter.declared.clone(), family, max_length: parameter.max_length }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.family, Family::Text | Family::Json)
    }

    /// A value that can only be text where it comes from: in a path or a query string.
    pub(super) fn parse(&self, field: &str, text: &str) -> beds_core::Result<Sql> {
        let json = match self.family {
            Family::Integer(..) => {
                text.parse().ok().map(|n: i64| Json::from(n)).or_else(|| text.parse().ok().map(|n: u64| Json::from(n)))
            }
            Family::Float => text.parse().ok().and_then(serde_json::Number::from_f64).map(Json::Number),
            Family::Boolean => match text {
                "true" | "1" => Some(Json::Bool(true)),
                "false" | "0" => Some(Json::Bool(false)),
                _ => None,
            },
            _ => Some(Json::String(text.to_owned())),
        };
        self.convert(field, &json.ok_or_else(|| bad_value(field, &self.wanted()))?)
    }

    /// A JSON value as this type, or what is wrong with it.
    pub(super) fn convert(&self, field: &str, value: &Json) -> beds_core::Result<Sql> {
        let wrong = || wrong_type(field, &self.wanted(), value);
        let invalid = || bad_value(field, &self.wanted());
        match (self.family, value) {
            (Family::Json, Json::Null) => Ok(Sql::NULL),
            (Family::Json, value) => Ok(Sql::Bytes(value.to_string().into_bytes())),
            (_, Json::Null) => Ok(Sql::NULL),
            (Family::Boolean, Json::Bool(flag)) => Ok(Sql::Int(i64::from(*flag))),
            (Family::Boolean, Json::Number(number)) => {
                number.as_i64().filter(|n| (-128..=127).contains(n)).map(Sql::Int).ok_or_else(wrong)
            }
            (Family::Integer(least, most), Json::Number(number)) => {
                let wide =
                    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)).ok_or_else(wrong)?;
                if !(least..=most).contains(&wide) {
                    return Err(out_of_range(field, &format!("is a number from {least} to {most}")));
                }
                Ok(i64::try_from(wide).map_or_else(|_| Sql::UInt(wide as u64), Sql::Int))
            }
            (Family::Decimal, Json::String(text)) => decimal(text).ok_or_else(invalid),
            (Family::Decimal, Json::Number(number)) if number.is_i64() || number.is_u64() => {
                Ok(Sql::Bytes(number.to_string().into_bytes()))
            }
            (Family::Float, Json::Number(number)) => number.as_f64().map(Sql::Double).ok_or_else(wrong),
            (Family::Text, Json::String(text)) => {
                let most = self.max_length.unwrap_or(u64::MAX);
                if text.chars().count() as u64 > most {
                    return Err(out_of_range(field, &format!("has at most {most} characters")));
                }
                Ok(Sql::Bytes(text.clone().into_bytes()))
            }
            (Family::Binary, Json::String(text)) => {
                let bytes = BASE64.decode(text).map_err(|_| invalid())?;
                let most = self.max_length.unwrap_or(u64::MAX);
                if bytes.len() as u64 > most {
                    return Err(out_of_range(field, &format!("has at most {most} bytes")));
                }
                Ok(Sql::Bytes(bytes))
            }
            (Family::Date, Json::String(text)) => text.parse().map(date).map_err(|_| invalid()),
            (Family::DateTime, Json::String(text)) => datetime(text).ok_or_else(invalid),
            (Family::Time, Json::String(text)) => time(text).ok_or_else(invalid),
            _ => Err(wrong()),
        }
    }

    fn wanted(&self) -> String {
        let words = match self.family {
            Family::Integer(..) => "a whole number",
            Family::Boolean => "true or false",
            Family::Decimal => "a decimal number as text, such as \"10.50\"",
            Family::Float => "a number",
            Family::Text => "a string",
            Family::Json => "any JSON value",
            Family::Date => "a date such as \"2026-11-23\"",
            Family::DateTime => "a date and time such as \"2026-11-23T10:00:00\" (UTC, at most microseconds)",
            Family::Time => "a time such as \"10:00:00\"",
            Family::Binary => "bytes in base64",
        };
        words.to_owned()
    }
}

/// The columns of a result set: how its rows become JSON objects.
pub(super) struct Columns {
    columns: Arc<[Column]>,
    kinds: Vec<Kind>,
    id: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Boolean,
    /// Numbers that travel as text.
    Text,
    Json,
    Binary,
    Date,
    DateTime(u8),
    Bits,
}

impl Columns {
    pub(super) fn new(columns: Arc<[Column]>, id: &str, catalog: &Catalog) -> Self {
        let id = columns.iter().position(|column| column.name_ref() == id.as_bytes());
        let kinds = columns.iter().map(|column| kind(column, catalog)).collect();
        Self { columns, kinds, id }
    }

    /// A row as one JSON object.
    pub(super) fn record(&self, row: &Row) -> serde_json::Result<Box<RawValue>> {
        to_raw_value(&Record { columns: self, row, names: None })
    }

    /// The values of OUT parameters, which the server does not name as the catalogue does.
    pub(super) fn record_of(&self, names: &[String], row: &Row) -> serde_json::Result<Box<RawValue>> {
        to_raw_value(&Record { columns: self, row, names: Some(names) })
    }

    /// The id of a row as text, where the row has the template's id column.
    pub(super) fn id(&self, row: &Row) -> Option<String> {
        let position = self.id?;
        match row.as_ref(position)? {
            Sql::NULL => None,
            Sql::Int(number) => Some(number.to_string()),
            Sql::UInt(number) => Some(number.to_string()),
            value => match serde_json::to_value(Cell(value, self.kinds[position])).ok()? {
                Json::String(text) => Some(text),
                other => Some(other.to_string()),
            },
        }
    }
}

struct Record<'a> {
    columns: &'a Columns,
    row: &'a Row,
    names: Option<&'a [String]>,
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.columns.kinds.len()))?;
        for (position, (column, kind)) in self.columns.columns.iter().zip(&self.columns.kinds).enumerate() {
            let name = self.names.and_then(|names| names.get(position)).map(|name| Cow::Borrowed(name.as_str()));
            let value = self.row.as_ref(position).unwrap_or(&Sql::NULL);
            object.serialize_entry(&name.unwrap_or_else(|| column.name_str()), &Cell(value, *kind))?;
        }
        object.end()
    }
}

struct Cell<'a>(&'a Sql, Kind);

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0, self.1) {
            (Sql::NULL, _) => serializer.serialize_unit(),
            (Sql::Int(0), Kind::Boolean) => serializer.serialize_bool(false),
            (Sql::Int(1), Kind::Boolean) => serializer.serialize_bool(true),
            (Sql::Int(number), _) => serializer.serialize_i64(*number),
            (Sql::UInt(number), _) => serializer.serialize_u64(*number),
            (Sql::Float(number), _) => serializer.serialize_f32(*number),
            (Sql::Double(number), _) => serializer.serialize_f64(*number),
            (Sql::Bytes(bytes), Kind::Binary) => serializer.collect_str(&Base64Display::new(bytes, &BASE64)),
            (Sql::Bytes(bytes), Kind::Bits) => {
                serializer.serialize_u64(bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
            }
            // A JSON column holds what its check constraint let in; anything else is sent as text rather than broken.
            (Sql::Bytes(bytes), Kind::Json) => match serde_json::from_slice::<&RawValue>(bytes) {
                Ok(json) => json.serialize(serializer),
                Err(_) => serializer.serialize_str(&String::from_utf8_lossy(bytes)),
            },
            (Sql::Bytes(bytes), _) => serializer.serialize_str(&String::from_utf8_lossy(bytes)),
            (Sql::Date(y, m, d, ..), Kind::Date) => serializer.collect_str(&format_args!("{y:04}-{m:02}-{d:02}")),
            (Sql::Date(y, m, d, h, min, s, us), kind) => {
                let whole = format_args!("{y:04}-{m:02}-{d:02}T{h:02}:{min:02}:{s:02}");
                match if let Kind::DateTime(digits) = kind { u32::from(digits.min(6)) } else { 6 } {
                    0 => serializer.collect_str(&whole),
                    digits => {
                        let fraction = us / 10_u32.pow(6 - digits);
                        serializer.collect_str(&format_args!("{whole}.{fraction:0width$}", width = digits as usize))
                    }
                }
            }
            (Sql::Time(negative, days, h, min, s, us), _) => {
                let sign = if *negative { "-" } else { "" };
                let hours = u64::from(*days) * 24 + u64::from(*h);
                match us {
                    0 => serializer.collect_str(&format_args!("{sign}{hours:02}:{min:02}:{s:02}")),
                    us => serializer.collect_str(&format_args!("{sign}{hours:02}:{min:02}:{s:02}.{us:06}")),
                }
            }
        }
    }
}

fn kind(column: &Column, catalog: &Catalog) -> Kind {
    let is_binary = column.character_set() == BINARY_CHARSET;
    match column.column_type() {
        ColumnType::MYSQL_TYPE_TINY if column.column_length() == 1 => Kind::Boolean,
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => Kind::Text,
        ColumnType::MYSQL_TYPE_JSON => Kind::Json,
        ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => Kind::Date,
        ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_TIMESTAMP => Kind::DateTime(column.decimals()),
        ColumnType::MYSQL_TYPE_BIT => Kind::Bits,
        ColumnType::MYSQL_TYPE_TINY_BLOB
        | ColumnType::MYSQL_TYPE_BLOB
        | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
        | ColumnType::MYSQL_TYPE_LONG_BLOB
        | ColumnType::MYSQL_TYPE_VAR_STRING
        | ColumnType::MYSQL_TYPE_VARCHAR
        | ColumnType::MYSQL_TYPE_STRING
        | ColumnType::MYSQL_TYPE_GEOMETRY => {
            let is_json = |columns: &HashSet<String>| columns.contains(&*column.org_name_str());
            match is_binary {
                true if column.flags().contains(ColumnFlags::BINARY_FLAG) => Kind::Binary,
                _ if catalog.json_columns.get(&*column.org_table_str()).is_some_and(is_json) => Kind::Json,
                _ => Kind::Plain,
            }
        }
        _ => Kind::Plain,
    }
}

fn decimal(text: &str) -> Option<Sql> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (all_digits(whole) && all_digits(fraction) && text.len() <= 80).then(|| Sql::Bytes(text.as_bytes().to_vec()))
}

fn date(date: civil::Date) -> Sql {
    Sql::Date(date.year().unsigned_abs(), date.month().unsigned_abs(), date.day().unsigned_abs(), 0, 0, 0, 0)
}

fn datetime(text: &str) -> Option<Sql> {
    let (day, time) = text.strip_suffix(['Z', 'z']).unwrap_or(text).split_once(['T', ' '])?;
    let (day, time): (civil::Date, civil::Time) = (day.parse().ok()?, time.parse().ok()?);
    let Sql::Date(y, m, d, ..) = date(day) else { return None };
    let [hour, minute, second] = [time.hour(), time.minute(), time.second()].map(i8::unsigned_abs);
    let nanoseconds = time.subsec_nanosecond();
    (nanoseconds % 1000 == 0).then(|| Sql::Date(y, m, d, hour, minute, second, (nanoseconds / 1000).unsigned_abs()))
}

fn time(text: &str) -> Option<Sql> {
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (hours, rest) = rest.split_once(':')?;
    let hours: u32 = hours.parse().ok().filter(|hours| *hours <= 838)?;
    let rest: civil::Time = format!("00:{rest}").parse().ok()?;
    let [minute, second] = [rest.minute(), rest.second()].map(i8::unsigned_abs);
    let micros = (rest.subsec_nanosecond() / 1000).unsigned_abs();
    Some(Sql::Time(negative, hours / 24, (hours % 24) as u8, minute, second, micros))
}
