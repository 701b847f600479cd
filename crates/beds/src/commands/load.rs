//! `beds load`: sends the rows of a file as creates through RabbitMQ, as an application would. It can be killed and
//! started again: each row's key is its idempotency key, so a row that was sent before takes effect once.
//!
//! Not here: how a file is read (`load/rows`), and the files of a load (`load/checkpoint`, `load/rejects`).

mod checkpoint;
mod rejects;
mod rows;
mod scan;

use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use beds_core::{BedsError, Config, EventId, NamasteCore, Operation, Payload};
use clap::Args;
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::connection::Connection;
use super::{ConfigArgs, EX_USAGE, fail, say};
use crate::settings;
use checkpoint::{Checkpoint, Note};
use rejects::Rejects;
use rows::{Row, Rows, text_at};

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
    /// One row after the other: for rows that depend on rows before them
    #[arg(long, conflicts_with = "concurrency")]
    ordered: bool,
    /// Stop after this many rows of the file
    #[arg(long)]
    limit: Option<usize>,
    /// Begin at the first row again, with the same keys: rows that took effect do so once, rejected ones are tried again
    #[arg(long)]
    restart: bool,
    /// Load the file once more, with new keys: each row takes effect again
    #[arg(long, conflicts_with = "restart")]
    again: bool,
    /// Go on with a load that began longer ago than `inbox.keep_days`, although its last rows may take effect twice
    #[arg(long)]
    even_if_it_may_happen_twice: bool,
}

/// The number of rows by result.
#[derive(Default)]
struct Count {
    created: usize,
    /// An earlier load had created them.
    repeated: usize,
    rejected: usize,
    unreadable: usize,
}

