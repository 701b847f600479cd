//! JSON to MariaDB values, such that every value survives exactly or is refused: DECIMAL comes as text, BLOB as base64,
//! DATE and DATETIME as ISO 8601, BOOL as true or false. `rec/convert.rs` does the same for BSON.
//!
//! Not here: the types, which are `convert/types`'s; the way back, which is `json`'s.

mod types;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use beds_core::number::{exact_double, places};
use beds_core::{Fields, Result};
use jiff::civil;
use mysql_async::Value as Sql;
use serde_json::Value as Json;

pub(super) use types::SqlType;

use crate::iso;
use crate::operations::{bad_value, double, out_of_range, wrong_type};
use types::{Family, Floating};

impl SqlType {
    /// A value that can only be text where it comes from: in a path, a query string or a CSV file.
    pub(super) fn parse(&self, field: &str, text: &str) -> Result<Sql> {
        let json = match self.family {
            Family::Integer(..) | Family::Year => text
                .parse()
                .ok()
                .map(|n: i64| Json::from(n))
                .or_else(|| text.parse().ok().map(|n: u64| Json::from(n))),
            Family::Float(_) => {
                if text.parse::<f64>().is_ok_and(f64::is_finite) && exact_double(text).is_none() {
                    return Err(out_of_range(
                        field,
                        "has more digits than a number with a floating point keeps",
                    ));
                }
                exact_double(text).and_then(serde_json::Number::from_f64).map(Json::Number)
            }
            Family::Boolean => match text {
                "1" => Some(Json::Bool(true)),
                "0" => Some(Json::Bool(false)),
                // Spreadsheets write them in capitals.
                text if text.eq_ignore_ascii_case("true") => Some(Json::Bool(true)),
                text if text.eq_ignore_ascii_case("false") => Some(Json::Bool(false)),
                _ => None,
            },
            Family::Json => Fields::value_of(text).ok(),
            _ => Some(Json::String(text.to_owned())),
        };
        self.convert(field, &json.ok_or_else(|| bad_value(field, &self.wanted()))?)
    }

