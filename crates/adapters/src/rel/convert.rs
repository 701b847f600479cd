//! JSON to MariaDB values, such that every value survives exactly or is refused: DECIMAL comes as text, BLOB as base64,
//! DATE and DATETIME as ISO 8601, BOOL as true or false. The way back is `json.rs`'s; `rec/convert.rs` does the same for BSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use beds_core::Fields;
use jiff::civil;
use mysql_async::Value as Sql;
use serde_json::Value as Json;

use super::catalog::Parameter;
use crate::iso;
use crate::operations::{bad_value, double, exact, out_of_range, wrong_type};

/// A parameter's type, as far as values must be checked and converted for it.
#[derive(Debug, Clone)]
pub(super) struct SqlType {
    pub(super) declared: String,
    family: Family,
    max_length: Option<u64>,
    /// Digits behind the point that the server keeps, of decimals and seconds; it cuts off the others without a word.
    scale: usize,
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
        SqlType { declared: String::new(), family: Family::Integer(0, u64::MAX as i128), max_length: None, scale: 0 };

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
        let scale = scale(&parameter.declared);
        Self { declared: parameter.declared.clone(), family, max_length: parameter.max_length, scale }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.family, Family::Text | Family::Json)
    }

    pub(super) fn is_json(&self) -> bool {
        self.family == Family::Json
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
            Family::Json => Fields::value_of(text).ok(),
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
            (Family::Json, value) => {
                exact(field, value)?;
                Ok(Sql::Bytes(value.to_string().into_bytes()))
            }
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
            (Family::Decimal, Json::String(text)) => {
                let decimal = decimal(text).ok_or_else(invalid)?;
                let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction.trim_end_matches('0'));
                self.check_scale(field, fraction.len())?;
                Ok(decimal)
            }
            (Family::Decimal, Json::Number(number)) if number.is_i64() || number.is_u64() => {
                Ok(Sql::Bytes(number.to_string().into_bytes()))
            }
            (Family::Float, Json::Number(number)) => double(field, number).map(Sql::Double),
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
            (Family::Date, Json::String(text)) => {
                iso::date(text).map(|day| at(day.to_datetime(civil::Time::midnight()))).ok_or_else(invalid)
            }
            (Family::DateTime, Json::String(text)) => {
                let datetime = iso::datetime(text).ok_or_else(invalid)?;
                self.check_scale(field, digits(datetime.subsec_nanosecond()))?;
                Ok(at(datetime))
            }
            (Family::Time, Json::String(text)) => {
                let (time, nanoseconds) = time(text).ok_or_else(invalid)?;
                self.check_scale(field, digits(nanoseconds))?;
                Ok(time)
            }
            _ => Err(wrong()),
        }
    }

    fn check_scale(&self, field: &str, digits: usize) -> beds_core::Result<()> {
        if digits <= self.scale {
            return Ok(());
        }
        Err(out_of_range(field, &format!("has at most {} digits behind the point", self.scale)))
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

fn decimal(text: &str) -> Option<Sql> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (all_digits(whole) && all_digits(fraction) && text.len() <= 80).then(|| Sql::Bytes(text.as_bytes().to_vec()))
}

/// The last number in the parentheses of `decimal(30,10)` or `datetime(6)`; without any, 0.
fn scale(declared: &str) -> usize {
    let inner = declared.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(inner, _)| inner);
    let is_decimal = declared.starts_with("decimal") || declared.starts_with("numeric");
    match inner.split_once(',') {
        Some((_, scale)) => scale.trim().parse().unwrap_or(0),
        None if is_decimal => 0,
        None => inner.parse().unwrap_or(0),
    }
}

/// How many digits a fraction of a second needs.
fn digits(nanoseconds: i32) -> usize {
    format!("{nanoseconds:09}").trim_end_matches('0').len()
}

fn at(datetime: civil::DateTime) -> Sql {
    let [month, day, hour, minute, second] =
        [datetime.month(), datetime.day(), datetime.hour(), datetime.minute(), datetime.second()].map(i8::unsigned_abs);
    let micros = (datetime.subsec_nanosecond() / 1000).unsigned_abs();
    Sql::Date(datetime.year().unsigned_abs(), month, day, hour, minute, second, micros)
}

/// A span of time with its nanoseconds: MariaDB's TIME goes from -838 to 838 hours.
fn time(text: &str) -> Option<(Sql, i32)> {
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (hours, rest) = rest.split_once(':')?;
    let is_number = !hours.is_empty() && hours.bytes().all(|b| b.is_ascii_digit());
    let hours: u32 = hours.parse().ok().filter(|hours| is_number && *hours <= 838)?;
    let rest = iso::time(&format!("00:{rest}"))?;
    let [minute, second] = [rest.minute(), rest.second()].map(i8::unsigned_abs);
    let nanoseconds = rest.subsec_nanosecond();
    let micros = (nanoseconds / 1000).unsigned_abs();
    Some((Sql::Time(negative, hours / 24, (hours % 24) as u8, minute, second, micros), nanoseconds))
}
