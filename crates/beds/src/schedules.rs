//! Schedules that cannot do their work: mistakes that show only beside templates and keys.
//!
//! Not here: the keys of `[schedules]` (core/config), the asking (crate broker).

use beds_core::config::{Config, Schedule};
use beds_core::text::quote;
use beds_core::{Gatekeeper, Mistake, Operation, Templates};

/// Mistakes in the schedules of a node.
pub(crate) fn mistakes(
    config: &Config,
    templates: &Templates,
    gate: &dyn Gatekeeper,
) -> Vec<Mistake> {
    let of = |(name, schedule): (&String, &Schedule)| {
        let (message, fix) = mistake(schedule, templates, gate)?;
        Some(Mistake::new(format!("schedules.{name}"), 0, message, fix))
    };
    config.schedules.iter().filter_map(of).collect()
}

fn mistake(
    schedule: &Schedule,
    templates: &Templates,
    gate: &dyn Gatekeeper,
) -> Option<(String, String)> {
    let Schedule { template, job, identity, .. } = schedule;
    let Ok(found) = templates.get(template) else {
        return Some((
            format!("there is no template {}", quote(template)),
            "correct the name".into(),
        ));
    };
    if !found.jobs.contains_key(job) {
        return Some((format!("{template} has no job {}", quote(job)), "correct the name".into()));
    }
    let Some(actor) = gate.identity(identity) else {
        let message = format!("no key that is still good has the subject {identity}");
        let fix = format!(
            "make one: beds keys new --subject {identity} --role …, for which auth.keys_file is set"
        );
        return Some((message, fix));
    };
    let refused = found.access.check(&actor, Operation::Job, template, Some(job)).err()?;
    let message = format!("{identity} may not run {template}/{job}: {}", refused.message);
    Some((
        message,
        "give the key a role that may, or the job to one of its roles ([access] jobs)".into(),
    ))
}
