//! [`SqlType`]: the values that the declaration of a parameter allows.
//!
//! Not here: how a value becomes one of that type, which is the parent's.

use crate::rel::catalog::Parameter;

/// A parameter's type, as far as values must be checked and converted for it.
#[derive(Debug, Clone)]
pub(in crate::rel) struct SqlType {
    /// As the DBA declared it.
    pub(in crate::rel) declared: String,
    pub(super) family: Family,
    /// Of texts in characters, of bytes in bytes.
    pub(super) max_length: Option<u64>,
    /// Digits behind the point that the server keeps, of decimals and seconds; it cuts off the others without a word.
    pub(super) scale: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Family {
    /// Smallest and largest value.
    Integer(i128, i128),
    Boolean,
    /// Digits in front of the point; without a sign.
    Decimal {
        whole: usize,
        is_unsigned: bool,
    },
    Float(Floating),
    /// 0, and 1901 to 2155.
    Year,
    Text,
    /// Its trailing spaces are not kept.
    FixedText,
    /// One of these.
    Choice(Vec<String>),
    /// Some of these, with commas between.
    Choices(Vec<String>),
    Json,
    Date,
    DateTime,
    Time,
    Binary,
    /// Shorter values are filled with zeros.
    FixedBinary,
    Geometry,
    Unknown,
}

/// A number with a floating point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Floating {
    /// 32 bits instead of 64.
    pub(super) is_single: bool,
    pub(super) is_unsigned: bool,
    /// Digits in front of the point and behind it, where the declaration limits them: the server rounds.
    pub(super) places: Option<(usize, usize)>,
}

impl SqlType {
    /// The type of a page size.
    pub(in crate::rel) const UNSIGNED: SqlType = SqlType {
        declared: String::new(),
        family: Family::Integer(0, u64::MAX as i128),
        max_length: None,
        scale: 0,
    };

    pub(in crate::rel) fn of(parameter: &Parameter) -> Self {
        let declared = parameter.declared.to_lowercase();
        let is_unsigned = declared.contains("unsigned");
        let integer = |bits: u32| match is_unsigned {
            true => Family::Integer(0, (1 << bits) - 1),
            false => Family::Integer(-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
        };
        let numbers = numbers(&declared);
        let float = |is_single| {
            let places = match numbers[..] {
                [all, behind] => Some((all.saturating_sub(behind), behind)),
                _ => None,
            };
            Family::Float(Floating { is_single, is_unsigned, places })
        };
        let mut scale = numbers.last().copied().unwrap_or(0);
        let family = match parameter.data_type.as_str() {
            "tinyint" if declared.starts_with("tinyint(1)") => Family::Boolean,
            "tinyint" => integer(8),
            "smallint" => integer(16),
            "mediumint" => integer(24),
            "int" | "integer" => integer(32),
            "bigint" => integer(64),
            "bit" => Family::Integer(0, (1 << numbers.first().copied().unwrap_or(1).min(64)) - 1),
            "year" => Family::Year,
            "decimal" | "numeric" => {
                let (all, behind) =
                    (numbers.first().copied().unwrap_or(10), numbers.get(1).copied().unwrap_or(0));
                scale = behind;
                Family::Decimal { whole: all.saturating_sub(behind), is_unsigned }
            }
            "float" => float(true),
            "double" | "real" => float(false),
            "date" => Family::Date,
            "datetime" | "timestamp" => Family::DateTime,
            "time" => Family::Time,
            "binary" => Family::FixedBinary,
            "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Family::Binary,
            "enum" => Family::Choice(members(&parameter.declared)),
            "set" => Family::Choices(members(&parameter.declared)),
            "char" => Family::FixedText,
            // JSON is LONGTEXT with this collation; information_schema shows no other difference.
            "longtext" if parameter.collation.as_deref() == Some("utf8mb4_bin") => Family::Json,
            "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "uuid" | "inet4"
            | "inet6" | "json" => Family::Text,
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geometrycollection" => Family::Geometry,
            _ => Family::Unknown,
        };
        Self {
            declared: parameter.declared.clone(),
            family,
            max_length: parameter.max_length,
            scale,
        }
    }

    pub(in crate::rel) fn is_text(&self) -> bool {
        matches!(self.family, Family::Text | Family::Json)
    }

    pub(in crate::rel) fn is_json(&self) -> bool {
        self.family == Family::Json
    }

    /// True for a type of which BEDS knows no form in JSON.
    pub(in crate::rel) fn is_unknown(&self) -> bool {
        self.family == Family::Unknown
    }
}

/// The numbers in the parentheses of `decimal(30,10)` or `datetime(6)`.
fn numbers(declared: &str) -> Vec<usize> {
    let inner = declared
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .map_or("", |(inner, _)| inner);
    inner.split(',').filter_map(|number| number.trim().parse().ok()).collect()
}

/// The members of `enum('a','it''s')`.
fn members(declared: &str) -> Vec<String> {
    let inner =
        declared.split_once('(').map_or("", |(_, rest)| rest.strip_suffix(')').unwrap_or(rest));
    let mut members = Vec::new();
    let mut rest = inner;
    while let Some(start) = rest.find('\'') {
        let mut member = String::new();
        let mut chars = rest[start + 1..].char_indices().peekable();
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                    chars.next();
                    member.push('\'');
                }
                // As the catalog writes a backslash.
                '\\' => member.extend(chars.next().map(|(_, escaped)| escaped)),
                '\'' => {
                    end = start + 1 + at + 1;
                    break;
                }
                c => member.push(c),
            }
        }
        members.push(member);
        rest = rest.get(end..).unwrap_or_default();
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_as_they_were_declared() {
        assert_eq!(
            members("enum('G','PG-13','it''s','a,b','')"),
            ["G", "PG-13", "it's", "a,b", ""]
        );
        assert_eq!(members(r"set('x\\y','é')"), [r"x\y", "é"]);
        assert_eq!(numbers("decimal(30,10) unsigned"), [30, 10]);
        assert_eq!(numbers("date"), Vec::<usize>::new());
    }
}
