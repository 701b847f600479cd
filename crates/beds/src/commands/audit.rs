//! `beds audit`: search the trail, check that it is whole, and export the signed heads. Exit code 0: whole; 1: a fault was
//! found; 2: not checked.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use beds_core::audit::{AuditRecord, Fault, Head, SealedBatch, SealedRecord, Verifier, time_text};
use beds_core::{Config, ErrorKind, Result};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::Connection;
use super::{ConfigArgs, fail, say, warn};
use crate::notary::{Key, SignedHead};

/// The longest name of a chain that a node writes.
const MAX_CHAIN_BYTES: usize = 200;
/// A record that no head covers is not suspicious before this.
const LEAST_PATIENCE: Duration = Duration::from_secs(120);
/// How far the clocks of two nodes may be apart.
const MOST_AHEAD: Duration = Duration::from_secs(300);
/// Below so many records in an answer, the next one may have more.
const FEW: usize = 1_000;

#[derive(Subcommand)]
pub enum AuditCommand {
    /// Check every chain from its first record to its last signed head, and name the first bad record
    Verify(VerifyArgs),
    /// List records, the newest messages of the nodes first
    Ls(LsArgs),
    /// Print the signed heads, one JSON object a line: keep them where who can write to msLogs cannot
    Heads(ConfigArgs),
}

#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A public key that heads may be signed with, in hexadecimal; one for each admin node. Default: that of
    /// `services.admin.signing_key_file`
    #[arg(long)]
    public_key: Vec<String>,
    /// Check against these heads too: a file that `beds audit heads` wrote
    #[arg(long)]
    heads: Option<std::path::PathBuf>,
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
        AuditCommand::Heads(args) => args.load(),
    };
    let config = match loaded {
        Ok(config) => config,
        Err(code) => return code,
    };
    let connection = match Connection::open(&config, "audit").await {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    let outcome = match command {
        AuditCommand::Verify(args) => verify(&connection, &config, &args).await,
        AuditCommand::Ls(args) => ls(&connection, &args).await,
        AuditCommand::Heads(_) => heads(&connection).await,
    };
    connection.close().await;
    outcome.unwrap_or_else(|error| fail(2, &format!("{} {}", error.code(), error.message)))
}

/// A group of documents by what stands as their chain.
#[derive(Deserialize)]
struct Chain {
    #[serde(rename = "_id")]
    name: Value,
}

/// The names of all chains: a chain that was deleted as a whole still has its heads.
async fn chains(connection: &Connection) -> Result<Vec<Value>> {
    let mut chains: Vec<Chain> = connection.fetch("Audit", "chains", Vec::new(), true).await?;
    chains.extend(connection.fetch::<Chain>("AuditHeads", "chains", Vec::new(), false).await?);
    Ok(chains.into_iter().map(|chain| chain.name).collect())
}

async fn verify(connection: &Connection, config: &Config, args: &VerifyArgs) -> Result<ExitCode> {
    let mut public_keys = args.public_key.clone();
    if let (true, Some(file)) = (public_keys.is_empty(), &config.services.admin.signing_key_file)
        && file.exists()
    {
        match Key::read_or_make(file) {
            Ok(key) => public_keys.push(key.public()),
            Err(error) => return Ok(fail(2, &format!("cannot read {}: {error}", file.display()))),
        }
    }
    if public_keys.is_empty() {
        let text = "which keys sign the heads? Give --public-key, or services.admin.signing_key_file in beds.toml";
        return Ok(fail(2, text));
    }
    let kept = match args.heads.as_deref().map(read_heads).transpose() {
        Ok(kept) => kept.unwrap_or_default(),
        Err(text) => return Ok(fail(2, &text)),
    };
    let mut names = chains(connection).await?;
    if let Some(strange) = names.iter().find(|name| name.as_str().is_none_or(|name| name.len() > MAX_CHAIN_BYTES)) {
        return Ok(fail(1, &format!("a document was inserted that belongs to no chain: its chain is {strange:.200}")));
    }
    names.extend(kept.iter().map(|signed| Value::from(signed.head.chain.as_str())));
    let names: BTreeSet<&str> = names.iter().filter_map(Value::as_str).collect();
    let patience = (config.services.admin.signing_interval * 2).max(LEAST_PATIENCE);
    let mut total = 0;
    for name in names {
        let mut signed = signed_heads(connection, name).await?;
        signed.extend(kept.iter().filter(|signed| signed.head.chain == name).cloned());
        if let Some(bad) = signed.iter().find(|signed| !signed.holds(&public_keys)) {
            return Ok(fail(1, &format!("chain {name}: the signature of the head at {} does not hold", bad.head.seq)));
        }
        let heads: Vec<Head> = signed.into_iter().map(|signed| signed.head).collect();
        match verify_chain(connection, name, &heads, patience).await? {
            Ok(head) => {
                let last = heads.iter().map(|head| head.seq).max().unwrap_or(0);
                say(&format!("chain {name}: {} records hold; signed up to {last}", head.seq));
                total += head.seq;
            }
            Err(fault) => return Ok(fail(1, &fault.to_string())),
        }
    }
    say(&format!("{total} records: nothing was changed, deleted, inserted, reordered or cut off"));
    Ok(ExitCode::SUCCESS)
}

