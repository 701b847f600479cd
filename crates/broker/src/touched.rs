//! [`Touched`]: the records that a piece of work touched, as the trail names them.
//!
//! Not here: the hashes themselves (crate trail), the reports (pool/report.rs, calgon/report.rs).

use beds_core::reply::Answer;
use beds_core::{Event, Operation};
use beds_trail::record_keys::Seen;
use beds_transport::Reports;

use crate::Factory;

/// The records that an event touched, as the trail names them.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// The one that it is about.
    pub(crate) record: Option<String>,
    /// The others.
    pub(crate) seen: Option<Seen>,
    /// Rows without a name.
    pub(crate) unnamed: Option<u32>,
}

impl Touched {
    /// The records that an event touched. As the store writes their ids: a caller could hide behind another spelling.
    pub(crate) fn by(
        factory: &Factory,
        reports: &Reports,
        event: &Event,
        answer: Option<&Answer>,
    ) -> Self {
        let keys = reports.record_keys();
        if keys.is_empty() || !reports.enabled().audit {
            return Self::default();
        }
        let asked = factory.asked_id(event);
        let hash = |id: &String| keys.hash(&event.template, id);
        let Some(answer) = answer else {
            return Self { record: asked.as_ref().and_then(hash), ..Self::default() };
        };
        let is_of_one = asked.is_some() || event.operation == Operation::Create;
        // The usual case: nothing has to be read.
        let is_plain = is_of_one && answer.id.is_some() && answer.result_sets.is_none();
        let (mut others, rows) = match is_plain {
            true => (Vec::new(), 0),
            false => factory.ids(&event.template, answer),
        };
        let unnamed = rows - others.len();
        let first = || answer.id.clone().or_else(|| others.first().cloned());
        let about = if is_of_one { first().or_else(|| asked.clone()) } else { None };
        // An update can give a record another id: it is found under both.
        others.extend(asked.filter(|_| is_of_one));
        others.retain(|id| Some(id) != about.as_ref());
        let seen = keys.seen(&event.template, &others);
        let beyond = seen.as_ref().map_or(0, |seen| seen.more as usize);
        let unnamed = u32::try_from(unnamed + beyond).unwrap_or(u32::MAX);
        let unnamed = (unnamed > 0).then_some(unnamed);
        Self { record: about.as_ref().and_then(hash), seen, unnamed }
    }

    /// The records of which the first ids are known, and the number of the others.
    pub(crate) fn rows(reports: &Reports, template: &str, ids: &[String], others: u64) -> Self {
        let keys = reports.record_keys();
        if keys.is_empty() || !reports.enabled().audit {
            return Self::default();
        }
        let seen = keys.seen(template, ids);
        let beyond = seen.as_ref().map_or(0, |seen| u64::from(seen.more));
        let unnamed = u32::try_from(others + beyond).unwrap_or(u32::MAX);
        Self { record: None, seen, unnamed: (unnamed > 0).then_some(unnamed) }
    }
}
