//! [`Source`]: where the value of an object's parameter comes from. The names that mean more than a field are the same in both stores.
//!
//! Not here: the conversion of the value, which each store does (rel/bind.rs, rec/bind.rs).

use beds_core::Operation;
use beds_core::template::Offer;

/// Where a parameter's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The record that the request names.
    Id,
    /// The size of the page.
    Limit,
    /// The last record of the page before.
    After,
    /// All fields together.
    Document,
    EventId,
    /// The subject of the actor.
    Actor,
    /// A field of the request.
    Field(String),
    /// Nowhere: it only answers.
    Nothing,
}

impl Source {
    /// By the name of a parameter that takes a value. `is_whole` where it is one that can take all fields together.
    pub(crate) fn of(name: &str, offer: &Offer<'_>, is_whole: bool) -> Self {
        let is_read = !offer.operation.is_write();
        match name {
            "event_id" => Source::EventId,
            "actor" => Source::Actor,
            "limit" if is_read => Source::Limit,
            "after" if is_read => Source::After,
            _ if is_whole => Source::Document,
            // A named fetch may have an argument called id; the basic operations have the record's.
            "id" if offer.name.is_none() && offer.operation != Operation::Create => Source::Id,
            field => Source::Field(field.to_owned()),
        }
    }
}