/// Checks a chain up to where it ended when the check began. `patience` is how old a record may be that no head covers.
async fn verify_chain(
    connection: &Connection,
    name: &str,
    heads: &[Head],
    patience: Duration,
) -> Result<std::result::Result<Head, Fault>> {
    let mut verifier = Verifier::new(name, heads);
    let until = time_text(Timestamp::now().checked_sub(patience).unwrap_or(Timestamp::MIN));
    let ahead = time_text(Timestamp::now().checked_add(MOST_AHEAD).unwrap_or(Timestamp::MAX));
    let of_chain = || vec![("chain", json!(name))];
    let last: Vec<SealedRecord> = match connection.fetch("Audit", "head", of_chain(), false).await {
        Ok(last) => last,
        Err(error) if error.kind == ErrorKind::Internal => return Ok(Err(verifier.unreadable())),
        Err(error) => return Err(error),
    };
    let end = last.first().map_or(0, |record| record.seq);
    let (mut after, mut limit) = (0, 8);
    while after < end {
        let params = vec![("chain", json!(name)), ("seq", json!(after)), ("limit", json!(limit))];
        let page: Vec<Value> = match connection.fetch("Audit", "after", params, false).await {
            Ok(page) => page,
            // More than one answer can hold: large batches, of many records each.
            Err(error) if error.kind == ErrorKind::ValueOutOfRange && limit > 1 => {
                limit /= 2;
                continue;
            }
            Err(error) => return Err(error),
        };
        if page.is_empty() {
            break;
        }
        let mut records = 0;
        for batch in &page {
            // A batch with a field too many, or of another form, is not the one that was written.
            let Ok(batch) = SealedBatch::deserialize(batch) else {
                return Ok(Err(verifier.unreadable()));
            };
            if let Err(fault) = verifier.take_batch(&batch) {
                return Ok(Err(fault));
            }
            for open in batch.records.iter().filter(|record| !verifier.is_signed(record.seq)) {
                if open.at < until {
                    return Ok(Err(verifier.uncovered(open.seq)));
                }
                if open.at > ahead {
                    return Ok(Err(verifier.of_the_future(open.seq)));
                }
            }
            after = batch.last;
            records += batch.records.len();
        }
        if records < FEW {
            limit = (limit * 2).min(beds_core::message::MAX_LIMIT);
        }
    }
    // What a search would find and no page above shows.
    let outside: Vec<Value> = connection.fetch("Audit", "outside", of_chain(), false).await?;
    if !outside.is_empty() {
        return Ok(Err(verifier.inserted()));
    }
    Ok(verifier.finish())
}

async fn signed_heads(connection: &Connection, chain: &str) -> Result<Vec<SignedHead>> {
    let (mut heads, mut after) = (Vec::<SignedHead>::new(), 0);
    loop {
        let params = vec![("chain", json!(chain)), ("seq", json!(after))];
        let page: Vec<SignedHead> = connection.fetch("AuditHeads", "after", params, false).await?;
        let Some(last) = page.last() else { return Ok(heads) };
        after = last.head.seq;
        heads.extend(page);
    }
}

fn read_heads(path: &std::path::Path) -> std::result::Result<Vec<SignedHead>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_str(line).map_err(|e| format!("{}: {e}", path.display()))).collect()
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
    let mut params = vec![("limit", json!(args.limit))];
    let filters = [
        // A parameter called actor is given the actor of the call itself.
        ("subject", args.actor.clone()),
        ("template", args.template.clone()),
        ("outcome", args.outcome.clone()),
        ("since", args.since.map(time_text)),
        ("until", args.until.map(time_text)),
    ];
    params.extend(filters.into_iter().filter_map(|(name, value)| Some((name, json!(value?)))));
    let records: Vec<SealedRecord> = connection.fetch("Audit", "search", params, true).await?;
    if records.is_empty() {
        warn("no record fits");
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
    format!(
        "{:.23}  {:<12}  {:<15}  {:<24}  {:<10}  {:<32}  [{}]  {}",
        record.at.to_string(),
        or_dash(&record.actor),
        or_dash(&record.address),
        format!(
            "{}.{}{}",
            record.template,
            record.operation,
            record.object.as_ref().map_or_else(String::new, |name| format!("/{name}"))
        ),
        outcome,
        or_dash(record.record.as_deref().unwrap_or_default()),
        record.fields.join(" "),
        record.about,
    )
}
