//! `beds load`: sends the rows of a file as creates through RabbitMQ, as an application would. It can be killed and
//! started again: each row's key is its idempotency key, so a row that was sent before takes effect once.

mod checkpoint;
mod rejects;
mod rows;

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use beds_core::{BedsError, ErrorKind, NamasteCore, Operation, Payload, Store};
use beds_transport::Client;
use clap::Args;
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::connection::Connection;
use super::{ConfigArgs, EX_USAGE, fail, say};
use crate::settings;
use checkpoint::Checkpoint;
use rejects::Rejects;
use rows::{Row, Rows};

/// How long one create may take before it is sent again with the same key.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the load goes on trying while the services are away.
const GIVE_UP: Duration = Duration::from_secs(120);

#[derive(Args)]
pub struct LoadArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The template to create records of
    template: String,
    /// A .csv file with a header line, or .ndjson with one object a line
    file: PathBuf,
    /// Rows in flight at once
    #[arg(long, default_value = "64")]
    concurrency: NonZeroUsize,
    /// Stop after this many rows of the file
    #[arg(long)]
    limit: Option<usize>,
    /// Begin at the first row again, whatever an earlier run noted. Rows that took effect still do so once
    #[arg(long)]
    restart: bool,
}

pub(super) async fn load(args: LoadArgs) -> ExitCode {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (catalogue, problems) = settings::templates(&config.templates.path);
    let store = match catalogue.offering(&args.template, Operation::Create, None) {
        Ok(template) => template.store,
        Err(error) => {
            problems.iter().for_each(|problem| super::warn(&problem.to_string()));
            return fail(EX_USAGE, &error.message);
        }
    };
    let connection = match Connection::open(&config, "load").await {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    let outcome = send(&args, store, &connection.client, config.amqp.url.address()).await;
    connection.close().await;
    match outcome {
        Ok(code) => code,
        Err(text) => fail(1, &text),
    }
}

async fn send(args: &LoadArgs, store: Store, client: &Client, address: &str) -> Result<ExitCode, String> {
    let rows = Rows::open(&args.file, &args.template, args.limit)?;
    let mut checkpoint = Checkpoint::open(&kept(args, "progress")?, rows.digest(), address, args.restart)?;
    let begin = checkpoint.done();
    let bar = bar(rows.total(), begin);
    let started = Instant::now();
    let mut created = 0;
    let mut rejects = Rejects::open(&kept(args, "rejects.ndjson")?, begin > 0)?;
    let rejected_before = rejects.number();

    let pending = futures_util::stream::iter(rows.skip(begin))
        .map(async |row| {
            let outcome = match &row.fields {
                Ok(_) => create(client, store, &args.template, &row).await,
                Err(text) => Err(BedsError::new(ErrorKind::MalformedBody, text.clone())),
            };
            (row, outcome)
        })
        .buffer_unordered(args.concurrency.get());
    tokio::pin!(pending);
    while let Some((row, outcome)) = pending.next().await {
        match outcome {
            Ok(()) => created += 1,
            Err(error) if error.kind.is_retryable() => {
                bar.abandon();
                return Err(format!("row {}: {}; start the same command again to go on", row.number, error.message));
            }
            Err(error) => rejects.add(&row, &error)?,
        }
        checkpoint.finish(row.number)?;
        bar.inc(1);
    }
    checkpoint.save()?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64().max(0.001);
    let rejected = rejects.number() - rejected_before;
    let rate = (created + rejected) as f64 / seconds;
    let skipped = if begin > 0 { format!(", {begin} done before") } else { String::new() };
    say(&format!("{}: {created} created, {rejected} rejected{skipped} ({rate:.0} rows/s)", args.template));
    if rejects.number() > 0 {
        let (number, path) = (rejects.number(), rejects.path().display());
        return Err(format!("{number} rows were rejected; they stand with the reason in {path}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Creates one record, and goes on trying with the same key while the outcome is unknown or a service is away.
async fn create(client: &Client, store: Store, template: &str, row: &Row) -> Result<(), BedsError> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(50);
    let payload = Payload { id: None, fields: row.fields.clone().unwrap_or_default(), is_text: row.is_text };
    loop {
        let mut context = client.context(PATIENCE);
        context.key = Some(row.key.clone());
        match client.open(store, template, context).create_record(&payload).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind.is_retryable() && started.elapsed() < GIVE_UP => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            Err(error) => return Err(error),
        }
    }
}

/// A file of this load, in the folder `loads` beside beds.toml: it belongs to the system, and the data's folder may not be
/// ours to write to.
fn kept(args: &LoadArgs, ending: &str) -> Result<PathBuf, String> {
    let folder = args.config.config.parent().map_or_else(PathBuf::new, PathBuf::from).join("loads");
    std::fs::create_dir_all(&folder).map_err(|e| format!("cannot make the folder {}: {e}", folder.display()))?;
    let file = args.file.file_name().unwrap_or_default().to_string_lossy();
    Ok(folder.join(format!("{file}.{}.{ending}", args.template)))
}

fn bar(rows: usize, begin: usize) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(rows as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta} left") {
        bar.set_style(style);
    }
    bar.set_position(begin as u64);
    bar
}
