//! `beds audit verify`: every chain, from its first record to its last signed head. A fault hides neither the next one nor another
//! chain.
//!
//! Not here: the rules of a chain, which are `core::audit`'s; the signatures, which are `notary`'s.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use beds_core::{Config, ErrorKind, Result};
use beds_trail::audit::{Fault, Head, SealedBatch, SealedRecord, Verifier, time_text};
use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{chains, signed_heads};
use crate::commands::connection::Connection;
use crate::commands::{ConfigArgs, fail, say, warn};
use crate::notary::{Key, SignedGap, SignedHead};

/// The longest name of a chain that a node writes.
const MAX_CHAIN_BYTES: usize = 200;
/// A record that no head covers is not suspicious before this.
const LEAST_PATIENCE: Duration = Duration::from_secs(120);
/// How far the clocks of two nodes may be apart.
const MOST_AHEAD: Duration = Duration::from_secs(300);
/// Below so many records in an answer, the next one may have more.
const FEW: usize = 1_000;
/// Faults of one chain that are named, each in a line. The others are counted.
const NAMED: usize = 10;

#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// A public key that heads may be signed with, in hexadecimal; one for each admin node (`beds audit key`). Default: that of
    /// `services.admin.signing_key_file`
    #[arg(long)]
    public_key: Vec<String>,
    /// Check against these heads too: a file that `beds audit heads` wrote
    #[arg(long)]
    heads: Option<PathBuf>,
    /// Gaps that are known: a file with the output of `beds audit acknowledge`
    #[arg(long)]
    acknowledged: Option<PathBuf>,
}

/// Evidence that does not come from the store.
struct Evidence {
    public_keys: Vec<String>,
    kept: Vec<SignedHead>,
    gaps: Vec<SignedGap>,
    /// How old a record may be that no head covers.
    patience: Duration,
}

/// The faults of all chains, counted.
#[derive(Default)]
struct Findings {
    records: u64,
    faults: usize,
    acknowledged: usize,
    /// Heads that no given key has signed.
    foreign_heads: usize,
}

pub(super) async fn verify(
    connection: &Connection,
    config: &Config,
    args: &VerifyArgs,
) -> Result<ExitCode> {
    let evidence = match Evidence::read(config, args) {
        Ok(evidence) => evidence,
        Err(text) => return Ok(fail(2, &text)),
    };
    let mut found = Findings::default();
    let names = chains(connection).await?;
    for strange in
        names.iter().filter(|name| name.as_str().is_none_or(|name| name.len() > MAX_CHAIN_BYTES))
    {
        warn(&format!(
            "a document was inserted that belongs to no chain: its chain is {strange:.200}"
        ));
        found.faults += 1;
    }
    let kept = evidence.kept.iter().map(|signed| signed.head.chain.as_str());
    let names: BTreeSet<&str> = names.iter().filter_map(Value::as_str).chain(kept).collect();
    for name in names.into_iter().filter(|name| name.len() <= MAX_CHAIN_BYTES) {
        found.take(&evidence, verify_chain(connection, name, &evidence).await?);
    }
    Ok(found.conclude())
}

/// The result of the check of one chain.
struct CheckedChain {
    name: String,
    /// Records that are there.
    records: u64,
    /// Heads whose signature holds.
    signed: Vec<SignedHead>,
    faults: Vec<Fault>,
    foreign_keys: BTreeSet<String>,
}

impl Evidence {
    fn read(config: &Config, args: &VerifyArgs) -> std::result::Result<Self, String> {
        let mut public_keys = args.public_key.clone();
        if let (true, Some(file)) =
            (public_keys.is_empty(), &config.services.admin.signing_key_file)
            && file.exists()
        {
            let key = Key::read(file)
                .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            public_keys.push(key.public());
        }
        if public_keys.is_empty() {
            return Err(
                "which keys sign the heads? Give --public-key, or services.admin.signing_key_file in beds.toml"
                    .to_owned(),
            );
        }
        let gaps: Vec<SignedGap> =
            args.acknowledged.as_deref().map(lines).transpose()?.unwrap_or_default();
        if let Some(bad) = gaps.iter().find(|gap| !gap.holds(&public_keys)) {
            return Err(format!(
                "the acknowledged gap of chain {} from {} is not signed with a given key",
                bad.chain, bad.from
            ));
        }
        Ok(Self {
            public_keys,
            kept: args.heads.as_deref().map(lines).transpose()?.unwrap_or_default(),
            gaps,
            patience: (config.services.admin.signing_interval * 2).max(LEAST_PATIENCE),
        })
    }

