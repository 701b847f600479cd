//! [`Offer`]: one thing that a template offers, for the adapter that binds it to a database object.
//!
//! Not here: the file (../template.rs), the binding (crate adapters).

use std::borrow::Cow;

use super::job::JobKind;
use super::{AnswerShape, Named, Template};
use crate::Operation;

/// One operation that a template offers.
#[derive(Debug, Clone)]
pub struct Offer<'t> {
    pub operation: Operation,
    /// Of a named fetch or of a job.
    pub name: Option<&'t str>,
    pub object: &'t str,
    pub answer: AnswerShape,
    pub effect: Effect,
    /// Of a job: which of its objects it is.
    pub part: JobPart,
    /// Where it stands in the file, such as `fetches.route`.
    pub key: String,
}

/// The effect that an object may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Reads,
    /// It writes, once under each key.
    Writes,
    /// A command of MongoDB that writes what it has read into another collection, outside of any transaction.
    Merges,
}

/// The objects of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JobPart {
    /// The one that does the work.
    #[default]
    Work,
    /// The one that tells how much there is to do.
    Total,
    /// The one that makes the work of a merge visible.
    Publish,
}

impl JobPart {
    /// The name under which a part of a job is bound. No caller can ask for it: a name of a job has no slash.
    pub fn name(self, job: &str) -> Cow<'_, str> {
        match self {
            JobPart::Work => Cow::Borrowed(job),
            JobPart::Total => Cow::Owned(format!("{job}/total")),
            JobPart::Publish => Cow::Owned(format!("{job}/publish")),
        }
    }

    /// True for the name of a part that is not the work itself.
    pub fn is_part(name: &str) -> bool {
        name.contains('/')
    }
}

impl Offer<'_> {
    /// True for an operation on one record that is there already.
    pub fn is_by_id(&self) -> bool {
        self.name.is_none()
            && matches!(self.operation, Operation::Fetch | Operation::Update | Operation::Delete)
    }

    /// True where its object writes, once under each key.
    pub fn is_write(&self) -> bool {
        self.effect == Effect::Writes
    }

    /// True for a step of a job.
    pub fn is_step(&self) -> bool {
        self.operation == Operation::Job && self.part == JobPart::Work && self.is_write()
    }

    /// True where its object is called with one page after the other.
    pub fn is_paged(&self) -> bool {
        match self.operation {
            Operation::Job => self.is_step(),
            operation => !operation.is_write(),
        }
    }
}

impl Template {
    /// Everything that the template offers to callers.
    pub fn offers(&self) -> Vec<Offer<'_>> {
        let mut offers = self.to_bind();
        offers.retain(|offer| offer.part == JobPart::Work);
        offers
    }

    /// The same, with the other objects of jobs.
    pub fn to_bind(&self) -> Vec<Offer<'_>> {
        let basic = [
            Operation::Create,
            Operation::Fetch,
            Operation::List,
            Operation::Update,
            Operation::Delete,
        ];
        let mut offers: Vec<Offer<'_>> = basic
            .into_iter()
            .filter_map(|operation| {
                let key = format!("objects.{operation}");
                Some(offer(operation, None, self.named(operation, None)?, key))
            })
            .collect();
        for (operation, section, named) in
            [(Operation::Fetch, "fetches", &self.fetches), (Operation::Update, "acts", &self.acts)]
        {
            offers.extend(named.iter().map(|(name, named)| {
                offer(operation, Some(name), named, format!("{section}.{name}"))
            }));
        }
        offers.extend(self.jobs.iter().flat_map(|(name, job)| {
            let effect = match job.kind {
                JobKind::Read => Effect::Reads,
                JobKind::Steps => Effect::Writes,
                JobKind::Merge => Effect::Merges,
            };
            let parts = [
                (JobPart::Work, Some(&job.object), effect, ""),
                (JobPart::Total, job.total.as_ref(), Effect::Reads, ".total"),
                (JobPart::Publish, job.publish.as_ref(), Effect::Writes, ".publish"),
            ];
            parts.into_iter().filter_map(move |(part, object, effect, key)| {
                Some(Offer {
                    operation: Operation::Job,
                    name: Some(name),
                    object: object?,
                    answer: AnswerShape::Record,
                    effect,
                    part,
                    key: format!("jobs.{name}{key}"),
                })
            })
        }));
        offers
    }
}

fn offer<'t>(
    operation: Operation,
    name: Option<&'t str>,
    named: &'t Named,
    key: String,
) -> Offer<'t> {
    let effect = if operation.is_write() { Effect::Writes } else { Effect::Reads };
    let (object, answer) = (&named.object, named.answer);
    Offer { operation, name, object, answer, effect, part: JobPart::Work, key }
}