    /// A JSON value as this type, or its mistake.
    pub(super) fn convert(&self, field: &str, value: &Json) -> Result<Sql> {
        let wrong = || wrong_type(field, &self.wanted(), value);
        let invalid = || bad_value(field, &self.wanted());
        match (&self.family, value) {
            (_, Json::Null) => Ok(Sql::NULL),
            (Family::Json, value) => Ok(Sql::Bytes(value.to_string().into_bytes())),
            (Family::Boolean, Json::Bool(flag)) => Ok(Sql::Int(i64::from(*flag))),
            (Family::Integer(least, most), Json::Number(number)) => {
                let wide = whole(number).ok_or_else(invalid)?;
                if !(*least..=*most).contains(&wide) {
                    return Err(out_of_range(
                        field,
                        &format!("is a number from {least} to {most}"),
                    ));
                }
                Ok(i64::try_from(wide).map_or_else(|_| Sql::UInt(wide as u64), Sql::Int))
            }
            (Family::Year, Json::Number(number)) => match number.as_i64().ok_or_else(invalid)? {
                year @ (0 | 1901..=2155) => Ok(Sql::Int(year)),
                _ => Err(out_of_range(field, "is a year from 1901 to 2155, or 0")),
            },
            (Family::Decimal { .. }, Json::String(text)) => self.decimal(field, text),
            (Family::Decimal { .. }, Json::Number(number))
                if number.is_i64() || number.is_u64() =>
            {
                self.decimal(field, &number.to_string())
            }
            (Family::Float(float), Json::Number(number)) => {
                floating(field, *float, double(field, number)?)
            }
            (Family::Text, Json::String(text)) => self.text(field, text),
            (Family::FixedText, Json::String(text)) if text.ends_with(' ') => {
                Err(out_of_range(field, "does not end in spaces, which a CHAR does not keep"))
            }
            (Family::FixedText, Json::String(text)) => self.text(field, text),
            (Family::Choice(members), Json::String(text)) => match members.contains(text) {
                true => Ok(Sql::Bytes(text.clone().into_bytes())),
                false => Err(out_of_range(field, &format!("is one of {}", shown(members)))),
            },
            (Family::Choices(members), Json::String(text)) => {
                let chosen: Vec<&str> =
                    if text.is_empty() { Vec::new() } else { text.split(',').collect() };
                let is_member = |one: &&str| members.iter().any(|member| member == one);
                let is_once = |(at, one): (usize, &&str)| !chosen[..at].contains(one);
                if chosen.iter().all(is_member) && chosen.iter().enumerate().all(is_once) {
                    return Ok(Sql::Bytes(text.clone().into_bytes()));
                }
                Err(out_of_range(
                    field,
                    &format!("holds each at most once, with commas between: {}", shown(members)),
                ))
            }
            (Family::Binary | Family::FixedBinary | Family::Geometry, Json::String(text)) => {
                self.bytes(field, text)
            }
            (Family::Date, Json::String(text)) => iso::date(text)
                .map(|day| at(day.to_datetime(civil::Time::midnight())))
                .ok_or_else(invalid),
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

    fn text(&self, field: &str, text: &str) -> Result<Sql> {
        let most = self.max_length.unwrap_or(u64::MAX);
        if text.chars().count() as u64 > most {
            return Err(out_of_range(field, &format!("has at most {most} characters")));
        }
        Ok(Sql::Bytes(text.as_bytes().to_vec()))
    }

    fn bytes(&self, field: &str, text: &str) -> Result<Sql> {
        let bytes = BASE64.decode(text).map_err(|_| bad_value(field, &self.wanted()))?;
        let (length, most) = (bytes.len() as u64, self.max_length.unwrap_or(u64::MAX));
        if self.family == Family::FixedBinary && length != most {
            return Err(out_of_range(field, &format!("has exactly {most} bytes")));
        }
        if self.family == Family::Binary && length > most {
            return Err(out_of_range(field, &format!("has at most {most} bytes")));
        }
        Ok(Sql::Bytes(bytes))
    }

    fn decimal(&self, field: &str, text: &str) -> Result<Sql> {
        let Family::Decimal { whole: most, is_unsigned } = self.family else {
            return Ok(Sql::NULL);
        };
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) || text.len() > 80 {
            return Err(bad_value(field, &self.wanted()));
        }
        self.check_scale(field, fraction.trim_end_matches('0').len())?;
        if whole.trim_start_matches('0').len() > most {
            return Err(out_of_range(
                field,
                &format!("has at most {most} digits in front of the point"),
            ));
        }
        let is_zero = digits.bytes().all(|b| matches!(b, b'0' | b'.'));
        if is_unsigned && text.starts_with('-') && !is_zero {
            return Err(out_of_range(field, "is not negative"));
        }
        Ok(Sql::Bytes(text.as_bytes().to_vec()))
    }

    fn check_scale(&self, field: &str, digits: usize) -> Result<()> {
        if digits <= self.scale {
            return Ok(());
        }
        Err(out_of_range(field, &format!("has at most {} digits behind the point", self.scale)))
    }

    fn wanted(&self) -> String {
        let words = match &self.family {
            Family::Integer(..) => "a whole number, written without a point or an exponent",
            Family::Year => "a year, such as 2026",
            Family::Boolean => "true or false",
            Family::Decimal { .. } => "a decimal number as text, such as \"10.50\"",
            Family::Float(_) => "a number",
            Family::Text | Family::FixedText | Family::Unknown => "a string",
            Family::Choice(members) | Family::Choices(members) => {
                return format!("a string of {}", shown(members));
            }
            Family::Json => "any JSON value",
            Family::Date => "a date such as \"2026-11-23\"",
            Family::DateTime => {
                "a date and time such as \"2026-11-23T10:00:00\" (UTC, at most microseconds)"
            }
            Family::Time => "a time such as \"10:00:00\"",
            Family::Binary | Family::FixedBinary => "bytes in base64",
            Family::Geometry => {
                "a geometry in base64, as an answer has it: its reference system in four bytes, then WKB"
            }
        };
        words.to_owned()
    }
}

fn whole(number: &serde_json::Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// A number that comes back as it was sent: that fits the bits and the digits of its column.
fn floating(field: &str, float: Floating, number: f64) -> Result<Sql> {
    if number == 0.0 && number.is_sign_negative() {
        return Err(out_of_range(field, "is 0 without a sign: the database keeps no other"));
    }
    if float.is_unsigned && number < 0.0 {
        return Err(out_of_range(field, "is not negative"));
    }
    if let Some((before, behind)) = float.places {
        let (sent_behind, sent_before) = places(number);
        if sent_before > before || sent_behind > behind {
            let text =
                format!("has at most {before} digits in front of the point and {behind} behind it");
            return Err(out_of_range(field, &text));
        }
    }
    if !float.is_single {
        return Ok(Sql::Double(number));
    }
    let single = number as f32;
    // The number in an answer is the shortest text of the 32 bits.
    if exact_double(&format!("{single:e}")) != Some(number) {
        return Err(out_of_range(
            field,
            "is a number that 32 bits of floating point hold, with about 7 digits",
        ));
    }
    Ok(Sql::Float(single))
}

fn shown(members: &[String]) -> String {
    members.iter().map(|member| format!("{member:?}")).collect::<Vec<_>>().join(", ")
}

/// How many digits a fraction of a second needs.
fn digits(nanoseconds: i32) -> usize {
    format!("{nanoseconds:09}").trim_end_matches('0').len()
}

fn at(datetime: civil::DateTime) -> Sql {
    let [month, day, hour, minute, second] =
        [datetime.month(), datetime.day(), datetime.hour(), datetime.minute(), datetime.second()]
            .map(i8::unsigned_abs);
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
