//! MariaDB rows to JSON, such that every value survives exactly: DECIMAL is text, BLOB is base64, DATE and DATETIME are
//! ISO 8601 without a zone, BOOL is true or false. `rec/json.rs` does the same for BSON.
//!
//! Not here: which texts are JSON, which `bind` and `catalog` know.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD as BASE64;
use mysql_async::consts::{ColumnFlags, ColumnType};
use mysql_async::{Column, Row, Value as Sql};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value as Json;
use serde_json::value::{RawValue, to_raw_value};

use super::bind::{JsonNames, Out};

/// The character set number of binary data. The BINARY flag says nothing: JSON columns have it too.
const BINARY_CHARSET: u16 = 63;

/// The columns of a result set: how its rows become JSON objects.
pub(super) struct ResultColumns {
    columns: Arc<[Column]>,
    kinds: Vec<ColumnKind>,
    id: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ColumnKind {
    Plain,
    Boolean,
    /// Numbers that travel as text.
    Text,
    Json,
    Binary,
    Date,
    /// Digits behind the second.
    DateTime(u8),
    Time(u8),
    Bits,
}

impl ResultColumns {
    pub(super) fn new(columns: Arc<[Column]>, id: &str, json: &JsonNames) -> Self {
        let id =
            columns.iter().position(|column| column.name_ref().eq_ignore_ascii_case(id.as_bytes()));
        let kinds = columns.iter().map(|column| kind(column, json)).collect();
        Self { columns, kinds, id }
    }

    /// The name of a column that stands twice.
    pub(super) fn twice(&self) -> Option<String> {
        let mut seen = HashSet::new();
        self.columns
            .iter()
            .map(Column::name_str)
            .find(|name| !seen.insert(name.clone()))
            .map(Cow::into_owned)
    }

    /// A row as one JSON object.
    pub(super) fn record(&self, row: &Row) -> serde_json::Result<Box<RawValue>> {
        to_raw_value(&Record { columns: self, row, out: None })
    }

    /// The values of OUT parameters, which the server does not name as the catalog does.
    pub(super) fn record_of(&self, out: &[Out], row: &Row) -> serde_json::Result<Box<RawValue>> {
        to_raw_value(&Record { columns: self, row, out: Some(out) })
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
    columns: &'a ResultColumns,
    row: &'a Row,
    out: Option<&'a [Out]>,
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.columns.kinds.len()))?;
        for (position, (column, kind)) in
            self.columns.columns.iter().zip(&self.columns.kinds).enumerate()
        {
            let out = self.out.and_then(|out| out.get(position));
            let name =
                out.map_or_else(|| column.name_str(), |out| Cow::Borrowed(out.name.as_str()));
            let kind = match (out, *kind) {
                (Some(out), _) if out.is_json => ColumnKind::Json,
                // A BIT parameter comes back as a number in digits (tried on 10.11.19), and a BIT column as bytes.
                (Some(_), ColumnKind::Bits) => ColumnKind::Json,
                (_, kind) => kind,
            };
            object.serialize_entry(
                &name,
                &Cell(self.row.as_ref(position).unwrap_or(&Sql::NULL), kind),
            )?;
        }
        object.end()
    }
}

