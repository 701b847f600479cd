//! BSON documents to JSON, such that every value survives exactly: Decimal128 is text, `ObjectId` is hexadecimal, Date is
//! RFC 3339 in UTC, binary is base64, a UUID has its dashes. `rel/json.rs` does the same for rows.
//!
//! Not here: the way in, which is `convert`'s.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bson::{Bson, Document};

use crate::iso;

/// Writes a document as one JSON object.
pub(super) fn write_document(document: &Document, out: &mut String) {
    out.push('{');
    for (position, (key, value)) in document.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write_text(key, out);
        out.push(':');
        write_value(value, out);
    }
    out.push('}');
}

/// The text of an id, as it stands in a path.
pub(super) fn id_text(value: &Bson) -> Option<String> {
    let mut text = String::new();
    write_value(value, &mut text);
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str(&text).ok(),
        Some(b'{' | b'[') | None => None,
        Some(_) => Some(text).filter(|text| text != "null"),
    }
}

fn write_value(value: &Bson, out: &mut String) {
    let written = match value {
        Bson::Null | Bson::Undefined => return out.push_str("null"),
        Bson::String(text) | Bson::Symbol(text) => return write_text(text, out),
        Bson::Boolean(flag) => write!(out, "{flag}"),
        Bson::Int32(number) => write!(out, "{number}"),
        Bson::Int64(number) => write!(out, "{number}"),
        // JSON has no other form for NaN and the infinities than text, in the words of Extended JSON.
        Bson::Double(number) if number.is_nan() => write!(out, "\"NaN\""),
        Bson::Double(number) if number.is_infinite() => {
            write!(out, "\"{}Infinity\"", if *number < 0.0 { "-" } else { "" })
        }
        Bson::Double(number) => {
            return out.push_str(&serde_json::to_string(number).unwrap_or_default());
        }
        Bson::Decimal128(number) => write!(out, "\"{}\"", plain(&number.to_string())),
        Bson::ObjectId(id) => write!(out, "\"{}\"", id.to_hex()),
        Bson::DateTime(date) => write!(out, "\"{}\"", iso::millis_text(date.timestamp_millis())),
        Bson::Document(document) => return write_document(document, out),
        Bson::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
            return;
        }
        Bson::Binary(binary) => match binary.to_uuid() {
            Ok(uuid) => write!(out, "\"{uuid}\""),
            Err(_) => write!(out, "\"{}\"", BASE64.encode(&binary.bytes)),
        },
        Bson::Timestamp(time) => write!(out, "\"{}.{}\"", time.time, time.increment),
        other => return write_text(&other.to_string(), out),
    };
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// A decimal without an exponent, as people and the relational side write it, unless that would be very long.
fn plain(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return text.to_owned() };
    let Some(exponent) = exponent.parse::<i32>().ok().filter(|e| (-60..=60).contains(e)) else {
        return text.to_owned();
    };
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if exponent > 0 && digits.bytes().all(|b| b == b'0') {
        return format!("{sign}0");
    }
    let point = whole.len() as i32 + exponent;
    let length = digits.len() as i32;
    match point {
        p if p <= 0 => format!("{sign}0.{}{digits}", "0".repeat(p.unsigned_abs() as usize)),
        p if p >= length => format!("{sign}{digits}{}", "0".repeat((p - length) as usize)),
        p => format!("{sign}{}.{}", &digits[..p as usize], &digits[p as usize..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_written_without_an_exponent() {
        for (text, expected) in [
            ("1E-10", "0.0000000001"),
            ("-1.5E-3", "-0.0015"),
            ("1.5E+3", "1500"),
            ("12.5E1", "125"),
            ("1E+2", "100"),
            ("0E+3", "0"),
            ("-0E+3", "-0"),
            ("0E-2", "0.00"),
            ("NaN", "NaN"),
            ("1E+6000", "1E+6000"),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }
}