    fn gap(&self, fault: &Fault, signed: &[SignedHead]) -> Option<&SignedGap> {
        self.gaps.iter().find(|gap| covers(gap, fault, signed))
    }
}

/// True where an operator's word is about the fault. It is about records that were signed before it was given: behind a
/// restore, a node fills the same places with new records, and these are under the heads that were signed since.
fn covers(gap: &SignedGap, fault: &Fault, signed: &[SignedHead]) -> bool {
    // A word about some places says nothing about others that the same fault puts in doubt.
    let is_within = gap.chain == fault.chain && gap.from <= fault.from && fault.to <= gap.to;
    is_within
        && match &fault.head {
            Some(hash) => signed
                .iter()
                .any(|one| one.head.seq == fault.to && one.head.hash == *hash && one.at <= gap.at),
            None => !signed
                .iter()
                .any(|one| one.at > gap.at && (fault.from..=gap.to).contains(&one.head.seq)),
        }
}

impl Findings {
    fn take(&mut self, evidence: &Evidence, chain: CheckedChain) {
        let CheckedChain { name, records, signed, faults, foreign_keys } = chain;
        let signed_up_to = signed.iter().map(|one| one.head.seq).max().unwrap_or(0);
        self.records += records;
        for key in &foreign_keys {
            self.foreign_heads += 1;
            warn(&format!(
                "chain {name}: heads are signed with the key {key:.64}, which was not given; if it is of one of your admin nodes (`beds audit key`), add --public-key {key:.64}"
            ));
        }
        let (known, open): (Vec<_>, Vec<_>) =
            faults.iter().partition(|fault| evidence.gap(fault, &signed).is_some());
        for fault in &known {
            let reason =
                evidence.gap(fault, &signed).map(|gap| gap.reason.as_str()).unwrap_or_default();
            say(&format!("acknowledged: {fault} ({reason})"));
        }
        open.iter().take(NAMED).for_each(|fault| warn(&fault.to_string()));
        if open.len() > NAMED {
            warn(&format!("chain {name}: {} faults more", open.len() - NAMED));
        }
        match open.len() {
            0 => say(&format!("chain {name}: {records} records hold; signed up to {signed_up_to}")),
            faults => warn(&format!(
                "chain {name}: {faults} fault(s) in {records} records; signed up to {signed_up_to}"
            )),
        }
        self.faults += open.len();
        self.acknowledged += known.len();
    }

    fn conclude(&self) -> ExitCode {
        if self.faults > 0 {
            return fail(1, &format!("{} fault(s) in {} records", self.faults, self.records));
        }
        if self.foreign_heads > 0 {
            return fail(2, "not checked: heads are signed with keys that were not given");
        }
        let but = match self.acknowledged {
            0 => String::new(),
            known => format!(", but for {known} acknowledged fault(s)"),
        };
        say(&format!(
            "{} records: nothing was changed, deleted, inserted, reordered or cut off{but}",
            self.records
        ));
        ExitCode::SUCCESS
    }
}

/// Checks a chain up to where it ended when the check began.
async fn verify_chain(
    connection: &Connection,
    name: &str,
    evidence: &Evidence,
) -> Result<CheckedChain> {
    let mut faults = Vec::new();
    let mut foreign_keys = BTreeSet::new();
    let mut signed = Vec::new();
    let kept = evidence.kept.iter().filter(|kept| kept.head.chain == name).cloned();
    for one in signed_heads(connection, name).await?.into_iter().chain(kept) {
        if one.holds(&evidence.public_keys) {
            signed.push(one);
        } else if evidence.public_keys.contains(&one.public_key) {
            faults.push(Verifier::new(name, &[]).forged_head(one.head.seq));
        } else {
            foreign_keys.insert(one.public_key);
        }
    }
    let heads: Vec<Head> = signed.iter().map(|one| one.head.clone()).collect();
    let mut walk = Walk::new(connection, name, Verifier::new(name, &heads), evidence.patience);
    // A foreign key covers nothing that it alone has signed; that is told once.
    walk.is_uncovered = !foreign_keys.is_empty();
    walk.go().await?;
    faults.extend(walk.faults);
    let records = walk.records;
    faults.extend(walk.verifier.finish().err());
    Ok(CheckedChain { name: name.to_owned(), records, signed, faults, foreign_keys })
}