struct Cell<'a>(&'a Sql, ColumnKind);

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0, self.1) {
            (Sql::NULL, _) => serializer.serialize_unit(),
            // A TINYINT(1) can also hold 7: that stays a number.
            (Sql::Int(0), ColumnKind::Boolean) => serializer.serialize_bool(false),
            (Sql::Int(1), ColumnKind::Boolean) => serializer.serialize_bool(true),
            (Sql::Int(number), _) => serializer.serialize_i64(*number),
            (Sql::UInt(number), _) => serializer.serialize_u64(*number),
            (Sql::Float(number), _) => serializer.serialize_f32(*number),
            (Sql::Double(number), _) => serializer.serialize_f64(*number),
            (Sql::Bytes(bytes), ColumnKind::Binary) => {
                serializer.collect_str(&Base64Display::new(bytes, &BASE64))
            }
            (Sql::Bytes(bytes), ColumnKind::Bits) => serializer
                .serialize_u64(bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte))),
            // A JSON column holds texts that its check constraint let in; other texts are sent as text rather than broken.
            (Sql::Bytes(bytes), ColumnKind::Json) => {
                match serde_json::from_slice::<&RawValue>(bytes) {
                    Ok(json) => json.serialize(serializer),
                    Err(_) => serializer.serialize_str(&String::from_utf8_lossy(bytes)),
                }
            }
            (Sql::Bytes(bytes), _) => serializer.serialize_str(&String::from_utf8_lossy(bytes)),
            (Sql::Date(y, m, d, ..), ColumnKind::Date) => {
                serializer.collect_str(&format_args!("{y:04}-{m:02}-{d:02}"))
            }
            (Sql::Date(y, m, d, h, min, s, us), kind) => {
                let whole = format_args!("{y:04}-{m:02}-{d:02}T{h:02}:{min:02}:{s:02}");
                let known = if let ColumnKind::DateTime(digits) = kind { digits } else { 6 };
                write_seconds(serializer, whole, known, *us)
            }
            (Sql::Time(negative, days, h, min, s, us), _) => {
                let sign = if *negative { "-" } else { "" };
                let hours = u64::from(*days) * 24 + u64::from(*h);
                let whole = format_args!("{sign}{hours:02}:{min:02}:{s:02}");
                let known = if let ColumnKind::Time(digits) = self.1 { digits } else { u8::MAX };
                write_seconds(serializer, whole, known, *us)
            }
        }
    }
}

/// As many digits behind the second as the column has; of an expression without declared digits, all digits.
fn write_seconds<S: Serializer>(
    serializer: S,
    whole: std::fmt::Arguments<'_>,
    digits: u8,
    micros: u32,
) -> Result<S::Ok, S::Error> {
    match u32::from(digits) {
        0 => serializer.collect_str(&whole),
        digits @ 1..=6 => {
            let fraction = micros / 10_u32.pow(6 - digits);
            serializer
                .collect_str(&format_args!("{whole}.{fraction:0width$}", width = digits as usize))
        }
        _ if micros == 0 => serializer.collect_str(&whole),
        _ => serializer.collect_str(&format_args!("{whole}.{micros:06}")),
    }
}

/// As the server describes a JSON column, and any other LONGTEXT with a collation by bytes (tried on 10.11.19 and 11.8.9).
fn looks_like_json(column: &Column) -> bool {
    column.column_type() == ColumnType::MYSQL_TYPE_BLOB
        && column.column_length() == u32::MAX
        && column.flags().contains(ColumnFlags::BLOB_FLAG | ColumnFlags::BINARY_FLAG)
}

fn kind(column: &Column, json: &JsonNames) -> ColumnKind {
    let is_binary = column.character_set() == BINARY_CHARSET;
    match column.column_type() {
        ColumnType::MYSQL_TYPE_TINY if column.column_length() == 1 => ColumnKind::Boolean,
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => ColumnKind::Text,
        ColumnType::MYSQL_TYPE_JSON => ColumnKind::Json,
        ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => ColumnKind::Date,
        ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_TIMESTAMP => {
            ColumnKind::DateTime(column.decimals())
        }
        ColumnType::MYSQL_TYPE_TIME | ColumnType::MYSQL_TYPE_TIME2 => {
            ColumnKind::Time(column.decimals())
        }
        ColumnType::MYSQL_TYPE_BIT => ColumnKind::Bits,
        ColumnType::MYSQL_TYPE_TINY_BLOB
        | ColumnType::MYSQL_TYPE_BLOB
        | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
        | ColumnType::MYSQL_TYPE_LONG_BLOB
        | ColumnType::MYSQL_TYPE_VAR_STRING
        | ColumnType::MYSQL_TYPE_VARCHAR
        | ColumnType::MYSQL_TYPE_STRING
        | ColumnType::MYSQL_TYPE_GEOMETRY => {
            // A table of the same name in another database says nothing about this one's.
            let is_of_here = column.schema_str() == json.catalog.schema;
            let table = column.org_table_str();
            let table = is_of_here.then_some(&*table);
            match is_binary {
                true if column.flags().contains(ColumnFlags::BINARY_FLAG) => ColumnKind::Binary,
                _ if json.is_json(
                    &column.name_str(),
                    table,
                    &column.org_name_str(),
                    looks_like_json(column),
                ) =>
                {
                    ColumnKind::Json
                }
                _ => ColumnKind::Plain,
            }
        }
        _ => ColumnKind::Plain,
    }
}
