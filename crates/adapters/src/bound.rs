//! [`Bound`]: a template that was fitted to its database, and the findings about a database beside its templates.
//!
//! Not here: the fitting, which is `rel`'s and `rec`'s.

use std::sync::Arc;

use beds_core::{Mistake, Template, TemplateAdapter};

/// A template that was fitted to its database, with its mistakes.
pub struct Bound {
    pub template: Arc<Template>,
    pub adapter: Arc<dyn TemplateAdapter>,
    pub mistakes: Vec<Mistake>,
}

impl Bound {
    pub(crate) fn new(
        template: &Arc<Template>,
        adapter: impl TemplateAdapter + 'static,
        mistakes: Vec<Mistake>,
    ) -> Self {
        Self { template: Arc::clone(template), adapter: Arc::new(adapter), mistakes }
    }

    /// True where the template has mistakes and no operation that works.
    pub fn is_useless(&self) -> bool {
        !self.mistakes.is_empty() && self.adapter.describe().operations.is_empty()
    }
}

/// How far a clock may be off before deadlines and times in records mislead, in seconds.
const CLOCK: f64 = 2.0;

/// A warning where the server's clock and this node's differ; `ahead` in seconds.
pub(crate) fn clock(place: &str, ahead: Option<f64>) -> Option<Mistake> {
    let ahead = ahead.filter(|ahead| ahead.abs() > CLOCK)?;
    let word = if ahead > 0.0 { "ahead of" } else { "behind" };
    let message = format!("the server's clock is {:.0} s {word} this node's", ahead.abs());
    Some(
        Mistake::new(place, 0, message, "let both follow the same time servers (NTP)").as_warning(),
    )
}

/// A warning where the inbox keeps keys for longer than it has to: then nothing prunes it.
pub(crate) fn inbox_age(place: &str, oldest_hours: Option<i64>, keep_days: u16) -> Option<Mistake> {
    let days = oldest_hours? / 24;
    // A day more, for a prune that runs once a day.
    if days <= i64::from(keep_days) + 1 {
        return None;
    }
    let message = format!(
        "the inbox has keys of {days} days, and inbox.keep_days is {keep_days}: nothing prunes it"
    );
    Some(
        Mistake::new(place, 0, message, "schedule beds_inbox_prune (docs/dba.md, The inbox)")
            .as_warning(),
    )
}
