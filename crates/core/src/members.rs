//! The members of a record as it is answered: a JSON object that is not read further than to them.
//!
//! Not here: objects from outside (fields.rs), which are read strictly.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The text of a record's id: a text without its quotes, a number as it is written. None where it is null or not there. Names
/// of columns are the same in any mix of capitals.
pub fn id_of(record: &RawValue, id_field: &str) -> Option<String> {
    let Members(members) = serde_json::from_str(record.get()).ok()?;
    let named = |(name, _): &&(Cow<'_, str>, &RawValue)| name.eq_ignore_ascii_case(id_field);
    let (_, value) = members.iter().find(named)?;
    match value.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        text => Some(text.to_owned()),
    }
}

/// The members of a JSON object, with their values as they are written.
pub(crate) struct Members<'m>(pub(crate) Vec<(Cow<'m, str>, &'m RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_asked_for() {
        let id = |text: &str| id_of(&RawValue::from_string(text.to_owned()).unwrap(), "id");
        assert_eq!(id(r#"{"name":"a","id":7}"#).as_deref(), Some("7"));
        assert_eq!(id(r#"{"ID":"a\"b"}"#).as_deref(), Some("a\"b"));
        assert_eq!(id(r#"{"id":1.50}"#).as_deref(), Some("1.50"));
        assert_eq!(id(r#"{"id":null}"#), None);
        assert_eq!(id(r#"{"name":{"id":7}}"#), None);
        assert_eq!(id("[1]"), None);
    }
}
