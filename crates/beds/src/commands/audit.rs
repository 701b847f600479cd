//! `beds audit`: search the trail, check that it is whole, export the signed heads, and sign that a gap is known.
//!
//! Not here: the check of the chains (audit/verify.rs), the acts on one record (audit/subject.rs).

mod subject;
mod verify;

use std::collections::BTreeSet;
use std::process::ExitCode;

use beds_core::Outcome;
use beds_core::text::one_line;
use beds_core::{Config, Result, Templates};
use beds_trail::audit::{AuditRecord, SealedRecord, time_text};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::Connection;
use super::{ConfigArgs, EX_USAGE, fail, say, warn};
use crate::notary::{Key, SignedHead};

#[derive(Subcommand)]
pub enum AuditCommand {
    /// Check every chain from its first record to its last signed head, and name its faults. Exit code 0: whole; 1:
    /// a fault was found; 2: not checked
    Verify(verify::VerifyArgs),
    /// List records, the newest messages of the nodes first
    Ls(LsArgs),
    /// List who read and who wrote a record, the newest acts first
    Subject(subject::SubjectArgs),
    /// Print the signed heads, one JSON object a line: keep them where a person with access to msLogs cannot write
    Heads(ConfigArgs),
    /// Print the public key of this node's signatures, for `verify --public-key`
    Key(ConfigArgs),
    /// Sign that records of a chain are known to be gone or changed, such as by a restore. Prints one JSON object, for a file
    /// that `verify --acknowledged` reads
    Acknowledge(GapArgs),
}

#[derive(Args)]
pub struct GapArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[arg(long)]
    chain: String,
    /// The first place that is gone or changed, as `verify` names it
    #[arg(long)]
    from: u64,
    /// The last one
    #[arg(long)]
    to: u64,
    /// The reason, for a later reader
    #[arg(long)]
    reason: String,
}

#[derive(Args)]
pub struct LsArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[arg(long)]
    actor: Option<String>,
    #[arg(long)]
    template: Option<String>,
    /// ok, failed or unknown
    #[arg(long)]
    outcome: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// The time and the number of records that are asked for.
