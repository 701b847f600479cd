//! `beds audit subject TEMPLATE/ID`: the acts on a record with their actors, and how far the list is complete.
//!
//! Not here: the hashes by which a record is found (`trail/record_keys.rs`).

use std::process::ExitCode;

use beds_core::template::AuditPolicy;
use beds_core::text::quote;
use beds_core::{Config, Result};
use beds_trail::audit::{AuditRecord, SealedRecord, time_text};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::connection::Connection;
use super::super::{ConfigArgs, EX_USAGE, fail, report, say, warn};
use super::{PageArgs, line};
use crate::record_keys::record_keys;
use crate::settings;

/// Acts in one answer, at most.
const MOST: u32 = 500;

/// How long the dropping of records may go on before a record tells of it.
const DROPS_BEFORE: SignedDuration = SignedDuration::from_hours(1);

#[derive(Args)]
pub struct SubjectArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// The record: its template and its id as the database writes it, such as Users/ana@example.com
    record: String,
    #[command(flatten)]
    page: PageArgs,
}

impl SubjectArgs {
    /// The acts with one of these hashes; those that cannot be read, or whose copies do not match, are counted.
    async fn acts(
        &self,
        connection: &Connection,
        hashes: &[String],
        since: Option<Timestamp>,
        limit: u32,
    ) -> Result<Acts> {
        let mut params = vec![("hashes", json!(hashes)), ("limit", json!(limit))];
        let times = [("since", since), ("until", self.page.until)];
        let given = times.into_iter().filter_map(|(name, at)| Some((name, at?)));
        params.extend(given.map(|(name, at)| (name, Value::from(time_text(at)))));
        let found: Vec<SealedRecord> = connection.reader.fetch("Audit", "touching", params).await?;
        let count = found.len();
        let faithful = found.iter().filter(|sealed| sealed.is_faithful());
        let read: Vec<AuditRecord> = faithful.filter_map(SealedRecord::open).collect();
        Ok(Acts { broken: count - read.len(), is_full: count >= limit as usize, read })
    }
}

/// Acts, as they were found.
struct Acts {
    read: Vec<AuditRecord>,
    broken: usize,
    /// There may be more.
    is_full: bool,
}

impl Acts {
    /// A number of them, as far as it is known.
    fn counted(&self, count: u64) -> String {
        format!("{}{count}", if self.is_full { "at least " } else { "" })
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
    if !(1..=MOST).contains(&args.page.limit) {
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
    let hashes = keys.hashes(template, id);
    let acts = args.acts(connection, &hashes, args.page.since, args.page.limit).await?;
    acts.read.iter().for_each(|act| say(&line(act)));
    match acts.read.last() {
        Some(oldest) if acts.is_full => {
            let at = time_text(oldest.at);
            warn(&format!(
                "there may be older acts: add --until {at}, which leaves out this moment"
            ));
        }
        Some(_) => {}
        None => warn("no act on this record is stored; write the id as the database does"),
    }
    for remark in remarks(connection, config, args, template).await? {
        warn(&remark);
    }
    if acts.broken > 0 {
        let text =
            format!("{} acts are not as they were stored: see `beds audit verify`", acts.broken);
        return Ok(fail(1, &text));
    }
    Ok(ExitCode::SUCCESS)
}

/// Sentences on the acts that may be missing.
async fn remarks(
    connection: &Connection,
    config: &Config,
    args: &SubjectArgs,
    name: &str,
) -> Result<Vec<String>> {
    let unnamed = [AuditRecord::unnamed_of(name)];
    let unnamed = args.acts(connection, &unnamed, args.page.since, MOST).await?;
    let (count, name_shown) = (unnamed.read.len() as u64, quote(name));
    let mut remarks = Vec::new();
    if count > 0 {
        remarks.push(format!(
            "{} acts in this time handed out rows of {name_shown} without a hash: rows without an id, or beyond the first 500; this record may be among them",
            unnamed.counted(count)
        ));
    }
    let (templates, _) = settings::templates(&config.templates.path);
    let required = templates
        .iter()
        .find(|known| known.name == name)
        .map(|known| known.audit == AuditPolicy::Required);
    if required == Some(true) {
        remarks.push(format!(
            "{name_shown} has audit = \"required\" now: since it has, no answer leaves without its record"
        ));
        return Ok(remarks);
    }
    // Drops are told under the time of their first, which can lie before.
    let since = args.page.since.and_then(|since| since.checked_sub(DROPS_BEFORE).ok());
    let drops = args.acts(connection, &[AuditRecord::DROP.to_owned()], since, MOST).await?;
    let dropped = drops.read.iter().filter_map(|drop| drop.unrecorded).sum();
    let dropped = drops.counted(dropped);
    remarks.push(match required {
        None => format!("{dropped} records found no room on their nodes in this time, of all templates together; {name_shown} is no template of this node"),
        Some(_) => format!("{dropped} records found no room on their nodes in this time, of all templates together; with audit = \"required\", {name_shown} would answer no read without one"),
    });
    Ok(remarks)
}
