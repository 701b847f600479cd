//! [`Fields`]: a JSON object from outside, read strictly.
//!
//! Not here: which field fits which parameter, which is the adapters' to say.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

use crate::number::first_inexact;
use crate::text::quote;
use crate::{BedsError, ErrorKind};

/// The deepest nesting of a body or an event: an object in an object is depth two.
pub const MAX_DEPTH: usize = 32;

/// The most values in one event: in memory each takes some dozen times the two bytes that it can be written with.
pub const MAX_VALUES: usize = 100_000;

/// How many values a JSON text has at most: one more than it has marks between values. Members of objects count once.
pub fn values_in(json: &[u8]) -> usize {
    let (mut values, mut is_text, mut is_escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b',' | b'[' | b'{' if !is_text => values += 1,
            _ => {}
        }
    }
    values
}

/// A JSON object without duplicate keys and not nested deeper than [`MAX_DEPTH`].
///
/// Two parsers that disagree on a repeated key are a way around a check, so a repeated key is an error here. A clone is
/// cheap: it shares the object until one of the two is changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields {
    map: Arc<Map<String, Value>>,
    /// The first field whose text holds a number that was rounded when it was read.
    inexact: Option<Arc<str>>,
}

impl Fields {
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses one JSON object. The error names the mistake and its place, in words for the caller.
    pub fn from_slice(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// Parses one JSON value of any type, as strictly. A number in it that 64 bits cannot hold is an error.
    pub fn value_of(text: &str) -> serde_json::Result<Value> {
        let value = strictly(text)?;
        match first_inexact(text) {
            None => Ok(value),
            Some(_) => {
                Err(serde_json::Error::custom("a number must fit into 64 bits to the last digit"))
            }
        }
    }

    /// Refuses fields whose numbers were rounded when they were read.
    ///
    /// # Errors
    /// [`ErrorKind::ValueOutOfRange`] with the field's name.
    pub fn check_exact(&self) -> crate::Result<()> {
        let Some(field) = &self.inexact else { return Ok(()) };
        let text = format!(
            "{} holds a number that 64 bits do not hold to the last digit; send it as text",
            quote(field).replace('"', "`")
        );
        Err(BedsError::new(ErrorKind::ValueOutOfRange, text)
            .with_field(field.chars().take(64).collect::<String>()))
    }

    /// Feeds the fields into a hash such that neither key order nor white space matters.
    pub fn digest_into(&self, hash: &mut Sha256) {
        digest_object(&self.map, hash);
    }
}

impl Deref for Fields {
    type Target = Map<String, Value>;
    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

impl DerefMut for Fields {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.map)
    }
}

impl FromIterator<(String, Value)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(pairs: I) -> Self {
        // No text was read here, so no number was rounded.
        Self { map: Arc::new(pairs.into_iter().collect()), inexact: None }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.map.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text itself, because only there it shows whether a number is exact.
        let text = Box::<RawValue>::deserialize(deserializer)?;
        match strictly(text.get()).map_err(D::Error::custom)? {
            Value::Object(map) => {
                let inexact = first_inexact(text.get()).map(Arc::from);
                Ok(Fields { map: Arc::new(map), inexact })
            }
            other => {
                Err(D::Error::custom(format!("expected a JSON object, found {}", kind_of(&other))))
            }
        }
    }
}

fn strictly(text: &str) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = (Strict { depth: 0 }).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// The name of a JSON value's type, for messages.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn digest_object(map: &Map<String, Value>, hash: &mut Sha256) {
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort_unstable();
    hash.update(b"{");
    for key in keys {
        digest_text(key, hash);
        digest_value(&map[key], hash);
    }
    hash.update(b"}");
}

fn digest_value(value: &Value, hash: &mut Sha256) {
    match value {
        Value::Object(map) => digest_object(map, hash),
        Value::Array(items) => {
            hash.update(b"[");
            items.iter().for_each(|item| digest_value(item, hash));
            hash.update(b"]");
        }
        Value::String(text) => digest_text(text, hash),
        other => hash.update(other.to_string().as_bytes()),
    }
    hash.update(b",");
}

/// The length goes in front, so that no two different sequences of texts hash alike.
fn digest_text(text: &str, hash: &mut Sha256) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(&self) -> Result<Strict, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Strict { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.deeper::<A::Error>()?.depth;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Strict { depth })? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let depth = self.deeper::<A::Error>()?.depth;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!(
                    "the key {} stands twice in one object",
                    quote(&key)
                )));
            }
            let value = entries.next_value_seed(Strict { depth })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Fields::from_slice(text.as_bytes()).unwrap_err().to_string()
    }

    fn digest(text: &str) -> Vec<u8> {
        let mut hash = Sha256::new();
        Fields::from_slice(text.as_bytes()).unwrap().digest_into(&mut hash);
        hash.finalize().to_vec()
    }

    #[test]
    fn a_duplicate_key_is_refused_at_any_depth() {
        assert!(refused(r#"{"a":1,"a":2}"#).contains("\"a\" stands twice"));
        assert!(refused(r#"{"x":[{"b":1,"b":1}]}"#).contains("\"b\" stands twice"));
        assert!(refused(r#"{"a":1,"\u0061":2}"#).contains("\"a\" stands twice"));
    }

    #[test]
    fn nesting_ends_at_the_limit_and_not_before() {
        let nested =
            |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(Fields::from_slice(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(refused(&nested(MAX_DEPTH + 1)).contains("nested deeper"));
        assert!(refused(&nested(100_000)).contains("nested deeper"));
        refused(&format!("{{\"a\":{}", "[".repeat(100_000)));
    }

    #[test]
    fn values_are_counted_before_they_are_read() {
        assert_eq!(values_in(br#"{"a":[1,2,3],"b":"x,[\",{"}"#), 6);
        assert!(values_in(br#"{"a":[0,0,0,0]}"#) >= 6);
    }

    #[test]
    fn only_an_object_is_a_body() {
        for text in ["[]", "1", "null", "\"x\"", ""] {
            refused(text);
        }
    }

    #[test]
    fn a_number_that_was_rounded_is_refused_by_the_name_of_its_field() {
        let fields = Fields::from_slice(br#"{"a":0.1,"b":{"c":1234567890.123456789}}"#).unwrap();
        let error = fields.check_exact().unwrap_err();
        assert_eq!((error.kind, error.field.as_deref()), (ErrorKind::ValueOutOfRange, Some("b")));
        assert!(Fields::from_slice(br#"{"a":6.02214076e23}"#).unwrap().check_exact().is_ok());
        assert!(Fields::value_of("1.00000000000000000001").is_err());
    }

    #[test]
    fn integers_keep_every_digit() {
        let fields =
            Fields::from_slice(br#"{"a":18446744073709551615,"b":-9223372036854775808}"#).unwrap();
        assert_eq!(fields["a"].as_u64(), Some(u64::MAX));
        assert_eq!(fields["b"].as_i64(), Some(i64::MIN));
    }

    #[test]
    fn the_digest_ignores_order_and_white_space_and_nothing_else() {
        assert_eq!(digest(r#"{"a":1,"b":{"c":[1,2]}}"#), digest(r#"{ "b": {"c":[1, 2]}, "a":1 }"#));
        assert_ne!(digest(r#"{"a":[1,2]}"#), digest(r#"{"a":[2,1]}"#));
        assert_ne!(digest(r#"{"a":"1"}"#), digest(r#"{"a":1}"#));
        assert_ne!(digest(r#"{"a":["bc","d"]}"#), digest(r#"{"a":["b","cd"]}"#));
    }
}