#[derive(Args)]
struct PageArgs {
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

pub(super) async fn audit(command: AuditCommand) -> ExitCode {
    let loaded = match &command {
        AuditCommand::Verify(args) => args.config.load(),
        AuditCommand::Ls(args) => args.config.load(),
        AuditCommand::Subject(args) => args.config.load(),
        AuditCommand::Heads(args) | AuditCommand::Key(args) => args.load(),
        AuditCommand::Acknowledge(args) => args.config.load(),
    };
    let config = match loaded {
        Ok(config) => config,
        Err(code) => return code,
    };
    if let AuditCommand::Key(_) = &command {
        return match own_key(&config) {
            Ok(key) => {
                say(&key.public());
                ExitCode::SUCCESS
            }
            Err(text) => fail(2, &text),
        };
    }
    let connection = match Connection::open(&config, "audit", 2, Templates::of_nodes()).await {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    let outcome = match command {
        AuditCommand::Verify(args) => verify::verify(&connection, &config, &args).await,
        AuditCommand::Ls(args) => ls(&connection, &args).await,
        AuditCommand::Subject(args) => subject::subject(&connection, &config, &args).await,
        AuditCommand::Heads(_) => heads(&connection).await,
        AuditCommand::Acknowledge(args) => acknowledge(&connection, &config, &args).await,
        AuditCommand::Key(_) => Ok(ExitCode::SUCCESS),
    };
    connection.close().await;
    outcome.unwrap_or_else(|error| fail(2, &format!("{} {}", error.code(), error.message)))
}

/// A group of documents by the name of their chain.
#[derive(Deserialize)]
struct Chain {
    #[serde(rename = "_id")]
    name: Value,
}

/// The names of all chains: a chain that was deleted as a whole still has its heads.
async fn chains(connection: &Connection) -> Result<Vec<Value>> {
    let mut chains: Vec<Chain> = connection.reader.fetch("Audit", "chains", Vec::new()).await?;
    chains.extend(connection.reader.fetch::<Chain>("AuditHeads", "chains", Vec::new()).await?);
    Ok(chains.into_iter().map(|chain| chain.name).collect())
}

/// The key that signs this node's chains.
fn own_key(config: &Config) -> std::result::Result<Key, String> {
    let Some(file) = &config.services.admin.signing_key_file else {
        return Err(
            "services.admin.signing_key_file is not set in this beds.toml; use the one of an admin node".to_owned()
        );
    };
    Key::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// Signs an operator's word about a gap. The act is recorded before the word is given.
async fn acknowledge(connection: &Connection, config: &Config, args: &GapArgs) -> Result<ExitCode> {
    if args.from == 0 || args.to < args.from {
        return Ok(fail(EX_USAGE, "--from is 1 or more, and --to not below it"));
    }
    let key = match own_key(config) {
        Ok(key) => key,
        Err(text) => return Ok(fail(2, &text)),
    };
    let gap = key.sign_gap(&args.chain, args.from, args.to, &args.reason, &Connection::user());
    connection.client.reports().act(&Connection::user(), "acknowledge", Outcome::Ok).await;
    say(&serde_json::to_string(&gap).unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

async fn signed_heads(connection: &Connection, chain: &str) -> Result<Vec<SignedHead>> {
    let (mut heads, mut after) = (Vec::<SignedHead>::new(), 0);
    loop {
        let params = vec![("chain", json!(chain)), ("seq", json!(after))];
        let page: Vec<SignedHead> = connection.reader.fetch("AuditHeads", "after", params).await?;
        let Some(last) = page.last() else { return Ok(heads) };
        after = last.head.seq;
        heads.extend(page);
    }
}

async fn heads(connection: &Connection) -> Result<ExitCode> {
    let names = chains(connection).await?;
    let names: BTreeSet<&str> = names.iter().filter_map(Value::as_str).collect();
    for name in names {
        for head in signed_heads(connection, name).await? {
            say(&serde_json::to_string(&head).unwrap_or_default());
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn ls(connection: &Connection, args: &LsArgs) -> Result<ExitCode> {
    let mut params = vec![("limit", json!(args.page.limit))];
    let filters = [
        // A parameter called actor is given the actor of the call itself.
        ("subject", args.actor.clone()),
        ("template", args.template.clone()),
        ("outcome", args.outcome.clone()),
        ("since", args.page.since.map(time_text)),
        ("until", args.page.until.map(time_text)),
    ];
    params.extend(filters.into_iter().filter_map(|(name, value)| Some((name, json!(value?)))));
    let records: Vec<SealedRecord> = connection.reader.fetch("Audit", "search", params).await?;
    if records.is_empty() {
        warn("no record fits; records arrive when a node with services.admin has stored them");
    }
    for record in records.iter().filter_map(SealedRecord::open) {
        say(&line(&record));
    }
    Ok(ExitCode::SUCCESS)
}

fn line(record: &AuditRecord) -> String {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let outcome = match (&record.code, &record.repeat_of) {
        (Some(code), _) => code.clone(),
        (None, Some(_)) => "repeat".to_owned(),
        (None, None) => format!("ok {}", record.rows),
    };
    one_line(&format!(
        "{:.23}  {:<12}  {:<15}  {:<24}  {:<10}  {:<32}  [{}]  {}",
        record.at.to_string(),
        or_dash(&record.actor),
        or_dash(&record.address),
        format!(
            "{}.{}{}",
            record.template,
            record.operation,
            record
                .fetch
                .as_ref()
                .or(record.target.as_ref())
                .map_or_else(String::new, |name| format!("/{name}"))
        ),
        outcome,
        or_dash(record.record.as_deref().unwrap_or_default()),
        record.fields.join(" "),
        record.about,
    ))
}