/// The way through the stored records of one chain.
struct Walk<'w> {
    connection: &'w Connection,
    name: &'w str,
    verifier: Verifier<'w>,
    /// As [`time_text`] writes it: a record before it must be covered, and none may be behind the other.
    until: String,
    ahead: String,
    /// Records behind it came while this looks, and may be left to the next look.
    started: String,
    has_caught_up: bool,
    faults: Vec<Fault>,
    records: u64,
    /// It was said that records are not covered by a signed head.
    is_uncovered: bool,
}

impl<'w> Walk<'w> {
    fn new(
        connection: &'w Connection,
        name: &'w str,
        verifier: Verifier<'w>,
        patience: Duration,
    ) -> Self {
        let until = time_text(Timestamp::now().checked_sub(patience).unwrap_or(Timestamp::MIN));
        let ahead = time_text(Timestamp::now().checked_add(MOST_AHEAD).unwrap_or(Timestamp::MAX));
        let started = time_text(Timestamp::now());
        let (faults, has_caught_up, is_uncovered) = (Vec::new(), false, false);
        Self {
            connection,
            name,
            verifier,
            until,
            ahead,
            started,
            has_caught_up,
            faults,
            records: 0,
            is_uncovered,
        }
    }

    async fn go(&mut self) -> Result<()> {
        let name = self.name;
        let of_chain = || vec![("chain", json!(name))];
        let last: Vec<SealedRecord> =
            match self.connection.reader.fetch("Audit", "head", of_chain()).await {
                Ok(last) => last,
                Err(error) if error.kind == ErrorKind::Internal => {
                    self.faults.push(self.verifier.unreadable());
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
        let end = last.first().map_or(0, |record| record.seq);
        // Begins with 8 documents: each holds up to 1,000 records, and an answer 8 MiB.
        let (mut after, mut limit) = (0, 8);
        // A document that was inserted can lie about the end: only a page without any is one.
        while after < end || !self.has_caught_up {
            let params =
                vec![("chain", json!(self.name)), ("seq", json!(after)), ("limit", json!(limit))];
            let page: Vec<Value> =
                match self.connection.reader.fetch("Audit", "after", params).await {
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
            let mut is_beyond = false;
            for batch in &page {
                records += self.batch(batch);
                match place(&batch["last"]) {
                    Some(last) => after = last.max(after + 1),
                    None => is_beyond = true,
                }
            }
            // A place that no counting reaches comes with each page. It is behind all that a node wrote, and a fault already.
            if is_beyond {
                break;
            }
            if records < FEW {
                limit = (limit * 2).min(beds_core::message::MAX_LIMIT);
            }
        }
        // Documents that a search would find and no page above shows.
        let outside: Vec<Value> =
            self.connection.reader.fetch("Audit", "outside", of_chain()).await?;
        if !outside.is_empty() {
            self.faults.push(self.verifier.inserted());
        }
        Ok(())
    }

    /// Takes a stored document. Answers how many records it has.
    fn batch(&mut self, batch: &Value) -> usize {
        // One with a field too many, or of another form, is not the one that was written.
        let Ok(batch) = SealedBatch::deserialize(batch) else {
            self.faults.push(self.verifier.unreadable());
            return 0;
        };
        let faults = self.verifier.take_batch(&batch);
        self.records += batch.records.len() as u64;
        self.has_caught_up |= faults.is_empty()
            && batch.records.last().is_some_and(|record| record.at > self.started);
        self.faults.extend(faults);
        let open = batch.records.iter().filter(|record| !self.verifier.is_signed(record.seq));
        for record in open {
            if self.is_uncovered {
                break;
            }
            let fault = match (record.at < self.until, record.at > self.ahead) {
                (true, _) => self.verifier.uncovered(record.seq),
                (_, true) => self.verifier.of_the_future(record.seq),
                _ => continue,
            };
            self.faults.push(fault);
            self.is_uncovered = true;
        }
        batch.records.len()
    }
}

/// The first whole place at a number or behind it; none where no chain is as long.
fn place(number: &Value) -> Option<u64> {
    const LONGEST: f64 = 1e15;
    let whole = number.as_u64().filter(|whole| *whole < LONGEST as u64);
    whole.or_else(|| {
        number
            .as_f64()
            .filter(|number| (0.0..LONGEST).contains(number))
            .map(|number| number.ceil() as u64)
    })
}

/// The lines of a file, each a JSON object.
fn lines<T: DeserializeOwned>(path: &Path) -> std::result::Result<Vec<T>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_str(line).map_err(|e| format!("{}: {e}", path.display())))
        .collect()
}

#[cfg(test)]
mod tests;