pub(super) async fn load(args: LoadArgs) -> ExitCode {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (templates, mistakes) = settings::templates(&config.templates.path);
    if let Err(error) = templates.offering(&args.template, Operation::Create, None, None) {
        mistakes.iter().for_each(|mistake| super::warn(&mistake.to_string()));
        return fail(EX_USAGE, &error.message);
    }
    // A file that cannot be read as it was meant is refused before the first connection.
    let opened = Rows::open(&args.file, &args.template, args.limit)
        .and_then(|rows| begin(&args, &config, rows));
    let (rows, checkpoint, rejects) = match opened {
        Ok(opened) => opened,
        Err(text) => return fail(1, &text),
    };
    let connection = match Connection::open(&config, "load", 1, templates).await {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    let outcome = send(&args, &connection, rows, checkpoint, rejects).await;
    connection.close().await;
    match outcome {
        Ok(code) => code,
        Err(text) => fail(1, &text),
    }
}

/// Where the load begins: where an earlier one of the same content ended, or at the first row.
fn begin(
    args: &LoadArgs,
    config: &Config,
    rows: Rows,
) -> Result<(Rows, Checkpoint, Rejects), String> {
    let (folder, name) = kept(args)?;
    let path = folder.join(format!("{name}.progress"));
    let address = config.amqp.url.address();
    let before = Note::read(&path, rows.digest(), address);
    let fresh = |run: String| Note {
        digest: rows.digest().to_owned(),
        address: address.to_owned(),
        done: 0,
        began: Timestamp::now(),
        run,
        rejects: Rejects::free_name(&folder, &name),
    };
    let note = match before {
        _ if args.again => fresh(format!("{:x}", Timestamp::now().as_microsecond())),
        None => fresh(String::new()),
        Some(before) => {
            let is_unfinished = args.restart || before.done < rows.total();
            if is_unfinished
                && config.inbox.may_have_forgotten(Some(before.began))
                && !args.even_if_it_may_happen_twice
            {
                return Err(format!(
                    "this load began at {:.0}, and the inbox remembers {} days: rows that took effect could do so twice. Look at the records, then add --even-if-it-may-happen-twice, or --again to load all rows anew",
                    before.began, config.inbox.keep_days
                ));
            }
            let is_of_before = !args.restart && !before.rejects.is_empty();
            let rejects = if is_of_before {
                before.rejects.clone()
            } else {
                Rejects::free_name(&folder, &name)
            };
            Note { done: if args.restart { 0 } else { before.done }, rejects, ..before }
        }
    };
    let rejects = Rejects::open(&folder.join(&note.rejects));
    let rows = rows.of_run(&note.run);
    Ok((rows, Checkpoint::begin(&path, note)?, rejects))
}

async fn send(
    args: &LoadArgs,
    connection: &Connection,
    rows: Rows,
    mut checkpoint: Checkpoint,
    mut rejects: Rejects,
) -> Result<ExitCode, String> {
    let begin = checkpoint.done();
    let bar = bar(rows.total(), begin);
    let started = Instant::now();
    let mut count = Count::default();
    let in_flight = if args.ordered { 1 } else { args.concurrency.get() };
    let pending = futures_util::stream::iter(rows.skip(begin))
        .map(async |row| {
            let outcome = match &row.fields {
                Ok(fields) => {
                    let payload =
                        Payload { id: None, fields: fields.clone(), is_text: row.is_text };
                    Some(create(connection, &args.template, &row, payload).await)
                }
                Err(_) => None,
            };
            (row, outcome)
        })
        .buffer_unordered(in_flight);
    tokio::pin!(pending);
    while let Some((row, outcome)) = pending.next().await {
        match (outcome, &row.fields) {
            (Some(Ok(Created::Now)), _) => count.created += 1,
            (Some(Ok(Created::Before)), _) => count.repeated += 1,
            // The services stay away; the checkpoint tells the next start where to go on.
            (Some(Err(error)), _) if error.kind.is_retryable() => {
                bar.abandon();
                return Err(format!(
                    "row {}: {}; start the same command again to go on",
                    row.number, error.message
                ));
            }
            (Some(Err(error)), _) => {
                count.rejected += 1;
                reject(args, &mut rejects, &row, &error)?;
            }
            (None, Err(error)) => {
                count.unreadable += 1;
                reject(args, &mut rejects, &row, error)?;
            }
            (None, Ok(_)) => {}
        }
        checkpoint.finish(row.number)?;
        bar.inc(1);
    }
    checkpoint.save()?;
    bar.finish_and_clear();
    sum_up(args, &count, begin, started.elapsed());
    if rejects.number() > 0 {
        let (number, path) = (rejects.number(), rejects.path().display());
        return Err(format!("{number} rows were rejected; they stand with the reason in {path}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the numbers of a load. `begin` rows were done before it.
fn sum_up(args: &LoadArgs, count: &Count, begin: usize, taken: Duration) {
    let Count { created, repeated, rejected, unreadable } = count;
    let seconds = taken.as_secs_f64().max(0.001);
    let rate = (created + repeated + rejected + unreadable) as f64 / seconds;
    let skipped = if begin > 0 { format!(", {begin} done before") } else { String::new() };
    let counted = format!(
        "{created} created, {repeated} repeated, {rejected} rejected, {unreadable} unreadable{skipped}"
    );
    say(&format!("{}: {counted} ({rate:.0} rows/s)", args.template));
    if begin > 0 && created + repeated + rejected + unreadable == 0 {
        say(
            "All rows were sent before. --restart tries the rejected ones again, --again loads the file once more.",
        );
    }
}

fn reject(
    args: &LoadArgs,
    rejects: &mut Rejects,
    row: &Row,
    error: &BedsError,
) -> Result<(), String> {
    rejects.add(row, &text_at(&args.file, row.place).unwrap_or_default(), error)
}

/// Whether a row's record is new.
enum Created {
    Now,
    /// The answer is that of an earlier load.
    Before,
}

/// Creates one record, and goes on trying with the same key while the outcome is unknown or a service is away.
async fn create(
    connection: &Connection,
    template: &str,
    row: &Row,
    payload: Payload,
) -> Result<Created, BedsError> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(50);
    let mut own: Vec<EventId> = Vec::new();
    loop {
        let mut context = connection.own_root(PATIENCE);
        context.key = Some(row.key.clone());
        own.push(context.event_id.clone());
        match connection.client.open(template, context).create_record(&payload).await {
            Ok(response) => {
                // An earlier try of this row may have written, and only its answer was lost.
                let is_own = response.repeat_of.as_ref().is_none_or(|first| own.contains(first));
                return Ok(if is_own { Created::Now } else { Created::Before });
            }
            Err(error) if error.kind.is_retryable() && started.elapsed() < GIVE_UP => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            Err(error) => return Err(error),
        }
    }
}

/// The folder `loads` beside beds.toml, and how the names of this load's files begin there: they belong to the system, and the
/// data's folder may not be ours to write to.
fn kept(args: &LoadArgs) -> Result<(PathBuf, String), String> {
    let folder =
        args.config.config.parent().map_or_else(PathBuf::new, Path::to_path_buf).join("loads");
    std::fs::create_dir_all(&folder)
        .map_err(|e| format!("cannot make the folder {}: {e}", folder.display()))?;
    let file = args.file.file_name().unwrap_or_default().to_string_lossy();
    Ok((folder, format!("{file}.{}", args.template)))
}

fn bar(rows: usize, begin: usize) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(rows as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta} left") {
        bar.set_style(style);
    }
    bar.set_position(begin as u64);
    bar
}
