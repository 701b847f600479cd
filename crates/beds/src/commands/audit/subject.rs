//! `beds audit subject TEMPLATE/ID`: the acts on a record with their actors, and how far the list is complete.
//!
//! Not here: the hashes by which a record is found (`trail/record_keys.rs`).

use std::process::ExitCode;

use beds_core::template::AuditPolicy;
use beds_core::text::quote;
use beds_core::{Config, Result};
use beds_trail::audit::{AuditRecord, SealedRecord, time_text};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::connection::Connection;
use super::super::{ConfigArgs, EX_USAGE, fail, report, say, warn};
use super::line;
use crate::record_keys::record_keys;
use crate::settings;

/// Acts in one answer, at most.
const MOST: u32 = 500;

#[derive(Args)]
pub struct SubjectArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// The record: its template and its id as the database writes it, such as Users/ana@example.com
    record: String,
    /// From this time on, such as 2026-11-23T10:00:00Z
    #[arg(long)]
    since: Option<Timestamp>,
    /// Before this time
    #[arg(long)]
    until: Option<Timestamp>,
    /// How many, 1 to 500
    #[arg(long, default_value = "50")]
    limit: u32,
}

impl SubjectArgs {
    /// The acts with one of these hashes.
    async fn acts(
        &self,
        connection: &Connection,
        hashes: &[String],
        limit: u32,
    ) -> Result<Vec<AuditRecord>> {
        let mut params = vec![("hashes", json!(hashes)), ("limit", json!(limit))];
        let times = [("since", self.since), ("until", self.until)];
        let given = times.into_iter().filter_map(|(name, at)| Some((name, at?)));
        params.extend(given.map(|(name, at)| (name, Value::from(time_text(at)))));
        let found: Vec<SealedRecord> = connection.reader.fetch("Audit", "touching", params).await?;
        Ok(found.iter().filter_map(SealedRecord::open).collect())
    }
}

pub(super) async fn subject(
    connection: &Connection,
    config: &Config,
    args: &SubjectArgs,
) -> Result<ExitCode> {
    let Some((template, id)) = args.record.split_once('/').filter(|(_, id)| !id.is_empty()) else {
        return Ok(fail(EX_USAGE, "name a record as TEMPLATE/ID, such as Users/ana@example.com"));
    };
    if !(1..=MOST).contains(&args.limit) {
        return Ok(fail(EX_USAGE, "--limit is a number from 1 to 500"));
    }
    let keys = match record_keys(config) {
        Ok(keys) => keys,
        Err(mistakes) => return Ok(report(&mistakes)),
    };
    if keys.is_empty() {
        let text = "reports.hash_keys is not set in this beds.toml, and without the keys no record is found; use those of a worker";
        return Ok(fail(2, text));
    }
    let acts = args.acts(connection, &keys.hashes(template, id), args.limit).await?;
    acts.iter().for_each(|act| say(&line(act)));
    match acts.last() {
        Some(oldest) if acts.len() >= args.limit as usize => {
            let at = time_text(oldest.at);
            warn(&format!(
                "there may be older acts: add --until {at}, which leaves out this moment"
            ));
        }
        Some(_) => {}
        None => warn("no act on this record is stored; write the id as the database does"),
    }
    warn(&completeness(connection, config, args, template).await?);
    Ok(ExitCode::SUCCESS)
}

/// A sentence on the acts that are missing.
async fn completeness(
    connection: &Connection,
    config: &Config,
    args: &SubjectArgs,
    template: &str,
) -> Result<String> {
    let (templates, _) = settings::templates(&config.templates.path);
    let name = quote(template);
    let Some(template) = templates.iter().find(|known| known.name == template) else {
        return Ok(format!(
            "{name} is not a template of this node, so it is not known whether its acts are complete"
        ));
    };
    if template.audit == AuditPolicy::Required {
        return Ok(format!("{name} has audit = \"required\": no answer leaves without its record"));
    }
    let drops = args.acts(connection, &[AuditRecord::DROP.to_owned()], MOST).await?;
    let dropped: u64 = drops.iter().filter_map(|drop| drop.unrecorded).sum();
    let at_least = if drops.len() >= MOST as usize { "at least " } else { "" };
    Ok(format!(
        "{at_least}{dropped} records of reads found no room on their nodes in this time, of all templates together; \
         with audit = \"required\", {name} would answer no read without one"
    ))
}
