//! `beds tickets`: the tickets of all callers, for the person who operates the nodes.
//!
//! Not here: the tickets of one caller, which are at `/v1/tickets`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use beds_core::text::one_line;
use beds_core::ticket::{Progress, Ticket, TicketState};
use beds_core::{BedsError, ErrorKind, Fields, Operation, TICKETS, Templates};
use beds_transport::{Asked, Reader};
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::time::Instant;

use super::connection::Connection;
use super::{ConfigArgs, EX_USAGE, fail, in_place, say};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a ticket of which no word has come.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Subcommand)]
pub enum TicketsCommand {
    /// List tickets, the newest first
    Ls {
        #[command(flatten)]
        config: ConfigArgs,
        /// Of these states only, with commas: queued, running, cancelling, done, failed, cancelled, lapsed
        #[arg(long)]
        state: Option<String>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// Show one
    Show(OneTicket),
    /// Wait for the end of one. Exit code 0: done; 1: another end; 2: not ended in time, or not found out
    Wait {
        #[command(flatten)]
        one: OneTicket,
        /// Seconds
        #[arg(long, default_value_t = 3600)]
        timeout: u64,
    },
    /// Cancel one, whoever its owner is, and wait until its database has confirmed the end
    Cancel(OneTicket),
    /// Let one that failed run again, with the same values, rights looked at anew. They are kept as long as its result would have been
    Retry(OneTicket),
}

#[derive(Args)]
pub struct OneTicket {
    #[command(flatten)]
    config: ConfigArgs,
    id: String,
}

pub(super) async fn tickets(command: TicketsCommand) -> ExitCode {
    let config = match &command {
        TicketsCommand::Ls { config, .. } => config,
        TicketsCommand::Wait { one, .. } => &one.config,
        TicketsCommand::Show(one) | TicketsCommand::Cancel(one) | TicketsCommand::Retry(one) => {
            &one.config
        }
    };
    let config = match config.load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let states = match &command {
        TicketsCommand::Ls { state: Some(state), .. } => match TicketState::list(state) {
            Some(states) => Some(states),
            None => {
                let all = TicketState::ALL.map(TicketState::as_str).join(", ");
                return fail(EX_USAGE, &format!("--state is one or more of: {all}"));
            }
        },
        _ => None,
    };
    let templates = Templates::of_nodes();
    let connection = match Connection::open(&config, "tickets", 2, templates).await {
        Ok(connection) => connection,
        Err(code) => return code,
    };
    let done = match &command {
        TicketsCommand::Ls { limit, .. } => list(&connection.reader, *limit, states).await,
        TicketsCommand::Show(one) => show(&connection.reader, &one.id).await,
        TicketsCommand::Wait { one, timeout } => {
            wait(&connection, &one.id, Duration::from_secs(*timeout)).await
        }
        TicketsCommand::Cancel(one) => cancel(&connection, &one.id).await,
        TicketsCommand::Retry(one) => retry(&connection, &one.id).await,
    };
    connection.close().await;
    done.unwrap_or_else(|error| {
        let code = if error.kind.status() < 500 { 1 } else { 2 };
        fail(code, &format!("{} {}", error.code(), error.message))
    })
}

async fn list(
    reader: &Reader,
    limit: u32,
    states: Option<Vec<TicketState>>,
) -> Result<ExitCode, BedsError> {
    let mut arguments = vec![("most", json!(limit))];
    arguments.extend(states.map(|states| ("states", json!(states))));
    let tickets: Vec<Ticket> = reader.fetch(TICKETS, "all", arguments).await?;
    for ticket in &tickets {
        say(&line(ticket));
    }
    say(&format!("{:>6}  tickets", tickets.len()));
    Ok(ExitCode::SUCCESS)
}

async fn show(reader: &Reader, id: &str) -> Result<ExitCode, BedsError> {
    let ticket = one(reader, id).await?;
    say(&line(&ticket));
    say(&serde_json::to_string_pretty(&ticket.shown()).unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

async fn wait(connection: &Connection, id: &str, longest: Duration) -> Result<ExitCode, BedsError> {
    let until = Instant::now() + longest;
    loop {
        let watched = connection.client.watch(&Ticket::notice(id));
        let ticket = one(&connection.reader, id).await?;
        if !ticket.state.is_active() {
            if std::io::stderr().is_terminal() {
                in_place("");
            }
            say(&line(&ticket));
            return Ok(match ticket.state {
                TicketState::Done => ExitCode::SUCCESS,
                _ => ExitCode::from(1),
            });
        }
        // A person sees how far it is; a log gets no line a second.
        if std::io::stderr().is_terminal() {
            let word = ticket.progress.as_ref().map(bar).unwrap_or_default();
            in_place(&format!("{}  {}", ticket.state.as_str(), one_line(&word)));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(fail(2, "the ticket has not ended in time; it goes on"));
        }
        drop(tokio::time::timeout(left.min(LOOK_AGAIN), watched.given_up()).await);
    }
}

async fn cancel(connection: &Connection, id: &str) -> Result<ExitCode, BedsError> {
    change(connection, id, Operation::Delete).await?;
    connection.client.tell(&Ticket::notice(id));
    let ended = wait(connection, id, PATIENCE).await?;
    // A cancelled ticket is what was asked for.
    let ticket = one(&connection.reader, id).await?;
    Ok(if ticket.state == TicketState::Cancelled { ExitCode::SUCCESS } else { ended })
}

async fn retry(connection: &Connection, id: &str) -> Result<ExitCode, BedsError> {
    let ticket = change(connection, id, Operation::Update).await?;
    say(&line(&ticket));
    Ok(ExitCode::SUCCESS)
}

async fn change(
    connection: &Connection,
    id: &str,
    operation: Operation,
) -> Result<Ticket, BedsError> {
    let asked = Asked {
        template: TICKETS.to_owned(),
        operation,
        job: None,
        fetch: None,
        id: Some(id.to_owned()),
        params: Fields::new(),
    };
    connection.client.ticket(asked, connection.own_root(PATIENCE)).await
}

async fn one(reader: &Reader, id: &str) -> Result<Ticket, BedsError> {
    let found: Vec<Ticket> = reader.fetch(TICKETS, "one", vec![("ticket", json!(id))]).await?;
    found.into_iter().next().ok_or_else(|| {
        BedsError::new(
            ErrorKind::NoSuchTicket,
            "there is no such ticket; `beds tickets ls` lists them",
        )
    })
}

/// A bar where the total is known, and the numbers.
fn bar(progress: &Progress) -> String {
    const WIDTH: i64 = 30;
    let part = |total: i64| (progress.done.clamp(0, total) * WIDTH / total) as usize;
    let bar = progress
        .total
        .filter(|total| *total > 0)
        .map(|total| format!("[{:<1$}] ", "#".repeat(part(total)), WIDTH as usize));
    format!("{}{}", bar.unwrap_or_default(), far_of(progress))
}

fn far_of(progress: &Progress) -> String {
    let Progress { done, total, text, .. } = progress;
    let numbers = match total.filter(|total| *total > 0) {
        Some(total) => format!("{done} of {total} ({} %)", done.saturating_mul(100) / total),
        None => format!("{done} so far"),
    };
    match text {
        Some(text) => format!("{numbers}, {text}"),
        None => numbers,
    }
}

fn line(ticket: &Ticket) -> String {
    let work = match ticket.name() {
        Some(name) => format!("{} {} {name}", ticket.template, ticket.operation),
        None => format!("{} {}", ticket.template, ticket.operation),
    };
    let far = match (&ticket.progress, &ticket.result, &ticket.problem) {
        (_, Some(result), _) => format!("{} rows", result.rows),
        (_, _, Some(problem)) => format!("{} {}", problem.code, problem.detail),
        (Some(progress), _, _) => far_of(progress),
        _ => String::new(),
    };
    let (created, state) = (ticket.created_at, ticket.state.as_str());
    one_line(&format!(
        "{}  {created:.0}  {state:<10}  {:>3}  {:<16}  {work:<40}  {far}",
        ticket.id, ticket.epoch, ticket.owner
    ))
}
