//! The arguments and results of [`crate::NamasteCore`]: [`Payload`], [`Query`] and [`Response`].
//!
//! Not here: their form on the wire (event.rs for requests, reply.rs for answers).

use serde_json::value::RawValue;

use crate::{EventId, Fields, Operation};

/// The page size of a listing that names none, and the largest that may be asked for.
pub const DEFAULT_LIMIT: u32 = 50;
pub const MAX_LIMIT: u32 = 500;

/// The fields of a create or an update.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    /// The record to update; ignored by a create.
    pub id: Option<String>,
    pub fields: Fields,
    /// The values are texts that stand for values of the declared types, as in a CSV file.
    pub is_text: bool,
}

/// Which records to read.
#[derive(Debug, Clone)]
pub struct Query {
    pub select: Select,
    /// The arguments of a named fetch or a listing, `limit` and `after` among them.
    pub params: Fields,
}

impl Query {
    pub fn operation(&self) -> Operation {
        if self.select == Select::List { Operation::List } else { Operation::Fetch }
    }
}

/// The three ways to select records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    ById(String),
    List,
    Named(String),
}

/// One record that an operation answers with.
///
/// An object that answered no row but other results beside it (OUT values, further result sets) gives one `Response` without
/// a record.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// The value of the template's id field, as text.
    pub id: Option<String>,
    /// The record as a JSON object.
    pub record: Option<Box<RawValue>>,
    /// Set on the last record of a page that may have a successor: the `after` of the next page.
    pub next: Option<String>,
    /// Set on the last record of a page that may have been cut.
    pub more: bool,
    /// Set on the first record, and only where the operation answers everything that its object does ([`crate::AnswerShape`]).
    pub beside: Option<Box<Beside>>,
    /// The event whose stored answer this is, where an earlier one with the same key had written.
    pub repeat_of: Option<EventId>,
}

/// Results beside the records.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// Result sets, each a JSON array of objects. Of a listing or a named fetch, those after the first; of an operation on
    /// one record, all of them.
    pub result_sets: Vec<Box<RawValue>>,
    /// OUT and INOUT parameters as a JSON object of names without `p_`.
    pub out: Option<Box<RawValue>>,
    /// How many rows the first set of an operation on one record has, where it is not one.
    pub rows: Option<u32>,
}
